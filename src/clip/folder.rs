//! The files of a model by name, wherever they are.

use std::collections::BTreeMap;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use crate::error::{Error, Result};
use crate::weights::source::Source;

/// Files by name: a folder on disk, the Hub's cache, bytes in the program, a URL, what was dropped on a page.
#[derive(Debug)]
pub struct Folder {
    /// What errors call it.
    pub name: String,
    files: BTreeMap<String, Box<dyn Source>>,
}

/// The greatest file of text that is read: the largest tokenizers take 40 MB.
const MOST_TEXT_BYTES: u64 = 256 << 20;

impl Folder {
    pub fn new(name: impl Into<String>, files: impl IntoIterator<Item = (String, Box<dyn Source>)>) -> Self {
        Self { name: name.into(), files: files.into_iter().collect() }
    }

    /// The files of a folder on disk that a model could be made of.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder, or one of these files, cannot be opened.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: &Path) -> Result<Self> {
        use crate::weights::source::FileSource;
        let mut files: Vec<(String, Box<dyn Source>)> = Vec::new();
        let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        for entry in std::fs::read_dir(here).map_err(Error::io(here))? {
            let file = entry.map_err(Error::io(here))?.path();
            let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let wanted = file.extension().is_some_and(|e| ["json", "txt"].iter().chain(&super::weight_files::WEIGHTS).any(|w| e == *w));
            if wanted && file.is_file() {
                files.push((name, Box::new(FileSource::open(&file)?)));
            }
        }
        Ok(Self::new(path.display().to_string(), files))
    }

    /// The names of its files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// A file's text and what errors call it, where it is there.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] for a file that is no text.
    pub async fn text(&self, name: &str) -> Result<Option<(String, String)>> {
        let Some(source) = self.files.get(name) else { return Ok(None) };
        let fail = |message: String| Error::Config { file: source.name().into(), message };
        if source.len() > MOST_TEXT_BYTES {
            return Err(fail(format!("has {} bytes, more than any such file", source.len())));
        }
        let text = String::from_utf8(source.read(0..source.len()).await?).map_err(|_| fail("is no UTF-8 text".into()))?;
        let file = source.name().to_string();
        Ok(Some((text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text), file)))
    }

    /// As [`Folder::text`], where the file has to be there.
    ///
    /// # Errors
    /// [`Error::Model`] where it is not.
    pub async fn expect_text(&self, name: &str) -> Result<(String, String)> {
        let missing =
            || Error::Model { name: self.name.clone(), message: format!("expected a file {name} beside the weights, found none") };
        self.text(name).await?.ok_or_else(missing)
    }

    /// Takes a file out of it.
    pub(super) fn take(&mut self, name: &str) -> Option<Box<dyn Source>> {
        self.files.remove(name)
    }
}
