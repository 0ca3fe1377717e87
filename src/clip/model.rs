use std::sync::Arc;

use rayon::prelude::*;

use super::config::{Config, TextPool};
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
    /// Told while weights are read: bytes done, bytes in all.
    pub progress: Option<OnProgress>,
}

impl Default for Options {
    fn default() -> Self {
        Self { device: Device::Auto, stored: StoredAs::Auto, batch: 32, normalize: true, progress: None }
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
    /// The logarithm that scores are scaled by, as stored.
    pub logit_scale: f32,
    pub preprocess: Preprocess,
    pub tokenizer: Tokenizer,
    pub executor: Executor,
    pub vision: Tower,
    pub text: Tower,
}

impl Clip {
    /// Loads a model: `pico` (the one in the box) or a folder as it comes from Hugging Face or open_clip.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::Config`], [`Error::Weights`], [`Error::Io`], or what the device says.
    pub async fn load(model: &str, options: &Options) -> Result<Self> {
        let files = ModelFiles::find(model)?;
        Self::load_on(&options.device.open().await?, files, options, &[]).await
    }

    /// Loads a model onto a device that is already open, such as an application's own
    /// ([`Gpu::from_device`](crate::gpu::Gpu::from_device)). The values named in `keep` can be read after a run.
    ///
    /// # Errors
    /// As [`Clip::load`].
    pub async fn load_on(executor: &Executor, files: ModelFiles, options: &Options, keep: &[&str]) -> Result<Self> {
        let ModelFiles { config, preprocess, tokenizer, weights, .. } = files;
        let checkpoint = Checkpoint::open(weights).await?;
        let (vision, text) = (vision(&config)?, text(&config)?);
        load::check(&checkpoint, config.layout, &[&vision.0, &text.0])?;
        let total = checkpoint.tensors.values().map(|t| t.bytes()).sum();
        let mut loader = Loader {
            executor,
            checkpoint: &checkpoint,
            config: &config,
            options,
            keep,
            progress: Progress { done: 0, total, say: options.progress.clone() },
        };
        let logit_scale = load::logit_scale(&checkpoint).await?;
        let vision = loader.tower(vision, config.vision.tokens()).await?;
        let text = loader.tower(text, config.text.context).await?;
        Ok(Self { config, logit_scale, preprocess, tokenizer, executor: executor.clone(), vision, text })
    }

    /// Unit embeddings of pictures.
    ///
    /// # Errors
    /// [`Error::NonFinite`], or what the device says.
    pub async fn encode_images(&self, images: &[Image]) -> Result<Embeddings> {
        let mut data = Vec::new();
        for part in images.chunks(self.vision.runner.capacity().batch) {
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
        let (each, tokens) = (3 * self.config.vision.size.pow(2), self.config.vision.tokens());
        let mut data = Vec::new();
        for part in pixels.chunks(each * self.vision.runner.capacity().batch) {
            let batch = part.len().div_ceil(each);
            let (lengths, class) = (vec![tokens as u32; batch], vec![0; batch]);
            let ends = &self.vision.ends;
            let inputs = [(ends.input, Data::F32(part)), (ends.lengths, Data::U32(&lengths)), (ends.pooled_at, Data::U32(&class))];
            data.extend(self.vision.embed(&inputs, Size { batch, tokens }).await?);
        }
        self.embeddings(data)
    }

    /// The ids of a text. One above the context is cut, its end kept; [`Tokens::truncated`] says so.
    ///
    /// # Errors
    /// [`Error::Text`]
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        self.tokenizer.encode(text, self.config.text.context)
    }

    /// Unit embeddings of texts. One above the context is cut: [`Clip::tokenize`] tells.
    ///
    /// # Errors
    /// [`Error::Text`], [`Error::NonFinite`], or what the device says.
    pub async fn encode_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Embeddings> {
        let ids = texts.iter().map(|t| Ok(self.tokenize(t.as_ref())?.ids)).collect::<Result<Vec<_>>>()?;
        self.encode_ids(&ids).await
    }

    /// Unit embeddings of texts: each the ids from SOT to EOT, with or without padding. Rows are cut at the longest EOT of
    /// their batch: in a causal tower nothing behind it counts.
    ///
    /// # Errors
    /// [`Error::Text`] for an empty text, one above the context or an id outside the vocabulary; [`Error::NonFinite`], or
    /// what the device says.
    pub async fn encode_ids(&self, texts: &[Vec<u32>]) -> Result<Embeddings> {
        let mut data = Vec::new();
        for part in texts.chunks(self.text.runner.capacity().batch) {
            let (inputs, size) = self.text_inputs(part)?;
            data.extend(self.text.embed(&inputs.of(&self.text.ends), size).await?);
        }
        self.embeddings(data)
    }

    /// Ids, lengths and EOT rows of a batch, and its size.
    ///
    /// # Errors
    /// [`Error::Text`]
    pub fn text_inputs(&self, texts: &[Vec<u32>]) -> Result<(TextInputs, Size)> {
        let eot = texts.iter().map(|ids| self.eot(ids)).collect::<Result<Vec<u32>>>()?;
        let tokens = eot.iter().max().map_or(1, |&e| e as usize + 1);
        let row = |ids: &Vec<u32>| (0..tokens).map(|t| ids.get(t).copied().unwrap_or(0)).collect::<Vec<u32>>();
        let inputs = TextInputs { ids: texts.iter().flat_map(row).collect(), lengths: eot.iter().map(|e| e + 1).collect(), eot };
        Ok((inputs, Size { batch: texts.len(), tokens }))
    }

    /// The pooled row of a text.
    fn eot(&self, ids: &[u32]) -> Result<u32> {
        let c = &self.config.text;
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
        };
        at.map(|at| at as u32).ok_or_else(|| Error::Text(format!("expected an end of text ({:?}) among the ids", c.pool)))
    }

    fn embeddings(&self, data: Vec<f32>) -> Result<Embeddings> {
        let width = self.config.embed;
        match data.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(Error::NonFinite { row: at / width }),
            None => Ok(Embeddings { rows: data.len() / width, width, data }),
        }
    }
}

/// What the text tower reads.
#[derive(Clone, Debug)]
pub struct TextInputs {
    pub ids: Vec<u32>,
    pub lengths: Vec<u32>,
    pub eot: Vec<u32>,
}

impl TextInputs {
    /// As inputs of the tower with these ends.
    pub fn of(&self, ends: &Ends) -> [(Value, Data<'_>); 3] {
        [(ends.input, Data::U32(&self.ids)), (ends.lengths, Data::U32(&self.lengths)), (ends.pooled_at, Data::U32(&self.eot))]
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
        let weights =
            load::load(self.executor, self.checkpoint, self.config.layout, &graph, self.options.stored, &mut self.progress).await?;
        let capacity = Size { batch: self.options.batch, tokens };
        let output = if self.options.normalize { ends.embedding } else { ends.projected };
        let kept: Vec<Value> = self.keep.iter().filter_map(|name| graph.find(name)).chain([output]).collect();
        let runner = Runner::new(self.executor, graph.clone(), weights, &kept, capacity).await?;
        Ok(Tower { graph, ends, output, runner })
    }
}
