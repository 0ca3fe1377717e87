// linear — y = act(x · Wᵀ + b) + r
//
//   x  [rows, k]  f32
//   W  [n, k]     read through weight4()
//   b  [n]        f32, read only if there is one
//   r  [rows, n]  f32, read only if RESIDUAL
//   y  [rows, n]  f32
//
// Joined with input.wgsl and a product_*.wgsl. Padding columns come out as zeros: their weights and biases are zeros, and act(0) = 0.

override ACT: u32 = 0u;           // 0 none, 1 quick_gelu, 2 gelu (erf), 3 gelu (tanh), 4 relu, 5 silu
override RESIDUAL: bool = false;

struct LinearDims {
    bias: u32, // whether there is one: most products have, and no second pipeline is worth the others
}

@group(1) @binding(1) var<uniform> op: LinearDims;

@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> r: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

/// erf by the rational minimax form of Eigen (a few ulp in f32); odd, and 1 to rounding beyond 4.
fn erf(v: vec4<f32>) -> vec4<f32> {
    let t = clamp(v, vec4(-4.0), vec4(4.0));
    let s = t * t;
    var p = vec4(-2.72614225801306e-10);
    p = p * s + 2.77068142495902e-08;
    p = p * s - 2.10102402082508e-06;
    p = p * s - 5.69250639462346e-05;
    p = p * s - 7.34990630326855e-04;
    p = p * s - 2.95459980854025e-03;
    p = p * s - 1.60960333262415e-02;
    var q = vec4(-1.45660718464996e-05);
    q = q * s - 2.13374055278905e-04;
    q = q * s - 1.68282697438203e-03;
    q = q * s - 7.37332916720468e-03;
    q = q * s - 1.42647390514189e-02;
    return t * p / q;
}

/// The arguments of exp and tanh are clamped: WGSL may assume that there are no infinities.
fn act(v: vec4<f32>) -> vec4<f32> {
    switch ACT {
        case 1u: { return v / (1.0 + exp(min(-1.702 * v, vec4(80.0)))); }
        case 2u: { return 0.5 * v * (1.0 + erf(v * 0.70710678)); }
        case 3u: { return 0.5 * v * (1.0 + tanh(clamp(0.79788456 * (v + 0.044715 * v * v * v), vec4(-15.0), vec4(15.0)))); }
        case 4u: { return select(v, vec4(0.0), v < vec4(0.0)); } // what is no number stays none
        case 5u: { return v / (1.0 + exp(min(-v, vec4(80.0)))); }
        default: { return v; }
    }
}

fn store4(row: u32, n4: u32, acc: vec4<f32>) {
    let at = row * (dims.n / 4u) + n4;
    var v = acc;
    if op.bias != 0u { v += b[n4]; }
    v = act(v);
    if RESIDUAL { v += r[at]; }
    y[at] = v;
}
