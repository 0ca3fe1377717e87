// input — the rows that a product takes in, as they lie.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // [rows, k]

fn input4(row: u32, k4: u32) -> vec4<f32> {
    return x[row * (dims.k / 4u) + k4];
}
