//! The product behind every matrix op of the host: tiles of rows and columns that stay in registers, as in `product_tile.wgsl`.
//! Written once over `rten-simd` and compiled for AVX-512, AVX2, NEON and wasm's SIMD. At one picture a weight is read from
//! memory once and used for 50 rows, so that what counts is that the next panel is fetched while this one is multiplied:
//! `rten-gemm`, measured with weights that are not in a cache, does not. `gemm` and `gemmkit`, measured with weights that are,
//! were slower than it at such few rows.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, Simd, SimdOp, SimdUnaryOp};
use rten_vecmath::{ApproxGelu, Gelu, Swish};

use crate::ops::Act;

/// Vectors beside each other in a tile.
const VECTORS: usize = 2;
/// Steps along k that a tile takes in one go: its panel of the weight, 64 KiB at most, stays in a second-level cache.
const STEPS: usize = 512;
/// Blocks of rows that a thread takes in one go, at least and at most: enough to use a panel often, few enough that their left
/// sides stay in that cache too.
const BLOCKS: Range<usize> = 4..13;
/// f32 in a cache line.
const LINE: usize = 16;
/// Multiply-adds worth handing to another thread.
const TASK: usize = 1 << 20;

/// Lanes of the widest vector that this processor has.
struct Lanes;

impl SimdOp for Lanes {
    type Output = usize;

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) -> usize {
        isa.f32().len()
    }
}

/// Rows of a tile: what fits the registers beside a row of the panel and a factor.
fn tile_rows(lanes: usize) -> usize {
    match lanes {
        16 => 14,
        _ if cfg!(target_arch = "aarch64") => 12,
        _ if cfg!(target_arch = "wasm32") => 4, // without fused multiply-adds a product takes a register of its own
        _ => 6,
    }
}

/// `total` in the fewest parts of at most `most`, as equal as can be.
fn evenly(total: usize, most: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    parts_of(total, total.div_ceil(most))
}

fn parts_of(total: usize, parts: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    (0..parts).map(move |i| i * total / parts..(i + 1) * total / parts)
}

/// A matrix somewhere in `data`: element `[i, j]` lies at i · `strides[0]` + j · `strides[1]`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub data: &'a [f32],
    pub shape: [usize; 2],
    pub strides: [usize; 2],
}

impl<'a> View<'a> {
    /// `data` as rows of `width`.
    pub fn rows(data: &'a [f32], width: usize) -> Self {
        Self { data, shape: [data.len() / width, width], strides: [width, 1] }
    }

    pub fn transposed(self) -> Self {
        let ([rows, columns], [down, right]) = (self.shape, self.strides);
        Self { shape: [columns, rows], strides: [right, down], ..self }
    }
}

/// The right side `[k, n]` of products, in the order in which they read it: parts of k, panels of columns, k, columns.
#[derive(Default)]
pub struct Panels {
    k: usize,
    n: usize,
    /// Columns of a panel; in the last one some belong to nothing.
    width: usize,
    data: Vec<f32>,
}

impl Panels {
    pub fn new(w: View<'_>) -> Self {
        let mut panels = Self::default();
        panels.pack(w);
        panels
    }

