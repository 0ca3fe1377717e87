use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use super::config::{Config, Text, TextPool};
use super::files::ModelFiles;
use super::frame::Frames;
use super::tower::{Compiling, Runner, Tower, compile_ahead};
use super::vision::Ends;
use super::{text, vision};
use crate::device::{Device, Executor};
use crate::error::{Error, Result};
use crate::graph::{Data, Graph, Pending, Size, Value};
use crate::input::{Image, Preprocess, Tokenizer, Tokens};
use crate::weights::Compute;
use crate::weights::checkpoint::Checkpoint;
use crate::weights::layout::{LOGIT_BIAS, LOGIT_SCALE};
use crate::weights::load::{self, OnProgress, Progress, StoredAs};

/// How a model is loaded.
#[derive(Clone)]
pub struct Options {
    pub device: Device,
    /// How weight matrices are kept; arithmetic is that of `compute` whatever it is.
    pub stored: StoredAs,
    /// What linear layers multiply in.
    pub compute: Compute,
    /// The largest batch that runs at once; a device that cannot hold it runs smaller ones.
    pub batch: usize,
    /// Whether embeddings are of unit length, or as the projection makes them.
    pub normalize: bool,
    /// Side of the pictures in pixels, where not the one that the model was trained on: its positions are resampled.
    pub image_size: Option<usize>,
    /// Whether rows with a NaN or an infinity in them are an error, or are left for [`Embeddings::non_finite`] to find.
    pub refuse_non_finite: bool,
    /// Told while weights are read: bytes done, bytes in all.
    pub progress: Option<OnProgress>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            device: Device::Auto,
            stored: StoredAs::Auto,
            compute: Compute::F32,
            batch: 32,
            normalize: true,
            image_size: None,
            refuse_non_finite: true,
            progress: None,
        }
    }
}

/// Rows in the joint space, of unit length unless [`Options::normalize`] is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    pub rows: usize,
    /// Width of the joint space.
    pub width: usize,
    /// `[rows, width]`
    pub data: Vec<f32>,
}

impl Embeddings {
    /// One row.
    pub fn row(&self, at: usize) -> &[f32] {
        &self.data[at * self.width..][..self.width]
    }

    /// The rows with a NaN or an infinity in them.
    pub fn non_finite(&self) -> Vec<usize> {
        (0..self.rows).filter(|&row| self.row(row).iter().any(|v| !v.is_finite())).collect()
    }
}

/// A CLIP model on a device.
pub struct Clip {
    pub config: Config,
    /// The logarithm that scores are scaled by, as stored; 0 for an export of one tower.
    pub logit_scale: f32,
    /// What is added to scores (SigLIP), else 0.
    pub logit_bias: f32,
    pub preprocess: Preprocess,
    pub tokenizer: Tokenizer,
    pub executor: Executor,
    vision: Option<Tower>,
    text: Option<Tower>,
    /// What makes pixels of textures, for the size that came last.
    pub(super) frames: Mutex<Option<Arc<Frames>>>,
    /// What tells the parts of patches, once that was asked for.
    pub(super) parts: Mutex<Option<Arc<Tower>>>,
    /// What it was loaded from, and how: a lost device is restored from there.
    checkpoint: Checkpoint,
    pub(super) options: Options,
    keep: Vec<String>,
}

impl Clip {
    /// Loads a model: `pico` (the one in the box) or a folder as it comes from Hugging Face or open_clip.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::Config`], [`Error::Weights`], [`Error::Io`], or what the device says.
    pub async fn load(model: &str, options: &Options) -> Result<Self> {
        let files = ModelFiles::find(model).await?;
        Self::load_on(&options.device.open().await?, files, options, &[]).await
    }

