//! Where bytes come from: anything that can read a range.

#[cfg(not(target_arch = "wasm32"))]
use std::fs::File;
use std::ops::Range;
#[cfg(not(target_arch = "wasm32"))]
use std::path::{Path, PathBuf};

use crate::error::Result;
pub use crate::send::BoxFuture;
use crate::send::Shared;

/// A file, a URL, a Blob: bytes that are read range by range, so that no checkpoint lies in memory whole. Several ranges may be
/// read at once.
pub trait Source: std::fmt::Debug + Shared {
    /// What errors call it.
    fn name(&self) -> &str;

    /// Bytes in all.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of `range`, all of them.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) where they cannot be had.
    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Vec<u8>>>;
}

/// A file on disk.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
pub struct FileSource {
    file: File,
    path: PathBuf,
    name: String,
    len: u64,
}

#[cfg(not(target_arch = "wasm32"))]
impl FileSource {
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) where the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(crate::Error::io(path))?;
        let len = file.metadata().map_err(crate::Error::io(path))?.len();
        Ok(Self { file, path: path.into(), name: path.display().to_string(), len })
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Source for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Vec<u8>>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let read = read_at(&self.file, &mut bytes, range.start).map_err(crate::Error::io(&self.path));
        Box::pin(std::future::ready(read.map(|()| bytes)))
    }
}

/// Reads at a position of its own: the file's cursor is shared with every other reader.
#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, at)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => (bytes, at) = (&mut bytes[n..], at + n as u64),
        }
    }
    Ok(())
}

/// Bytes that the program carries.
#[derive(Clone, Debug)]
pub struct StaticSource {
    pub name: String,
    pub bytes: &'static [u8],
}

impl Source for StaticSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(std::future::ready(Ok(self.bytes[range.start as usize..range.end as usize].to_vec())))
    }
}
