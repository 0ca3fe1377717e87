//! Products in integers, for processors that multiply them faster than f32 (AVX512-VNNI, AVX-VNNI, Arm's dot products): a scale to
//! each block along k, as in ggml's `Q8_0`, so that an outlier costs the precision of its block only.
//!
//! Of each block of a row, x = s · q with whole numbers q and s = max |x| / max |q|, and of each column of the weight likewise.
//! Sums of a block are exact, and blocks are added up in order: a row is the same in whatever batch and on whatever processor.

mod left;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::OnceLock;

use rten_simd::{Isa, SimdOp};

use self::left::{Left, Pack, quantize};
#[cfg(target_arch = "aarch64")]
use self::neon::{dot_8, dot_16};
#[cfg(target_arch = "x86_64")]
use self::vnni::{avx_8, avx_16, avx512_8, avx512_16};
use super::View;
use super::epilogue::{Epilogue, Place};
use super::memory::Memory;
use super::split::{Work, each, evenly};
use crate::weights::Grain;

/// Steps of the longest block along k.
const MOST_STEPS: usize = 128;
/// Columns of a panel, whatever the processor.
const WIDTH: usize = 32;
/// Rows of the largest tile.
const MOST_ROWS: usize = 14;

impl Grain {
    const fn greatest(self) -> f32 {
        match self {
            Grain::Bits8(_) => 127.0,
            Grain::Bits13 => 4095.0,
        }
    }

    /// Steps along k with scales of their own.
    const fn block(self) -> usize {
        match self {
            Grain::Bits8(steps) => steps,
            Grain::Bits13 => MOST_STEPS,
        }
    }

    /// Factors that one instruction multiplies and adds up, per lane.
    const fn per_lane(self) -> usize {
        match self {
            Grain::Bits8(_) => 4,
            Grain::Bits13 => 2,
        }
    }

    /// Those of a lane, lowest first.
    #[inline(always)]
    fn lane(self, q: &[i16]) -> i32 {
        match self {
            Grain::Bits8(_) => i32::from_le_bytes([q[0] as u8, q[1] as u8, q[2] as u8, q[3] as u8]),
            Grain::Bits13 => i32::from(q[1]) << 16 | i32::from(q[0] as u16),
        }
    }

    /// The instructions for 8 bits multiply unsigned by signed numbers: the weight is kept as q + 128, and 128 · Σ q of x is
    /// taken off.
    const fn offset(self) -> i16 {
        match self {
            Grain::Bits8(_) => 128,
            Grain::Bits13 => 0,
        }
    }
}

/// Who multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "aarch64")]
    NeonDot,
    /// Plain loops: what the others must equal.
    Portable,
}

impl Kernel {
    /// The kernels that this processor runs, the fastest first.
    fn all() -> &'static [Kernel] {
        static ALL: OnceLock<Vec<Kernel>> = OnceLock::new();
        ALL.get_or_init(|| {
            let mut all = Vec::new();
            #[cfg(target_arch = "x86_64")]
            {
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
                    all.push(Kernel::Avx512Vnni);
                }
                if is_x86_feature_detected!("avxvnni") && is_x86_feature_detected!("fma") {
                    all.push(Kernel::AvxVnni);
                }
            }
            #[cfg(target_arch = "aarch64")]
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                all.push(Kernel::NeonDot);
            }
            all.push(Kernel::Portable);
            all
        })
    }

    /// Rows of a tile: what fits the registers.
    fn rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => MOST_ROWS,
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni => 3,
            #[cfg(target_arch = "aarch64")]
            Kernel::NeonDot => 6,
            Kernel::Portable => 4,
        }
    }
}

/// Whether this processor has instructions that multiply more integers than f32 at a time.
pub fn multiplies_integers() -> bool {
    Kernel::all()[0] != Kernel::Portable
}

/// The right side `[k, n]` of products in integers.
pub struct IntegerPanels {
    grain: Grain,
    k: usize,
    n: usize,
    /// Panels, lanes of k, columns.
    lanes: Memory<i32>,
    /// Panels, blocks, columns.
    scales: Memory<f32>,
}

