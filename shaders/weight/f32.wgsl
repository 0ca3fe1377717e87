// weight/f32 — weights held as f32, four to a vec4.

@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>; // [rows, stride]

/// Weights 4·k4 … 4·k4 + 3 of a row, in rows of `stride` elements.
fn weight4(row: u32, k4: u32, stride: u32) -> vec4<f32> {
    return w[row * (stride / 4u) + k4];
}
