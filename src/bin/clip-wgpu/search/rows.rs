//! An index's embeddings in memory, and the exact search in them.

use clip_wgpu::Result;
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use crate::store::{Stamp, Store};

/// Files and their embeddings, in order of path.
pub struct Rows {
    pub paths: Vec<String>,
    width: usize,
    /// `[paths, width]`
    data: Vec<f16>,
}

/// A picture that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// A cosine.
    pub score: f32,
    /// Of its path.
    pub row: usize,
}

/// Rows that a thread scores in one go.
const ROWS: usize = 1024;
/// Rows that a spread is taken from, at most.
const SAMPLE: usize = 4096;

impl Rows {
    /// The files that `wanted` says yes to.
    pub fn read(store: &Store, width: usize, wanted: impl Fn(&str, Stamp) -> bool) -> Result<Self> {
        let (mut paths, mut data) = (Vec::new(), Vec::new());
        store.each(width, |path, stamp, embedding| {
            if wanted(path, stamp) {
                paths.push(path.to_string());
                data.extend_from_slice(embedding);
            }
        })?;
        Ok(Self { paths, width, data })
    }

    /// One embedding.
    pub fn embedding(&self, row: usize) -> Vec<f32> {
        self.data[row * self.width..][..self.width].to_f32_vec()
    }

    /// The standard deviation of a query's scores, over a sample of the rows; 0 for fewer than two rows.
    pub fn spread(&self, query: &[f32]) -> f32 {
        let each = self.paths.len().div_ceil(SAMPLE).max(1);
        let scores: Vec<f64> = (0..self.paths.len()).step_by(each).map(|row| f64::from(dot(query, &self.embedding(row)))).collect();
        let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        let squares: f64 = scores.iter().map(|s| (s - mean).powi(2)).sum();
        (squares / scores.len().saturating_sub(1).max(1) as f64).sqrt() as f32
    }

    /// The `top` best that score at least `threshold`; the first by path where scores are equal.
    pub fn best(&self, query: &[f32], top: usize, threshold: Option<f32>) -> Vec<Hit> {
        let of_part = |(part, rows): (usize, &[f16])| {
            let mut row_of = vec![0.0; self.width];
            let scored = rows.chunks_exact(self.width).enumerate().map(|(i, row)| {
                row.convert_to_f32_slice(&mut row_of);
                Hit { score: dot(query, &row_of), row: part * ROWS + i }
            });
            leaders(scored.filter(|hit| threshold.is_none_or(|least| hit.score >= least)).collect(), top)
        };
        let parts: Vec<Vec<Hit>> = self.data.par_chunks(ROWS * self.width).enumerate().map(of_part).collect();
        leaders(parts.concat(), top)
    }
}

fn leaders(mut hits: Vec<Hit>, top: usize) -> Vec<Hit> {
    let order = |a: &Hit, b: &Hit| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row));
    if top < hits.len() {
        hits.select_nth_unstable_by(top, order);
        hits.truncate(top);
    }
    hits.sort_unstable_by(order);
    hits
}

/// In lanes, which compilers make vectors of.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores of a few values only, so that many are equal.
    #[test]
    fn the_best_are_those_of_a_full_sort_and_equals_stand_in_order() {
        let (count, width) = (5000, 24);
        let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 30) as f32 - 1.0;
        let data: Vec<f16> = (0..count * width).map(|i| f16::from_f32(value(i))).collect();
        let rows = Rows { paths: vec![String::new(); count], width, data };
        let query: Vec<f32> = (0..width).map(|i| value(i + 7)).collect();
        let score = |row: usize| (0..width).map(|i| query[i] * rows.data[row * width + i].to_f32()).sum::<f32>(); // whole numbers: exact
        let mut all: Vec<Hit> = (0..count).map(|row| Hit { score: score(row), row }).collect();
        all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
        assert!(all[9].score == all[10].score, "there are equals at the edge");
        for top in [1, 10, 1500, 5000, 6000] {
            assert_eq!(rows.best(&query, top, None), all[..top.min(count)]);
        }
        let least = all[40].score;
        assert!(rows.best(&query, count, Some(least)).iter().all(|hit| hit.score >= least));
        assert_eq!(rows.best(&query, count, Some(least)).len(), all.iter().filter(|hit| hit.score >= least).count());
        assert_eq!(rows.best(&query, 3, Some(1e9)), []);
    }
}
