//! The product behind every matrix op of the host: tiles of rows and columns that stay in registers, as in `product_tile.wgsl`.
//! Written once over `rten-simd` and compiled for AVX-512, AVX2, NEON and wasm's SIMD. At one picture a weight is read from
//! memory once and used for 50 rows, so that what counts is that the next panel is fetched while this one is multiplied:
//! `rten-gemm`, measured with weights that are not in a cache, does not. `gemm` and `gemmkit`, measured with weights that are,
//! were slower than it at such few rows.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

use super::epilogue::{Epilogue, Place};
use super::memory::Memory;
use super::split::{TASK, Work, each, evenly};

/// Vectors beside each other in a tile.
const VECTORS: usize = 2;
/// Steps along k that a tile takes in one go: its panel of the weight, 64 KiB at most, stays in a second-level cache.
pub(super) const STEPS: usize = 512;
/// Steps to a round of a tile's loop, written out one after another: 12 multiply-adds (AVX2) are few beside a loop's own
/// instructions. Of more steps compilers make a loop again.
const ROUND: usize = 4;
/// Rows of a tile that goes in rounds, at most: of more rows compilers keep the sums in memory.
const ROUNDS_UP_TO: usize = if cfg!(target_arch = "wasm32") { 0 } else { 6 }; // measured in Chromium: no faster there

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

/// The right side `[k, n]` of products, in the order in which they read it: panels of columns, k, columns.
#[derive(Default)]
pub struct Panels {
    k: usize,
    n: usize,
    width: usize,
    data: Memory<f32>,
}

impl Panels {
    pub fn new(w: View<'_>) -> Self {
        let mut panels = Self::default();
        panels.pack(w);
        panels
    }

    /// A weight `[n, k]` to be written.
    pub fn zeros(n: usize, k: usize) -> Self {
        let mut panels = Self::default();
        panels.reserve(k, n);
        panels
    }

    fn reserve(&mut self, k: usize, n: usize) {
        let width = VECTORS * Lanes.dispatch();
        (self.k, self.n, self.width) = (k, n, width);
        if self.data.len() < k * n.next_multiple_of(width) {
            self.data = Memory::new(k * n.next_multiple_of(width));
        }
    }

    /// Takes `w` in, in the memory that is there. One of its strides is 1.
    pub fn pack(&mut self, w: View<'_>) {
        let [k, n] = w.shape;
        self.reserve(k, n);
        let width = self.width;
        let data = &mut self.data[..k * n.next_multiple_of(width)];
        let pack = |(panel, y): (usize, &mut [f32])| {
            let columns = panel * width..n.min((panel + 1) * width);
            match w.strides {
                [apart, 1] => y.chunks_exact_mut(width).enumerate().for_each(|(step, y)| {
                    y[..columns.len()].copy_from_slice(&w.data[step * apart + columns.start..][..columns.len()]);
                }),
                [_, apart] => columns_into(columns.map(|column| &w.data[column * apart..][..k]), y, width),
            }
        };
        match k * n < TASK {
            true => data.chunks_exact_mut(k * width).enumerate().for_each(pack),
            false => data.par_chunks_exact_mut(k * width).enumerate().for_each(pack),
        }
    }

