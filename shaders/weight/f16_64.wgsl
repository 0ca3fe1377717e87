// weight/f16_64 — weight/f16 in loads of 64 bits: a vec4 is one.

@group(0) @binding(1) var<storage, read> w: array<u64>; // [rows, stride]

/// Weights 4·k4 … 4·k4 + 3 of a row, in rows of `stride` elements.
fn weight4(row: u32, k4: u32, stride: u32) -> vec4<f32> {
    let p = w[row * (stride / 4u) + k4];
    return vec4(unpack2x16float(u32(p)), unpack2x16float(u32(p >> 32u)));
}
