use std::collections::HashSet;
use std::path::PathBuf;

use clap::Args;
use clip_wgpu::host::{Epilogue, Panels, View, product};
use clip_wgpu::{Error, Result};
use half::f16;
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::index::{Db, absolute};
use crate::output::{file_name, path_of, say, say_for_xargs, say_json};
use crate::place::real;
use crate::store::{Stamp, Store};

/// Pictures that are compared with all the others in one go.
const BLOCK: usize = 64;

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
        let (mut paths, mut rows, mut other) = (Vec::new(), Vec::new(), 0);
        store.each(width, |path, stamp, embedding| {
            let file = path_of(path);
            if folder.as_deref().is_none_or(|folder| file.starts_with(folder)) {
                // Of a file that is gone the copies are no copies: whoever deletes them would delete the last one.
                if Stamp::of(&file).ok() != Some(stamp) {
                    other += 1;
                    return;
                }
                paths.push(path.to_string());
                rows.extend(unit(embedding));
            }
        })?;
        if other > 0 {
            g.warn(&format!("left out {other} pictures that are not there, or were changed since they were indexed"));
        }
        let mut groups = groups(g, &rows, paths.len(), self.threshold);
        groups.iter_mut().for_each(|group| one_name_each(group, &paths));
        groups.retain(|group| group.len() > 1);
        if g.json {
            let file = |(i, score): &(usize, f32)| json!({"path": paths[*i], "score": score});
            let groups: Vec<Vec<_>> = groups.iter().map(|group| group.iter().map(file).collect()).collect();
            say_json(&json!({"index": file_name(&path), "pictures": paths.len(), "groups": groups}))?;
        } else if self.null {
            groups.iter().flat_map(|group| &group[1..]).try_for_each(|(i, _)| say_for_xargs(&path_of(&paths[*i])))?;
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

/// Leaves out what is a file of before by another name, a link or a path through `..`: whoever deletes copies would delete the file.
fn one_name_each(group: &mut Vec<(usize, f32)>, paths: &[String]) {
    let mut seen = HashSet::new();
    group.retain(|(i, _)| seen.insert(real(&path_of(&paths[*i]))));
}

/// f16 lets lengths differ from 1 by some 1e-4.
fn unit(embedding: &[f16]) -> Vec<f32> {
    let length = embedding.iter().map(|v| v.to_f64().powi(2)).sum::<f64>().sqrt().max(1e-30);
    embedding.iter().map(|v| (v.to_f64() / length) as f32).collect()
}

/// Rows that are alike, with their cosine to the first of them: each row, in order, takes those after it that no other took.
fn groups(g: &Globals, rows: &[f32], count: usize, threshold: f32) -> Vec<Vec<(usize, f32)>> {
    if count == 0 {
        return Vec::new();
    }
    let width = rows.len() / count;
    let all = Panels::new(View::rows(rows, width).transposed());
    let bar = g.bar(count as u64, "comparing  {bar:30} {pos}/{len} pictures {eta}");
    let (mut taken, mut groups, mut scores) = (vec![false; count], Vec::new(), vec![0.0; BLOCK.min(count) * count]);
    for (block, first) in rows.chunks(BLOCK * width).zip((0..).step_by(BLOCK)) {
        let scores = &mut scores[..block.len() / width * count];
        product(View::rows(block, width), &all, Epilogue::default(), scores);
        for (i, scores) in (first..).zip(scores.chunks(count)) {
            bar.inc(1);
            if taken[i] {
                continue;
            }
            let alike = |j: &usize| !taken[*j] && scores[*j] >= threshold;
            let others: Vec<(usize, f32)> = (i + 1..count).filter(alike).map(|j| (j, scores[j])).collect();
            if !others.is_empty() {
                others.iter().for_each(|(j, _)| taken[*j] = true);
                groups.push([&[(i, 1.0)], &others[..]].concat());
            }
        }
    }
    bar.finish_and_clear();
    groups
}
