// input_64 — input in loads of 64 bits: a vec4 is two.

@group(0) @binding(0) var<storage, read> x: array<vec2<u64>>; // [rows, k]

fn input4(row: u32, k4: u32) -> vec4<f32> {
    let p = x[row * (dims.k / 4u) + k4];
    return bitcast<vec4<f32>>(vec4(u32(p.x), u32(p.x >> 32u), u32(p.y), u32(p.y >> 32u)));
}
