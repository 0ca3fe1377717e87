use std::collections::{BTreeMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use clip_wgpu::{Error, Result};
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::index::absolute;
use crate::output::{Failed, failed_json, file_name, say, say_json};
use crate::place::{is_there, own, place, real, sidecar_of};
use crate::tag::Tagging;

/// Sort pictures into folders by which of your labels fits best
///
/// It only says what it would do; --apply does it. A picture that no label fits stays where it is, nothing is ever written over, and a
/// sidecar (photo.jpg.xmp) goes with its picture. What --copy has copied before is not copied again.
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

/// What becomes of a picture.
struct Row {
    from: PathBuf,
    /// `None` where it stays.
    to: Option<PathBuf>,
    fit: Option<(String, f32)>,
}

impl Sort {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        let into = real(&absolute(&self.into)?);
        let mut taken = HashSet::new();
        let mut rows = Vec::new();
        let failed = self.tagging.each(g, &self.paths, true, |picture, fits| {
            let from = own(picture);
            let Some(name) = from.file_name() else { return Ok(()) };
            if from.is_symlink() {
                return Err(Error::io(from)(io::Error::other("is a link: sort the folder that it leads to")));
            }
            let fit = fits.first().map(|(label, fit)| (label.to_string(), *fit));
            let to = fit.as_ref().and_then(|(label, _)| {
                let to = into.join(folder_name(label)).join(name);
                place_for(&to, &from, self.copy, &mut taken)
            });
            if let Some(to) = to.as_ref().filter(|_| self.apply) {
                place(&from, to, self.copy)?;
            }
            rows.push(Row { from, to, fit });
            Ok(())
        })?;
        let Some(failed) = failed else { return Ok(Outcome::SomeFailed) };
        // Said when all is done: whoever stops listening stops nothing.
        self.say(g, &rows, &failed)?;
        Ok(Outcome::of(&failed))
    }

    fn say(&self, g: &Globals, rows: &[Row], failed: &[Failed]) -> Result<()> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        rows.iter().for_each(|row| *counts.entry(row.fit.as_ref().map_or("none of these", |(label, _)| label)).or_default() += 1);
        if g.json {
            let row = |row: &Row| {
                let (label, fit) = (row.fit.as_ref().map(|f| &f.0), row.fit.as_ref().map(|f| f.1));
                json!({"from": file_name(&row.from), "to": row.to.as_deref().map(file_name), "label": label, "fit": fit})
            };
            let files: Vec<_> = rows.iter().map(row).collect();
            return say_json(&json!({"model": g.model()?, "applied": self.apply, "copied": self.copy, "files": files, "counts": counts,
            "failed": failed_json(failed)}));
        }
        for Row { from, to, .. } in rows {
            if let Some(to) = to {
                say(&format!("{} -> {}", file_name(from), file_name(to)))?;
            }
        }
        let counts: Vec<String> = counts.iter().map(|(label, n)| format!("{n} {label}")).collect();
        say(&counts.join(", "))?;
        if !self.apply {
            g.warn("nothing was done yet: add --apply to do it");
        }
        Ok(())
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

/// The path, or one with a number behind the name where another file has it; `None` where `from` is there already, itself or as its
/// copy.
fn place_for(path: &Path, from: &Path, copy: bool, taken: &mut HashSet<PathBuf>) -> Option<PathBuf> {
    let is_place = |to: &PathBuf| to == from || copy && are_equal(to, from) || !is_there(to) && !is_there(&sidecar_of(to));
    let to = (1..).map(|n| numbered(path, n)).find(|to| !taken.contains(to) && is_place(to))?;
    taken.insert(to.clone());
    Some(to).filter(|to| !is_there(to))
}

/// A path with a number behind the name.
fn numbered(path: &Path, n: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    if n > 1 {
        name.push(format!("-{n}"));
    }
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Whether two files have the same bytes.
fn are_equal(a: &Path, b: &Path) -> bool {
    let bytes = |path: &Path| path.symlink_metadata().ok().filter(Metadata::is_file).map(|file| file.len());
    bytes(a).is_some_and(|of_a| bytes(b) == Some(of_a)) && matches!((fs::read(a), fs::read(b)), (Ok(a), Ok(b)) if a == b)
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
