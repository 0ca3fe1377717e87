// patch_embed_pixels — the pixels of a patch, one by one.

@group(0) @binding(0) var<storage, read> x: array<f32>;

/// Pixel k of a patch whose corner is at `base`; zero beyond the last.
fn pixel(base: u32, k: u32) -> f32 {
    if k >= op.pixels { return 0.0; }
    let channel = k / (PATCH * PATCH);
    let row = k / PATCH % PATCH;
    return x[base + (channel * op.size + row) * op.size + k % PATCH];
}

fn pixels4(base: u32, k: u32) -> vec4<f32> {
    return vec4(pixel(base, k), pixel(base, k + 1u), pixel(base, k + 2u), pixel(base, k + 3u));
}
