// normalize — y = x / |x|, over the last axis; a row of zeros stays zeros.
//
//   x  [rows, width]  f32
//   y  [rows, width]  f32
//
// One workgroup per row. The row is divided by its greatest element first, so that no square overflows.
// Joined with reduce.wgsl.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = unfold(group, groups);
    if at >= dims.rows { return; }
    let row = at * (dims.k / 4u);

    var greatest = 0.0;
    for (var i = lane; i < dims.k / 4u; i += GROUP) {
        let v = abs(x[row + i]);
        greatest = max(greatest, max(max(v.x, v.y), max(v.z, v.w)));
    }
    greatest = max(group_max(lane, greatest), 1e-30);

    var squares = 0.0;
    for (var i = lane; i < dims.k / 4u; i += GROUP) {
        let v = x[row + i] / greatest;
        squares += dot(v, v);
    }
    let length = sqrt(group_sum(lane, vec2(squares, 0.0)).x) * greatest;

    for (var i = lane; i < dims.k / 4u; i += GROUP) { y[row + i] = x[row + i] / max(length, 1e-30); }
}