    /// Takes in `rows` `[any, k]` of the weight `[n, k]` from row `first` on.
    pub fn write(&mut self, first: usize, rows: &[f32]) {
        let (k, width) = (self.k, self.width);
        let mut rows = rows.chunks_exact(k);
        let mut column = first;
        while rows.len() > 0 {
            let count = rows.len().min(width - column % width);
            let y = &mut self.data[column / width * k * width..][..k * width];
            columns_into(rows.by_ref().take(count), &mut y[column % width..], width);
            column += count;
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        4 * self.data.len() as u64
    }

    /// Columns of a panel; in the last one some belong to nothing.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Rows of the largest tile.
    pub(super) fn tile_rows(&self) -> usize {
        tile_rows(self.width / VECTORS)
    }

    /// A panel's part: `[steps, width]`.
    pub(super) fn part(&self, panel: usize, steps: &Range<usize>) -> &[f32] {
        &self.data[(panel * self.k + steps.start) * self.width..][..steps.len() * self.width]
    }
}

/// Columns into rows of `width`, beside each other.
fn columns_into<'a>(mut columns: impl ExactSizeIterator<Item = &'a [f32]>, y: &mut [f32], width: usize) {
    /// Columns at a time: a row of them is written in one go, and their lines stay in a first-level cache whatever lies between.
    const TOGETHER: usize = 8;
    for at in (0..columns.len()).step_by(TOGETHER) {
        let some: [&[f32]; TOGETHER] = std::array::from_fn(|_| columns.next().unwrap_or_default());
        let y = y[at..].chunks_mut(width);
        match some.map(<[f32]>::len) {
            [.., 0] => y.enumerate().for_each(|(step, y)| some.iter().filter_map(|c| c.get(step)).zip(y).for_each(|(v, y)| *y = *v)),
            _ => {
                let some = some.map(|column| &column[..some[0].len()]);
                y.take(some[0].len()).enumerate().for_each(|(step, y)| y[..TOGETHER].copy_from_slice(&some.map(|column| column[step])));
            }
        }
    }
}

thread_local! {
    /// A chunk's left side, taken while it is in use.
    static LEFT: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// A task's sums of one panel.
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `x` `[rows, k]`, whose rows lie in one piece, times `w` into `y` `[rows, n]`. Each element is summed in the same order in
/// whatever rows, and on however many threads.
pub fn product(x: View<'_>, w: &Panels, end: Epilogue<'_>, y: &mut [f32]) {
    let [rows, k] = x.shape;
    assert!(k == w.k && y.len() == rows * w.n && x.strides[1] == 1, "the graph checked the operands' shapes");
    let most = w.tile_rows();
    Work { rows, k, n: w.n, width: w.width }.each_chunk(y, |chunk| {
        let mut left = LEFT.take();
        left.resize(left.len().max(chunk.rows.len() * k), 0.0);
        pack_left(x, chunk.rows.clone(), most, chunk.few, &mut left);
        each(chunk.few, chunk.groups, |(panels, mut y)| {
            Task { x: &left, first_row: chunk.rows.start, w, panels, end, most, y: &mut y }.dispatch();
        });
        LEFT.set(left);
    });
}

/// Rows of the left side in the order in which tiles read them: parts of k, blocks of rows, k, rows.
pub(super) fn pack_left(x: View<'_>, rows: Range<usize>, most: usize, few: bool, left: &mut [f32]) {
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
        let row = |row: usize| &x.data[(first + row) * x.strides[0]..][steps.clone()];
        tiles!(rows, rows => interleave::<rows>(std::array::from_fn(row), y));
    });
}

/// Rows of one length into `[steps, N]`. Of a constant number of rows compilers make transposes of vectors.
fn interleave<const N: usize>(rows: [&[f32]; N], y: &mut [f32]) {
    let rows = rows.map(|row| &row[..y.len() / N]);
    for (step, y) in y.chunks_exact_mut(N).enumerate() {
        (0..N).for_each(|row| y[row] = rows[row][step]);
    }
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
        let ahead = w.width.div_ceil(rows.div_ceil(most));
        let mut sums = SUMS.take();
        sums.resize(sums.len().max(rows * w.width), 0.0);
        for panel in panels {
            let (at, columns) = ((panel - first_panel) * w.width, panel * w.width..w.n.min((panel + 1) * w.width));
            for steps in evenly(w.k, STEPS) {
                let b = w.part(panel, &steps);
                for (i, block) in evenly(rows, most).enumerate() {
                    let a = &x[steps.start * rows + block.start * steps.len()..][..block.len() * steps.len()];
                    let sums = &mut sums[block.start * w.width..block.end * w.width];
                    let (y, columns) = (&mut y[block.clone()], columns.clone());
                    let mut place = Place { end, n: w.n, first_row: first_row + block.start, columns, at, y };
                    let (first, last) = (steps.start == 0, steps.end == w.k);
                    if last {
                        place.fetch(isa);
                    }
                    // The next part of the weight, as much of it during each block: more at a time would wait in line.
                    let next = b.as_ptr().wrapping_add(b.len() + i * steps.len() * ahead);
                    tiles!(block.len(), rows => tile::<I, rows>(isa, a, (rows, 0), b, (next, ahead), first, sums));
                    if last {
                        place.finish(isa, sums, w.width);
                    }
                }
            }
        }
        SUMS.set(sums);
    }
}

