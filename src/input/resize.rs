//! Pillow's resampling (`src/libImaging/Resample.c`), bit for bit: embeddings differ visibly where it is only near.

use std::ops::Range;

use rayon::prelude::*;

use super::Filter;

/// Bits behind the point of a weight: a sum of 8-bit values fits into 32 with two to spare.
pub(crate) const BITS: u32 = 32 - 8 - 2;

/// The input that one output row or column is made of.
#[derive(Clone, Debug)]
pub(crate) struct Taps {
    pub first: usize,
    pub weights: Vec<i32>,
}

impl Filter {
    /// Half its width, in pixels of the larger of both pictures.
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Filter::Bilinear if x < 1.0 => 1.0 - x,
            Filter::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0, // Keys' cubic, a = −0.5
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            _ => 0.0,
        }
    }

    /// For each of `to` outputs, the first of `from` inputs that it is made of and their weights, which sum to 1. They widen as
    /// the picture shrinks: antialiased, as Pillow and torch's `interpolate(antialias=True)` do.
    pub(crate) fn weights(self, from: usize, to: usize) -> Vec<(usize, Vec<f64>)> {
        self.weights_of(from, to, 0..to)
    }

    /// The same of some of the outputs alone.
    fn weights_of(self, from: usize, to: usize, outputs: Range<usize>) -> Vec<(usize, Vec<f64>)> {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let support = self.support() * stretch;
        let of = |out: usize| {
            let centre = (out as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weights: Vec<f64> = (first..end).map(|i| self.at((i as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.iter().map(|w| w / sum).collect())
        };
        outputs.map(of).collect()
    }

    /// The same in fixed point.
    fn taps(self, from: usize, to: usize, outputs: Range<usize>) -> Vec<Taps> {
        if from == to {
            return outputs.map(|first| Taps { first, weights: vec![1 << BITS] }).collect(); // Pillow leaves such a pass out
        }
        let fixed = |w: &f64| (w * f64::from(1 << BITS) + 0.5f64.copysign(*w)) as i32;
        let taps = self.weights_of(from, to, outputs).into_iter();
        taps.map(|(first, weights)| Taps { first, weights: weights.iter().map(fixed).collect() }).collect()
    }
}

/// The inputs that some taps reach.
pub(crate) fn reach(taps: &[Taps]) -> Range<usize> {
    let first = taps.iter().map(|t| t.first).min().unwrap_or(0);
    first..taps.iter().map(|t| t.first + t.weights.len()).max().unwrap_or(0)
}

/// A part of a picture: columns and rows.
#[derive(Clone, Debug)]
pub struct Window {
    pub columns: Range<usize>,
    pub rows: Range<usize>,
}

/// How `window` of a picture of some size resized to another is made, no more of it being computed. Two passes that each round
/// to 8 bits, so that their order shows.
#[derive(Clone, Debug)]
pub(crate) struct Passes {
    /// What each column, and each row, is made of.
    pub across: Vec<Taps>,
    pub down: Vec<Taps>,
    /// The horizontal pass is the first, but for pictures shrunk by more lines than twice the columns (h − h' > 2 · (w − w'),
    /// Pillow 13).
    pub down_first: bool,
}

impl Passes {
    pub fn new((w, h): (usize, usize), (w2, h2): (usize, usize), window: &Window, filter: Filter) -> Self {
        Self {
            across: filter.taps(w, w2, window.columns.clone()),
            down: filter.taps(h, h2, window.rows.clone()),
            down_first: h > h2 && (h - h2) as i64 > 2 * (w as i64 - w2 as i64),
        }
    }

    /// The window of the `[h, w, 3]` picture that the passes were made for: `[rows, columns, 3]`.
    pub fn run(&self, rgb: &[u8], w: usize) -> Vec<u8> {
        let (across, down) = (&self.across, &self.down);
        let (columns, rows) = (reach(across), reach(down));
        if self.down_first {
            let narrow = vertical(rgb, w, columns.clone(), 0, down);
            return horizontal(&narrow, columns.len(), columns.start, across);
        }
        let low = horizontal(&rgb[3 * w * rows.start..3 * w * rows.end], w, 0, across);
        vertical(&low, across.len(), 0..across.len(), rows.start, down)
    }
}

/// Lines of `w` pixels, the first of which is column `first`, each made of one pixel for each of `taps`.
fn horizontal(rgb: &[u8], w: usize, first: usize, taps: &[Taps]) -> Vec<u8> {
    let mut out = vec![0; rgb.len() / w * taps.len()];
    let columns = reach(taps);
    if columns.len() > MOST_COLUMNS {
        let lines = out.par_chunks_mut(3 * taps.len()).zip(rgb.par_chunks(3 * w));
        lines.for_each(|(out, line)| one_line(line, first, taps, out));
        return out;
    }
    let blocks = out.par_chunks_mut(LINES * 3 * taps.len()).zip(rgb.par_chunks(LINES * 3 * w));
    blocks.for_each_init(Vec::new, |columns, (out, lines)| vectorised(Across { lines, w, first, taps, columns, out }));
    out
}

/// Columns `columns` of lines of `w` pixels, the first of which is row `first`, made into one line for each of `taps`.
fn vertical(rgb: &[u8], w: usize, columns: Range<usize>, first: usize, taps: &[Taps]) -> Vec<u8> {
    let mut out = vec![0; 3 * columns.len() * taps.len()];
    let lines = out.par_chunks_mut(3 * columns.len()).zip(taps);
    lines.for_each(|(out, taps)| vectorised(Down { rgb, w, columns: &columns, first, taps, out }));
    out
}

/// Lines that the horizontal pass takes side by side, so that it, too, weighs many values alike.
const LINES: usize = 16;

/// Columns of a wider picture are not kept for [`LINES`] lines: a line is taken by itself.
const MOST_COLUMNS: usize = 1 << 16;

/// The horizontal pass over a line.
fn one_line(line: &[u8], first: usize, taps: &[Taps], out: &mut [u8]) {
    for (pixel, taps) in out.chunks_mut(3).zip(taps) {
        let mut sums = [1i32 << (BITS - 1); 3];
        for (value, weight) in line[3 * (taps.first - first)..].chunks_exact(3).zip(&taps.weights) {
            (0..3).for_each(|c| sums[c] += i32::from(value[c]) * weight);
        }
        (0..3).for_each(|c| pixel[c] = (sums[c] >> BITS).clamp(0, 255) as u8);
    }
}

/// The horizontal pass over up to [`LINES`] lines.
struct Across<'a> {
    lines: &'a [u8],
    w: usize,
    first: usize,
    taps: &'a [Taps],
    /// Of each column the lines' pixels: filled here.
    columns: &'a mut Vec<[u8; 3 * LINES]>,
    out: &'a mut [u8],
}

/// One line of the vertical pass.
struct Down<'a> {
    rgb: &'a [u8],
    w: usize,
    columns: &'a Range<usize>,
    first: usize,
    taps: &'a Taps,
    out: &'a mut [u8],
}

