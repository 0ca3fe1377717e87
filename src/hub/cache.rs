//! The cache folder that Python's huggingface_hub keeps (`file_download.py`): contents by hash, snapshots by commit.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Sibling;
use crate::clip::wanted_files;
use crate::error::{Error, Result};

/// A cache folder, shared with Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    pub folder: PathBuf,
}

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    pub repo: String,
    /// On disk.
    pub bytes: u64,
}

impl Cache {
    /// `models--org--name`
    pub(super) fn of(&self, repo: &str) -> PathBuf {
        self.folder.join(format!("models--{}", repo.replace('/', "--")))
    }

    /// The folder of what `main` was when it was last asked for.
    pub fn snapshot(&self, repo: &str) -> Option<PathBuf> {
        let commit = std::fs::read_to_string(self.of(repo).join("refs/main")).ok()?;
        let folder = self.of(repo).join("snapshots").join(plain(commit.trim())?);
        folder.is_dir().then_some(folder)
    }

    /// Where a file's content belongs.
    pub(super) fn blob(&self, repo: &str, file: &Sibling) -> Option<PathBuf> {
        Some(self.of(repo).join("blobs").join(plain(file.etag()?)?))
    }

    /// Whether a file's content is there, whole.
    pub(super) fn has(&self, repo: &str, file: &Sibling) -> bool {
        let length = self.blob(repo, file).and_then(|blob| blob.metadata().ok()).map(|m| m.len());
        length.is_some_and(|length| file.bytes() == length)
    }

    /// Makes a commit's snapshot of contents that are there, and makes it `main`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Model`] for names that lead out of the folder.
    pub(super) fn link(&self, repo: &str, commit: &str, files: &[&Sibling]) -> Result<PathBuf> {
        let odd =
            |what: &str| Error::Model { name: repo.into(), message: format!("the Hub calls a file or version `{what}`, which is no name") };
        let root = self.of(repo);
        let snapshot = root.join("snapshots").join(plain(commit).ok_or_else(|| odd(commit))?);
        for file in files {
            let blob = self.blob(repo, file).ok_or_else(|| odd(file.etag().unwrap_or_default()))?;
            let parts: Option<Vec<&str>> = file.name.split('/').map(plain).collect();
            let parts = parts.ok_or_else(|| odd(&file.name))?;
            let place = snapshot.join(&file.name);
            let folder = place.parent().unwrap_or(&snapshot);
            std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
            let up = "../".repeat(parts.len() + 1);
            let to = PathBuf::from(format!("{up}blobs")).join(blob.file_name().unwrap_or_default());
            put(&place, |place| link(&to, &blob, place))?;
        }
        std::fs::create_dir_all(root.join("refs")).map_err(Error::io(root.join("refs")))?;
        put(&root.join("refs/main"), |main| std::fs::write(main, commit))?;
        Ok(snapshot)
    }

    /// Notes which files a commit does not have, as Python does: nobody asks for them again.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub(super) fn note_absent<'a>(&self, repo: &str, commit: &str, mut names: impl Iterator<Item = &'a &'a str>) -> Result<()> {
        let Some(commit) = plain(commit) else { return Ok(()) }; // `link` says that it is none
        let folder = self.of(repo).join(".no_exist").join(commit);
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        names.try_for_each(|name| std::fs::write(folder.join(name), "").map_err(Error::io(folder.join(name))))
    }

    /// Whether a snapshot has, beside its weights, what is done to pictures and texts, as far as its commit has it.
    pub(super) fn is_whole(&self, repo: &str, snapshot: &Path) -> bool {
        let absent = self.of(repo).join(".no_exist").join(snapshot.file_name().unwrap_or_default());
        let is_known =
            |kinds: &[&str]| kinds.iter().any(|name| snapshot.join(name).is_file()) || kinds.iter().all(|name| absent.join(name).exists());
        let is_complete = match std::fs::read_to_string(snapshot.join("open_clip_config.json")) {
            // It has the recipe, and CLIP's own tokenizer is built in.
            Ok(config) => {
                !config.contains("hf_tokenizer_name") || is_known(&["tokenizer.json", "vocab.json"]) && is_known(&["tokenizer_config.json"])
            }
            Err(_) => is_known(&["preprocessor_config.json", "processor_config.json"]) && is_known(&["tokenizer.json", "vocab.json"]),
        };
        is_complete && wanted_files(&names(snapshot)).is_some()
    }

    /// The models that are there.
    pub fn list(&self) -> Vec<Cached> {
        let folders = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let model = |folder: std::fs::DirEntry| {
            let repo = folder.file_name().to_str()?.strip_prefix("models--")?.replace("--", "/");
            Some(Cached { repo, bytes: bytes_of(&folder.path().join("blobs")) })
        };
        let mut found: Vec<Cached> = folders.filter_map(model).filter(|m| m.bytes > 0).collect();
        found.sort_by(|a, b| a.repo.cmp(&b.repo));
        found
    }

    /// Removes a model; the bytes that it took.
    ///
    /// # Errors
    /// [`Error::Model`] where it is not there; [`Error::Io`].
    pub fn remove(&self, repo: &str) -> Result<u64> {
        let folder = self.of(repo);
        if !folder.is_dir() {
            return Err(Error::Model { name: repo.into(), message: format!("is not in the cache {}", self.folder.display()) });
        }
        let bytes = bytes_of(&folder.join("blobs"));
        std::fs::remove_dir_all(&folder).map_err(Error::io(folder))?;
        Ok(bytes)
    }
}

/// The files of a snapshot by name.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    // A link whose content is gone is no file.
    entries.filter(|e| e.path().is_file()).filter_map(|e| e.file_name().into_string().ok()).collect()
}

/// A name that stays in its folder.
fn plain(name: &str) -> Option<&str> {
    let fine = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', ':', '\0']);
    fine.then_some(name)
}

fn bytes_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
}

/// Makes the file at `place` in one step: another process sees the old one or the new one, and may make the same.
fn put(place: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // Processes in containers may have one number.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mut aside = place.as_os_str().to_owned();
    aside.push(format!(".{}-{}-{now}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let aside = PathBuf::from(aside);
    let made = make(&aside).and_then(|()| std::fs::rename(&aside, place));
    if made.is_err() {
        let _ = std::fs::remove_file(&aside); // it may not be there
    }
    made.map_err(Error::io(place))
}

#[cfg(unix)]
fn link(to: &Path, _blob: &Path, place: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(to, place)
}

/// Links take a privilege here; Python copies, too.
#[cfg(not(unix))]
fn link(_to: &Path, blob: &Path, place: &Path) -> std::io::Result<()> {
    std::fs::hard_link(blob, place).or_else(|_| std::fs::copy(blob, place).map(drop))
}