    /// Takes `w` in, in the memory that is there.
    pub fn pack(&mut self, w: View<'_>) {
        let ([k, n], width) = (w.shape, VECTORS * Lanes.dispatch());
        let across = n.next_multiple_of(width);
        (self.k, self.n, self.width) = (k, n, width);
        self.data.resize(k * across, 0.0);
        let mut rest = &mut self.data[..];
        for steps in evenly(k, STEPS) {
            let (part, after) = rest.split_at_mut(steps.len() * across);
            rest = after;
            let pack = |(panel, y): (usize, &mut [f32])| {
                let columns = panel * width..n.min((panel + 1) * width);
                let at = |step: usize, column: usize| &w.data[step * w.strides[0] + column * w.strides[1]..];
                match w.strides {
                    [_, 1] => steps.clone().zip(y.chunks_exact_mut(width)).for_each(|(step, y)| {
                        y[..columns.len()].copy_from_slice(&at(step, columns.start)[..columns.len()]);
                    }),
                    [apart, _] => columns.enumerate().for_each(|(i, column)| {
                        let column = at(steps.start, column).iter().step_by(apart);
                        y[i..].iter_mut().step_by(width).zip(column).for_each(|(y, w)| *y = *w);
                    }),
                }
            };
            let panels = steps.len() * width;
            match part.len() < TASK {
                true => part.chunks_exact_mut(panels).enumerate().for_each(pack),
                false => part.par_chunks_exact_mut(panels).enumerate().for_each(pack),
            }
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        4 * self.data.len() as u64
    }

    /// A panel's part: `[steps, width]`.
    fn part(&self, panel: usize, steps: &Range<usize>) -> &[f32] {
        let across = self.n.next_multiple_of(self.width);
        &self.data[steps.start * across + panel * steps.len() * self.width..][..steps.len() * self.width]
    }
}

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

thread_local! {
    /// A chunk's left side, taken while it is in use.
    static LEFT: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `x` `[rows, k]`, whose rows lie in one piece, times `w` into `y` `[rows, n]`. Each element is summed in the same order in
/// whatever rows, and on however many threads.
pub fn product(x: View<'_>, w: &Panels, end: Epilogue<'_>, y: &mut [f32]) {
    let [rows, k] = x.shape;
    assert!(k == w.k && y.len() == rows * w.n && x.strides[1] == 1, "the graph checked the operands' shapes");
    if y.is_empty() {
        return;
    }
    let most = tile_rows(w.width / VECTORS);
    let few = rows * k * w.n < TASK;
    let (panels, threads) = (w.n.div_ceil(w.width), rayon::current_num_threads());
    let chunks = rows.div_ceil(most * BLOCKS.end).next_multiple_of(threads).min(rows / (most * BLOCKS.start)).max(1);
    let chunks = if few { 1 } else { chunks };
    let groups = if few { 1 } else { (4 * threads).div_ceil(chunks).min(rows * k * w.n / TASK) };
    let group = panels.div_ceil(groups); // panels of a task
    let mut rest = y;
    let chunks = parts_of(rows, chunks).map(|rows| {
        let (y, after) = std::mem::take(&mut rest).split_at_mut(rows.len() * w.n);
        rest = after;
        (rows, y)
    });
    each(few, chunks.collect(), |(rows, y)| {
        let mut left = LEFT.take();
        left.resize(left.len().max(rows.len() * k), 0.0);
        pack_left(x, rows.clone(), most, few, &mut left);
        each(few, groups_of(y, w.n, group * w.width), |(at, mut y)| {
            let panels = at * group..panels.min((at + 1) * group);
            Task { x: &left, first_row: rows.start, w, panels, end, most, y: &mut y }.dispatch();
        });
        LEFT.set(left);
    });
}

/// Each of the `parts`, on this thread where they are a few.
fn each<T: Send>(few: bool, parts: Vec<T>, run: impl Fn(T) + Send + Sync) {
    match few {
        true => parts.into_iter().for_each(run),
        false => parts.into_par_iter().with_max_len(1).for_each(run),
    }
}

/// Rows of `n` in groups of columns: which group, and that part of each row.
fn groups_of(y: &mut [f32], n: usize, columns: usize) -> Vec<(usize, Vec<&mut [f32]>)> {
    let mut groups: Vec<_> = (0..n.div_ceil(columns)).map(|group| (group, Vec::with_capacity(y.len() / n))).collect();
    for y in y.chunks_exact_mut(n) {
        groups.iter_mut().zip(y.chunks_mut(columns)).for_each(|((_, rows), y)| rows.push(y));
    }
    groups
}

/// Rows of the left side in the order in which tiles read them: parts of k, blocks of rows, k, rows.
fn pack_left(x: View<'_>, rows: Range<usize>, most: usize, few: bool, left: &mut [f32]) {
    let mut rest = left;
    let mut pieces = Vec::new();
    for steps in evenly(x.shape[1], STEPS) {
        for block in evenly(rows.len(), most) {
            let (piece, after) = rest.split_at_mut(block.len() * steps.len());
            rest = after;
            pieces.push((rows.start + block.start, block.len(), steps.clone(), piece));
        }
    }
    each(few, pieces, |(first, rows, steps, y)| {
        for row in 0..rows {
            let x = &x.data[(first + row) * x.strides[0]..][steps.clone()];
            x.iter().zip(y[row..].iter_mut().step_by(rows)).for_each(|(x, y)| *y = *x);
        }
    });
}

/// A chunk of rows times some panels.
struct Task<'a, 'y> {
    x: &'a [f32],
    first_row: usize,
    w: &'a Panels,
    panels: Range<usize>,
    end: Epilogue<'a>,
    most: usize,
    y: &'a mut [&'y mut [f32]],
}

impl SimdOp for Task<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Task { x, first_row, w, panels, end, most, y } = self;
        let (rows, first_panel) = (y.len(), panels.start);
        for steps in evenly(w.k, STEPS) {
            for panel in panels.clone() {
                let at = (panel - first_panel) * w.width;
                let b = w.part(panel, &steps);
                for (i, block) in evenly(rows, most).enumerate() {
                    let a = &x[steps.start * rows + block.start * steps.len()..][..block.len() * steps.len()];
                    let y = &mut y[block.clone()];
                    // The next part of the weight, half of it during the first block and half of it during the second.
                    let next = b.as_ptr().wrapping_add(b.len() + i % 2 * steps.len() * LINE);
                    let first = steps.start == 0;
                    macro_rules! tiles {
                        ($($rows:literal)*) => {
                            match block.len() {
                                $($rows => tile::<I, $rows>(isa, a, b, next, first, at, y),)*
                                _ => unreachable!("a block has at most 14 rows"),
                            }
                        };
                    }
                    tiles!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                    if steps.end == w.k {
                        let columns = panel * w.width..w.n.min((panel + 1) * w.width);
                        let bias = end.bias.map(|b| &b[columns.clone()]);
                        for (row, y) in y.iter_mut().enumerate() {
                            let residual = end.residual.map(|r| &r[(first_row + block.start + row) * w.n..][columns.clone()]);
                            finish(isa, Epilogue { bias, residual, ..end }, &mut y[at..][..columns.len()]);
                        }
                    }
                }
            }
        }
    }
}

