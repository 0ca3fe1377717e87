//! `--include`, `--exclude` and `--shard`: which files are meant.

use std::path::Path;
use std::str::FromStr;

use clap::Args;
use clip_wgpu::{Error, Result};
use globset::{Candidate, GlobBuilder, GlobSet};

use crate::archives::is_archive;
use crate::output::file_name;
use crate::store::hash_of;
use crate::walk::What;

#[derive(Args)]
pub struct Patterns {
    /// Only files like this, such as '*.jpg' or '2026/**' (from the folder given on); may be repeated
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// No files and folders like this, such as thumbnails or '*-edited.*'; may be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Only the I-th of N shares of the files, for one of N machines; which share a file, or a whole tar archive, is in is decided by
    /// its path from the folder given on, or its absolute path where it was given or listed itself
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
}

/// A share of the files.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shard {
    /// From 0 on.
    which: u64,
    of: u64,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse::<u64>().ok()?, n.parse::<u64>().ok()?)));
        match numbers {
            Some((i, n)) if (1..=n).contains(&i) => Ok(Self { which: i - 1, of: n }),
            _ => Err(format!("expected which share of how many, such as 1/4, found `{text}`")),
        }
    }
}

impl Shard {
    fn has(self, path: &Path) -> bool {
        let hash = hash_of(file_name(path).replace('\\', "/").as_bytes());
        u64::from_le_bytes(std::array::from_fn(|i| hash[i])) % self.of == self.which
    }
}

/// Patterns that were read.
pub struct Filter {
    /// `None` takes everything.
    include: Option<GlobSet>,
    exclude: GlobSet,
    shard: Option<Shard>,
}

impl Patterns {
    /// # Errors
    /// [`Error::Argument`] for a pattern that is none.
    pub fn filter(&self) -> Result<Filter> {
        let include = if self.include.is_empty() { None } else { Some(set(&self.include)?) };
        Ok(Filter { include, exclude: set(&self.exclude)?, shard: self.shard })
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
    /// Whether this file, or what is in this folder or archive, is meant.
    pub fn takes(&self, path: &Path, what: What) -> bool {
        let in_share = || self.shard.is_none_or(|shard| shard.has(path));
        match what {
            What::Given => in_share(),
            What::Folder => self.likes(path, true),
            What::Archive => self.likes(path, true) && in_share(),
            What::File => self.likes(path, false) && in_share(),
            What::Member => self.likes(path, false),
        }
    }

    /// Whether the patterns do; the path is from the folder given on.
    fn likes(&self, path: &Path, is_folder: bool) -> bool {
        let path = Candidate::new(path);
        let included = self.include.as_ref().is_none_or(|set| is_folder || set.is_match_candidate(&path));
        included && !self.exclude.is_match_candidate(&path)
    }

    /// Whether only a share of the files is meant.
    pub fn is_share(&self) -> bool {
        self.shard.is_some()
    }

    /// Whether a file that is `from_root` on from the folder, file or archive `root` is in this share: of an archive all files are.
    pub fn has(&self, root: &Path, from_root: &Path) -> bool {
        let Some(shard) = self.shard else { return true };
        if from_root.as_os_str().is_empty() || is_archive(root) {
            return shard.has(root);
        }
        let archive = from_root.ancestors().filter(|p| is_archive(p)).last();
        shard.has(archive.unwrap_or(from_root))
    }

    /// Whether the patterns like a file and the folders that it is in.
    pub fn likes_whole(&self, path: &Path) -> bool {
        let folders = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        self.likes(path, false) && folders.into_iter().all(|folder| self.likes(folder, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(include: &[&str], exclude: &[&str], path: &str) -> bool {
        let own = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
        Patterns { include: own(include), exclude: own(exclude), shard: None }.filter().expect("patterns").likes_whole(Path::new(path))
    }

    #[test]
    fn each_file_is_in_one_share_and_shares_are_about_as_large() {
        let shards: Vec<Shard> = (1..=3).map(|i| format!("{i}/3").parse().expect("a share")).collect();
        let mut sizes = [0; 3];
        for i in 0..3000 {
            let of: Vec<usize> = (0..3).filter(|s| shards[*s].has(Path::new(&format!("a/{i}.jpg")))).collect();
            assert_eq!(of.len(), 1);
            sizes[of[0]] += 1;
        }
        assert!(sizes.iter().all(|size| (900..1100).contains(size)), "{sizes:?}");
        ["0/3", "4/3", "1", "1/0", "a/b"].iter().for_each(|wrong| assert!(wrong.parse::<Shard>().is_err(), "{wrong}"));
    }

    #[test]
    fn names_are_found_in_any_folder_and_paths_from_the_top() {
        assert!(takes(&[], &[], "a/b.jpg"));
        assert!(takes(&["*.jpg"], &[], "a/b.JPG") && !takes(&["*.jpg"], &[], "a/b.png"));
        assert!(takes(&["2026/**"], &[], "2026/may/b.png") && !takes(&["2026/**"], &[], "a/2026/b.png"));
        assert!(!takes(&[], &["thumbnails"], "a/thumbnails/b.png") && !takes(&[], &["thumbnails/"], "thumbnails/b.png"));
        assert!(takes(&[], &["a/*.png"], "a/b/c.png") && !takes(&[], &["a/*.png"], "a/c.png"));
        assert!(!takes(&["*.png"], &["*-edited.*"], "b-edited.png"));
        assert!(Patterns { include: vec!["[".into()], exclude: Vec::new(), shard: None }.filter().is_err());
    }
}
