//! From a checkpoint to the device: everything is checked first, then read and written in pieces.

use std::collections::BTreeSet;
use std::sync::Arc;

use safetensors::Dtype;

use super::checkpoint::{Checkpoint, Tensor, elements};
use super::layout::{self, LOGIT_BIAS, LOGIT_SCALE, Recipe};
use super::positions;
use super::sink::{Filled, Sink};
use super::{Compute, DeviceWeights, Format};
use crate::clip::Config;
use crate::device::Executor;
use crate::error::{Error, Result};
use crate::graph::{Desc, Graph, Operand, Rows, Value};
#[cfg(feature = "host")]
use crate::host::HostWeights;

/// The format to keep weight matrices in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoredAs {
    /// The smallest that holds each tensor exactly; f16 where layers multiply in f16.
    #[default]
    Auto,
    As(Format),
}

/// Checks that the checkpoint holds exactly the weights of `graphs`, each of its shape.
///
/// # Errors
/// [`Error::Weights`] with every missing, extra and misshapen tensor at once.
pub fn check(checkpoint: &Checkpoint, config: &Config, graphs: &[&Graph]) -> Result<()> {
    let mut problems = Vec::new();
    let mut known = BTreeSet::from([LOGIT_SCALE.to_string(), LOGIT_BIAS.to_string()]);
    let scores = config.vision.is_some() && config.text.is_some();
    for name in [scores.then_some(LOGIT_SCALE), (scores && config.sigmoid).then_some(LOGIT_BIAS)].into_iter().flatten() {
        match checkpoint.tensors.get(name) {
            Some(t) if t.count() == 1 => {}
            found => problems.push(mismatch(name, &[], found)),
        }
    }
    for (_, desc) in graphs.iter().flat_map(|g| g.weights()) {
        let recipe = layout::recipe(config, &desc.name);
        for name in recipe.tensors() {
            let expected = tensor_shape(desc, &recipe);
            let found = checkpoint.tensors.get(name);
            if found.is_none_or(|t| flattened(&t.shape, expected.len()) != expected) {
                problems.push(mismatch(name, &expected, found));
            }
            known.insert(name.clone());
        }
    }
    let extra = checkpoint.tensors.keys().filter(|name| !known.contains(*name));
    problems.extend(extra.map(|name| format!("tensor `{name}` is not of this architecture")));
    if problems.is_empty() { Ok(()) } else { Err(Error::Weights { file: checkpoint.name().into(), problems }) }
}

fn mismatch(name: &str, expected: &[usize], found: Option<&Tensor>) -> String {
    match found {
        None => format!("tensor `{name}` is missing: expected {expected:?}"),
        Some(t) => format!("tensor `{name}`: expected {expected:?}, found {:?}", t.shape),
    }
}

/// The shape of each tensor of a recipe, with all axes but the first taken together.
fn tensor_shape(desc: &Desc, recipe: &Recipe) -> Vec<usize> {
    let Rows::Fixed(rows) = desc.rows else { unreachable!("weights have fixed rows") };
    // Of how many of its tensors the weight is the whole.
    let whole = |n: usize| match recipe {
        Recipe::Shares { shares, of, .. } => n / shares.len() * of,
        Recipe::Rows(names) => n / names.len(),
        _ => n,
    };
    match recipe {
        Recipe::Transposed(_) => vec![desc.width, rows],
        Recipe::Resampled { class, from, .. } => vec![*class as usize + from * from, desc.width],
        _ if rows == 1 => vec![whole(desc.width)],
        _ => vec![whole(rows), desc.width],
    }
}

/// `[n, 3, p, p]` as `[n, 3·p·p]`, `[1, 1, d]` as `[d]`.
fn flattened(shape: &[usize], axes: usize) -> Vec<usize> {
    let ones = shape.iter().take(shape.len().saturating_sub(axes)).take_while(|&&n| n == 1).count();
    match (axes, &shape[ones..]) {
        (2, [first, rest @ ..]) if !rest.is_empty() => vec![*first, elements(rest)],
        (_, rest) => rest.to_vec(),
    }
}