/// `run` with the number of a block's `rows` as a constant.
macro_rules! tiles {
    ($count:expr, $rows:ident => $run:expr) => {
        $crate::host::product::tiles!($count, $rows => $run; 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
    ($count:expr, $rows:ident => $run:expr; $($number:literal)*) => {
        match $count {
            $($number => {
                #[allow(non_upper_case_globals)]
                const $rows: usize = $number;
                $run
            })*
            _ => unreachable!("a block has at most 14 rows"),
        }
    };
}
pub(super) use tiles;

/// into\[ROWS, width\] = a\[k, ROWS\]ᵀ · b\[k, width\], added to what is there unless it is the `first` part of k; meanwhile
/// brings into the cache lines from `next` on, in each step one, so many values after the last. Step s of `a` is the ROWS values
/// from s · `apart` + `at` on.
#[inline(always)]
pub(super) fn tile<I: Isa, const ROWS: usize>(
    isa: I,
    a: &[f32],
    (apart, at): (usize, usize),
    b: &[f32],
    (mut next, ahead): (*const f32, usize),
    first: bool,
    into: &mut [f32],
) {
    let ops = isa.f32();
    let lanes = ops.len();
    let width = VECTORS * lanes;
    let mut sums = [[ops.zero(); VECTORS]; ROWS];
    if ROWS <= ROUNDS_UP_TO {
        let (a, b) = (a.chunks_exact(ROUND * apart), b.chunks_exact(ROUND * width));
        let rest = a.remainder().chunks_exact(apart).zip(b.remainder().chunks_exact(width));
        for (a, b) in a.zip(b) {
            for i in 0..ROUND {
                ops.prefetch(next);
                next = next.wrapping_add(ahead);
                step(isa, &a[i * apart + at..][..ROWS], &b[i * width..][..width], &mut sums);
            }
        }
        for (a, b) in rest {
            step(isa, &a[at..][..ROWS], b, &mut sums);
        }
    } else {
        for (a, b) in a.chunks_exact(apart).zip(b.chunks_exact(width)) {
            ops.prefetch(next);
            next = next.wrapping_add(ahead);
            step(isa, &a[at..][..ROWS], b, &mut sums);
        }
    }
    for row in 0..ROWS {
        for (i, into) in (0..VECTORS).zip(into[row * VECTORS * lanes..].chunks_exact_mut(lanes)) {
            let sum = sums[row][i];
            ops.store(if first { sum } else { ops.add(ops.load(into), sum) }, into);
        }
    }
}

/// A step along k of a tile.
#[inline(always)]
fn step<I: Isa, const ROWS: usize>(isa: I, a: &[f32], b: &[f32], sums: &mut [[I::F32; VECTORS]; ROWS]) {
    let ops = isa.f32();
    let b: [I::F32; VECTORS] = ops.load_many(b);
    // Plain counting: what iterators make of it does not stay in registers.
    for row in 0..ROWS {
        let a = ops.splat(a[row]);
        for i in 0..VECTORS {
            sums[row][i] = ops.mul_add(a, b[i], sums[row][i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::noise::{SHAPES, value};
    use crate::ops::Act;

    /// Shapes around the sizes of tiles, panels, parts of k, chunks and tasks, with all of the epilogue.
    #[test]
    fn products_are_right_and_a_row_is_the_same_in_whatever_batch() {
        for (rows, k, n) in SHAPES {
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

    #[test]
    fn a_weight_is_the_same_however_it_is_written() {
        let (n, k) = (75, 33);
        let w: Vec<f32> = (0..n * k).map(|i| value(i, 5)).collect();
        let whole = Panels::new(View::rows(&w, k).transposed());
        for rows in [1, 7, 8, 20, n] {
            let mut panels = Panels::zeros(n, k);
            w.chunks(rows * k).enumerate().for_each(|(i, some)| panels.write(i * rows, some));
            assert_eq!(*panels.data, *whole.data, "{rows} rows at a time");
        }
    }
}
