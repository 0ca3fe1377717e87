// scores — y = scale · x · Wᵀ + bias: each image against each text.
//
//   x  [images, k]      f32, unit rows
//   W  [texts, k]       f32, unit rows, read through weight4()
//   y  [images, texts]  f32
//
// Joined with input.wgsl and a product_*.wgsl.

struct ScoresDims {
    scale: f32,
    bias: f32,
}

@group(1) @binding(1) var<uniform> op: ScoresDims;

@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn store4(row: u32, n4: u32, acc: vec4<f32>) {
    y[row * (dims.n / 4u) + n4] = op.scale * acc + op.bias;
}
