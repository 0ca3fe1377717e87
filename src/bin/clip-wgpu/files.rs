//! Files of embeddings: written beside as they come and renamed when they are whole, so that an earlier file stays until then.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clip_wgpu::{Error, Result};
use serde_json::{Value, json};

#[cfg(feature = "parquet")]
mod columns;
#[cfg(not(feature = "parquet"))]
#[path = "files/no_columns.rs"]
mod columns;

use columns::Columns;

/// A file format for rows of floats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    Npy,
    Safetensors,
    JsonLines,
    Parquet,
}

impl FileFormat {
    /// By the file's extension.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("npy") => Ok(FileFormat::Npy),
            Some("safetensors") => Ok(FileFormat::Safetensors),
            Some("jsonl") => Ok(FileFormat::JsonLines),
            Some("parquet") if cfg!(feature = "parquet") => Ok(FileFormat::Parquet),
            _ => {
                let parquet = if cfg!(feature = "parquet") { ", .parquet" } else { "" };
                Err(Error::Argument(format!("{}: expected a name that ends in .npy, .safetensors{parquet} or .jsonl", path.display())))
            }
        }
    }
}

/// A file on its way: dropped, it is gone, and what was at its place is as before.
struct Part {
    file: BufWriter<File>,
    beside: PathBuf,
    path: PathBuf,
}

impl Part {
    fn create(path: &Path) -> Result<Self> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.part", std::process::id()));
        let beside = PathBuf::from(beside);
        if path.is_dir() {
            return Err(Error::Io { path: path.into(), source: io::ErrorKind::IsADirectory.into() });
        }
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&beside).map_err(Error::io(path))?;
        // As the earlier one was, for its owner and for others.
        if let Some(earlier) = path.metadata().ok().filter(|_| cfg!(unix)) {
            file.set_permissions(earlier.permissions()).map_err(Error::io(path))?;
        }
        Ok(Self { file: BufWriter::new(file), beside, path: path.into() })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io(&self.path))
    }

    fn finish(mut self) -> Result<()> {
        self.file.flush().and_then(|()| self.file.get_ref().sync_all()).map_err(Error::io(&self.path))?;
        fs::rename(&self.beside, &self.path).map_err(|error| {
            // As where another program has a file open on Windows. What took hours is not thrown away.
            let kept = std::mem::take(&mut self.beside);
            let message = format!("{error}: what was to be there is whole, in {}", kept.display());
            Error::Io { path: self.path.clone(), source: io::Error::new(error.kind(), message) }
        })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.beside); // renamed, it is not there
    }
}

/// Writes a file beside and renames it: an earlier one stays until then.
///
/// # Errors
/// [`Error::Io`]
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut part = Part::create(path)?;
    part.write(bytes)?;
    part.finish()
}

/// A file of embeddings that is being written.
pub struct EmbeddingFile {
    part: Part,
    format: FileFormat,
    model: String,
    /// Of each input's.
    shape: Vec<usize>,
    rows: usize,
    names: Vec<String>,
    columns: Option<Columns>,
}

/// Room for the header of a .npy file, whose number of rows is known at the end.
const NPY_HEADER: usize = 128;

impl EmbeddingFile {
    /// Begins a file in the format of the path's extension, with so many values for each input.
    pub fn create(path: &Path, model: &str, shape: &[usize]) -> Result<Self> {
        let format = FileFormat::of(path)?;
        let mut part = Part::create(path)?;
        if format == FileFormat::Npy {
            part.write(&[0; NPY_HEADER])?;
        }
        let columns = match format {
            FileFormat::Parquet => Some(Columns::begin(&part, model, shape)?),
            _ => None,
        };
        Ok(Self { part, format, model: model.into(), shape: shape.into(), rows: 0, names: Vec::new(), columns })
    }

    pub fn row(&mut self, name: &str, row: &[f32]) -> Result<()> {
        self.rows += 1;
        if let Some(columns) = &mut self.columns {
            return columns.row(name, row);
        }
        match self.format {
            FileFormat::JsonLines => self.part.write(format!("{}\n", row_json(name, row, &self.shape)).as_bytes()),
            FileFormat::Npy | FileFormat::Safetensors | FileFormat::Parquet => {
                if self.format == FileFormat::Safetensors {
                    self.names.push(name.into());
                }
                self.part.write(&row.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
            }
        }
    }

    /// Puts it in its place.
    pub fn finish(mut self) -> Result<()> {
        if let Some(columns) = self.columns.take() {
            columns.finish()?;
        }
        match self.format {
            FileFormat::JsonLines | FileFormat::Parquet => self.part.finish(),
            FileFormat::Npy => {
                let header = npy_header(&[&[self.rows], &self.shape[..]].concat(), NPY_HEADER);
                self.part.file.seek(SeekFrom::Start(0)).map_err(Error::io(&self.part.path))?;
                self.part.write(&header)?;
                self.part.finish()
            }
            FileFormat::Safetensors => self.finish_safetensors(),
        }
    }

    /// The header goes first and names the inputs: the rows are copied behind it.
    fn finish_safetensors(mut self) -> Result<()> {
        let shape = [&[self.rows], &self.shape[..]].concat();
        let bytes = 4 * shape.iter().product::<usize>();
        let metadata = json!({"model": self.model, "inputs": json!(self.names).to_string()});
        let tensor = json!({"dtype": "F32", "shape": shape, "data_offsets": [0, bytes]});
        let mut header = json!({"__metadata__": metadata, "embeddings": tensor}).to_string();
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        let path = self.part.path.clone();
        let mut rows_at = self.part.beside.as_os_str().to_owned();
        rows_at.push(".rows");
        self.part.file.flush().map_err(Error::io(&path))?;
        fs::rename(&self.part.beside, &rows_at).map_err(Error::io(&path))?;
        let copied = || -> Result<()> {
            let mut whole = Part::create(&path)?;
            whole.write(&(header.len() as u64).to_le_bytes())?;
            whole.write(header.as_bytes())?;
            let mut rows = File::open(&rows_at).map_err(Error::io(&path))?;
            io::copy(&mut rows, &mut whole.file).map_err(Error::io(&path))?;
            whole.finish()
        };
        let done = copied();
        let _ = fs::remove_file(&rows_at); // it was only beside
        done
    }
}

/// What one input has, as a line of .jsonl: an array, or an array of arrays.
pub fn row_json(name: &str, row: &[f32], shape: &[usize]) -> Value {
    match shape {
        [_, width] => json!({"input": name, "embedding": row.chunks(*width).collect::<Vec<_>>()}),
        _ => json!({"input": name, "embedding": row}),
    }
}

/// The header of NumPy's format, version 1.0, little-endian f32 in C order: `bytes` of it.
fn npy_header(shape: &[usize], bytes: usize) -> Vec<u8> {
    let sides: Vec<String> = shape.iter().map(|n| format!("{n},")).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", sides.join(" "));
    let mut all = b"\x93NUMPY\x01\x00".to_vec();
    all.extend(((bytes - 10) as u16).to_le_bytes());
    all.extend(header.as_bytes());
    all.resize(bytes - 1, b' ');
    all.push(b'\n');
    all
}

/// Writes one array as a .npy file.
pub fn write_npy(path: &Path, shape: &[usize], data: &[f32]) -> Result<()> {
    let mut part = Part::create(path)?;
    part.write(&npy_header(shape, NPY_HEADER))?;
    part.write(&data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
    part.finish()
}
