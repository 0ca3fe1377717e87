//! Where bytes come from: anything that can read a range.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file, a URL, a Blob: bytes that are read range by range, so that no checkpoint lies in memory whole.
#[allow(async_fn_in_trait)] // no Send bound: wasm could not meet it
pub trait Source {
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
    /// [`Error::Io`] where they cannot be had.
    async fn read(&self, range: Range<u64>) -> Result<Vec<u8>>;
}

/// A file on disk.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    path: PathBuf,
    name: String,
    len: u64,
}

impl FileSource {
    /// # Errors
    /// [`Error::Io`] where the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let len = file.metadata().map_err(Error::io(path))?.len();
        Ok(Self { file, path: path.into(), name: path.display().to_string(), len })
    }
}

impl Source for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    async fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        use std::io::{Read, Seek, SeekFrom};
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(range.start)).and_then(|_| file.read_exact(&mut bytes)).map_err(Error::io(&self.path))?;
        Ok(bytes)
    }
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

    async fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        Ok(self.bytes[range.start as usize..range.end as usize].to_vec())
    }
}

/// A file of a model folder, or of the model in the box.
#[derive(Debug)]
pub enum AnySource {
    File(FileSource),
    Static(StaticSource),
}

impl Source for AnySource {
    fn name(&self) -> &str {
        match self {
            AnySource::File(source) => source.name(),
            AnySource::Static(source) => source.name(),
        }
    }

    fn len(&self) -> u64 {
        match self {
            AnySource::File(source) => source.len(),
            AnySource::Static(source) => source.len(),
        }
    }

    async fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        match self {
            AnySource::File(source) => source.read(range).await,
            AnySource::Static(source) => source.read(range).await,
        }
    }
}