/// A scalar, such as exp's argument for the scores, where the checkpoint has it.
///
/// # Errors
/// [`Error::Io`]
pub async fn scalar(checkpoint: &Checkpoint, name: &str) -> Result<Option<f32>> {
    match checkpoint.tensors.get(name).map(Tensor::count) {
        Some(1) => Ok(Some(checkpoint.read(name, 0..1).await?[0])),
        _ => Ok(None),
    }
}

/// The weights of a graph where its executor wants them, shared between the sessions that read them.
#[derive(Clone)]
pub enum Weights {
    Gpu(Arc<DeviceWeights>),
    #[cfg(feature = "host")]
    Host(Arc<HostWeights>),
}

/// Told while weights are read: bytes done, bytes in all.
#[cfg(not(target_arch = "wasm32"))]
pub type OnProgress = Arc<dyn Fn(u64, u64) + Send + Sync>;
/// Told while weights are read: bytes done, bytes in all.
#[cfg(target_arch = "wasm32")]
pub type OnProgress = Arc<dyn Fn(u64, u64)>; // a JavaScript function is neither Send nor Sync

/// How much of a checkpoint has been read.
pub struct Progress {
    pub done: u64,
    pub total: u64,
    pub say: Option<OnProgress>,
}

impl Progress {
    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        self.say.iter().for_each(|say| say(self.done, self.total));
    }
}

/// Reads the weights of `graph`, in pieces, to where `executor` wants them.
///
/// # Errors
/// [`Error::Io`], [`Error::TooLarge`], [`Error::Weights`] for a value that `stored` cannot hold.
pub async fn load(
    executor: &Executor,
    checkpoint: &Checkpoint,
    config: &Config,
    graph: &Graph,
    (stored, compute): (StoredAs, Compute),
    progress: &mut Progress,
) -> Result<Weights> {
    let mut filled = Vec::new();
    for (value, desc) in graph.weights() {
        let operand = graph.operand(value);
        let recipe = layout::recipe(config, &desc.name);
        let formats = match (operand, stored) {
            (Operand::Rows, _) => vec![Format::F32],
            (_, StoredAs::As(format)) => vec![format],
            (Operand::Weight, StoredAs::Auto) if compute == Compute::F16 => vec![Format::F16], // to which each would be rounded anyway
            // The host multiplies with packed f32: there is no smaller form of these to look for.
            #[cfg(feature = "host")]
            (Operand::Weight, StoredAs::Auto) if matches!(executor, Executor::Host) => vec![Format::F32],
            (_, StoredAs::Auto) => likely_exact(checkpoint, &recipe).await?,
        };
        let exact = formats.len() > 1;
        for format in formats {
            let mut sink = Sink::new(executor, desc, format, operand, compute.grain(&desc.name)).await?;
            if fill(checkpoint, desc, &recipe, (format, exact), &mut sink).await? {
                filled.push((value, sink.finish()));
                break;
            }
        }
        progress.add(recipe.tensors().iter().map(|name| checkpoint.tensors[name].bytes()).sum());
    }
    Ok(Weights::of(filled))
}

impl Weights {
    /// Of one executor.
    pub fn of(filled: Vec<(Value, Filled)>) -> Self {
        let mut device = DeviceWeights::new();
        #[cfg(feature = "host")]
        let mut host = HostWeights::new();
        for (value, weight) in filled {
            match weight {
                Filled::Gpu(weight) => drop(device.insert(value, weight)),
                #[cfg(feature = "host")]
                Filled::Host(weight) => drop(host.insert(value, weight)),
            }
        }
        #[cfg(feature = "host")]
        if device.is_empty() {
            return Weights::Host(Arc::new(host));
        }
        Weights::Gpu(Arc::new(device))
    }
}

