//! The directory of a zip archive, read range by range: where PyTorch keeps its tensors, uncompressed.

use std::collections::BTreeMap;
use std::ops::Range;

use super::source::Source;
use crate::error::{Error, Result};

/// The greatest directory that is read: a million files.
const MOST_BYTES: u64 = 128 << 20;

/// A file of an archive.
#[derive(Clone, Debug)]
struct Entry {
    /// Where its own header begins.
    header: u64,
    bytes: u64,
    stored: bool,
}

/// The files of a zip archive by name.
#[derive(Debug)]
pub struct Archive<'a> {
    source: &'a dyn Source,
    entries: BTreeMap<String, Entry>,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?).into())
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl<'a> Archive<'a> {
    /// Reads the directory.
    ///
    /// # Errors
    /// [`Error::Weights`] where the archive is cut short or damaged; [`Error::Io`].
    pub async fn open(source: &'a dyn Source) -> Result<Self> {
        let archive = Self { source, entries: BTreeMap::new() };
        let tail_at = source.len().saturating_sub(66_000);
        let tail = source.read(tail_at..source.len()).await?;
        let Some(end) = (0..tail.len().saturating_sub(21)).rev().find(|&i| tail[i..].starts_with(b"PK\x05\x06")) else {
            return archive.problem("is cut short: the archive's directory, at its end, is not there");
        };
        let place = match archive.long_end(&tail, end).await? {
            Some(place) => Some(place),
            None => u32_at(&tail, end + 12).zip(u32_at(&tail, end + 16)),
        };
        match place {
            Some((size, at)) if size <= MOST_BYTES && at.checked_add(size).is_some_and(|end| end <= source.len()) => {
                let directory = source.read(at..at + size).await?;
                match entries(&directory) {
                    Some(entries) => Ok(Self { source, entries }),
                    None => archive.problem("its archive's directory is damaged"),
                }
            }
            _ => archive.problem("its archive's directory lies outside the file"),
        }
    }

    /// The directory's size and place in an archive above 4 GiB (ZIP64).
    async fn long_end(&self, tail: &[u8], end: usize) -> Result<Option<(u64, u64)>> {
        let Some(locator) = end.checked_sub(20).filter(|&at| tail[at..].starts_with(b"PK\x06\x07")) else { return Ok(None) };
        let at = u64_at(tail, locator + 8).filter(|at| at.checked_add(56).is_some_and(|end| end <= self.source.len()));
        let Some(at) = at else { return self.problem("its archive's directory lies outside the file") };
        let record = self.source.read(at..at + 56).await?;
        Ok(record.starts_with(b"PK\x06\x06").then(|| u64_at(&record, 40).zip(u64_at(&record, 48))).flatten())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Where the bytes of a file lie.
    ///
    /// # Errors
    /// [`Error::Weights`] where there is no such file, it is compressed, or it passes the archive's end; [`Error::Io`].
    pub async fn range(&self, name: &str) -> Result<Range<u64>> {
        let Some(entry) = self.entries.get(name) else { return self.problem(&format!("its archive has no file `{name}`")) };
        if !entry.stored {
            return self.problem(&format!("its archive's file `{name}` is compressed: PyTorch writes them as they are"));
        }
        let end = entry.header.checked_add(30).filter(|&end| end <= self.source.len());
        let Some(end) = end else { return self.problem(&format!("is cut short: `{name}` is not in it")) };
        let header = self.source.read(entry.header..end).await?;
        let start = u16_at(&header, 26).zip(u16_at(&header, 28)).map(|(name, extra)| end + name + extra);
        match start.map(|start| start..start.saturating_add(entry.bytes)) {
            Some(range) if header.starts_with(b"PK\x03\x04") && range.end <= self.source.len() => Ok(range),
            _ => self.problem(&format!("is cut short or damaged: `{name}` is not whole in it")),
        }
    }

    fn problem<T>(&self, message: &str) -> Result<T> {
        Err(Error::Weights { file: self.source.name().into(), problems: vec![message.into()] })
    }
}

/// The entries of a directory, or `None` where it is damaged.
fn entries(directory: &[u8]) -> Option<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::new();
    let mut at = 0;
    while directory.get(at..)?.starts_with(b"PK\x01\x02") {
        let lengths = (u16_at(directory, at + 28)? as usize, u16_at(directory, at + 30)? as usize, u16_at(directory, at + 32)? as usize);
        let name = String::from_utf8_lossy(directory.get(at + 46..at + 46 + lengths.0)?).into_owned();
        let extra = directory.get(at + 46 + lengths.0..at + 46 + lengths.0 + lengths.1)?;
        let (packed, whole, header) =
            long_fields(extra, [u32_at(directory, at + 20)?, u32_at(directory, at + 24)?, u32_at(directory, at + 42)?])?;
        let stored = u16_at(directory, at + 10)? == 0 && packed == whole;
        entries.insert(name, Entry { header, bytes: whole, stored });
        at += 46 + lengths.0 + lengths.1 + lengths.2;
    }
    Some(entries)
}

/// Compressed size, size and header's place, with those that did not fit into 32 bits from the ZIP64 field.
fn long_fields(mut extra: &[u8], [packed, whole, header]: [u64; 3]) -> Option<(u64, u64, u64)> {
    let mut long: &[u8] = &[];
    while extra.len() >= 4 {
        let (id, length) = (u16_at(extra, 0)?, u16_at(extra, 2)? as usize);
        let field = extra.get(4..4 + length)?;
        if id == 1 {
            long = field;
        }
        extra = &extra[4 + length..];
    }
    let mut next = |short: u64| -> Option<u64> {
        if short != u64::from(u32::MAX) {
            return Some(short);
        }
        let value = u64_at(long, 0)?;
        long = &long[8..];
        Some(value)
    };
    // The field's order: size, compressed size, place.
    let whole = next(whole)?;
    let packed = next(packed)?;
    Some((packed, whole, next(header)?))
}