/// Loops that compilers make vectors of; sums of integers, so that their order does not show.
trait Loops {
    fn run(self);
}

impl Loops for Across<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { lines, w, first, taps, columns, out } = self;
        let (count, taps_count) = (lines.len() / (3 * w), taps.len());
        let needed = reach(taps);
        let skipped = needed.start - first;
        columns.resize(needed.len(), [0; 3 * LINES]);
        // Where there are fewer lines, the last one stands for more, and is not read again.
        let mut of: [&[[u8; 3]]; LINES] = [&[]; LINES];
        for (l, line) in of.iter_mut().enumerate() {
            *line = &lines[3 * (w * l.min(count - 1) + skipped)..].as_chunks().0[..needed.len()];
        }
        for (x, column) in columns.iter_mut().enumerate() {
            for l in 0..LINES {
                let pixel = of[l][x];
                column[3 * l] = pixel[0];
                column[3 * l + 1] = pixel[1];
                column[3 * l + 2] = pixel[2];
            }
        }
        for (x, taps) in taps.iter().enumerate() {
            let mut sums = [1i32 << (BITS - 1); 3 * LINES];
            for (column, weight) in columns[taps.first - needed.start..].iter().zip(&taps.weights) {
                for i in 0..3 * LINES {
                    sums[i] += i32::from(column[i]) * weight;
                }
            }
            for l in 0..count {
                let pixel = &mut out[3 * (l * taps_count + x)..][..3];
                for c in 0..3 {
                    pixel[c] = (sums[3 * l + c] >> BITS).clamp(0, 255) as u8;
                }
            }
        }
    }
}

impl Loops for Down<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { rgb, w, columns, first, taps, out } = self;
        let mut sums = vec![1i32 << (BITS - 1); out.len()];
        for (line, weight) in rgb[3 * w * (taps.first - first)..].chunks_exact(3 * w).zip(&taps.weights) {
            let line = &line[3 * columns.start..3 * columns.end];
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum += i32::from(*value) * weight;
            }
        }
        for (out, sum) in out.iter_mut().zip(&sums) {
            *out = (sum >> BITS).clamp(0, 255) as u8;
        }
    }
}

/// Compiled for the widest vectors that the processor has.
#[cfg(feature = "host")]
fn vectorised<L: Loops>(loops: L) {
    struct Op<L>(L);
    impl<L: Loops> rten_simd::SimdOp for Op<L> {
        type Output = ();
        #[inline(always)]
        fn eval<I: rten_simd::Isa>(self, _: I) {
            self.0.run();
        }
    }
    rten_simd::SimdOp::dispatch(Op(loops));
}

#[cfg(not(feature = "host"))]
fn vectorised<L: Loops>(loops: L) {
    loops.run();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines side by side are what a line by itself is; a part of the columns, fewer lines than are taken together, and more.
    #[test]
    fn lines_side_by_side_are_lines_by_themselves() {
        for (w, to, window, lines, filter) in [
            (97, 31, 5..20, 1, Filter::Bicubic),
            (97, 31, 0..31, 15, Filter::Bilinear),
            (40, 90, 3..88, 37, Filter::Bicubic),
            (64, 64, 8..50, 16, Filter::Bicubic),
        ] {
            let rgb: Vec<u8> = (0..3 * w * lines).map(|i| ((i * i + 7 * i) >> 3) as u8).collect();
            let taps = filter.taps(w, to, window);
            for first in [0, taps[0].first] {
                let cut: Vec<u8> = rgb.chunks(3 * w).flat_map(|line| &line[3 * first..]).copied().collect();
                let mut alone = vec![0; 3 * taps.len() * lines];
                let each = alone.chunks_mut(3 * taps.len()).zip(cut.chunks(3 * (w - first)));
                each.for_each(|(out, line)| one_line(line, first, &taps, out));
                assert_eq!(horizontal(&cut, w - first, first, &taps), alone, "{w} to {to}, {lines} lines from {first}");
            }
        }
    }
}
