//! What the command line names: pictures, folders of them, standard input.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};

use clip_wgpu::{Clip, Error, Image, Result};
use walkdir::WalkDir;

use crate::context::Globals;
use crate::output::{Failed, complain, file_name};

/// Extensions of pictures that are read.
const READ: [&str; 12] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "dib", "tif", "tiff", "ico"];
/// Extensions of pictures that are not.
const NOT_READ: [&str; 14] = ["heic", "heif", "avif", "jxl", "jp2", "psd", "cr2", "cr3", "nef", "arw", "dng", "raf", "orf", "svg"];

/// Whether a name ends as a picture's does.
pub fn is_named_like_a_picture(name: &str) -> bool {
    let extension = Path::new(name).extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_some_and(|e| READ.contains(&e.as_str()) || NOT_READ.contains(&e.as_str()))
}

/// What was found under the paths of a command line.
#[derive(Default)]
pub struct Found {
    /// In order of name within a folder.
    pub pictures: Vec<PathBuf>,
    /// What is not there, files of folders that are pictures in a format that is not read, and folders that could not be looked
    /// into.
    pub failed: Vec<Failed>,
    /// Files of folders that are no pictures, by extension.
    pub passed_over: BTreeMap<String, usize>,
}

/// `paths` with folders replaced by the pictures in them; `-` is standard input. What is passed over is counted on stderr.
///
/// # Errors
/// [`Error::Io`] for the one path that is not there; [`Error::Argument`] where nothing is left.
pub fn pictures(g: &Globals, paths: &[PathBuf]) -> Result<Found> {
    pictures_where(g, paths, |_, _| true)
}

/// As [`pictures`], but of folders only what `takes` says yes to: told a path from the folder on, and whether it is a folder.
pub fn pictures_where(g: &Globals, paths: &[PathBuf], takes: impl Fn(&Path, bool) -> bool) -> Result<Found> {
    let mut found = Found::default();
    for path in paths {
        match path.metadata() {
            Ok(is) if is.is_dir() => in_folder(path, &takes, &mut found),
            Err(source) if path != Path::new("-") => {
                if paths.len() == 1 {
                    return Err(Error::Io { path: path.clone(), source });
                }
                found.failed.push(Failed { input: file_name(path), error: source.to_string() });
            }
            _ => found.pictures.push(path.clone()),
        }
    }
    found.failed.iter().for_each(|f| complain(&format!("{}: {}", f.input, f.error)));
    if !found.passed_over.is_empty() {
        let kinds: Vec<String> = found.passed_over.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        let files: usize = found.passed_over.values().sum();
        g.warn(&format!("passed over {files} files that are no pictures ({})", kinds.join(", ")));
    }
    match found.pictures.is_empty() && found.failed.is_empty() {
        true => Err(Error::Argument("expected pictures, found none in the folders given".into())),
        false => Ok(found),
    }
}

/// Hidden files and folders are left out; symbolic links are followed, those that lead back once.
fn in_folder(folder: &Path, takes: &impl Fn(&Path, bool) -> bool, found: &mut Found) {
    let taken = |entry: &walkdir::DirEntry| takes(entry.path().strip_prefix(folder).unwrap_or(entry.path()), entry.file_type().is_dir());
    let hidden = |entry: &walkdir::DirEntry| entry.file_name().to_string_lossy().starts_with('.');
    let shown = |entry: &walkdir::DirEntry| entry.depth() == 0 || !hidden(entry) && taken(entry);
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter().filter_entry(shown) {
        match entry {
            Ok(entry) if entry.file_type().is_file() => match kind_of(entry.path()) {
                Kind::Picture => found.pictures.push(entry.into_path()),
                Kind::NotRead(format) => {
                    let error = format!("{format} pictures are not read: convert them to JPEG or PNG");
                    found.failed.push(Failed { input: file_name(entry.path()), error });
                }
                Kind::Other(kind) => *found.passed_over.entry(kind).or_default() += 1,
            },
            Ok(_) => {}
            Err(error) if error.loop_ancestor().is_some() => {} // what it leads to is walked already
            Err(error) => {
                let input = error.path().map_or_else(|| file_name(folder), file_name);
                let error = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                found.failed.push(Failed { input, error });
            }
        }
    }
}

