//! An index's embeddings where they are searched.

use std::sync::Arc;

use clip_wgpu::nearest::{Hit, Nearest};
use clip_wgpu::{Clip, Error, Executor, Result};

use crate::output::complain;
use crate::store::{Stamp, Store};

/// Files and their embeddings, in order of path.
pub struct Rows {
    pub paths: Vec<String>,
    nearest: Nearest,
}

/// Rows that a spread is taken from, at most.
const SAMPLE: usize = 4096;

impl Rows {
    /// The files that `wanted` says yes to; they are searched where the model runs, or on the CPU where its memory does not hold them.
    pub fn read(store: &Store, clip: &Clip, wanted: impl Fn(&str, Stamp) -> bool) -> Result<Self> {
        let (width, mut paths, mut data) = (clip.config.embed, Vec::new(), Vec::new());
        store.each(width, |path, stamp, embedding| {
            if wanted(path, stamp) {
                paths.push(path.to_string());
                data.extend_from_slice(embedding);
            }
        })?;
        let data = Arc::new(data);
        let nearest = match pollster::block_on(Nearest::new(&clip.executor, data.clone(), width)) {
            Err(error @ (Error::TooLarge { .. } | Error::OutOfMemory(_))) => {
                complain(&format!("searching on the CPU: {error}"));
                pollster::block_on(Nearest::new(&Executor::Host, data, width))?
            }
            nearest => nearest?,
        };
        Ok(Self { paths, nearest })
    }

    /// One embedding.
    pub fn embedding(&self, row: usize) -> Vec<f32> {
        self.nearest.row(row)
    }

    /// The standard deviation of a query's scores, over a sample of the rows; 0 for fewer than two rows.
    pub fn spread(&self, query: &[f32]) -> f32 {
        let each = self.paths.len().div_ceil(SAMPLE).max(1);
        let score = |row| self.embedding(row).iter().zip(query).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let scores: Vec<f64> = (0..self.paths.len()).step_by(each).map(score).collect();
        let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        let squares: f64 = scores.iter().map(|s| (s - mean).powi(2)).sum();
        (squares / scores.len().saturating_sub(1).max(1) as f64).sqrt() as f32
    }

    /// The `top` best that score at least `threshold`; the first by path where scores are equal.
    pub fn best(&self, query: &[f32], top: usize, threshold: Option<f32>) -> Result<Vec<Hit>> {
        let mut hits = pollster::block_on(self.nearest.best(query, top))?;
        hits.retain(|hit| threshold.is_none_or(|least| hit.score >= least));
        Ok(hits)
    }
}
