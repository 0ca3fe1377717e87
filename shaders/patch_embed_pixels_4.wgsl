// patch_embed_pixels_4 — the pixels of a patch, four in a load: where lines of patches and pictures are so many fours.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;

/// Pixels k … k + 3, k a multiple of 4, of a patch whose corner is at `base`.
fn pixels4(base: u32, k: u32) -> vec4<f32> {
    let channel = k / (PATCH * PATCH);
    let row = k / PATCH % PATCH;
    return x[(base + (channel * op.size + row) * op.size + k % PATCH) / 4u];
}
