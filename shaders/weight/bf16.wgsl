// weight/bf16 — weights held as bf16, two to a u32: the upper half of an f32, so a shift is exact.

@group(0) @binding(1) var<storage, read> w: array<vec2<u32>>; // [rows, stride]

/// Weights 4·k4 … 4·k4 + 3 of a row, in rows of `stride` elements.
fn weight4(row: u32, k4: u32, stride: u32) -> vec4<f32> {
    let p = w[row * (stride / 4u) + k4];
    return bitcast<vec4<f32>>(vec4(p.x << 16u, p.x & 0xffff0000u, p.y << 16u, p.y & 0xffff0000u));
}