impl IntegerPanels {
    /// A weight `[n, k]` to be written.
    pub fn zeros(grain: Grain, n: usize, k: usize) -> Self {
        let (panels, deep, blocks) = (n.div_ceil(WIDTH), k.div_ceil(grain.per_lane()), k.div_ceil(grain.block()));
        Self { grain, k, n, lanes: Memory::new(panels * deep * WIDTH), scales: Memory::new(panels * blocks * WIDTH) }
    }

    /// Takes in `rows` `[any, k]` of the weight from row `first` on.
    pub fn write(&mut self, first: usize, rows: &[f32]) {
        let Self { grain, k, ref mut lanes, ref mut scales, .. } = *self;
        let (deep, blocks) = (k.div_ceil(grain.per_lane()), k.div_ceil(grain.block()));
        let mut q = [0; MOST_STEPS];
        for (i, w) in rows.chunks_exact(k).enumerate() {
            let (panel, column) = ((first + i) / WIDTH, (first + i) % WIDTH);
            let lanes = &mut lanes[panel * deep * WIDTH..][..deep * WIDTH]; // the last block may be longer than what is left of it
            let scales = &mut scales[panel * blocks * WIDTH..][..blocks * WIDTH];
            for (block, w) in w.chunks(grain.block()).enumerate() {
                scales[block * WIDTH + column] = quantize(grain, w, &mut q);
                q.iter_mut().for_each(|q| *q = q.wrapping_add(grain.offset())); // of NaN, q is anything
                let first = block * grain.block() / grain.per_lane();
                let column = lanes[first * WIDTH + column..].iter_mut().step_by(WIDTH);
                column.zip(q[..grain.block()].chunks_exact(grain.per_lane())).for_each(|(lane, q)| *lane = grain.lane(q));
            }
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        4 * (self.lanes.len() + self.scales.len()) as u64
    }

    /// And the `part`th of `parts` of the next one.
    fn panel(&self, panel: usize, part: usize, parts: usize) -> Panel<'_> {
        let (deep, blocks) = (self.k.div_ceil(self.grain.per_lane()) * WIDTH, self.k.div_ceil(self.grain.block()) * WIDTH);
        Panel {
            grain: self.grain,
            lanes: self.lanes[panel * deep..][..deep].as_chunks().0,
            scales: self.scales[panel * blocks..][..blocks].as_chunks().0,
            next: self.lanes.as_ptr().wrapping_add((panel + 1) * deep + part * deep / parts),
            ahead: WIDTH.div_ceil(parts),
        }
    }
}

/// Some columns of the right side.
struct Panel<'a> {
    grain: Grain,
    lanes: &'a [[i32; WIDTH]],
    scales: &'a [[f32; WIDTH]],
    /// What to bring into the cache meanwhile: at few rows the weights come from memory.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    next: *const i32,
    /// Values from one line of it, in each step one, to the next.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    ahead: usize,
}

thread_local! {
    /// A chunk's left side, taken while it is in use.
    static LEFT: RefCell<Vec<Left>> = const { RefCell::new(Vec::new()) };
}

/// As [`product`](super::product), in integers.
pub fn integer_product(x: View<'_>, w: &IntegerPanels, end: Epilogue<'_>, y: &mut [f32]) {
    product_by(Kernel::all()[0], x, w, end, y);
}

fn product_by(kernel: Kernel, x: View<'_>, w: &IntegerPanels, end: Epilogue<'_>, y: &mut [f32]) {
    let [rows, k] = x.shape;
    assert!(k == w.k && y.len() == rows * w.n && x.strides[1] == 1, "the graph checked the operands' shapes");
    Work { rows, k, n: w.n, width: WIDTH }.each_chunk(y, |chunk| {
        let blocks: Vec<Range<usize>> = evenly(chunk.rows.len(), kernel.rows()).collect();
        let mut left = LEFT.take();
        left.resize_with(left.len().max(blocks.len()), Left::default);
        let first = chunk.rows.start;
        each(chunk.few, left.iter_mut().zip(&blocks).collect(), |(left, rows)| {
            Pack { grain: w.grain, x, rows: first + rows.start..first + rows.end, left }.dispatch();
        });
        each(chunk.few, chunk.groups, |(panels, mut y)| {
            for panel in panels.clone() {
                let (at, columns) = ((panel - panels.start) * WIDTH, panel * WIDTH..w.n.min((panel + 1) * WIDTH));
                for (i, (left, rows)) in left.iter().zip(&blocks).enumerate() {
                    let y = &mut y[rows.clone()];
                    let mut place = Place { end, n: w.n, first_row: first + rows.start, columns: columns.clone(), at, y };
                    Fetch(&mut place).dispatch();
                    let mut sums = [[0.0; WIDTH]; MOST_ROWS];
                    let sums = &mut sums[..rows.len()];
                    tile(kernel, left, &w.panel(panel, i, blocks.len()), sums);
                    Finish(place, sums).dispatch();
                }
            }
        });
        LEFT.set(left);
    });
}

