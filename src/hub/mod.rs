//! The Hugging Face Hub: models are found in Python's own cache (`huggingface_hub`), and pulled into it.

mod cache;
mod download;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;

pub use cache::{Cache, Cached};

use crate::clip::registry::did_you_mean;
use crate::clip::{BESIDE, has_weights, wanted_files};
use crate::error::{Error, Result};

/// Told while files are pulled: bytes done, bytes in all.
pub type OnBytes = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Told once before anything is pulled: the repository and its bytes.
pub type OnPull = Arc<dyn Fn(&str, u64) + Send + Sync>;

/// How models are found and pulled.
#[derive(Clone)]
pub struct Hub {
    pub endpoint: String,
    pub cache: Cache,
    pub token: Option<String>,
    /// Never opens a socket.
    pub offline: bool,
    /// How long one answer may take before it counts as broken off; what has come by then stays.
    pub patience: Duration,
    pub progress: Option<OnBytes>,
    pub announce: Option<OnPull>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…"); // no log should have it
        let mut all = f.debug_struct("Hub");
        all.field("endpoint", &self.endpoint).field("cache", &self.cache).field("token", &token).field("offline", &self.offline);
        all.finish_non_exhaustive()
    }
}

/// A file of a repository.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Sibling {
    #[serde(rename = "rfilename")]
    pub name: String,
    pub size: Option<u64>,
    #[serde(rename = "blobId")]
    pub blob: Option<String>,
    pub lfs: Option<Lfs>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Lfs {
    pub sha256: String,
    pub size: u64,
}

impl Sibling {
    pub fn bytes(&self) -> u64 {
        self.lfs.as_ref().map_or(self.size.unwrap_or(0), |lfs| lfs.size)
    }

    /// What Python's cache calls its content: the ETag.
    pub fn etag(&self) -> Option<&str> {
        self.lfs.as_ref().map(|lfs| lfs.sha256.as_str()).or(self.blob.as_deref())
    }
}

#[derive(Debug, Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