    /// Loads a model onto a device that is already open, such as an application's own
    /// ([`Gpu::from_device`](crate::gpu::Gpu::from_device)). The values named in `keep` can be read after a run.
    ///
    /// # Errors
    /// As [`Clip::load`].
    pub async fn load_on(executor: &Executor, files: ModelFiles, options: &Options, keep: &[&str]) -> Result<Self> {
        let executor = options.compute.on(executor).await?;
        let ModelFiles { mut config, preprocess, tokenizer, checkpoint, .. } = files;
        if let Some(size) = options.image_size {
            config = config.with_image_size(size)?;
        }
        let preprocess = preprocess.with_size(config.vision.as_ref().map_or(preprocess.size, |v| v.size));
        let keep = keep.iter().map(|name| name.to_string()).collect();
        let logit_scale = load::scalar(&checkpoint, LOGIT_SCALE).await?.unwrap_or(0.0);
        let logit_bias = load::scalar(&checkpoint, LOGIT_BIAS).await?.unwrap_or(0.0);
        let options = options.clone();
        let mut clip = Self {
            config,
            logit_scale,
            logit_bias,
            preprocess,
            tokenizer,
            executor,
            vision: None,
            text: None,
            frames: Mutex::new(None),
            parts: Mutex::new(None),
            checkpoint,
            options,
            keep,
        };
        clip.load_towers().await?;
        Ok(clip)
    }

    /// Loads the model again, from the same files onto `executor`: what to do after [`Error::DeviceLost`], with a device opened
    /// anew. Results are those of before. On an error the model is as it was.
    ///
    /// # Errors
    /// As [`Clip::load`].
    pub async fn restore(&mut self, executor: &Executor) -> Result<()> {
        let before = std::mem::replace(&mut self.executor, self.options.compute.on(executor).await?);
        let loaded = self.load_towers().await;
        if loaded.is_err() {
            self.executor = before;
        }
        loaded
    }

    async fn load_towers(&mut self) -> Result<()> {
        let c = &self.config;
        let vision = c.vision.as_ref().map(|v| Ok((vision(c)?, v.tokens()))).transpose()?;
        let text = c.text.as_ref().map(|t| Ok((text(c)?, t.context))).transpose()?;
        let graphs: Vec<&Graph> = [&vision, &text].into_iter().flatten().map(|((graph, _), _)| graph).collect();
        load::check(&self.checkpoint, c, &graphs)?;
        if let Some(name) = self.keep.iter().find(|name| graphs.iter().all(|g| g.find(name).is_none())) {
            return Err(Error::Argument(format!("the model has no value `{name}` that could be kept")));
        }
        let total = self.checkpoint.tensors.values().map(|t| t.bytes()).sum();
        let mut progress = Progress { done: 0, total, say: self.options.progress.clone() };
        let vision = self.load_weights(vision, &mut progress).await?; // its kernels compile while the text tower's are read
        let text = self.load_weights(text, &mut progress).await?;
        (self.vision, self.text) = (self.tower(vision).await?, self.tower(text).await?);
        (self.frames, self.parts) = (Mutex::new(None), Mutex::new(None)); // of the device of before
        Ok(())
    }

    async fn load_weights(&self, tower: Option<((Graph, Ends), usize)>, progress: &mut Progress) -> Result<Option<Compiling>> {
        let Some(((graph, ends), tokens)) = tower else { return Ok(None) };
        let graph = Arc::new(graph);
        let kept = (self.options.stored, self.options.compute);
        let weights = load::load(&self.executor, &self.checkpoint, &self.config, &graph, kept, progress).await?;
        let capacity = Size { batch: self.options.batch, tokens };
        let compiled = compile_ahead(&self.executor, &graph, &weights, capacity);
        Ok(Some(Compiling { graph, ends, weights, capacity, compiled }))
    }

    async fn tower(&self, filled: Option<Compiling>) -> Result<Option<Tower>> {
        let Some(Compiling { graph, ends, weights, capacity, compiled }) = filled else { return Ok(None) };
        compiled.wait();
        let output = if self.options.normalize { ends.embedding } else { ends.projected };
        let kept: Vec<Value> = self.keep.iter().filter_map(|name| graph.find(name)).chain([output]).collect();
        let runner = Runner::new(&self.executor, graph.clone(), weights, &kept, capacity).await?;
        Ok(Some(Tower { graph, ends, output, runner }))
    }

    /// The image tower.
    ///
    /// # Errors
    /// [`Error::Argument`] where the model has none.
    pub fn vision(&self) -> Result<&Tower> {
        self.config.vision()?;
        Ok(self.vision.as_ref().expect("a tower that is configured is loaded"))
    }

    /// The text tower.
    ///
    /// # Errors
    /// [`Error::Argument`] where the model has none.
    pub fn text(&self) -> Result<&Tower> {
        self.config.text()?;
        Ok(self.text.as_ref().expect("a tower that is configured is loaded"))
    }

