// frame, the second pass: the resampled lines to the square, its values as a tower reads them.
//
//   lines   [.., stride]  u32, three 8-bit values each
//   tables  u32: see src/ops/frame.rs; they begin with what a tower reads for each 8-bit value of each channel [3, 256] f32
//   y       [3, size, size]  f32
//
// One invocation per pixel of the square; the picture stands at (op.x, op.y) in it.

const GROUP = 64u;

@group(0) @binding(0) var<storage, read> lines: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn source(x: u32, y: u32) -> vec3<u32> {
    return unpacked(lines[y * dims.k + x]);
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = unfold(group, groups) * GROUP + lane;
    let pixels = op.size * op.size;
    if i >= pixels { return; }
    let at = vec2(i % op.size, i / op.size) - vec2(op.x, op.y); // wraps left of and above the picture
    var rgb = unpacked(op.fill);
    if at.x < op.width && at.y < op.height { rgb = resampled(at.x, at.y); }
    y[i] = bitcast<f32>(tables[rgb.x]);
    y[pixels + i] = bitcast<f32>(tables[256u + rgb.y]);
    y[2u * pixels + i] = bitcast<f32>(tables[512u + rgb.z]);
}
