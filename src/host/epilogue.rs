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

    /// The epilogue of a tile: rows of `width` sums. Activations to about 1e-6.
    #[inline(always)]
    pub fn finish<I: Isa>(self, isa: I, sums: &[f32], width: usize) {
        match self.end.act {
            Act::None => self.finish_with(isa, Nothing, sums, width),
            Act::QuickGelu => self.finish_with(isa, Swish { alpha: 1.702 }, sums, width),
            Act::Gelu => self.finish_with(isa, Gelu {}, sums, width),
            Act::GeluTanh => self.finish_with(isa, ApproxGelu {}, sums, width),
            Act::Relu => self.finish_with(isa, Relu, sums, width),
            Act::Silu => self.finish_with(isa, Swish { alpha: 1.0 }, sums, width),
        }
    }

    #[inline(always)]
    fn finish_with<I: Isa>(self, isa: I, act: impl SimdUnaryOp<f32>, sums: &[f32], width: usize) {
        /// Vectors at a time; every panel has at least as many.
        const TOGETHER: usize = 2;
        let ops = isa.f32();
        let (lanes, alpha, columns) = (ops.len(), ops.splat(self.end.alpha), self.columns.len());
        let bias = self.end.bias.map(|b| &b[self.columns.clone()]);
        let whole = columns - columns % (TOGETHER * lanes); // the last panel has columns that belong to nothing
        for row in 0..self.y.len() {
            let (sums, residual) = (&sums[row * width..][..columns], self.residual(row));
            let y = &mut self.y[row][self.at..][..columns];
            for at in (0..whole).step_by(TOGETHER * lanes) {
                let sums: [I::F32; TOGETHER] = ops.load_many(&sums[at..]);
                let bias: [I::F32; TOGETHER] = many_or_zero(ops, bias, at);
                let residual: [I::F32; TOGETHER] = many_or_zero(ops, residual, at);
                let y = &mut y[at..][..TOGETHER * lanes];
                for i in 0..TOGETHER {
                    let v = act.eval(isa, ops.mul_add(sums[i], alpha, bias[i]));
                    ops.store(ops.add(v, residual[i]), &mut y[i * lanes..][..lanes]);
                }
            }
            for at in (whole..columns).step_by(lanes) {
                let count = lanes.min(columns - at);
                let v = ops.mul_add(ops.load_pad(&sums[at..][..count]).0, alpha, part_or_zero(ops, bias, at, count));
                let v = ops.add(act.eval(isa, v), part_or_zero(ops, residual, at, count));
                y[at..][..count].iter_mut().zip(v.to_array()).for_each(|(y, v)| *y = v);
            }
        }
    }
}

#[inline(always)]
fn many_or_zero<S: Simd<Elem = f32>, const N: usize>(ops: impl NumOps<f32, Simd = S>, of: Option<&[f32]>, at: usize) -> [S; N] {
    match of {
        Some(of) => ops.load_many(&of[at..]),
        None => [ops.zero(); N],
    }
}

#[inline(always)]
fn part_or_zero<S: Simd<Elem = f32>>(ops: impl NumOps<f32, Simd = S>, of: Option<&[f32]>, at: usize, count: usize) -> S {
    match of {
        Some(of) => ops.load_pad(&of[at..][..count]).0,
        None => ops.zero(),
    }
}