/// [`Place::fetch`].
struct Fetch<'p, 'a, 'y>(&'p mut Place<'a, 'y>);

impl SimdOp for Fetch<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        self.0.fetch(isa);
    }
}

/// [`Place::finish`].
struct Finish<'s, 'a, 'y>(Place<'a, 'y>, &'s [[f32; WIDTH]]);

impl SimdOp for Finish<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        self.0.finish(isa, self.1.as_flattened(), WIDTH);
    }
}

/// The kernel of this processor for so many rows.
fn tile(kernel: Kernel, left: &Left, w: &Panel<'_>, sums: &mut [[f32; WIDTH]]) {
    macro_rules! rows {
        ($run:ident: $($rows:literal)*) => {
            match sums.len() {
                $($rows => $run::<$rows>(left, w, sums.try_into().expect("so many rows")),)*
                rows => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    match (kernel, w.grain) {
        #[cfg(target_arch = "x86_64")]
        (Kernel::Avx512Vnni, Grain::Bits8(_)) => rows!(avx512_8: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        #[cfg(target_arch = "x86_64")]
        (Kernel::Avx512Vnni, Grain::Bits13) => rows!(avx512_16: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        #[cfg(target_arch = "x86_64")]
        (Kernel::AvxVnni, Grain::Bits8(_)) => rows!(avx_8: 1 2 3),
        #[cfg(target_arch = "x86_64")]
        (Kernel::AvxVnni, Grain::Bits13) => rows!(avx_16: 1 2 3),
        #[cfg(target_arch = "aarch64")]
        (Kernel::NeonDot, Grain::Bits8(_)) => rows!(dot_8: 1 2 3 4 5 6),
        #[cfg(target_arch = "aarch64")]
        (Kernel::NeonDot, Grain::Bits13) => rows!(dot_16: 1 2 3 4 5 6),
        (Kernel::Portable, _) => rows!(portable: 1 2 3 4),
    }
}

/// sums\[ROWS, WIDTH\] = x\[ROWS, k\] · w\[k, WIDTH\]
fn portable<const ROWS: usize>(left: &Left, w: &Panel<'_>, sums: &mut [[f32; WIDTH]; ROWS]) {
    let dot = |x: i32, w_lane: i32| -> i32 {
        let ([a, b, c, d], [e, f, g, h]) = (x.to_le_bytes(), w_lane.to_le_bytes());
        match w.grain {
            Grain::Bits8(_) => [(a, e), (b, f), (c, g), (d, h)].into_iter().map(|(x, w)| i32::from(x as i8) * i32::from(w)).sum(),
            Grain::Bits13 => (x >> 16) * (w_lane >> 16) + i32::from(x as i16) * i32::from(w_lane as i16),
        }
    };
    let each = w.grain.block() / w.grain.per_lane();
    let blocks = left.lanes.as_chunks::<ROWS>().0.chunks(each).zip(w.lanes.chunks(each)).zip(w.scales);
    for (block, ((x, w), by)) in blocks.enumerate() {
        for row in 0..ROWS {
            let (scale, start) = (left.scales[block * ROWS + row], left.starts[block * ROWS + row]);
            for column in 0..WIDTH {
                let sum = x.iter().zip(w).fold(start, |sum: i32, (x, w)| sum.wrapping_add(dot(x[row], w[column])));
                sums[row][column] = (sum as f32).mul_add(scale * by[column], sums[row][column]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::noise::{SHAPES, value};
    use crate::ops::Act;

    /// Shapes around the sizes of tiles, panels, blocks, chunks and tasks, with all of the epilogue.
    #[test]
    fn products_in_integers_are_near_and_the_same_on_every_kernel_and_in_whatever_batch() {
        for (rows, k, n) in SHAPES {
            let fill = |count: usize, seed: u32| (0..count).map(|i| value(i, seed)).collect::<Vec<_>>();
            let (mut x, w, bias, residual) = (fill(rows * k, 1), fill(n * k, 2), fill(n, 3), fill(rows * n, 4));
            x[0] *= 50.0; // an outlier
            for grain in [Grain::Bits8(64), Grain::Bits8(MOST_STEPS), Grain::Bits13] {
                let mut panels = IntegerPanels::zeros(grain, n, k);
                panels.write(0, &w);
                let end = Epilogue { alpha: 0.5, bias: Some(&bias), act: Act::Relu, residual: Some(&residual) };
                let run = |kernel| {
                    let mut y = vec![f32::NAN; rows * n];
                    product_by(kernel, View::rows(&x, k), &panels, end, &mut y);
                    y
                };
                let y = run(Kernel::Portable);
                // scripts/check-systems names what its processor has.
                let named = |name: String| Kernel::all().iter().any(|k| format!("{k:?}") == name);
                assert!(std::env::var("CLIP_WGPU_INTEGERS").map_or(true, named), "{:?}", Kernel::all());
                for kernel in Kernel::all() {
                    assert_eq!(run(*kernel), y, "{kernel:?}, {grain:?}: [{rows}, {k}] · [{k}, {n}]");
                }
                for (i, y) in y.iter().enumerate() {
                    let (row, column) = (i / n, i % n);
                    let dot: f64 = x[row * k..][..k].iter().zip(&w[column * k..][..k]).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    let want = (0.5 * dot + f64::from(bias[column])).max(0.0) + f64::from(residual[i]);
                    // Half a step of each factor, of which one in a row has 50 steps for one.
                    let outlier = if row == 0 { 50.0 * (k.min(grain.block()) as f64).sqrt() } else { 0.0 };
                    let expected_error = ((k as f64).sqrt() + outlier) / f64::from(grain.greatest()) + 1e-6 * want.abs();
                    assert!((f64::from(*y) - want).abs() < expected_error, "[{rows}, {k}] · [{k}, {n}] at {i}: expected {want}, found {y}");
                }
                let row = rows / 2;
                let mut alone = vec![f32::NAN; n];
                integer_product(
                    View::rows(&x[row * k..][..k], k),
                    &panels,
                    Epilogue { residual: Some(&residual[row * n..][..n]), ..end },
                    &mut alone,
                );
                assert_eq!(alone, y[row * n..][..n], "[{rows}, {k}] · [{k}, {n}]: row {row} alone");
            }
        }
    }

    #[test]
    fn a_weight_is_the_same_however_it_is_written() {
        let (n, k) = (75, 300);
        let w: Vec<f32> = (0..n * k).map(|i| value(i, 5)).collect();
        for grain in [Grain::Bits8(64), Grain::Bits13] {
            let mut whole = IntegerPanels::zeros(grain, n, k);
            whole.write(0, &w);
            for rows in [1, 7, 32] {
                let mut panels = IntegerPanels::zeros(grain, n, k);
                w.chunks(rows * k).enumerate().rev().for_each(|(i, some)| panels.write(i * rows, some));
                assert!(
                    *panels.lanes == *whole.lanes && *panels.scales == *whole.scales,
                    "{grain:?}: {rows} rows at a time, the last first"
                );
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_so_in_its_row() {
        let (k, n) = (300, 40);
        let panels = [Grain::Bits8(64), Grain::Bits13].map(|grain| {
            let mut panels = IntegerPanels::zeros(grain, n, k);
            panels.write(0, &vec![0.5; k * n]);
            panels
        });
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![1.0; 2 * k];
            x[k + 200] = bad;
            for panels in &panels {
                let mut y = vec![0.0; 2 * n];
                integer_product(View::rows(&x, k), panels, Epilogue::default(), &mut y);
                assert!(y[..n].iter().all(|y| (y - 150.0).abs() < 1e-3) && y[n..].iter().all(|y| y.is_nan()), "{bad}: {y:?}");
            }
        }
    }
}
