//! Safetensors and PyTorch files as named tensors, read range by range.

use std::collections::BTreeMap;
use std::ops::Range;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::layout;
use super::source::Source;
use super::torch;
use crate::clip::config::tensors::Shapes;
use crate::error::{Error, Result};

/// One tensor: its file, type, shape and bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    file: usize,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Of its elements, where they do not lie one after another.
    strides: Option<Vec<usize>>,
    range: Range<u64>,
}

impl Tensor {
    pub fn count(&self) -> usize {
        elements(&self.shape)
    }

    /// Whether its elements lie one after another.
    pub(super) fn is_packed(&self) -> bool {
        self.strides.is_none()
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// How many elements a shape has; the most that can be counted where a damaged file says more.
pub(super) fn elements(shape: &[usize]) -> usize {
    shape.iter().fold(1, |count: usize, &n| count.saturating_mul(n))
}

/// The tensors of one or more files.
#[derive(Debug)]
pub struct Checkpoint {
    files: Vec<Box<dyn Source>>,
    pub tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Reads the headers of `files`. Names are those of [`layout::unwrapped`]; tensors without weight are left out.
    ///
    /// # Errors
    /// [`Error::Weights`] for a file that is cut short, or whose header does not agree with it; [`Error::Io`].
    pub async fn open(files: Vec<Box<dyn Source>>) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (file, source) in files.iter().enumerate() {
            for (name, tensor) in read_header(file, &**source).await? {
                let Some(name) = layout::unwrapped(&name) else { continue };
                if tensors.insert(name.to_string(), tensor).is_some() {
                    return problem(&**source, format!("tensor `{name}` is there twice"));
                }
            }
        }
        Ok(Self { files, tensors })
    }

    /// What errors call the checkpoint.
    pub fn name(&self) -> &str {
        self.files.first().map_or("checkpoint", |file| file.name())
    }

    /// Whether it is a TorchScript module, as OpenAI published its models.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub async fn is_script(&self) -> Result<bool> {
        let [file] = &self.files[..] else { return Ok(false) };
        Ok(torch::is_archive(&file.read(0..file.len().min(4)).await?) && torch::is_script(&**file).await?)
    }

    /// Elements `range` of a tensor, as f32 (exact for every type that is read).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Weights`] for a type that no weight has.
    pub async fn read(&self, name: &str, range: Range<usize>) -> Result<Vec<f32>> {
        let tensor = &self.tensors[name];
        let source = &*self.files[tensor.file];
        let size = match tensor.dtype {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            other => return problem(source, format!("tensor `{name}`: expected F32, F16 or BF16, found {other:?}")),
        };
        let bytes = match &tensor.strides {
            None => {
                let start = tensor.range.start + (range.start * size) as u64;
                source.read(start..start + (range.len() * size) as u64).await?
            }
            Some(strides) => gathered(&source.read(tensor.range.clone()).await?, size, &tensor.shape, strides, range),
        };
        Ok(match tensor.dtype {
            Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Dtype::BF16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            _ => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        })
    }
}

/// Elements `range` of a tensor whose elements lie `strides` apart.
fn gathered(bytes: &[u8], size: usize, shape: &[usize], strides: &[usize], range: Range<usize>) -> Vec<u8> {
    let place = |mut element: usize| {
        let on_axis = |(&n, &stride): (&usize, &usize)| {
            let at = element % n;
            element /= n;
            at * stride
        };
        size * shape.iter().zip(strides).rev().map(on_axis).sum::<usize>()
    };
    range.flat_map(|element| &bytes[place(element)..][..size]).copied().collect()
}

impl Shapes for Checkpoint {
    fn file(&self) -> &str {
        self.name()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|t| t.shape.as_slice())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

fn problem<T>(source: &dyn Source, message: String) -> Result<T> {
    Err(Error::Weights { file: source.name().into(), problems: vec![message] })
}

async fn read_header(file: usize, source: &dyn Source) -> Result<Vec<(String, Tensor)>> {
    let start = source.read(0..source.len().min(4)).await?;
    if torch::is_archive(&start) {
        let tensor = |t: torch::Found| (t.name, Tensor { file, dtype: t.dtype, shape: t.shape, strides: t.strides, range: t.bytes });
        return Ok(torch::tensors(source).await?.into_iter().map(tensor).collect());
    }
    if start == [0x80, 2, 0x8a, 0x0a] {
        return problem(source, "is PyTorch's format from before 1.6: load it and save it again with a later PyTorch".into());
    }
    let first = String::from_utf8_lossy(&source.read(0..source.len().min(64)).await?).trim_start().to_lowercase();
    if first.starts_with("version https://git-lfs") {
        return problem(
            source,
            "is a Git LFS pointer, not the file that it stands for: run `git lfs pull` in the clone, or download it".into(),
        );
    }
    if first.starts_with("<!doctype") || first.starts_with("<html") || first.starts_with("<?xml") {
        return problem(source, "is a web page that was saved under this name: download the file itself".into());
    }
    if source.len() < 8 {
        return problem(source, format!("expected a safetensors file, found {} bytes", source.len()));
    }
    let start = source.read(0..8).await?;
    let length = u64::from_le_bytes(start.try_into().expect("eight bytes were read"));
    if length > source.len() - 8 || length > 100_000_000 {
        return problem(source, format!("is cut short or no safetensors file: its header would take {length} bytes of {}", source.len()));
    }
    let header = source.read(8..8 + length).await?;
    let metadata: Metadata = match serde_json::from_slice(&header) {
        Ok(read) => read,
        Err(e) => return problem(source, format!("its safetensors header is damaged: {e}")),
    };
    let data = 8 + length;
    let mut tensors = Vec::new();
    for (name, info) in metadata.tensors() {
        let (from, to) = info.data_offsets;
        if data + to as u64 > source.len() {
            return problem(
                source,
                format!("is cut short: tensor `{name}` ends at byte {}, but the file has {}", data + to as u64, source.len()),
            );
        }
        let bytes = info.shape.iter().try_fold(info.dtype.bitsize(), |a, &b| a.checked_mul(b)).map(|bits| bits.div_ceil(8));
        if to.checked_sub(from) != bytes {
            return problem(source, format!("tensor `{name}`: {:?} {:?} does not take bytes {from} to {to}", info.dtype, info.shape));
        }
        let range = data + from as u64..data + to as u64;
        tensors.push((name, Tensor { file, dtype: info.dtype, shape: info.shape.clone(), strides: None, range }));
    }
    // The format leaves no holes and lets no two tensors share bytes.
    tensors.sort_by_key(|(_, t)| (t.range.start, t.range.end));
    let mut end = data;
    for (name, tensor) in &tensors {
        if tensor.range.start != end {
            return problem(source, format!("tensor `{name}` begins at byte {}, but the one before it ends at {end}", tensor.range.start));
        }
        end = tensor.range.end;
    }
    if end != source.len() {
        return problem(source, format!("its tensors end at byte {end}, but the file has {}", source.len()));
    }
    Ok(tensors)
}
