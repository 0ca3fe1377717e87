//! How a product ends: scale, bias, activation and residual, on a part of a row that is still in a cache.

use rten_simd::ops::{BitOps, NumOps};

use rten_simd::{Isa, Simd, SimdUnaryOp};
use rten_vecmath::{ApproxGelu, Gelu, Swish};

use crate::ops::Act;

/// How a product ends: y = act(alpha · x · w + bias) + residual.
#[derive(Clone, Copy)]
pub struct Epilogue<'a> {
    pub alpha: f32,
    /// `[n]`.
    pub bias: Option<&'a [f32]>,
    pub act: Act,
    /// Rows like those of y.
    pub residual: Option<&'a [f32]>,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Self { alpha: 1.0, bias: None, act: Act::None, residual: None }
    }
}

#[inline(always)]
pub fn load<S: Simd<Elem = f32>>(ops: impl NumOps<f32, Simd = S>, y: &[f32]) -> S {
    if y.len() == ops.len() { ops.load(y) } else { ops.load_pad(y).0 }
}

#[inline(always)]
pub fn store<S: Simd<Elem = f32>>(ops: impl NumOps<f32, Simd = S>, v: S, y: &mut [f32]) {
    if y.len() == ops.len() { ops.store(v, y) } else { y.iter_mut().zip(v.to_array()).for_each(|(y, v)| *y = v) }
}

/// NaN stays NaN.
struct Relu;

impl SimdUnaryOp<f32> for Relu {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
        let ops = isa.f32();
        ops.select(ops.zero(), x, ops.lt(x, ops.zero()))
    }
}

struct Nothing;

impl SimdUnaryOp<f32> for Nothing {
    #[inline(always)]
    fn eval<I: Isa>(&self, _: I, x: I::F32) -> I::F32 {
        x
    }
}

/// The epilogue on a part of a row, activations to about 1e-6.
#[inline(always)]
pub fn finish<I: Isa>(isa: I, end: Epilogue<'_>, y: &mut [f32]) {
    match end.act {
        Act::None if end.alpha == 1.0 && end.bias.is_none() && end.residual.is_none() => {}
        Act::None => finish_with(isa, Nothing, end, y),
        Act::QuickGelu => finish_with(isa, Swish { alpha: 1.702 }, end, y),
        Act::Gelu => finish_with(isa, Gelu {}, end, y),
        Act::GeluTanh => finish_with(isa, ApproxGelu {}, end, y),
        Act::Relu => finish_with(isa, Relu, end, y),
        Act::Silu => finish_with(isa, Swish { alpha: 1.0 }, end, y),
    }
}

#[inline(always)]
fn finish_with<I: Isa>(isa: I, act: impl SimdUnaryOp<f32>, end: Epilogue<'_>, y: &mut [f32]) {
    let ops = isa.f32();
    let alpha = ops.splat(end.alpha);
    for (i, y) in y.chunks_mut(ops.len()).enumerate() {
        let at = i * ops.len();
        let v = act.eval(isa, ops.mul_add(load(ops, y), alpha, load_or_zero(ops, end.bias, at, y.len())));
        store(ops, ops.add(v, load_or_zero(ops, end.residual, at, y.len())), y);
    }
}

#[inline(always)]
fn load_or_zero<S: Simd<Elem = f32>>(ops: impl NumOps<f32, Simd = S>, of: Option<&[f32]>, at: usize, count: usize) -> S {
    match of {
        Some(of) => load(ops, &of[at..][..count]),
        None => ops.zero(),
    }
}
