// pool — y[b] = x[b, at[b]]: the class token's row, or the row of a text's EOT.
//
//   x   [batch, tokens, k]  f32
//   at  [batch]             u32
//   y   [batch, k]          f32
//
// One workgroup per row of y.

const GROUP = 64u;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> at: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = unfold(group, groups);
    if row >= dims.rows { return; }
    let k4 = dims.k / 4u;
    for (var i = lane; i < k4; i += GROUP) { y[row * k4 + i] = x[(row * dims.tokens + at[row]) * k4 + i]; }
}
