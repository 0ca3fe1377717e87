//! PyTorch's files (`.pt`, `.bin`): zip archives of a pickle and the storages that it names. TorchScript's are the same with code
//! beside it, which is not looked at.

use std::collections::HashMap;
use std::ops::Range;

use safetensors::Dtype;

use super::archive::Archive;
use super::pickle::{self, TensorRef};
use super::source::Source;
use crate::error::{Error, Result};

/// The greatest pickle that is read: state dictionaries take 100 bytes per tensor.
const MOST_BYTES: u64 = 64 << 20;

/// A tensor of a file.
pub struct Found {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Of the elements, where they do not lie one after another.
    pub strides: Option<Vec<usize>>,
    /// From the first to the last that it reaches.
    pub bytes: Range<u64>,
}

/// Whether a file begins as PyTorch's do.
pub fn is_archive(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04")
}

/// Whether the archive is a TorchScript module, as OpenAI published its models.
///
/// # Errors
/// As [`tensors`].
pub async fn is_script(source: &dyn Source) -> Result<bool> {
    Ok(Archive::open(source).await?.names().any(|n| n.contains("/code/")))
}

/// The tensors of a state dictionary, a training checkpoint or a TorchScript module.
///
/// # Errors
/// [`Error::Weights`] for a damaged or hostile file; [`Error::Io`].
pub async fn tensors(source: &dyn Source) -> Result<Vec<Found>> {
    let fail = |message: String| Error::Weights { file: source.name().into(), problems: vec![message] };
    let archive = Archive::open(source).await?;
    let pickle = archive.names().find(|n| n.ends_with("/data.pkl")).map(str::to_string);
    let pickle =
        pickle.ok_or_else(|| fail("is an archive without data.pkl: expected one that torch.save or torch.jit.save wrote".into()))?;
    let root = pickle.trim_end_matches("data.pkl");
    if let Ok(order) = archive.range(&format!("{root}byteorder")).await
        && source.read(order.start..order.end.min(order.start + 16)).await? == b"big"
    {
        return Err(fail("was written on a big-endian machine: save it again on a little-endian one".into()));
    }
    let range = archive.range(&pickle).await?;
    if range.end - range.start > MOST_BYTES {
        return Err(fail(format!("its pickle takes {} bytes, more than any model's", range.end - range.start)));
    }
    let named = pickle::tensors(&source.read(range).await?).map_err(fail)?;
    let mut storages: HashMap<String, Range<u64>> = HashMap::new();
    let mut found = Vec::new();
    for (name, tensor) in named {
        let Some((dtype, size)) = dtype(&tensor.storage.class) else { continue }; // no weight has such a type
        let storage = match storages.get(&tensor.storage.key) {
            Some(range) => range.clone(),
            None => {
                let range = archive.range(&format!("{root}data/{}", tensor.storage.key)).await?;
                storages.insert(tensor.storage.key.clone(), range.clone());
                range
            }
        };
        let bytes = bytes_of(&tensor, size, &storage).map_err(|message| fail(format!("tensor `{name}`: {message}")))?;
        let strides = (!is_packed(&tensor)).then(|| tensor.strides.clone());
        found.push(Found { name, dtype, shape: tensor.shape.clone(), strides, bytes });
    }
    Ok(found)
}

fn dtype(class: &str) -> Option<(Dtype, u64)> {
    Some(match class {
        "FloatStorage" => (Dtype::F32, 4),
        "HalfStorage" => (Dtype::F16, 2),
        "BFloat16Storage" => (Dtype::BF16, 2),
        "DoubleStorage" => (Dtype::F64, 8),
        "LongStorage" => (Dtype::I64, 8),
        _ => return None,
    })
}

/// Whether a tensor's elements lie one after another. Those of transformers' own conversions of CLIP do not: its projections are views
/// of OpenAI's, transposed (`convert_clip_original_pytorch_to_hf.py`).
fn is_packed(tensor: &TensorRef) -> bool {
    let mut expected = 1_usize;
    tensor.shape.iter().zip(&tensor.strides).rev().all(|(&n, &stride)| {
        let is_next = n < 2 || stride == expected;
        expected = expected.saturating_mul(n);
        is_next
    })
}

/// Where a tensor's elements lie.
fn bytes_of(tensor: &TensorRef, size: u64, storage: &Range<u64>) -> std::result::Result<Range<u64>, String> {
    let count = tensor.shape.iter().try_fold(1_usize, |count, &n| count.checked_mul(n)).ok_or("has more elements than any tensor")?;
    let farthest = tensor
        .shape
        .iter()
        .zip(&tensor.strides)
        .try_fold(0_usize, |sum, (&n, &stride)| sum.checked_add(n.saturating_sub(1).checked_mul(stride)?));
    let span = farthest.and_then(|last| if count == 0 { Some(0) } else { (last as u64).checked_add(1) });
    if span.is_some_and(|span| span < count as u64) {
        return Err(format!("has strides {:?} for {:?}, so that elements share a place: save it contiguous", tensor.strides, tensor.shape));
    }
    let start = (tensor.offset as u64).checked_mul(size).and_then(|o| storage.start.checked_add(o));
    let end = start.and_then(|start| span?.checked_mul(size)?.checked_add(start));
    match (start, end) {
        (Some(start), Some(end)) if end <= storage.end => Ok(start..end),
        _ => Err(format!("needs more than the {} bytes of its storage", storage.end - storage.start)),
    }
}
