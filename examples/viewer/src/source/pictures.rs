//! A folder of pictures, or one.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clip_wgpu::Image;

use super::{Source, Stop};
use crate::frame::Frame;

/// The pictures of a folder in the order of their names, again and again; what cannot be read is passed over.
pub struct Pictures {
    path: PathBuf,
    every: Duration,
    left: Vec<PathBuf>,
    due: Instant,
}

impl Pictures {
    pub fn new(path: &Path, every: Duration) -> Self {
        Self { path: path.into(), every, left: Vec::new(), due: Instant::now() }
    }

    fn list(&self) -> Result<Vec<PathBuf>, Stop> {
        if self.path.is_file() {
            return Ok(vec![self.path.clone()]);
        }
        let gone = |e: std::io::Error| Stop::Gone(format!("{}: {e}", self.path.display()));
        let mut files: Vec<PathBuf> = std::fs::read_dir(&self.path).map_err(gone)?.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| is_picture(file));
        files.sort_by(|a, b| b.cmp(a)); // taken from the end
        match files.is_empty() {
            true => Err(Stop::Gone(format!("{}: expected pictures, found none", self.path.display()))),
            false => Ok(files),
        }
    }
}

impl Source for Pictures {
    fn next(&mut self) -> Result<Frame, Stop> {
        std::thread::sleep(self.due.saturating_duration_since(Instant::now()));
        self.due = Instant::now() + self.every;
        let mut failed = None;
        for _ in 0..2 {
            if self.left.is_empty() {
                self.left = self.list()?;
            }
            while let Some(file) = self.left.pop() {
                match Image::open(&file) {
                    Ok(image) => return Ok(Frame::of_image(&image, Some(file.display().to_string()))),
                    Err(e) => failed = Some(e.to_string()),
                }
            }
        }
        Err(Stop::Gone(failed.unwrap_or_else(|| format!("{}: no picture", self.path.display()))))
    }
}

/// Whether a file's first bytes are a picture's.
pub fn is_picture(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(64).read_to_end(&mut start));
    read.is_ok() && Image::format(&start).is_some()
}
