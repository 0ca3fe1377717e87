//! `--include` and `--exclude`: which files of a folder are meant.

use std::path::Path;

use clap::Args;
use clip_wgpu::{Error, Result};
use globset::{Candidate, GlobBuilder, GlobSet};

#[derive(Args)]
pub struct Patterns {
    /// Only files like this, such as '*.jpg' or '2026/**' (from the folder given on); may be repeated
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// No files and folders like this, such as thumbnails or '*-edited.*'; may be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
}

/// Patterns that were read.
pub struct Filter {
    /// `None` takes everything.
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Patterns {
    /// # Errors
    /// [`Error::Argument`] for a pattern that is none.
    pub fn filter(&self) -> Result<Filter> {
        let include = if self.include.is_empty() { None } else { Some(set(&self.include)?) };
        Ok(Filter { include, exclude: set(&self.exclude)? })
    }
}

/// One without a slash is a name in whatever folder, as for git. `*.jpg` takes `.JPG`, too, as cameras write it.
fn set(patterns: &[String]) -> Result<GlobSet> {
    let wrong =
        |pattern: &str, e: &globset::Error| Error::Argument(format!("`{pattern}`: expected a pattern such as '*.jpg': {}", e.kind()));
    let mut set = GlobSet::builder();
    for pattern in patterns {
        let anywhere = if pattern.trim_end_matches('/').contains('/') { "" } else { "**/" };
        let whole = format!("{anywhere}{}", pattern.trim_start_matches("./").trim_matches('/'));
        let glob = GlobBuilder::new(&whole).literal_separator(true).case_insensitive(true).build();
        set.add(glob.map_err(|e| wrong(pattern, &e))?);
    }
    set.build().map_err(|e| wrong(&patterns.join(" "), &e))
}

impl Filter {
    /// Whether this file, or what is in this folder, is meant; the path is from the folder given on.
    pub fn takes(&self, path: &Path, is_folder: bool) -> bool {
        let path = Candidate::new(path);
        let included = self.include.as_ref().is_none_or(|set| is_folder || set.is_match_candidate(&path));
        included && !self.exclude.is_match_candidate(&path)
    }

    /// As [`Filter::takes`], of a file and of the folders that it is in.
    pub fn takes_whole(&self, path: &Path) -> bool {
        let folders = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        self.takes(path, false) && folders.into_iter().all(|folder| self.takes(folder, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(include: &[&str], exclude: &[&str], path: &str) -> bool {
        let own = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
        Patterns { include: own(include), exclude: own(exclude) }.filter().expect("patterns").takes_whole(Path::new(path))
    }

    #[test]
    fn names_are_found_in_any_folder_and_paths_from_the_top() {
        assert!(takes(&[], &[], "a/b.jpg"));
        assert!(takes(&["*.jpg"], &[], "a/b.JPG") && !takes(&["*.jpg"], &[], "a/b.png"));
        assert!(takes(&["2026/**"], &[], "2026/may/b.png") && !takes(&["2026/**"], &[], "a/2026/b.png"));
        assert!(!takes(&[], &["thumbnails"], "a/thumbnails/b.png") && !takes(&[], &["thumbnails/"], "thumbnails/b.png"));
        assert!(takes(&[], &["a/*.png"], "a/b/c.png") && !takes(&[], &["a/*.png"], "a/c.png"));
        assert!(!takes(&["*.png"], &["*-edited.*"], "b-edited.png"));
        assert!(Patterns { include: vec!["[".into()], exclude: Vec::new() }.filter().is_err());
    }
}
