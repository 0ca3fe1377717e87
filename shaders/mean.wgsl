// mean — y[b] = the mean of x[b, SKIP …]: average pooling over the patches.
//
//   x  [batch, tokens, k]  f32
//   y  [batch, k]          f32
//
// One workgroup per row of y.

override SKIP: u32; // leading tokens that are left out: the class token

const GROUP = 64u;

struct MeanDims {
    tokens: u32, // of x, per item
}

@group(1) @binding(1) var<uniform> op: MeanDims;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = unfold(group, groups);
    if row >= dims.rows { return; }
    let k4 = dims.k / 4u;
    for (var i = lane; i < k4; i += GROUP) {
        var sum = vec4(0.0);
        for (var t = SKIP; t < op.tokens; t += 1u) { sum += x[(row * op.tokens + t) * k4 + i]; }
        y[row * k4 + i] = sum / f32(op.tokens - SKIP);
    }
}
