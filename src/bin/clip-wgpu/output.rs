//! What the command prints and writes: files are written beside and renamed, never half-written.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clip_wgpu::{Embeddings, Error, Result};
use serde_json::{Value, json};

/// Prints a line; a closed pipe (`| head`) ends the program quietly.
pub fn say(line: &str) -> Result<()> {
    let written = writeln!(io::stdout().lock(), "{line}");
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(Error::io("standard output")),
    }
}

/// Prints one JSON document.
pub fn say_json(value: &Value) -> Result<()> {
    say(&format!("{value:#}"))
}

/// The inputs that failed, for `--json`.
pub fn failed_json(failed: &[(String, String)]) -> Value {
    failed.iter().map(|(input, error)| json!({"input": input, "error": error})).collect()
}

/// A file format for rows of floats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    Npy,
    Safetensors,
    JsonLines,
}

impl FileFormat {
    /// By the file's extension.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("npy") => Ok(FileFormat::Npy),
            Some("safetensors") => Ok(FileFormat::Safetensors),
            Some("jsonl") => Ok(FileFormat::JsonLines),
            _ => Err(Error::Argument(format!("{}: expected a name that ends in .npy, .safetensors or .jsonl", path.display()))),
        }
    }
}

/// Writes embeddings in the format of the path's extension; `names` has one per row.
pub fn write_embeddings(path: &Path, model: &str, names: &[String], embeddings: &Embeddings) -> Result<()> {
    let bytes = match FileFormat::of(path)? {
        FileFormat::Npy => npy(&[embeddings.rows, embeddings.width], &embeddings.data),
        FileFormat::JsonLines => {
            (0..embeddings.rows).flat_map(|i| format!("{}\n", row_json(&names[i], embeddings.row(i))).into_bytes()).collect()
        }
        FileFormat::Safetensors => safetensors_file(model, names, embeddings)?,
    };
    replace(path, &bytes)
}

/// One row, as a line of .jsonl.
pub fn row_json(name: &str, row: &[f32]) -> Value {
    json!({"input": name, "embedding": row})
}

/// NumPy's format, version 1.0: little-endian f32 in C order.
pub fn npy(shape: &[usize], data: &[f32]) -> Vec<u8> {
    let sides: Vec<String> = shape.iter().map(|n| format!("{n},")).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", sides.join(" "));
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    data.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
    bytes
}

/// A tensor `embeddings`, the model and the inputs' names in the metadata.
fn safetensors_file(model: &str, names: &[String], embeddings: &Embeddings) -> Result<Vec<u8>> {
    let data: Vec<u8> = embeddings.data.iter().flat_map(|v| v.to_le_bytes()).collect();
    let fail = |e: safetensors::SafeTensorError| Error::Argument(format!("the embeddings cannot be written: {e}"));
    let view =
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![embeddings.rows, embeddings.width], &data).map_err(fail)?;
    let metadata = [("model".to_string(), model.to_string()), ("inputs".to_string(), json!(names).to_string())].into();
    safetensors::serialize([("embeddings", view)], Some(metadata)).map_err(fail)
}

/// Writes a file whole: beside its place first, then renamed.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = Path::new(&beside);
    let written = fs::write(beside, bytes).and_then(|()| fs::rename(beside, path));
    written.map_err(|e| {
        let _ = fs::remove_file(beside); // it may not be there
        Error::io(path)(e)
    })
}

/// Bytes in words.
pub fn megabytes(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
