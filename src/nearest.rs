//! Exact search: which of many embeddings are nearest to one.

use std::fmt;
use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use crate::clip::Runner;
use crate::device::Executor;
use crate::error::{Error, Result};
use crate::gpu::{Format, Gpu};
use crate::graph::{Data, Graph, Kind, Operand, Rows, Size, Value};
use crate::ops;
use crate::weights::load::Weights;
use crate::weights::sink::Sink;

/// Embeddings that are searched where a model runs: on a GPU they lie there, and are scored and ranked there. A software adapter is
/// the host's own processor, which does it several times as fast by itself (a million rows of 512 on lavapipe: 860 ms beside 110).
pub struct Nearest {
    width: usize,
    rows: Arc<Vec<f16>>,
    /// On a GPU, in parts of what a binding takes.
    parts: Vec<Part>,
}

impl fmt::Debug for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nearest").field("width", &self.width).field("values", &self.rows.len()).finish_non_exhaustive()
    }
}

/// A row that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Its product with the query: of unit rows, the cosine.
    pub score: f32,
    pub row: usize,
}

/// Some of the rows, on a GPU.
struct Part {
    first: usize,
    top: usize,
    runner: Runner,
    query: Value,
    found: Value,
}

/// The most that a GPU picks; for more the host ranks.
const MOST: usize = 128;
/// Rows that a thread of the host scores in one go.
const TOGETHER: usize = 1024;
/// Values that are sent to a GPU at a time.
const PIECE: usize = 1 << 21;

impl Nearest {
    /// Of `rows`, `[n, width]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a last row that is not whole; [`Error::TooLarge`], or what the device says.
    pub async fn new(executor: &Executor, rows: Arc<Vec<f16>>, width: usize) -> Result<Self> {
        if width == 0 || !rows.len().is_multiple_of(width) {
            return Err(Error::Shape { op: "nearest", message: format!("expected rows of {width}, found {} values", rows.len()) });
        }
        let mut parts = Vec::new();
        match executor {
            Executor::Gpu(gpu) if !gpu.caps.software => {
                let each = rows_of_a_part(gpu, width);
                for (i, part) in rows.chunks(each * width).enumerate() {
                    parts.push(Part::new(executor, i * each, part, width).await?);
                }
            }
            _ => {}
        }
        Ok(Self { width, rows, parts })
    }

    /// One of them.
    pub fn row(&self, row: usize) -> Vec<f32> {
        self.rows[row * self.width..][..self.width].to_f32_vec()
    }

    /// The `top` rows with the greatest product with `query`, best first; of equals the earlier row first.
    ///
    /// # Errors
    /// [`Error::Shape`] for a query of another width; what the device says.
    pub async fn best(&self, query: &[f32], top: usize) -> Result<Vec<Hit>> {
        if query.len() != self.width {
            let message = format!("expected a query of {}, found {} values", self.width, query.len());
            return Err(Error::Shape { op: "nearest", message });
        }
        if self.parts.is_empty() || top > MOST {
            return Ok(best_on_host(&self.rows, query, top));
        }
        // All parts are handed over before the first is awaited.
        let size = Size { batch: 1, tokens: 1 };
        let submit = |part: &Part| part.runner.submit(&[(part.query, Data::F32(query))], size, &[part.found]);
        let pending = self.parts.iter().map(submit).collect::<Result<Vec<_>>>()?;
        let mut hits = Vec::new();
        for (part, pending) in self.parts.iter().zip(pending) {
            let found = pending.values().await?.remove(0);
            let (scores, rows) = found.split_at(part.top);
            hits.extend(scores.iter().zip(rows).map(|(score, row)| Hit { score: *score, row: part.first + *row as usize }));
        }
        Ok(leaders(hits, top))
    }
}

/// Of rows as wide as the query, on all cores.
fn best_on_host(rows: &[f16], query: &[f32], top: usize) -> Vec<Hit> {
    let width = query.len();
    let of_part = |(part, rows): (usize, &[f16])| {
        let mut row_of = vec![0.0; width];
        let scored = rows.chunks_exact(width).enumerate().map(|(i, row)| {
            row.convert_to_f32_slice(&mut row_of);
            Hit { score: dot(query, &row_of), row: part * TOGETHER + i }
        });
        leaders(scored.collect(), top)
    };
    let parts: Vec<Vec<Hit>> = rows.par_chunks(TOGETHER * width).enumerate().map(of_part).collect();
    leaders(parts.concat(), top)
}

/// What a binding, and a row's number in f32, have room for.
fn rows_of_a_part(gpu: &Gpu, width: usize) -> usize {
    let row_bytes = (width.next_multiple_of(8) * Format::F16.bytes()) as u64;
    let rows = gpu.caps.max_binding_bytes.min(gpu.caps.max_buffer_bytes) / row_bytes;
    (rows as usize / 8 * 8).clamp(8, ops::Nearest::MOST_ROWS)
}

impl Part {
    async fn new(executor: &Executor, first: usize, rows: &[f16], width: usize) -> Result<Self> {
        let count = rows.len() / width;
        let top = MOST.min(count);
        let mut graph = Graph::default();
        let query = graph.input("query", Rows::Items, width, Kind::F32);
        let table = graph.weight("rows", count, width);
        let found = graph.push("nearest", ops::Nearest { top }, &[query, table])?;
        let mut sink = Sink::new(executor, graph.desc(table), Format::F16, Operand::Weight, None).await?;
        let each = (PIECE / width).max(1);
        for (i, piece) in rows.chunks(each * width).enumerate() {
            sink.write(i * each, &piece.to_f32_vec()).await?;
        }
        let weights = Weights::of(vec![(table, sink.finish())]);
        let runner = Runner::new(executor, Arc::new(graph), weights, &[found], Size { batch: 1, tokens: 1 }).await?;
        Ok(Self { first, top, runner, query, found })
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

#[cfg(all(test, feature = "host"))]
mod tests {
    use super::*;

    /// Whole numbers of a few values, so that products are exact and many are equal.
    fn rows(count: usize, width: usize) -> Vec<f16> {
        let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 30) as f32 - 1.0;
        (0..count * width).map(|i| f16::from_f32(value(i))).collect()
    }

    #[test]
    fn the_best_are_those_of_a_full_sort_and_equals_stand_in_order() {
        let (count, width) = (5000, 24);
        let nearest = pollster::block_on(Nearest::new(&Executor::Host, Arc::new(rows(count, width)), width)).expect("rows");
        let query: Vec<f32> = (0..width).map(|i| (i % 4) as f32 - 1.0).collect();
        let score = |row: usize| nearest.row(row).iter().zip(&query).map(|(a, b)| a * b).sum::<f32>();
        let mut all: Vec<Hit> = (0..count).map(|row| Hit { score: score(row), row }).collect();
        all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
        assert!(all[9].score == all[10].score, "there are equals at the edge");
        for top in [1, 10, 1500, 5000, 6000] {
            assert_eq!(pollster::block_on(nearest.best(&query, top)).expect("hits"), all[..top.min(count)]);
        }
        assert!(pollster::block_on(nearest.best(&query[1..], 1)).is_err());
        assert!(pollster::block_on(Nearest::new(&Executor::Host, Arc::new(rows(3, 5)), 4)).is_err());
    }
}
