//! What the command line names: pictures, folders of them, texts, lines of files, standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use clip_wgpu::{Clip, Embeddings, Error, Image, Result};
use indicatif::ProgressBar;
use rayon::prelude::*;
use walkdir::WalkDir;

use crate::context::Globals;

/// The extensions that are looked for in folders; files that are named are opened whatever they are called.
const EXTENSIONS: [&str; 9] = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "dib"];

/// `paths` with folders replaced by the pictures in them, in order of name; `-` is standard input.
pub fn pictures(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().flat_map(|path| if path.is_dir() { in_folder(path) } else { vec![path.clone()] }).collect()
}

fn in_folder(folder: &Path) -> Vec<PathBuf> {
    let shown = |entry: &walkdir::DirEntry| entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.');
    let is_picture = |path: &Path| path.extension().is_some_and(|e| EXTENSIONS.contains(&e.to_string_lossy().to_lowercase().as_str()));
    let entries = WalkDir::new(folder).sort_by_file_name().into_iter().filter_entry(shown).filter_map(|e| e.ok());
    entries.filter(|e| e.file_type().is_file()).map(walkdir::DirEntry::into_path).filter(|path| is_picture(path)).collect()
}

/// One picture.
pub fn open(path: &Path) -> Result<Image> {
    if path != Path::new("-") {
        return Image::open(path);
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(Error::io("standard input"))?;
    Image::decode(&bytes).map_err(|e| Error::Image(format!("standard input: {e}")))
}

/// Pictures that were encoded, and those that failed.
#[derive(Default)]
pub struct Encoded {
    pub names: Vec<String>,
    /// Row after row, in the order of `names`.
    pub data: Vec<f32>,
    pub failed: Vec<(String, String)>,
}

impl Encoded {
    pub fn embeddings(&self, width: usize) -> Embeddings {
        Embeddings { rows: self.names.len(), width, data: self.data.clone() }
    }
}

/// Encodes pictures a batch at a time; one that cannot be read is named on stderr and left out.
pub fn encode(g: &Globals, clip: &Clip, paths: &[PathBuf]) -> Result<Encoded> {
    let bar = g.bar(paths.len() as u64, "encoding {bar:30} {pos}/{len} {per_sec} {eta}");
    let mut encoded = Encoded::default();
    for part in paths.chunks(clip.vision()?.runner.capacity().batch) {
        let opened: Vec<(String, Result<Image>)> = part.par_iter().map(|path| (path.display().to_string(), open(path))).collect();
        let mut images = Vec::new();
        for (name, image) in opened {
            match image {
                Ok(image) => {
                    images.push(image);
                    encoded.names.push(name);
                }
                Err(error) => {
                    complain(&bar, &error);
                    encoded.failed.push((name, error.to_string()));
                }
            }
        }
        encoded.data.extend(pollster::block_on(clip.encode_images(&images))?.data);
        bar.inc(part.len() as u64);
    }
    bar.finish_and_clear();
    Ok(encoded)
}

fn complain(bar: &ProgressBar, error: &Error) {
    bar.suspend(|| eprintln!("clip-wgpu: {error}"));
}

/// Texts from the command line and from a file of one per line (`-`: standard input).
#[derive(Args)]
pub struct Texts {
    /// The texts
    #[arg(value_name = "TEXT")]
    pub texts: Vec<String>,
    /// A file with one text per line; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub texts_file: Option<PathBuf>,
}

impl Texts {
    pub fn all(&self) -> Result<Vec<String>> {
        let mut texts = self.texts.clone();
        if let Some(path) = &self.texts_file {
            texts.extend(lines(path)?);
        }
        match texts.is_empty() {
            true => Err(Error::Argument("expected at least one text, or --texts-file with one per line; found none".into())),
            false => Ok(texts),
        }
    }
}

/// The lines of a file that are not blank.
pub fn lines(path: &Path) -> Result<Vec<String>> {
    let (bytes, name) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(Error::io("standard input"))?;
        (bytes, "standard input".to_string())
    } else {
        (std::fs::read(path).map_err(Error::io(path))?, path.display().to_string())
    };
    let mut lines = Vec::new();
    for (at, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let line = std::str::from_utf8(line).map_err(|_| Error::Text(format!("{name}: line {} is not valid UTF-8", at + 1)))?.trim();
        if !line.is_empty() {
            lines.push(line.to_string());
        }
    }
    Ok(lines)
}

/// The ids of `texts`, with a warning for each that is cut, or an error if `strict`.
pub fn tokenize(g: &Globals, clip: &Clip, texts: &[String], strict: bool) -> Result<Vec<Vec<u32>>> {
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        let tokens = clip.tokenize(text)?;
        if tokens.truncated() {
            let message = format!("`{text}` has {} tokens, but the model takes {}: its end is cut off", tokens.total, tokens.ids.len());
            if strict {
                return Err(Error::Text(message));
            }
            g.warn(&message);
        }
        ids.push(tokens.ids);
    }
    Ok(ids)
}
