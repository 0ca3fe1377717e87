// pool — y[b] = x[b, at[b]], the row of a text's EOT; or y[b] = x[b, row], such as the class token's.
//
//   x   [batch, tokens, k]  f32
//   at  [batch]             u32, read only if it is given
//   y   [batch, k]          f32
//
// One workgroup per row of y.

const GROUP = 64u;

struct PoolDims {
    tokens: u32, // of x, per item
    given: u32,  // whether `at` is
    row: u32,
}

@group(1) @binding(1) var<uniform> op: PoolDims;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> at: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = unfold(group, groups);
    if row >= dims.rows { return; }
    let k4 = dims.k / 4u;
    var token = op.row;
    if op.given != 0u { token = at[row]; }
    for (var i = lane; i < k4; i += GROUP) { y[row * k4 + i] = x[(row * op.tokens + token) * k4 + i]; }
}