enum Kind {
    Picture,
    NotRead(String),
    Other(String),
}

/// By the extension where it is known, else by content.
fn kind_of(path: &Path) -> Kind {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    if READ.contains(&extension.as_str()) {
        return Kind::Picture;
    }
    let mut start = Vec::new();
    let read = std::fs::File::open(path).and_then(|f| f.take(64).read_to_end(&mut start));
    match Image::format(&start) {
        Some(_) if read.is_ok() => Kind::Picture,
        _ if start.get(4..8) == Some(b"ftyp") && [&b"hei"[..], b"hev", b"mif", b"avi"].iter().any(|b| start[8..].starts_with(b)) => {
            Kind::NotRead(if start[8..].starts_with(b"avi") { "AVIF".into() } else { "HEIC".into() })
        }
        _ if NOT_READ.contains(&extension.as_str()) => Kind::NotRead(extension.to_uppercase()),
        _ if extension.is_empty() => Kind::Other("without extension".into()),
        _ => Kind::Other(format!(".{extension}")),
    }
}

/// The bytes of a file, or of standard input for `-`, and what errors call them.
pub fn bytes_of(path: &Path) -> Result<(Vec<u8>, String)> {
    if path != Path::new("-") {
        return Ok((std::fs::read(path).map_err(Error::io(path))?, path.display().to_string()));
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
    /// Pictures that it is made of.
    pub pictures: usize,
}

/// Decodes and preprocesses `paths` a batch at a time, the next while `f` works on one.
pub fn batches(g: &Globals, clip: &Clip, paths: &[PathBuf], mut f: impl FnMut(Batch) -> Result<()>) -> Result<()> {
    batches_unless(g, clip, paths, |_, _| false, |batch| f(batch).map(ControlFlow::Continue))
}

/// As [`batches`], but files whose bytes `pass` says yes to are not decoded, and `f` says whether to go on.
pub fn batches_unless(
    g: &Globals,
    clip: &Clip,
    paths: &[PathBuf],
    pass: impl Fn(&Path, &[u8]) -> bool + Sync,
    mut f: impl FnMut(Batch) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let bar = g.bar(paths.len() as u64, "encoding {bar:30} {pos}/{len} {per_sec} {eta}");
    let size = clip.vision()?.runner.capacity().batch;
    let recipe = &clip.preprocess;
    let budget = Budget { free: Mutex::new(MOST_PIXELS), freed: Condvar::new() };
    let pixels = |path: &PathBuf| -> Result<Option<Vec<f32>>> {
        let (bytes, name) = bytes_of(path)?;
        if pass(path, &bytes) {
            return Ok(None);
        }
        let named = |e: Error| Error::Image(format!("{name}: {e}"));
        let (width, height) = Image::dimensions(&bytes).map_err(named)?;
        budget.with(u64::from(width) * u64::from(height), || Image::decode(&bytes).map(|image| Some(recipe.pixels(&image))).map_err(named))
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
                Err(error) => batch.failed.push(Failed { input, error: error.to_string() }),
            }
        }
        batch
    };
    let result = std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(1);
        let make = &make;
        scope.spawn(move || paths.chunks(size).map(make).try_for_each(|batch| sender.send(batch)));
        for batch in receiver {
            let pictures = batch.pictures as u64;
            batch.failed.iter().for_each(|failed| bar.suspend(|| complain(&failed.error)));
            let next = f(batch)?;
            bar.inc(pictures);
            if next.is_break() {
                break;
            }
        }
        Ok(())
    });
    bar.finish_and_clear();
    result
}
