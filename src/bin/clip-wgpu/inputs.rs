//! Pictures on their way to the model: read, decoded and preprocessed ahead of it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};

use clip_wgpu::{Clip, Error, Image, Result};

use crate::archives;
use crate::context::Globals;
use crate::interrupt;
use crate::output::{Failed, complain, file_name};
use crate::spent::{Spent, Step};

/// The most bytes of one file: the largest picture that is decoded, in 16 bits a channel.
const MOST_BYTES: u64 = 8 * clip_wgpu::input::MAX_PIXELS;

/// The bytes of a file, or of standard input for `-`, and what errors call them.
pub fn bytes_of(path: &Path) -> Result<(Vec<u8>, String)> {
    if path != Path::new("-") {
        let bytes = path.metadata().map_or(0, |is| is.len());
        if bytes > MOST_BYTES {
            let most = MOST_BYTES >> 30;
            return Err(Error::Image(format!(
                "{}: expected a file of at most {most} GiB, found {:.1}",
                path.display(),
                bytes as f64 / f64::from(1 << 30)
            )));
        }
        let read = archives::read(path).unwrap_or_else(|| std::fs::read(path));
        return Ok((read.map_err(Error::io(path))?, path.display().to_string()));
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(Error::io("standard input"))?;
    Ok((bytes, "standard input".to_string()))
}

/// One picture.
pub fn open(path: &Path) -> Result<Image> {
    let (bytes, name) = bytes_of(path)?;
    Image::decode(&bytes).map_err(|e| Error::Image(format!("{name}: {e}")))
}

/// Pixels that are decoded at once: a picture of more waits until it is alone.
const MOST_PIXELS: u64 = 48_000_000;

/// How many more pixels may be decoded.
struct Budget {
    free: Mutex<u64>,
    freed: Condvar,
}

impl Budget {
    fn with<T>(&self, pixels: u64, f: impl FnOnce() -> T) -> T {
        let pixels = pixels.min(MOST_PIXELS);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free < pixels {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= pixels;
        drop(free);
        let _taken = Taken { budget: self, pixels };
        f()
    }
}

/// Pixels that are given back, whatever happens.
struct Taken<'a> {
    budget: &'a Budget,
    pixels: u64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.budget.free.lock().unwrap_or_else(PoisonError::into_inner) += self.pixels;
        self.budget.freed.notify_all();
    }
}

/// `f` of each item, on threads of their own: one of rayon's that waits for a part of its picture may take up another picture
/// meanwhile, and wait for the pixels that it holds itself.
fn in_threads<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return made };
            made.push((at, f(item)));
        }
    };
    let mut made: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    made.sort_by_key(|(at, _)| *at);
    made.into_iter().map(|(_, made)| made).collect()
}

/// Some pictures, preprocessed, and those that could not be.
#[derive(Default)]
pub struct Batch {
    pub names: Vec<String>,
    /// Those that were passed over.
    pub passed: Vec<String>,
    /// `[names, 3, size, size]`
    pub pixels: Vec<f32>,
    pub failed: Vec<Failed>,
    /// Of those that failed, the ones that could not be read: another time they may be.
    pub unread: Vec<String>,
    /// Pictures that it is made of.
    pub pictures: usize,
}

/// Decodes and preprocesses `paths` a batch at a time, the next while `f` works on one; a Ctrl-C that is watched for stops it between two.
pub fn batches(g: &Globals, clip: &Clip, paths: &[PathBuf], mut f: impl FnMut(Batch) -> Result<()>) -> Result<()> {
    batches_unless(g, clip, paths, &Spent::default(), |_, _| false, &mut f)
}

/// As [`batches`], but files whose bytes `pass` says yes to are not decoded.
pub fn batches_unless(
    g: &Globals,
    clip: &Clip,
    paths: &[PathBuf],
    spent: &Spent,
    pass: impl Fn(&Path, &[u8]) -> bool + Sync,
    mut f: impl FnMut(Batch) -> Result<()>,
) -> Result<()> {
    let bar = g.bar(paths.len() as u64, "encoding {bar:30} {pos}/{len} {per_sec} {eta}");
    let size = clip.vision()?.runner.capacity().batch;
    let recipe = &clip.preprocess;
    let budget = Budget { free: Mutex::new(MOST_PIXELS), freed: Condvar::new() };
    let pixels = |path: &PathBuf| -> Result<Option<Vec<f32>>> {
        let (bytes, name) = spent.on(Step::Read, || bytes_of(path))?;
        if spent.on(Step::Hash, || pass(path, &bytes)) {
            return Ok(None);
        }
        let named = |e: Error| Error::Image(format!("{name}: {e}"));
        let (width, height) = Image::dimensions(&bytes).map_err(named)?;
        budget.with(u64::from(width) * u64::from(height), || {
            let image = spent.on(Step::Decode, || Image::decode(&bytes)).map_err(named)?;
            Ok(Some(spent.on(Step::Preprocess, || recipe.pixels(&image))))
        })
    };
    let make = |part: &[PathBuf]| {
        let made: Vec<(String, Result<Option<Vec<f32>>>)> = in_threads(part, |path| (file_name(path), pixels(path)));
        let mut batch = Batch { pictures: part.len(), ..Batch::default() };
        for (input, pixels) in made {
            match pixels {
                Ok(None) => batch.passed.push(input),
                Ok(Some(pixels)) => {
                    batch.pixels.extend(pixels);
                    batch.names.push(input);
                }
                Err(error) => {
                    if matches!(error, Error::Io { .. }) {
                        batch.unread.push(input.clone());
                    }
                    batch.failed.push(Failed { input, error: error.to_string() });
                }
            }
        }
        batch
    };
    let result = std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(1);
        let make = &make;
        scope.spawn(move || paths.chunks(size).map(make).try_for_each(|batch| sender.send(batch).map_err(drop)));
        while let Ok(batch) = spent.on(Step::Wait, || receiver.recv()) {
            let pictures = batch.pictures as u64;
            batch.failed.iter().for_each(|failed| bar.suspend(|| complain(&failed.error)));
            f(batch)?;
            bar.inc(pictures);
            if interrupt::asked() {
                break;
            }
        }
        Ok(())
    });
    bar.finish_and_clear();
    result
}
