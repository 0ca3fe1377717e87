use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use clip_wgpu::{Error, Result};
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::index::absolute;
use crate::output::{Document, failed_json, file_name, say};
use crate::tag::{Tagging, sidecar_of};

/// Sort pictures into folders by which of your labels fits best
///
/// It only says what it would do; --apply does it. A picture that no label fits stays where it is, nothing is ever written over, and a
/// sidecar (photo.jpg.xmp) goes with its picture.
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu sort ~/Downloads --into ~/Sorted -l receipt -l screenshot -l 'a photo of people'
  clip-wgpu sort ~/Downloads --into ~/Sorted -l receipt -l screenshot -l 'a photo of people' --apply
  clip-wgpu sort -m pico assets/samples --into sorted -l tiger -l guitar --copy --apply")]
pub struct Sort {
    /// Pictures, and folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where the labels' folders are
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,
    #[command(flatten)]
    tagging: Tagging,
    /// Do it
    #[arg(long)]
    apply: bool,
    /// Copy, and leave the pictures where they are
    #[arg(long)]
    copy: bool,
}

impl Sort {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        let into = absolute(&self.into)?;
        let head = json!({"model": g.model()?, "applied": self.apply, "copied": self.copy});
        let mut document = g.json.then(|| Document::begin(&head, "files")).transpose()?;
        let mut taken = HashSet::new();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let failed = self.tagging.each(g, &self.paths, |name, fits| {
            let from = absolute(Path::new(name))?;
            let best = fits.first();
            let to = best.and_then(|(label, _)| Some(free(&into.join(folder_name(label)).join(from.file_name()?), &from, &mut taken)));
            let moves = to.as_ref().is_some_and(|to| *to != from);
            if let Some(to) = to.as_ref().filter(|_| moves && self.apply) {
                place(&from, to, self.copy)?;
            }
            *counts.entry(best.map_or("none of these", |(label, _)| label).into()).or_default() += 1;
            match (&mut document, to.filter(|_| moves)) {
                (Some(document), to) => {
                    let (label, fit) = best.map_or((None, None), |(label, fit)| (Some(label), Some(fit)));
                    document.row(&json!({"from": file_name(&from), "to": to.as_deref().map(file_name), "label": label, "fit": fit}))
                }
                (None, Some(to)) => say(&format!("{name} -> {}", file_name(&to))),
                (None, None) => Ok(()),
            }
        })?;
        let Some(failed) = failed else { return Ok(Outcome::SomeFailed) };
        match document {
            Some(document) => document.end(&json!({"counts": counts, "failed": failed_json(&failed)}))?,
            None => {
                let counts: Vec<String> = counts.iter().map(|(label, n)| format!("{n} {label}")).collect();
                say(&counts.join(", "))?;
            }
        }
        if !self.apply {
            g.warn("nothing was done yet: add --apply to do it");
        }
        Ok(if failed.is_empty() { Outcome::Done } else { Outcome::SomeFailed })
    }
}

/// A label as the name of a folder, on every system.
fn folder_name(label: &str) -> String {
    let name: String = label.chars().map(|c| if c.is_control() || "/\\:*?\"<>|".contains(c) { '-' } else { c }).collect();
    match name.trim_matches(|c: char| c == '.' || c.is_whitespace()) {
        "" => "-".into(),
        name => name.into(),
    }
}

/// The path, or one with a number behind the name where another file has it; `from` itself is no other.
fn free(path: &Path, from: &Path, taken: &mut HashSet<PathBuf>) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let numbered = |n: usize| {
        let mut name = if n < 2 { stem.clone() } else { format!("{stem}-{n}") };
        if let Some(extension) = path.extension() {
            name = format!("{name}.{}", extension.to_string_lossy());
        }
        path.with_file_name(name)
    };
    let is_free = |to: &PathBuf| !taken.contains(to) && (to == from || !to.exists());
    let to = (1..).map(numbered).find(is_free).expect("numbers do not end");
    taken.insert(to.clone());
    to
}

/// Moves or copies a picture, and its sidecar.
fn place(from: &Path, to: &Path, copy: bool) -> Result<()> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    place_file(from, to, copy)?;
    let sidecar = sidecar_of(from);
    if sidecar.is_file() { place_file(&sidecar, &sidecar_of(to), copy) } else { Ok(()) }
}

fn place_file(from: &Path, to: &Path, copy: bool) -> Result<()> {
    if to.exists() {
        return Err(Error::io(to)(io::ErrorKind::AlreadyExists.into()));
    }
    let copied = || fs::copy(from, to).map(drop).inspect_err(|_| drop(fs::remove_file(to)));
    let placed = match copy {
        true => copied(),
        false => match fs::rename(from, to) {
            // Another disk.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copied().and_then(|()| fs::remove_file(from)),
            renamed => renamed,
        },
    };
    placed.map_err(Error::io(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_names_of_folders() {
        assert_eq!(folder_name("a photo of people"), "a photo of people");
        assert_eq!(folder_name("AC/DC: live?"), "AC-DC- live-");
        assert_eq!((folder_name(".."), folder_name(" . ")), ("-".into(), "-".into()));
    }
}
