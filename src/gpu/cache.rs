//! Compiled pipelines, kept in a file from one start of a program to the next, where the back end has a cache for them: Vulkan.
//! Desktop drivers keep their own; Android's leave it to applications, and a container without a home has none.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::Gpu;

/// A device's cache and its file: the SHA-256 of what follows, then what the driver gave.
#[derive(Debug)]
pub(super) struct PipelineCache {
    pub(super) cache: wgpu::PipelineCache,
    file: PathBuf,
    /// What the file holds, and how many pipelines there were when that was looked at last.
    kept: Mutex<(Vec<u8>, usize)>,
}

/// Bytes of the digest.
const DIGEST: usize = 32;

impl Gpu {
    /// The same device, whose pipelines are kept in a file in `folder`, one for each kind of device: what a session compiles is written
    /// when it is made, and taken from there at the next start. Where the back end has no such cache (all but Vulkan), or an
    /// application's device was opened without (see [`requirements`](super::requirements)), nothing is kept; nor where the file cannot
    /// be read or written, which is slower and no error. Nobody else should be able to write there: drivers trust what they once gave.
    pub async fn with_pipeline_cache(mut self, folder: &Path) -> Self {
        let name = wgpu::util::pipeline_cache_key(&self.info);
        let Some(name) = name.filter(|_| self.device.features().contains(wgpu::Features::PIPELINE_CACHE)) else { return self };
        let file = folder.join(name);
        let held = std::fs::read(&file).ok().filter(|held| whole(held)).unwrap_or_default();
        let descriptor = wgpu::PipelineCacheDescriptor { label: Some("clip-wgpu"), data: held.get(DIGEST..), fallback: true };
        // SAFETY: the data is what `get_data` gave, to the byte, as its digest says. wgpu passes over another driver's and its own of
        // another version.
        #[allow(unsafe_code)]
        let (cache, refusals) = self.scoped(|| unsafe { self.device.create_pipeline_cache(&descriptor) });
        if refusals.first().await.is_none() {
            self.cache = Some(Arc::new(PipelineCache { cache, file, kept: Mutex::new((held, 0)) }));
        }
        self
    }

    /// Writes what has been compiled since this was last called.
    pub(crate) fn keep_pipelines(&self) {
        let Some(PipelineCache { cache, file, kept }) = self.cache.as_deref() else { return };
        let (held, seen) = &mut *kept.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = self.pipelines();
        let Some(data) = (compiled != *seen).then(|| cache.get_data()).flatten() else { return };
        let now = [Sha256::digest(&data).as_slice(), &data].concat();
        if now == *held || replace(file, &now).is_ok() {
            (*held, *seen) = (now, compiled);
        }
    }
}

/// Whether a file holds what was written, and all of it.
fn whole(held: &[u8]) -> bool {
    held.split_at_checked(DIGEST).is_some_and(|(digest, data)| Sha256::digest(data).as_slice() == digest)
}

/// Writes a file in one step: another program that reads it finds the old or the new one.
fn replace(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(file.parent().unwrap_or(file))?;
    let beside = file.with_extension(std::process::id().to_string());
    std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, file)).inspect_err(|_| drop(std::fs::remove_file(&beside)))
}
