// frame, the first pass: a texture's lines to their resampled ones, 8 bits per channel.
//
//   frame   [h, w] texels of 8-bit values as they are
//   tables  u32: see src/ops/frame.rs
//   lines   [height, width]  u32, three values each
//
// One invocation per value of `lines`; the frame's part that the pass reads begins at (op.x, op.y).

const GROUP = 64u;

@group(0) @binding(0) var frame: texture_2d<f32>;
@group(0) @binding(2) var<storage, read_write> lines: array<u32>;

fn source(x: u32, y: u32) -> vec3<u32> {
    return vec3<u32>(textureLoad(frame, vec2(x, y) + vec2(op.x, op.y), 0).rgb * 255.0 + 0.5);
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = unfold(group, groups) * GROUP + lane;
    if i >= op.width * op.height { return; }
    lines[i] = packed(resampled(i % op.width, i / op.width));
}
