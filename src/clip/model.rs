use std::sync::Arc;

use rayon::prelude::*;

use super::config::{Config, Text, TextPool};
use super::files::ModelFiles;
use super::tower::{Runner, Tower};
use super::vision::Ends;
use super::{text, vision};
use crate::device::{Device, Executor};
use crate::error::{Error, Result};
use crate::graph::session::Data;
use crate::graph::{Graph, Size, Value};
use crate::input::{Image, Preprocess, Tokenizer, Tokens};
use crate::weights::checkpoint::Checkpoint;
use crate::weights::layout::{LOGIT_BIAS, LOGIT_SCALE};
use crate::weights::load::{self, OnProgress, Progress, StoredAs};
use crate::weights::source::Source;

/// How a model is loaded.
#[derive(Clone)]
pub struct Options {
    pub device: Device,
    /// How weight matrices are kept; arithmetic is f32 whatever it is.
    pub stored: StoredAs,
    /// The largest batch that runs at once; a device that cannot hold it runs smaller ones.
    pub batch: usize,
    /// Whether embeddings are of unit length, or as the projection makes them.
    pub normalize: bool,
    /// Side of the pictures in pixels, where not the one that the model was trained on: its positions are resampled.
    pub image_size: Option<usize>,
    /// Told while weights are read: bytes done, bytes in all.
    pub progress: Option<OnProgress>,
}

