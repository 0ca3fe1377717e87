//! How a product ends: scale, bias, activation and residual, on a part of a row that is still in a cache.

use std::ops::Range;

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, Simd, SimdUnaryOp};
use rten_vecmath::{ApproxGelu, Gelu, Swish};

use super::split::LINE;
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
fn load<S: Simd<Elem = f32>>(ops: impl NumOps<f32, Simd = S>, y: &[f32]) -> S {
    if y.len() == ops.len() { ops.load(y) } else { ops.load_pad(y).0 }
}

#[inline(always)]
fn store<S: Simd<Elem = f32>>(ops: impl NumOps<f32, Simd = S>, v: S, y: &mut [f32]) {
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

/// Where a tile's sums go, and how they end.
pub struct Place<'a, 'y> {
    pub end: Epilogue<'a>,
    /// Columns of the whole product.
    pub n: usize,
    pub first_row: usize,
    pub columns: Range<usize>,
    /// Where the tile begins in each of `y`.
    pub at: usize,
    pub y: &'a mut [&'y mut [f32]],
}

impl<'a> Place<'a, '_> {
    #[inline(always)]
    fn residual(&self, row: usize) -> Option<&'a [f32]> {
        self.end.residual.map(|r| &r[(self.first_row + row) * self.n..][self.columns.clone()])
    }

    /// Has what the epilogue will read and write brought into the cache while the tile is multiplied.
    #[inline(always)]
    pub fn fetch<I: Isa>(&mut self, isa: I) {
        let ops = isa.f32();
        for row in 0..self.y.len() {
            let y = self.y[row][self.at..].as_mut_ptr();
            ops.prefetch_write(y);
            ops.prefetch_write(y.wrapping_add(LINE));
            if let Some(residual) = self.residual(row) {
                ops.prefetch(residual.as_ptr());
                ops.prefetch(residual.as_ptr().wrapping_add(LINE));
            }
        }
    }

    /// The epilogue of a tile: rows of `width` sums.
    #[inline(always)]
    pub fn finish<I: Isa>(self, isa: I, sums: &[f32], width: usize) {
        let bias = self.end.bias.map(|b| &b[self.columns.clone()]);
        for row in 0..self.y.len() {
            let end = Epilogue { bias, residual: self.residual(row), ..self.end };
            let columns = self.columns.len(); // the last panel has some that belong to nothing
            finish(isa, end, &sums[row * width..][..columns], &mut self.y[row][self.at..][..columns]);
        }
    }
}

/// The epilogue of the sums of a part of a row, activations to about 1e-6.
#[inline(always)]
fn finish<I: Isa>(isa: I, end: Epilogue<'_>, sums: &[f32], y: &mut [f32]) {
    match end.act {
        Act::None => finish_with(isa, Nothing, end, sums, y),
        Act::QuickGelu => finish_with(isa, Swish { alpha: 1.702 }, end, sums, y),
        Act::Gelu => finish_with(isa, Gelu {}, end, sums, y),
        Act::GeluTanh => finish_with(isa, ApproxGelu {}, end, sums, y),
        Act::Relu => finish_with(isa, Relu, end, sums, y),
        Act::Silu => finish_with(isa, Swish { alpha: 1.0 }, end, sums, y),
    }
}

#[inline(always)]
fn finish_with<I: Isa>(isa: I, act: impl SimdUnaryOp<f32>, end: Epilogue<'_>, sums: &[f32], y: &mut [f32]) {
    let ops = isa.f32();
    let (lanes, alpha) = (ops.len(), ops.splat(end.alpha));
    for at in (0..y.len()).step_by(lanes) {
        let count = lanes.min(y.len() - at);
        let v = ops.mul_add(load(ops, &sums[at..][..count]), alpha, load_or_zero(ops, end.bias, at, count));
        let v = ops.add(act.eval(isa, v), load_or_zero(ops, end.residual, at, count));
        store(ops, v, &mut y[at..][..count]);
    }
}

#[inline(always)]
fn load_or_zero<S: Simd<Elem = f32>>(ops: impl NumOps<f32, Simd = S>, of: Option<&[f32]>, at: usize, count: usize) -> S {
    match of {
        Some(of) => load(ops, &of[at..][..count]),
        None => ops.zero(),
    }
}