    /// Unit embeddings of pictures. The next batch is made ready while one runs.
    ///
    /// # Errors
    /// [`Error::NonFinite`], or what the device says.
    pub async fn encode_images(&self, images: &[Image]) -> Result<Embeddings> {
        let mut runs = Runs::default();
        for part in images.chunks(self.vision()?.runner.capacity().batch) {
            runs.push(self.submit_pixels(&self.pixels(part))?).await?;
        }
        self.embeddings(runs.finish().await?)
    }

    /// What the image tower reads of pictures: `[n, 3, size, size]`.
    pub fn pixels(&self, images: &[Image]) -> Vec<f32> {
        let recipe = &self.preprocess; // not all of the model goes to other threads
        let pixels: Vec<Vec<f32>> = images.par_iter().map(|image| recipe.pixels(image)).collect();
        pixels.concat()
    }

    /// Unit embeddings of preprocessed pictures: `pixels` is `[n, 3, size, size]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong length; [`Error::NonFinite`] for pixels and embeddings, or what the device says.
    pub async fn encode_pixels(&self, pixels: &[f32]) -> Result<Embeddings> {
        let each = 3 * self.config.vision()?.size.pow(2);
        let bad: Vec<usize> =
            pixels.chunks(each).enumerate().filter(|(_, p)| p.iter().any(|v| !v.is_finite())).map(|(row, _)| row).collect();
        if !bad.is_empty() {
            return Err(Error::NonFinite { what: "pixels", rows: bad });
        }
        let mut runs = Runs::default();
        for part in pixels.chunks(each * self.vision()?.runner.capacity().batch) {
            runs.push(self.submit_pixels(part)?).await?;
        }
        self.embeddings(runs.finish().await?)
    }

    fn submit_pixels(&self, pixels: &[f32]) -> Result<Pending> {
        let tower = self.vision()?;
        tower.embed(&[(tower.ends.input, Data::F32(pixels))], self.pixels_size(pixels)?)
    }

    /// The size of a run over one picture.
    pub(super) fn one_picture(&self) -> Result<Size> {
        Ok(Size { batch: 1, tokens: self.config.vision()?.tokens() })
    }

    /// The size of a run over these pixels.
    pub(super) fn pixels_size(&self, pixels: &[f32]) -> Result<Size> {
        let v = self.config.vision()?;
        Ok(Size { batch: pixels.len().div_ceil(3 * v.size.pow(2)), tokens: v.tokens() })
    }

    /// The ids of a text. One above the context is cut, its end kept; [`Tokens::truncated`] says so.
    ///
    /// # Errors
    /// [`Error::Text`]
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        self.tokenizer.encode(text, self.config.text()?.context)
    }

    /// Unit embeddings of texts. One above the context is cut: [`Clip::tokenize`] tells.
    ///
    /// # Errors
    /// [`Error::Text`], [`Error::NonFinite`], or what the device says.
    pub async fn encode_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Embeddings> {
        let ids = texts.iter().map(|t| Ok(self.tokenize(t.as_ref())?.ids)).collect::<Result<Vec<_>>>()?;
        self.encode_ids(&ids).await
    }

    /// Unit embeddings of texts: each the ids from start to end of text, with or without padding. In a causal tower nothing
    /// behind the end counts: texts of like length are run together, cut at the longest of their batch. Elsewhere they are padded
    /// to the context.
    ///
    /// # Errors
    /// [`Error::Text`] for an empty text, one above the context or an id outside the vocabulary; [`Error::NonFinite`], or
    /// what the device says.
    pub async fn encode_ids(&self, texts: &[Vec<u32>]) -> Result<Embeddings> {
        let (tower, c) = (self.text()?, self.config.text()?);
        let lengths = texts.iter().map(|ids| pooled_at(c, ids)).collect::<Result<Vec<u32>>>()?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| lengths[i]); // texts of one length share a batch, which is as long as its longest
        let mut runs = Runs::default();
        for part in order.chunks(tower.runner.capacity().batch) {
            let (inputs, size) = self.text_inputs(&part.iter().map(|&i| texts[i].as_slice()).collect::<Vec<_>>())?;
            runs.push(tower.embed(&inputs.of(&tower.ends), size)?).await?;
        }
        let sorted = runs.finish().await?;
        let mut rows = vec![0.0; sorted.len()];
        for (row, &i) in sorted.chunks(self.config.embed).zip(&order) {
            rows[i * row.len()..][..row.len()].copy_from_slice(row);
        }
        self.embeddings(rows)
    }

    /// Ids, lengths and pooled rows of a batch, and its size.
    ///
    /// # Errors
    /// [`Error::Text`]
    pub fn text_inputs<T: AsRef<[u32]>>(&self, texts: &[T]) -> Result<(TextInputs, Size)> {
        let c = self.config.text()?;
        let pooled_at = texts.iter().map(|ids| pooled_at(c, ids.as_ref())).collect::<Result<Vec<u32>>>()?;
        let longest = pooled_at.iter().max().map_or(1, |&at| at as usize + 1);
        let tokens = if c.sees_padding() { c.context } else { longest };
        let row = |ids: &T| (0..tokens).map(|t| ids.as_ref().get(t).copied().unwrap_or(c.pad)).collect::<Vec<u32>>();
        let length = |at: &u32| if c.sees_padding() { tokens as u32 } else { at + 1 };
        let lengths = pooled_at.iter().map(length).collect();
        Ok((TextInputs { ids: texts.iter().flat_map(row).collect(), lengths, pooled_at }, Size { batch: texts.len(), tokens }))
    }

    pub(super) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    pub(super) fn embeddings(&self, data: Vec<f32>) -> Result<Embeddings> {
        let width = self.config.embed;
        let embeddings = Embeddings { rows: data.len() / width, width, data };
        match embeddings.non_finite() {
            rows if self.options.refuse_non_finite && !rows.is_empty() => Err(Error::NonFinite { what: "embeddings", rows }),
            _ => Ok(embeddings),
        }
    }
}

