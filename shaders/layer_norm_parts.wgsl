// layer_norm_parts — y[t] = (x[t] − mean(x[t])) / sqrt(var(row) + eps) · g: what each part of a row gives to its layer norm.
//
//   x    [batch, tokens, width]  f32: the parts
//   row  [batch, width]          f32: the row that is normalised
//   g    [width]                 f32
//   y    [batch, tokens, width]  f32
//
// One workgroup per row of y. Joined with reduce.wgsl.

struct LayerNormPartsDims {
    eps: f32,
}

@group(1) @binding(1) var<uniform> op: LayerNormPartsDims;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> row: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = unfold(group, groups);
    if at >= dims.rows { return; }
    let k4 = dims.k / 4u;
    let part = at * k4;
    let whole = at / dims.tokens * k4;

    var sums = vec2(0.0); // of the part and of the row; the padding is zeros
    for (var i = lane; i < k4; i += GROUP) { sums += vec2(dot(x[part + i], vec4(1.0)), dot(row[whole + i], vec4(1.0))); }
    let means = group_sum(lane, sums) / f32(dims.width);
    var squares = 0.0;
    for (var i = lane; i < k4; i += GROUP) {
        let d = select(vec4(0.0), row[whole + i] - means.y, 4u * i + vec4(0u, 1u, 2u, 3u) < vec4(dims.width));
        squares += dot(d, d);
    }
    let scale = inverseSqrt(group_sum(lane, vec2(squares, 0.0)).x / f32(dims.width) + op.eps);
    for (var i = lane; i < k4; i += GROUP) { y[part + i] = (x[part + i] - means.x) * scale * g[i]; } // g is zeros in the padding
}
