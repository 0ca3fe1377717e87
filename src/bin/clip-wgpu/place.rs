//! Files moved and copied so that nothing is written over and nothing is lost, whatever comes between.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use clip_wgpu::{Error, Result};

/// Whether there is something, be it a link that leads nowhere.
pub fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// A path without links and dots in its folders; those that are not there yet are taken as written.
pub fn real(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        (_, Some(parent), Some(name)) => real(parent).join(name),
        _ => path.into(),
    }
}

/// Where a picture's sidecar is.
pub fn sidecar_of(picture: &Path) -> PathBuf {
    let mut name = picture.as_os_str().to_owned();
    name.push(".xmp");
    name.into()
}

/// A file's own path, without links and dots in its folders; the file may be a link.
pub fn own(path: &Path) -> PathBuf {
    match (std::path::absolute(path).ok().as_deref().and_then(Path::parent), path.file_name()) {
        (Some(folder), Some(name)) => real(folder).join(name),
        _ => real(path),
    }
}

/// Moves or copies a picture, and its sidecar: both or none of them.
///
/// # Errors
/// [`Error::Io`], also where a file of the name is there.
pub fn place(from: &Path, to: &Path, copy: bool) -> Result<()> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let (sidecar, its_place) = (sidecar_of(from), sidecar_of(to));
    let has_sidecar = sidecar.is_file();
    if has_sidecar {
        one(&sidecar, &its_place, copy).map_err(Error::io(&sidecar))?;
    }
    one(from, to, copy).map_err(|error| {
        if has_sidecar {
            let _ = if copy { fs::remove_file(&its_place) } else { one(&its_place, &sidecar, false) }; // the first error is the one to tell
        }
        Error::io(from)(error)
    })
}

fn one(from: &Path, to: &Path, copy: bool) -> io::Result<()> {
    if !copy {
        match fs::hard_link(from, to) {
            Ok(()) => return removed(from, to),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {} // another disk, or one without links
        }
    }
    let mut part = to.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let copied = copied(from, &part).and_then(|()| put(&part, to));
    let _ = fs::remove_file(&part); // it is in its place, or worth nothing
    copied?;
    if copy { Ok(()) } else { removed(from, to) }
}

/// The end of a move: where the file cannot leave its old place, the new one is given up.
fn removed(from: &Path, to: &Path) -> io::Result<()> {
    fs::remove_file(from).inspect_err(|_| drop(fs::remove_file(to)))
}

/// A copy with the same time, on the disk.
fn copied(from: &Path, part: &Path) -> io::Result<()> {
    fs::copy(from, part)?;
    let file = File::options().write(true).open(part)?;
    file.set_modified(from.metadata()?.modified()?)?;
    file.sync_all()
}

/// Gives a file its name. A disk without links could be given another file of the name in between.
fn put(part: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(part, to) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists && !is_there(to) => fs::rename(part, to),
        linked => linked,
    }
}