impl Default for Options {
    fn default() -> Self {
        Self { device: Device::Auto, stored: StoredAs::Auto, batch: 32, normalize: true, image_size: None, progress: None }
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
        let ModelFiles { mut config, preprocess, tokenizer, checkpoint, .. } = files;
        if let Some(size) = options.image_size {
            config = config.with_image_size(size)?;
        }
        let preprocess = preprocess.with_size(config.vision.as_ref().map_or(preprocess.size, |v| v.size));
        let vision = config.vision.as_ref().map(|_| vision(&config)).transpose()?;
        let text = config.text.as_ref().map(|_| text(&config)).transpose()?;
        let graphs: Vec<&Graph> = [&vision, &text].into_iter().flatten().map(|(graph, _)| graph).collect();
        load::check(&checkpoint, &config, &graphs)?;
        let total = checkpoint.tensors.values().map(|t| t.bytes()).sum();
        let mut loader = Loader {
            executor,
            checkpoint: &checkpoint,
            config: &config,
            options,
            keep,
            progress: Progress { done: 0, total, say: options.progress.clone() },
        };
        let logit_scale = load::scalar(&checkpoint, LOGIT_SCALE).await?.unwrap_or(0.0);
        let logit_bias = load::scalar(&checkpoint, LOGIT_BIAS).await?.unwrap_or(0.0);
        let vision = match (vision, &config.vision) {
            (Some(made), Some(v)) => Some(loader.tower(made, v.tokens()).await?),
            _ => None,
        };
        let text = match (text, &config.text) {
            (Some(made), Some(t)) => Some(loader.tower(made, t.context).await?),
            _ => None,
        };
        Ok(Self { config, logit_scale, logit_bias, preprocess, tokenizer, executor: executor.clone(), vision, text })
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

    /// Unit embeddings of pictures.
    ///
    /// # Errors
    /// [`Error::NonFinite`], or what the device says.
    pub async fn encode_images(&self, images: &[Image]) -> Result<Embeddings> {
        let mut data = Vec::new();
        for part in images.chunks(self.vision()?.runner.capacity().batch) {
            let pixels: Vec<Vec<f32>> = part.par_iter().map(|image| self.preprocess.pixels(image)).collect();
            data.extend(self.encode_pixels(&pixels.concat()).await?.data);
        }
        self.embeddings(data)
    }

    /// Unit embeddings of preprocessed pictures: `pixels` is `[n, 3, size, size]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong length; [`Error::NonFinite`], or what the device says.
    pub async fn encode_pixels(&self, pixels: &[f32]) -> Result<Embeddings> {
        let (tower, vision) = (self.vision()?, self.config.vision()?);
        let (each, tokens) = (3 * vision.size.pow(2), vision.tokens());
        let mut data = Vec::new();
        for part in pixels.chunks(each * tower.runner.capacity().batch) {
            let batch = part.len().div_ceil(each);
            let (lengths, class) = (vec![tokens as u32; batch], vec![0; batch]);
            let ends = &tower.ends;
            let inputs = [(ends.input, Data::F32(part)), (ends.lengths, Data::U32(&lengths)), (ends.pooled_at, Data::U32(&class))];
            data.extend(tower.embed(&inputs, Size { batch, tokens }).await?);
        }
        self.embeddings(data)
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
    /// behind the end counts, and rows are cut at the longest text of their batch; elsewhere they are padded to the context.
    ///
    /// # Errors
    /// [`Error::Text`] for an empty text, one above the context or an id outside the vocabulary; [`Error::NonFinite`], or
    /// what the device says.
    pub async fn encode_ids(&self, texts: &[Vec<u32>]) -> Result<Embeddings> {
        let tower = self.text()?;
        let mut data = Vec::new();
        for part in texts.chunks(tower.runner.capacity().batch) {
            let (inputs, size) = self.text_inputs(part)?;
            data.extend(tower.embed(&inputs.of(&tower.ends), size).await?);
        }
        self.embeddings(data)
    }

    /// Ids, lengths and pooled rows of a batch, and its size.
    ///
    /// # Errors
    /// [`Error::Text`]
    pub fn text_inputs(&self, texts: &[Vec<u32>]) -> Result<(TextInputs, Size)> {
        let c = self.config.text()?;
        let pooled_at = texts.iter().map(|ids| pooled_at(c, ids)).collect::<Result<Vec<u32>>>()?;
        let longest = pooled_at.iter().max().map_or(1, |&at| at as usize + 1);
        let tokens = if c.sees_padding() { c.context } else { longest };
        let row = |ids: &Vec<u32>| (0..tokens).map(|t| ids.get(t).copied().unwrap_or(c.pad)).collect::<Vec<u32>>();
        let length = |at: &u32| if c.sees_padding() { tokens as u32 } else { at + 1 };
        let lengths = pooled_at.iter().map(length).collect();
        Ok((TextInputs { ids: texts.iter().flat_map(row).collect(), lengths, pooled_at }, Size { batch: texts.len(), tokens }))
    }

    fn embeddings(&self, data: Vec<f32>) -> Result<Embeddings> {
        let width = self.config.embed;
        match data.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(Error::NonFinite { row: at / width }),
            None => Ok(Embeddings { rows: data.len() / width, width, data }),
        }
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
    /// As inputs of the tower with these ends.
    pub fn of(&self, ends: &Ends) -> [(Value, Data<'_>); 3] {
        [(ends.input, Data::U32(&self.ids)), (ends.lengths, Data::U32(&self.lengths)), (ends.pooled_at, Data::U32(&self.pooled_at))]
    }
}

/// What both towers are loaded with.
struct Loader<'a, S> {
    executor: &'a Executor,
    checkpoint: &'a Checkpoint<S>,
    config: &'a Config,
    options: &'a Options,
    keep: &'a [&'a str],
    progress: Progress,
}

impl<S: Source> Loader<'_, S> {
    async fn tower(&mut self, (graph, ends): (Graph, Ends), tokens: usize) -> Result<Tower> {
        let graph = Arc::new(graph);
        let weights = load::load(self.executor, self.checkpoint, self.config, &graph, self.options.stored, &mut self.progress).await?;
        let capacity = Size { batch: self.options.batch, tokens };
        let output = if self.options.normalize { ends.embedding } else { ends.projected };
        let kept: Vec<Value> = self.keep.iter().filter_map(|name| graph.find(name)).chain([output]).collect();
        let runner = Runner::new(self.executor, graph.clone(), weights, &kept, capacity).await?;
        Ok(Tower { graph, ends, output, runner })
    }
}
