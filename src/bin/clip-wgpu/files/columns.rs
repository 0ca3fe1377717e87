//! Parquet: a column of names and one of embeddings, lists of a fixed length, as vector databases take them.

use std::fs::File;
use std::io;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use clip_wgpu::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::Part;

/// Bytes of a row group, and rows at most.
const GROUP_BYTES: usize = 16 << 20;
const GROUP: usize = 8192;

/// The columns of a file that is being written.
pub struct Columns {
    writer: ArrowWriter<File>,
    schema: Arc<Schema>,
    width: usize,
    names: Vec<String>,
    values: Vec<f32>,
    path: std::path::PathBuf,
}

impl Columns {
    /// Into the file of `part`, of what each input has so many values.
    pub fn begin(part: &Part, model: &str, shape: &[usize]) -> Result<Self> {
        let width: usize = shape.iter().product();
        let list = DataType::FixedSizeList(value(), i32::try_from(width).map_err(|_| too_wide(width))?);
        let schema = Arc::new(Schema::new(vec![Field::new("input", DataType::Utf8, false), Field::new("embedding", list, false)]));
        let about = |key: &str, value: String| KeyValue::new(key.to_string(), value);
        let properties = WriterProperties::builder()
            .set_key_value_metadata(Some(vec![about("model", model.into()), about("shape", format!("{shape:?}"))]))
            .set_dictionary_enabled(false) // hardly two embeddings share a value
            .build();
        let file = part.file.get_ref().try_clone().map_err(Error::io(&part.path))?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(|e| wrong(&part.path, e))?;
        Ok(Self { writer, schema, width, names: Vec::new(), values: Vec::new(), path: part.path.clone() })
    }

    pub fn row(&mut self, name: &str, row: &[f32]) -> Result<()> {
        self.names.push(name.into());
        self.values.extend(row);
        if self.names.len() >= (GROUP_BYTES / (4 * self.width).max(1)).clamp(1, GROUP) { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        let (names, values) = (std::mem::take(&mut self.names), std::mem::take(&mut self.values));
        let batch = || -> std::result::Result<RecordBatch, ArrowError> {
            let rows = FixedSizeListArray::try_new(value(), self.width as i32, Arc::new(Float32Array::from(values)), None)?;
            let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(names)), Arc::new(rows)];
            RecordBatch::try_new(self.schema.clone(), columns)
        };
        let batch = batch().map_err(|e| wrong(&self.path, e))?;
        self.writer.write(&batch).and_then(|()| self.writer.flush()).map_err(|e| wrong(&self.path, e))
    }

    pub fn finish(mut self) -> Result<()> {
        if !self.names.is_empty() {
            self.write()?;
        }
        self.writer.close().map(drop).map_err(|e| wrong(&self.path, e))
    }
}

fn value() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Float32, false))
}

fn too_wide(width: usize) -> Error {
    Error::Argument(format!("expected fewer than 2^31 values an input for .parquet, found {width}"))
}

fn wrong(path: &std::path::Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Io { path: path.into(), source: io::Error::other(error) }
}