impl Hub {
    /// As Python's environment says: `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN` (or the token that `hf auth login`
    /// stored), `HF_HUB_OFFLINE`, and their older names (`huggingface_hub/constants.py`).
    pub fn from_env() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let home = set("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let caches = set("XDG_CACHE_HOME").map(PathBuf::from);
            let caches = caches.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
            caches.unwrap_or_else(|| PathBuf::from(".cache")).join("huggingface")
        });
        let stored = || std::fs::read_to_string(set("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from)).ok();
        let token = set("HF_TOKEN")
            .or_else(|| set("HUGGING_FACE_HUB_TOKEN"))
            .or_else(stored)
            .map(|t| t.trim().to_string())
            .filter(|t| !t.is_empty());
        let folder = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")).map_or_else(|| home.join("hub"), PathBuf::from);
        let offline = set("HF_HUB_OFFLINE").or_else(|| set("TRANSFORMERS_OFFLINE"));
        Self {
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()).trim_end_matches('/').into(),
            cache: Cache { folder },
            token,
            offline: offline.is_some_and(|v| !matches!(v.to_lowercase().as_str(), "0" | "false" | "no" | "off")),
            patience: Duration::from_secs(60),
            progress: None,
            announce: None,
        }
    }

    /// The folder with a repository's files: from the cache, else pulled into it. Where Python left something out of a snapshot, such as
    /// the recipe for pictures, that alone is pulled, once, if the Hub answers at once.
    ///
    /// # Errors
    /// [`Error::Model`] where the Hub has no such model, refuses, cannot be reached or must not be asked; [`Error::Io`].
    pub fn model(&self, repo: &str) -> Result<PathBuf> {
        let cached = self.cache.snapshot(repo).filter(|folder| has_weights(repo, &cache::names(folder)));
        if let Some(folder) = cached {
            if !self.offline && !self.cache.is_whole(repo, &folder) {
                let hasty = Self { patience: self.patience.min(Duration::from_secs(3)), ..self.clone() };
                let _ = hasty.complete(repo, &folder); // what cannot be had is done without, as before
            }
            return Ok(folder);
        }
        if self.offline {
            let message = "is not in the cache, and the network is not to be used: pull it where there is one (clip-wgpu model pull), \
                 or use the model in the box (-m pico) or a folder (-m DIR)";
            return self.fail(repo, &(message.to_string() + &did_you_mean(repo)));
        }
        self.pull(repo)
    }

    /// Pulls the newest version of what a model needs, several files at once; what is there already stays.
    ///
    /// # Errors
    /// As [`Hub::model`].
    pub fn pull(&self, repo: &str) -> Result<PathBuf> {
        if self.offline {
            return self.fail(repo, "cannot be pulled: the network is not to be used (--offline, HF_HUB_OFFLINE)");
        }
        let listing = self.listing(repo, "main")?;
        let names: Vec<String> = listing.siblings.iter().map(|s| s.name.clone()).collect();
        let Some(wanted) = wanted_files(&names) else {
            let message = "has no weights that this program reads: expected config.json with model.safetensors or pytorch_model.bin, \
                 or open_clip_config.json with open_clip_model.safetensors or open_clip_pytorch_model.bin";
            return self.fail(repo, message);
        };
        let mut files: Vec<&Sibling> = listing.siblings.iter().filter(|s| wanted.contains(&s.name)).collect();
        files.sort_by_key(|s| std::cmp::Reverse(s.bytes()));
        let total: u64 = files.iter().map(|s| s.bytes()).sum();
        let missing: u64 = files.iter().filter(|s| !self.cache.has(repo, s)).map(|s| s.bytes()).sum();
        if let Some(announce) = self.announce.as_ref().filter(|_| missing > 0) {
            announce(repo, missing);
        }
        let done = AtomicU64::new(0);
        let count = |bytes: u64| {
            let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            self.progress.iter().for_each(|say| say(done.min(total), total));
        };
        self.fetch_all(repo, &listing.sha, &files, &count)?;
        // Where that cannot be noted, it is asked for again.
        let _ = self.cache.note_absent(repo, &listing.sha, BESIDE.iter().filter(|name| !names.iter().any(|n| n == *name)));
        self.cache.link(repo, &listing.sha, &files)
    }

    /// Pulls what a snapshot lacks beside its weights, where its commit has it.
    fn complete(&self, repo: &str, snapshot: &Path) -> Result<()> {
        let commit = snapshot.file_name().unwrap_or_default().to_string_lossy();
        self.cache.note_absent(repo, &commit, [].iter())?; // nothing is asked for what cannot be written
        let (listing, here) = (self.listing(repo, &commit)?, cache::names(snapshot));
        let is_meant = |name: &str| BESIDE.contains(&name) || ["config.json", "open_clip_config.json"].contains(&name);
        let files: Vec<&Sibling> = listing.siblings.iter().filter(|s| is_meant(&s.name) && !here.contains(&s.name)).collect();
        self.fetch_all(repo, &listing.sha, &files, &|_| ())?;
        self.cache.note_absent(repo, &listing.sha, BESIDE.iter().filter(|name| !listing.siblings.iter().any(|s| s.name == **name)))?;
        self.cache.link(repo, &listing.sha, &files).map(drop)
    }

    /// Four files at a time, the largest first.
    fn fetch_all(&self, repo: &str, commit: &str, files: &[&Sibling], count: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let next = AtomicU64::new(0);
        let worker = || -> Result<()> {
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                if self.cache.has(repo, file) {
                    count(file.bytes());
                } else if let Err(error) = download::file(self, repo, commit, file, count) {
                    next.store(files.len() as u64, Ordering::Relaxed); // the others stop after the file at hand
                    return Err(error);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4.min(files.len())).map(|_| scope.spawn(worker)).collect();
            let results: Vec<Result<()>> = workers.into_iter().map(|w| w.join().expect("a worker does not panic")).collect();
            results.into_iter().collect()
        })
    }

    fn listing(&self, repo: &str, revision: &str) -> Result<Listing> {
        let url = format!("{}/api/models/{repo}/revision/{revision}?blobs=true", self.endpoint);
        let mut response = download::get(self, &url, None).map_err(|e| self.refused(repo, "its list of files", e))?;
        let text = response.body_mut().with_config().limit(64 << 20).read_to_string();
        let text = text.map_err(|e| self.refused(repo, "its list of files", e))?;
        serde_json::from_str(&text).or_else(|e| self.fail(repo, &format!("{url}: expected a list of files, found something else: {e}")))
    }

    fn fail<T>(&self, repo: &str, message: &str) -> Result<T> {
        Err(Error::Model { name: repo.into(), message: message.into() })
    }

    /// An error of the network, in words that say what to do.
    fn refused(&self, repo: &str, what: &str, error: ureq::Error) -> Error {
        let message = match error {
            ureq::Error::StatusCode(401 | 403) => format!(
                "{} refuses it: it does not exist, or needs a token (set HF_TOKEN) whose owner accepted its terms at {0}/{repo}{1}",
                self.endpoint,
                did_you_mean(repo)
            ),
            ureq::Error::StatusCode(404) => {
                format!("{} has no {what}: is the name right{}?", self.endpoint, did_you_mean(repo).trim_end_matches('?'))
            }
            other => format!(
                "{what} could not be had from {}: {other}. Without a network, use what was pulled before, the model in the box (-m pico) or a folder (-m DIR){}",
                self.endpoint,
                did_you_mean(repo)
            ),
        };
        Error::Model { name: repo.into(), message }
    }
}
