use std::path::{Path, PathBuf};

use clap::Args;
use clip_wgpu::{Error, Result};
use half::f16;
use rayon::prelude::*;
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::index::{Db, absolute};
use crate::output::{file_name, say, say_for_xargs, say_json};
use crate::store::Store;

/// List pictures of an index that are alike: copies, other sizes and formats, small edits
///
/// Groups are parted by an empty line. The first of a group, by path, is what the others are compared with; its score is 1. No model
/// is loaded: the index has all that is needed.
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu duplicates
  clip-wgpu duplicates --threshold 0.999 --path ~/Pictures/2024
  clip-wgpu duplicates --null | xargs -0 ls -l        # all but the first of each group")]
pub struct Duplicates {
    #[command(flatten)]
    db: Db,
    /// The least cosine between a picture and the first of its group
    #[arg(long, value_name = "X", default_value_t = 0.98)]
    threshold: f32,
    /// Only pictures in this folder
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
    /// Print the paths of all but the first of each group, each ended by a NUL, for `xargs -0`
    #[arg(long, conflicts_with = "json")]
    null: bool,
}

impl Duplicates {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        if !(-1.0..=1.0).contains(&self.threshold) {
            return Err(Error::Argument(format!("--threshold: expected a cosine, from -1 to 1, found {}", self.threshold)));
        }
        let folder = self.path.as_deref().map(absolute).transpose()?;
        let path = self.db.path()?;
        let store = Store::open(&path)?;
        let width = store.model()?.map_or(0, |model| model.width);
        let (mut paths, mut rows) = (Vec::new(), Vec::new());
        store.each(width, |path, embedding| {
            if folder.as_deref().is_none_or(|folder| Path::new(path).starts_with(folder)) {
                paths.push(path.to_string());
                rows.extend(unit(embedding));
            }
        })?;
        let groups = groups(g, &rows, paths.len(), self.threshold);
        if g.json {
            let file = |(i, score): &(usize, f32)| json!({"path": paths[*i], "score": score});
            let groups: Vec<Vec<_>> = groups.iter().map(|group| group.iter().map(file).collect()).collect();
            say_json(&json!({"index": file_name(&path), "pictures": paths.len(), "groups": groups}))?;
        } else if self.null {
            groups.iter().flat_map(|group| &group[1..]).try_for_each(|(i, _)| say_for_xargs(&paths[*i]))?;
        } else if groups.is_empty() {
            say(&format!("none of {} pictures are alike", paths.len()))?;
        } else {
            for (n, group) in groups.iter().enumerate() {
                if n > 0 {
                    say("")?;
                }
                group.iter().try_for_each(|(i, score)| say(&format!("{score:.4}  {}", paths[*i])))?;
            }
        }
        Ok(Outcome::Done)
    }
}

/// f16 lets lengths differ from 1 by some 1e-4.
fn unit(embedding: &[f16]) -> Vec<f32> {
    let length = embedding.iter().map(|v| v.to_f64().powi(2)).sum::<f64>().sqrt().max(1e-30);
    embedding.iter().map(|v| (v.to_f64() / length) as f32).collect()
}

/// Rows that are alike, with their cosine to the first of them: each row, in order, takes those after it that no other took.
fn groups(g: &Globals, rows: &[f32], count: usize, threshold: f32) -> Vec<Vec<(usize, f32)>> {
    let width = rows.len().checked_div(count).unwrap_or(0);
    let row = |i: usize| &rows[i * width..][..width];
    let bar = g.bar(count as u64, "comparing  {bar:30} {pos}/{len} pictures {eta}");
    let (mut taken, mut groups) = (vec![false; count], Vec::new());
    for i in 0..count {
        bar.inc(1);
        if taken[i] {
            continue;
        }
        let alike = |j: usize| (!taken[j]).then(|| (j, dot(row(i), row(j)))).filter(|(_, score)| *score >= threshold);
        let others: Vec<(usize, f32)> = (i + 1..count).into_par_iter().with_min_len(256).filter_map(alike).collect();
        if !others.is_empty() {
            others.iter().for_each(|(j, _)| taken[*j] = true);
            groups.push([&[(i, 1.0)], &others[..]].concat());
        }
    }
    bar.finish_and_clear();
    groups
}

/// Sums of their own for 16 lanes, which the compiler makes vectors of.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0f32; 16];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}
