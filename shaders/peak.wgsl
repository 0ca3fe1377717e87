// peak — what the device can do at most: with LOOPS = 0 it reads and writes memory, with many of them it multiplies and adds.
//
//   x  [rows, k]  f32
//   y  [rows, k]  f32
//
// One invocation per EACH times four values; in each loop eight independent chains of 4-wide multiply-adds.

const GROUP = 64u;
const EACH = 16u;

override LOOPS: u32;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = unfold(group, groups) * EACH * GROUP + lane;
    let end = min(first + EACH * GROUP, dims.rows * dims.k / 4u);
    for (var i = first; i < end; i += GROUP) { y[i] = worked(x[i]); }
}

fn worked(v: vec4<f32>) -> vec4<f32> {
    if LOOPS == 0u { return v; }
    var a = mat4x4(v, v + 1.0, v + 2.0, v + 3.0);
    var b = mat4x4(v + 4.0, v + 5.0, v + 6.0, v + 7.0);
    for (var n = 0u; n < LOOPS; n += 1u) {
        a = mat4x4(fma(a[0], v, v), fma(a[1], v, v), fma(a[2], v, v), fma(a[3], v, v));
        b = mat4x4(fma(b[0], v, v), fma(b[1], v, v), fma(b[2], v, v), fma(b[3], v, v));
    }
    let sum = a + b;
    return sum[0] + sum[1] + sum[2] + sum[3];
}