/// The formats that may hold a weight exactly, the smallest first, by its tensors' types and what they begin with: whether they do
/// is seen as it is read.
async fn likely_exact(checkpoint: &Checkpoint, recipe: &Recipe) -> Result<Vec<Format>> {
    const BEGINNING: usize = 1024;
    let mut left = vec![Format::F16, Format::Bf16];
    for name in recipe.tensors() {
        let tensor = &checkpoint.tensors[name];
        match tensor.dtype {
            Dtype::F16 => left.retain(|f| *f == Format::F16),
            Dtype::BF16 => left.retain(|f| *f == Format::Bf16),
            _ => {
                let values = checkpoint.read(name, 0..tensor.count().min(BEGINNING)).await?;
                left.retain(|f| f.holds(&values));
            }
        }
    }
    left.push(Format::F32);
    Ok(left)
}

/// Fills a weight; false where `format` is to hold it `exact`ly, and does not.
async fn fill(checkpoint: &Checkpoint, desc: &Desc, recipe: &Recipe, (format, exact): (Format, bool), sink: &mut Sink<'_>) -> Result<bool> {
    let held = |values: &[f32]| {
        if exact && !format.holds(values) {
            return Ok(false);
        }
        let name = recipe.tensors().join("`, `");
        let problem = match format.first_lost(values) {
            None => return Ok(true),
            Some(v) if v.is_finite() => format!("`{name}`: expected values that {format:?} can hold, found {v}: use another dtype"),
            Some(v) => format!("tensor `{name}`: expected finite values, found {v}: the file is damaged, or was saved from a failed run"),
        };
        Err(Error::Weights { file: checkpoint.name().into(), problems: vec![problem] })
    };
    match recipe {
        Recipe::Transposed(name) => {
            let (width, rows) = (desc.width, checkpoint.tensors[name].count() / desc.width);
            let values = checkpoint.read(name, 0..width * rows).await?;
            let transposed: Vec<f32> = (0..rows * width).map(|i| values[i % width * rows + i / width]).collect();
            if !held(&transposed)? {
                return Ok(false);
            }
            sink.write(0, &transposed).await?;
        }
        Recipe::Resampled { name, class, from, to, antialias } => {
            let values = checkpoint.read(name, 0..checkpoint.tensors[name].count()).await?;
            if !held(&values)? {
                return Ok(false);
            }
            sink.write(0, &positions::resampled(&values, desc.width, *class as usize, (*from, *to), *antialias)).await?;
        }
        Recipe::Rows(_) | Recipe::Shares { .. } if desc.rows == Rows::Fixed(1) => {
            let mut row = Vec::with_capacity(desc.width);
            for (name, range) in parts(checkpoint, recipe) {
                row.extend(checkpoint.read(name, range).await?);
            }
            if !held(&row)? {
                return Ok(false);
            }
            sink.write(0, &row).await?;
        }
        Recipe::Rows(_) | Recipe::Shares { .. } => {
            let mut first = 0;
            for (name, range) in parts(checkpoint, recipe) {
                let piece = if checkpoint.tensors[name].is_packed() { sink.piece() } else { range.len() }; // else all is read for each
                let step = (piece / desc.width).max(1);
                for start in (range.start..range.end).step_by(step * desc.width) {
                    let values = checkpoint.read(name, start..range.end.min(start + step * desc.width)).await?;
                    if !held(&values)? {
                        return Ok(false);
                    }
                    sink.write(first, &values).await?;
                    first += values.len() / desc.width;
                }
            }
        }
    }
    Ok(true)
}

/// The elements of its tensors that a recipe takes as they are.
fn parts<'a>(checkpoint: &Checkpoint, recipe: &'a Recipe) -> Vec<(&'a String, std::ops::Range<usize>)> {
    let part = |name: &'a String| {
        let count = checkpoint.tensors[name].count();
        match recipe {
            Recipe::Shares { shares, of, .. } => (name, count / of * shares.start..count / of * shares.end),
            _ => (name, 0..count),
        }
    };
    recipe.tensors().iter().map(part).collect()
}
