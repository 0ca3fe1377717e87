// weight/f32_64 — weight/f32 in loads of 64 bits: a vec4 is two.

@group(0) @binding(1) var<storage, read> w: array<vec2<u64>>; // [rows, stride]

/// Weights 4·k4 … 4·k4 + 3 of a row, in rows of `stride` elements.
fn weight4(row: u32, k4: u32, stride: u32) -> vec4<f32> {
    let p = w[row * (stride / 4u) + k4];
    return bitcast<vec4<f32>>(vec4(u32(p.x), u32(p.x >> 32u), u32(p.y), u32(p.y >> 32u)));
}
