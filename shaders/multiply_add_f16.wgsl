// multiply_add_f16 — multiply_add with factors and sums in f16, and how such sums are added up.

// What product_rows fetches x in.
alias Vector = vec4<f16>;
alias Matrix = mat4x4<f16>;

fn multiply_add_f16(y: mat4x4<f16>, w: mat4x4<f16>, x: mat4x4<f16>) -> mat4x4<f16> {
    return mat4x4(
        y[0] + w[0] * x[0].x + w[1] * x[0].y + w[2] * x[0].z + w[3] * x[0].w,
        y[1] + w[0] * x[1].x + w[1] * x[1].y + w[2] * x[1].z + w[3] * x[1].w,
        y[2] + w[0] * x[2].x + w[1] * x[2].y + w[2] * x[2].z + w[3] * x[2].w,
        y[3] + w[0] * x[3].x + w[1] * x[3].y + w[2] * x[3].z + w[3] * x[3].w,
    );
}

fn add(y: mat4x4<f32>, x: mat4x4<f16>) -> mat4x4<f32> {
    return mat4x4(y[0] + vec4<f32>(x[0]), y[1] + vec4<f32>(x[1]), y[2] + vec4<f32>(x[2]), y[3] + vec4<f32>(x[3]));
}
