// multiply_add — the sixteen sums behind the tiled products and attention, in straight lines.

// What product_rows fetches x in.
alias Vector = vec4<f32>;
alias Matrix = mat4x4<f32>;

/// y[r] + Σ w[c] · x[r][c]: four rows by four columns by four of k.
fn multiply_add(y: mat4x4<f32>, w: mat4x4<f32>, x: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4(
        y[0] + w[0] * x[0].x + w[1] * x[0].y + w[2] * x[0].z + w[3] * x[0].w,
        y[1] + w[0] * x[1].x + w[1] * x[1].y + w[2] * x[1].z + w[3] * x[1].w,
        y[2] + w[0] * x[2].x + w[1] * x[2].y + w[2] * x[2].z + w[3] * x[2].w,
        y[3] + w[0] * x[3].x + w[1] * x[3].y + w[2] * x[3].z + w[3] * x[3].w,
    );
}
