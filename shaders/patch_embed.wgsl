// patch_embed — with a class token: y[b, 0] = c + p[0];  y[b, 1 + i] = patch i · Wᵀ + p[1 + i]
//               without one:        y[b, i] = patch i · Wᵀ + c + p[i]
//
//   x  [batch, 3 · size · size]      f32 pixels, read in place: no im2col
//   W  [n, 3 · PATCH · PATCH]        read through weight4()
//   c  [n]                           f32, the class token; the bias where there is none
//   p  [tokens, n]                   f32, positions
//   y  [batch, tokens, n]            f32
//
// Joined with a product_*.wgsl, and with patch_embed_pixels or patch_embed_pixels_4. The class row is a patch of zeros: one row in
// `tokens`, and no second kernel.

override PATCH: u32;
override CLASS: bool;

struct PatchEmbedDims {
    size: u32,     // side of the picture in pixels
    x_stride: u32, // elements from picture to picture
    pixels: u32,   // of a patch, in all channels
}

@group(1) @binding(1) var<uniform> op: PatchEmbedDims;

@group(0) @binding(2) var<storage, read> c: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> p: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

/// Pixels 4·k4 … 4·k4 + 3 of a patch; they count channels, then rows, then columns.
fn input4(row: u32, k4: u32) -> vec4<f32> {
    let token = row % dims.tokens;
    if CLASS && token == 0u { return vec4(0.0); }
    let i = token - u32(CLASS);
    let across = op.size / PATCH;
    let corner = i / across * PATCH * op.size + i % across * PATCH;
    let base = row / dims.tokens * op.x_stride + corner;
    return pixels4(base, 4u * k4);
}

fn store4(row: u32, n4: u32, acc: vec4<f32>) {
    let token = row % dims.tokens;
    var v = acc + p[token * (dims.n / 4u) + n4];
    if !CLASS || token == 0u { v += c[n4]; }
    y[row * (dims.n / 4u) + n4] = v;
}
