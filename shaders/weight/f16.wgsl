// weight/f16 — weights held as f16, two to a u32. Needs no `shader-f16`: unpack2x16float is core WGSL.

@group(0) @binding(1) var<storage, read> w: array<vec2<u32>>; // [rows, stride]

/// Weights 4·k4 … 4·k4 + 3 of a row, in rows of `stride` elements.
fn weight4(row: u32, k4: u32, stride: u32) -> vec4<f32> {
    let p = w[row * (stride / 4u) + k4];
    return vec4(unpack2x16float(p.x), unpack2x16float(p.y));
}
