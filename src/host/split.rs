//! A product's rows and columns among the threads.

use std::ops::Range;

use rayon::prelude::*;

/// Rows that a thread takes in one go, at least and at most: enough to use a panel often, few enough that their left sides stay
/// in a second-level cache.
const ROWS: Range<usize> = 56..182;
/// Values of 4 bytes in a cache line.
pub const LINE: usize = 16;
/// Multiply-adds worth handing to another thread.
pub const TASK: usize = 1 << 20;

/// `total` in the fewest parts of at most `most`, as equal as can be.
pub fn evenly(total: usize, most: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    parts_of(total, total.div_ceil(most))
}

fn parts_of(total: usize, parts: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    (0..parts).map(move |i| i * total / parts..(i + 1) * total / parts)
}

/// The sizes of a product.
pub struct Work {
    pub rows: usize,
    pub k: usize,
    pub n: usize,
    /// Columns of a panel of the right side.
    pub width: usize,
}

/// Some rows of a product.
pub struct Chunk<'y> {
    pub rows: Range<usize>,
    /// Whether they are too few for other threads.
    pub few: bool,
    /// Tasks: some panels, and their part of each row of y.
    pub groups: Vec<(Range<usize>, Vec<&'y mut [f32]>)>,
}

impl Work {
    /// `run` on each chunk of `y` `[rows, n]`.
    pub fn each_chunk(&self, y: &mut [f32], run: impl Fn(Chunk<'_>) + Send + Sync) {
        let Self { rows, k, n, width } = *self;
        if y.is_empty() {
            return;
        }
        let few = rows * k * n < TASK;
        let (panels, threads) = (n.div_ceil(width), rayon::current_num_threads());
        let chunks = rows.div_ceil(ROWS.end).next_multiple_of(threads).min(rows / ROWS.start).max(1);
        let chunks = if few { 1 } else { chunks };
        let groups = if few { 1 } else { (4 * threads).div_ceil(chunks).min(rows * k * n / TASK) };
        let group = panels.div_ceil(groups); // panels of a task
        let mut rest = y;
        let chunks = parts_of(rows, chunks).map(|rows| {
            let (y, after) = std::mem::take(&mut rest).split_at_mut(rows.len() * n);
            rest = after;
            (rows, y)
        });
        each(few, chunks.collect(), |(rows, y)| {
            let groups = groups_of(y, n, group * width);
            let groups = groups.into_iter().map(|(at, y)| (at * group..panels.min((at + 1) * group), y)).collect();
            run(Chunk { rows, few, groups });
        });
    }
}

/// Each of the `parts`, on this thread where they are a few.
pub fn each<T: Send>(few: bool, parts: Vec<T>, run: impl Fn(T) + Send + Sync) {
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
