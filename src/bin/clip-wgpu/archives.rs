//! Tar archives of pictures, such as WebDataset's shards: `shards/00001.tar/cat.jpg` is the file `cat.jpg` in one.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Where a file lies in its archive, in bytes.
#[derive(Clone, Copy)]
struct Span {
    at: u64,
    bytes: u64,
}

/// What is in an archive.
#[derive(Default)]
struct Directory {
    /// By name. Of several of a name the last is meant, as for `tar -x`.
    files: BTreeMap<String, Span>,
    /// Names that are no UTF-8, or lead out of the archive.
    odd: Vec<String>,
}

/// An archive as it was read.
struct Opened {
    path: PathBuf,
    modified: Option<SystemTime>,
    directory: Arc<Directory>,
}

/// The latest ones: pictures are taken from one archive after the other.
static OPENED: Mutex<VecDeque<Opened>> = Mutex::new(VecDeque::new());
const KEPT: usize = 64;

/// Whether a path is named as an archive is.
pub fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar"))
}

/// The archive and the name in it that a path means.
fn parted(path: &Path) -> Option<(&Path, String)> {
    let archive = path.ancestors().skip(1).find(|p| is_archive(p) && p.is_file())?;
    let name = path.strip_prefix(archive).ok()?.iter().map(|part| part.to_str()).collect::<Option<Vec<_>>>()?.join("/");
    Some((archive, name))
}

fn directory(archive: &Path) -> io::Result<Arc<Directory>> {
    let modified = archive.metadata()?.modified().ok();
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = opened.iter().find(|known| known.path == archive && known.modified == modified) {
        return Ok(known.directory.clone());
    }
    let (file, mut found) = (File::open(archive)?, Directory::default());
    let length = file.metadata()?.len();
    for entry in tar::Archive::new(file).entries_with_seek()? {
        let entry = entry?;
        let span = Span { at: entry.raw_file_position(), bytes: entry.size() };
        if span.at.checked_add(span.bytes).is_none_or(|end| end > length) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends within a file"));
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        match name_of(&entry.path_bytes()) {
            Some(name) => drop(found.files.insert(name, span)),
            None => found.odd.push(String::from_utf8_lossy(&entry.path_bytes()).into_owned()),
        }
    }
    let directory = Arc::new(found);
    opened.retain(|known| known.path != archive);
    opened.push_front(Opened { path: archive.into(), modified, directory: directory.clone() });
    opened.truncate(KEPT);
    Ok(directory)
}

/// The name of a file in an archive; `None` for one that no path under the archive's own could mean.
fn name_of(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes).ok()?;
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let leads_out = |part: &&str| *part == ".." || cfg!(windows) && part.contains(['\\', ':']);
    (!parts.iter().any(leads_out)).then(|| parts.join("/"))
}

/// The names of the files in an archive, in order, and names that no path could mean.
pub fn members(archive: &Path) -> io::Result<(Vec<String>, Vec<String>)> {
    let directory = directory(archive)?;
    Ok((directory.files.keys().cloned().collect(), directory.odd.clone()))
}

fn span(path: &Path) -> Option<io::Result<(&Path, Span)>> {
    let (archive, name) = parted(path)?;
    let span = directory(archive).and_then(|found| found.files.get(&name).copied().ok_or_else(|| io::ErrorKind::NotFound.into()));
    Some(span.map(|span| (archive, span)))
}

/// Whether a path means a file in an archive that is there.
pub fn has(path: &Path) -> bool {
    matches!(span(path), Some(Ok(_)))
}

/// The bytes of a file in an archive; `None` for a path that means none.
pub fn read(path: &Path) -> Option<io::Result<Vec<u8>>> {
    let read = |(archive, span): (&Path, Span)| {
        let mut file = File::open(archive)?;
        file.seek(SeekFrom::Start(span.at))?;
        let mut bytes = Vec::new();
        file.take(span.bytes).read_to_end(&mut bytes)?; // shorter where it was cut since: the picture will say so
        Ok(bytes)
    };
    span(path).map(|span| span.and_then(read))
}

/// The length of a file in an archive, and when the archive was written; `None` for a path that means none.
#[cfg(feature = "index")]
pub fn stamp(path: &Path) -> Option<io::Result<(u64, SystemTime)>> {
    span(path).map(|span| span.and_then(|(archive, span)| Ok((span.bytes, archive.metadata()?.modified()?))))
}
