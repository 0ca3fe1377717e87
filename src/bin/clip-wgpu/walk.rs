//! What the command line names: pictures, folders and tar archives of them, standard input.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use clip_wgpu::{Error, Image, Result};
use walkdir::WalkDir;

use crate::archives;
use crate::context::Globals;
use crate::output::{Failed, complain, file_name};

/// Extensions of pictures that are read.
const READ: [&str; 16] =
    ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "dib", "tif", "tiff", "ico", "ppm", "pgm", "pbm", "pnm"];
/// Extensions of pictures that are not.
const NOT_READ: [&str; 13] = ["heic", "heif", "avif", "jxl", "jp2", "psd", "psb", "svg", "tga", "pcx", "qoi", "dds", "exr"];
/// Extensions of cameras' own formats: TIFF by content, of which the first picture is a thumbnail.
const RAW: [&str; 18] =
    ["cr2", "cr3", "nef", "nrw", "arw", "sr2", "srw", "dng", "raf", "orf", "pef", "rw2", "3fr", "iiq", "erf", "kdc", "mrw", "x3f"];

/// Whether a name ends as a picture's does.
pub fn is_named_like_a_picture(name: &str) -> bool {
    let extension = Path::new(name).extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_some_and(|e| [&READ[..], &NOT_READ, &RAW].iter().any(|kinds| kinds.contains(&e.as_str())))
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

/// What is asked whether it is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A file or archive that was given, by its absolute path.
    Given,
    /// Of a folder, by the path from there on.
    Folder,
    File,
    /// A tar archive of a folder.
    Archive,
    /// A file in an archive, by the path from the folder, or from the archive that was given, on.
    Member,
}

/// `paths` with folders and tar archives replaced by the pictures in them; `-` is standard input. What is passed over is counted on stderr.
///
/// # Errors
/// [`Error::Io`] for the one path that is not there; [`Error::Argument`] where nothing is left.
pub fn pictures(g: &Globals, paths: &[PathBuf]) -> Result<Found> {
    let found = pictures_where(g, paths, |_, _| true)?;
    match found.pictures.is_empty() && found.failed.is_empty() {
        true => Err(none()),
        false => Ok(found),
    }
}

/// What to say where nothing is found.
pub fn none() -> Error {
    Error::Argument("expected pictures, found none in what was given".into())
}

/// As [`pictures`], but only what `takes` says yes to, which may be nothing.
pub fn pictures_where(g: &Globals, paths: &[PathBuf], takes: impl Fn(&Path, What) -> bool) -> Result<Found> {
    let mut found = Found::default();
    for path in paths {
        match path.metadata() {
            Ok(is) if is.is_dir() => in_folder(path, &takes, &mut found),
            _ if !takes(path, What::Given) => {}
            Ok(_) if archives::is_archive(path) => in_archive(path, path, &takes, &mut found),
            Err(source) if path != Path::new("-") && !archives::has(path) => {
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
    Ok(found)
}

/// Hidden files and folders are left out, and what is in a bin; symbolic links are followed, those that lead back once.
fn in_folder(folder: &Path, takes: &impl Fn(&Path, What) -> bool, found: &mut Found) {
    let what = |entry: &walkdir::DirEntry| match entry.file_type().is_dir() {
        true => What::Folder,
        false if archives::is_archive(entry.path()) => What::Archive,
        false => What::File,
    };
    let taken = |entry: &walkdir::DirEntry| takes(entry.path().strip_prefix(folder).unwrap_or(entry.path()), what(entry));
    let shown = |entry: &walkdir::DirEntry| entry.depth() == 0 || !is_hidden(entry.path()) && taken(entry);
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter().filter_entry(shown) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && what(&entry) == What::Archive => in_archive(entry.path(), folder, takes, found),
            Ok(entry) if entry.file_type().is_file() => found.file(entry.into_path(), kind_of),
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

/// The pictures of an archive, by their names; `from` is the folder that it was found in.
fn in_archive(archive: &Path, from: &Path, takes: &impl Fn(&Path, What) -> bool, found: &mut Found) {
    let (members, odd) = match archives::members(archive) {
        Ok(members) => members,
        Err(error) => {
            return found.failed.push(Failed { input: file_name(archive), error: format!("expected a tar archive: {error}") });
        }
    };
    for name in odd {
        let error = "expected a name in UTF-8 that stays in the archive".into();
        found.failed.push(Failed { input: format!("{}: {name}", file_name(archive)), error });
    }
    for name in members {
        let path = archive.join(&name);
        let is_meant = !Path::new(&name).iter().any(|part| is_hidden(Path::new(part)))
            && takes(path.strip_prefix(from).unwrap_or(&path), What::Member);
        if is_meant {
            found.file(path, |path| kind_by_name(path).unwrap_or_else(|| Kind::other(path)));
        }
    }
}

/// What systems keep on a disk for themselves: what was deleted, what was found, thumbnails.
const OF_SYSTEMS: [&str; 4] = ["$RECYCLE.BIN", "System Volume Information", "lost+found", "@eaDir"];

fn is_hidden(path: &Path) -> bool {
    path.file_name().map(|name| name.to_string_lossy()).is_some_and(|name| name.starts_with('.') || OF_SYSTEMS.contains(&&*name))
}

impl Found {
    fn file(&mut self, path: PathBuf, kind: impl Fn(&Path) -> Kind) {
        match kind(&path) {
            Kind::Picture => self.pictures.push(path),
            Kind::NotRead(format) => {
                let error = format!("{format} pictures are not read: convert them to JPEG or PNG");
                self.failed.push(Failed { input: file_name(&path), error });
            }
            Kind::Other(kind) => *self.passed_over.entry(kind).or_default() += 1,
        }
    }
}

enum Kind {
    Picture,
    NotRead(String),
    Other(String),
}

impl Kind {
    fn other(path: &Path) -> Self {
        match extension(path) {
            extension if extension.is_empty() => Kind::Other("without extension".into()),
            extension => Kind::Other(format!(".{extension}")),
        }
    }
}

fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
}

fn kind_by_name(path: &Path) -> Option<Kind> {
    let extension = extension(path);
    match () {
        () if READ.contains(&extension.as_str()) => Some(Kind::Picture),
        () if NOT_READ.contains(&extension.as_str()) || RAW.contains(&extension.as_str()) => Some(Kind::NotRead(extension.to_uppercase())),
        () => None,
    }
}

/// By the extension where it is one that is read or a camera's own, else by content, which has the last word on the others.
fn kind_of(path: &Path) -> Kind {
    let by_name = kind_by_name(path);
    match by_name {
        Some(Kind::Picture) => return Kind::Picture,
        Some(kind) if RAW.contains(&extension(path).as_str()) => return kind,
        _ => {}
    }
    let mut start = Vec::new();
    let read = std::fs::File::open(path).and_then(|f| f.take(64).read_to_end(&mut start));
    match Image::format(&start) {
        Some(_) if read.is_ok() => Kind::Picture,
        _ if start.get(4..8) == Some(b"ftyp") && [&b"hei"[..], b"hev", b"mif", b"avi"].iter().any(|b| start[8..].starts_with(b)) => {
            Kind::NotRead(if start[8..].starts_with(b"avi") { "AVIF".into() } else { "HEIC".into() })
        }
        _ => by_name.unwrap_or_else(|| Kind::other(path)),
    }
}
