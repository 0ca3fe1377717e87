// layer_norm — y = (x − mean(x)) / sqrt(var(x) + eps) · g + b, over the last axis.
//
//   x  [rows, width]  f32
//   g  [width]        f32
//   b  [width]        f32
//   y  [rows, width]  f32
//
// One workgroup per row. The variance is taken about the mean in a second sweep: the one-sweep form E[x²] − E[x]² loses
// all its digits when |mean| is much greater than the deviation. The same sweep finds what rounding left of the mean
// (x − mean is exact there), so that the channels of 1e4 that trained towers have cost no digits. Joined with reduce.wgsl.

struct LayerNormDims {
    eps: f32,
}

@group(1) @binding(1) var<uniform> op: LayerNormDims;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = unfold(group, groups);
    if at >= dims.rows { return; }
    let row = at * (dims.k / 4u);

    var sum = 0.0;
    for (var i = lane; i < dims.k / 4u; i += GROUP) { sum += dot(x[row + i], vec4(1.0)); } // the padding is zeros
    let mean = group_sum(lane, vec2(sum, 0.0)).x / f32(dims.width);

    var moments = vec2(0.0); // Σ d, Σ d²
    for (var i = lane; i < dims.k / 4u; i += GROUP) {
        let d = select(vec4(0.0), x[row + i] - mean, 4u * i + vec4(0u, 1u, 2u, 3u) < vec4(dims.width));
        moments += vec2(dot(d, vec4(1.0)), dot(d, d));
    }
    moments = group_sum(lane, moments) / f32(dims.width);
    let scale = inverseSqrt(moments.y - moments.x * moments.x + op.eps);

    for (var i = lane; i < dims.k / 4u; i += GROUP) {
        y[row + i] = (x[row + i] - mean - moments.x) * scale * g[i] + b[i]; // g and b are zeros in the padding
    }
}