/// y\[ROWS, width\] = a\[k, ROWS\]ᵀ · b\[k, width\], added to what is there unless it is the `first` part of k.
#[inline(always)]
fn tile<I: Isa, const ROWS: usize>(isa: I, a: &[f32], b: &[f32], mut next: *const f32, first: bool, at: usize, y: &mut [&mut [f32]]) {
    let ops = isa.f32();
    let lanes = ops.len();
    let mut sums = [[ops.zero(); VECTORS]; ROWS];
    for (a, b) in a.as_chunks::<ROWS>().0.iter().zip(b.chunks_exact(VECTORS * lanes)) {
        ops.prefetch(next);
        next = next.wrapping_add(LINE);
        let b: [I::F32; VECTORS] = ops.load_many(b);
        // Plain counting: what iterators make of it does not stay in registers.
        for row in 0..ROWS {
            let a = ops.splat(a[row]);
            for i in 0..VECTORS {
                sums[row][i] = ops.mul_add(a, b[i], sums[row][i]);
            }
        }
    }
    for row in 0..ROWS {
        for (i, y) in (0..VECTORS).zip(y[row][at..].chunks_mut(lanes)) {
            let sum = sums[row][i];
            store(ops, if first { sum } else { ops.add(load(ops, y), sum) }, y);
        }
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

/// The epilogue on a part of a row, activations to about 1e-6.
#[inline(always)]
fn finish<I: Isa>(isa: I, end: Epilogue<'_>, y: &mut [f32]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn value(i: usize, seed: u32) -> f32 {
        ((i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Shapes around the sizes of tiles, panels, parts of k, chunks and tasks, with all of the epilogue.
    #[test]
    fn products_are_right_and_a_row_is_the_same_in_whatever_batch() {
        for (rows, k, n) in
            [(1, 1, 1), (1, 513, 33), (13, 512, 31), (15, 3, 64), (50, 768, 96), (57, 1030, 70), (200, 530, 65), (400, 96, 97)]
        {
            let fill = |count: usize, seed: u32| (0..count).map(|i| value(i, seed)).collect::<Vec<_>>();
            let (x, w, bias, residual) = (fill(rows * k, 1), fill(n * k, 2), fill(n, 3), fill(rows * n, 4));
            let panels = Panels::new(View::rows(&w, k).transposed());
            let end = Epilogue { alpha: 0.5, bias: Some(&bias), act: Act::Relu, residual: Some(&residual) };
            let mut y = vec![f32::NAN; rows * n];
            product(View::rows(&x, k), &panels, end, &mut y);
            for (i, y) in y.iter().enumerate() {
                let (row, column) = (i / n, i % n);
                let dot: f64 = x[row * k..][..k].iter().zip(&w[column * k..][..k]).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                let want = (0.5 * dot + f64::from(bias[column])).max(0.0) + f64::from(residual[i]);
                assert!(
                    (f64::from(*y) - want).abs() < 1e-5 * (k as f64).sqrt(),
                    "[{rows}, {k}] · [{k}, {n}] at {i}: expected {want}, found {y}"
                );
            }
            let row = rows / 2;
            let mut alone = vec![f32::NAN; n];
            product(View::rows(&x[row * k..][..k], k), &panels, Epilogue { residual: Some(&residual[row * n..][..n]), ..end }, &mut alone);
            assert_eq!(alone, y[row * n..][..n], "[{rows}, {k}] · [{k}, {n}]: row {row} alone");
        }
    }
}