/// Runs that were handed over one after another: a few are on their way at once.
#[derive(Default)]
pub(super) struct Runs {
    pending: VecDeque<Pending>,
    data: Vec<f32>,
}

/// Enough that the device has work while the host makes the next ready.
const AHEAD: usize = 2;

impl Runs {
    pub(super) async fn push(&mut self, run: Pending) -> Result<()> {
        self.pending.push_back(run);
        while self.pending.len() > AHEAD {
            self.take().await?;
        }
        Ok(())
    }

    async fn take(&mut self) -> Result<()> {
        if let Some(run) = self.pending.pop_front() {
            self.data.extend(run.values().await?.remove(0));
        }
        Ok(())
    }

    /// What all of them made, one after another.
    pub(super) async fn finish(mut self) -> Result<Vec<f32>> {
        while !self.pending.is_empty() {
            self.take().await?;
        }
        Ok(self.data)
    }
}

/// The pooled row of a text.
fn pooled_at(c: &Text, ids: &[u32]) -> Result<u32> {
    if ids.is_empty() || ids.len() > c.context {
        return Err(Error::Text(format!("expected 1 to {} ids, found {}", c.context, ids.len())));
    }
    if let Some(id) = ids.iter().find(|&&id| id as usize >= c.vocabulary) {
        return Err(Error::Text(format!(
            "expected ids below {} (the model's vocabulary), found {id}: is its tokenizer.json missing?",
            c.vocabulary
        )));
    }
    let greatest = ids.iter().max();
    let at = match c.pool {
        TextPool::Argmax => ids.iter().position(|id| Some(id) == greatest),
        TextPool::Eos(eos) => ids.iter().position(|&id| id == eos),
        TextPool::First => Some(0),
        TextPool::Last => Some(c.context - 1),
    };
    at.map(|at| at as u32).ok_or_else(|| Error::Text(format!("expected an end of text ({:?}) among the ids", c.pool)))
}

/// What the text tower reads.
#[derive(Clone, Debug)]
pub struct TextInputs {
    pub ids: Vec<u32>,
    pub lengths: Vec<u32>,
    pub pooled_at: Vec<u32>,
}

impl TextInputs {
    /// As inputs of the tower with these ends: those that it has.
    pub fn of(&self, ends: &Ends) -> Vec<(Value, Data<'_>)> {
        let rest = [(ends.lengths, &self.lengths), (ends.pooled_at, &self.pooled_at)];
        let rest = rest.into_iter().filter_map(|(value, data)| Some((value?, Data::U32(data))));
        [(ends.input, Data::U32(&self.ids[..]))].into_iter().chain(rest).collect()
    }
}
