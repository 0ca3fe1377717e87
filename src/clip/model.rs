//! A model: how it is loaded onto a device, and again onto another.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::config::Config;
use super::files::ModelFiles;
use super::frame::Frames;
use super::tower::{Compiling, Runner, Tower, compile_ahead};
use super::vision::Ends;
use super::{text, vision};
use crate::device::{Device, Executor};
use crate::error::{Error, Result};
use crate::graph::{Graph, Origin, Size, Value};
use crate::input::{Preprocess, Tokenizer};
use crate::weights::Compute;
use crate::weights::checkpoint::Checkpoint;
use crate::weights::layout::{LOGIT_BIAS, LOGIT_SCALE};
use crate::weights::load::{self, OnProgress, Progress, StoredAs};

/// Whoever asks for more at once means as many as fit.
const MOST_AT_ONCE: usize = 1 << 16;

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
    /// Whether rows with a NaN or an infinity in them are an error, or are left for [`Embeddings::non_finite`](crate::Embeddings::non_finite) to find.
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

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, stored, compute, batch, normalize, image_size, refuse_non_finite, progress: _ } = self;
        let mut all = f.debug_struct("Options");
        all.field("device", device).field("stored", stored).field("compute", compute).field("batch", batch);
        all.field("normalize", normalize).field("image_size", image_size).field("refuse_non_finite", refuse_non_finite);
        all.finish_non_exhaustive()
    }
}

/// A CLIP model on a device.
pub struct Clip {
    /// As it was found.
    pub name: String,
    /// Where its files were wrong, and what was done about it: for the user to read.
    pub notes: Vec<String>,
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

impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clip").field("name", &self.name).field("executor", &self.executor.name()).finish_non_exhaustive()
    }
}

impl Clip {
    /// Loads a model: `pico` (the one in the box), a folder or weight file as it comes from Hugging Face, open_clip or OpenAI, or a name on
    /// the Hub, which is downloaded where it is not here (Cargo feature `hub`; that blocks the thread). With the CPU executor, this and
    /// whatever the model then makes is computed while the future is polled.
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
        if options.batch == 0 {
            return Err(Error::Argument("expected a batch of at least one, found 0".into()));
        }
        let executor = options.compute.on(executor).await?;
        let ModelFiles { name, mut config, preprocess, tokenizer, checkpoint, notes } = files;
        if let Some(size) = options.image_size {
            config = config.with_image_size(size)?;
        }
        config.sigmoid |= checkpoint.tensors.contains_key(LOGIT_BIAS); // open_clip's `--siglip` trains any architecture so
        let preprocess = preprocess.with_size(config.vision.as_ref().map_or(preprocess.size, |v| v.size));
        let keep = keep.iter().map(|name| name.to_string()).collect();
        let logit_scale = load::scalar(&checkpoint, LOGIT_SCALE).await?.unwrap_or(0.0);
        let logit_bias = load::scalar(&checkpoint, LOGIT_BIAS).await?.unwrap_or(0.0);
        if !logit_scale.exp().is_normal() || !logit_bias.is_finite() {
            let problem =
                format!("expected finite scores, found {LOGIT_SCALE} {logit_scale} (its exp counts) and {LOGIT_BIAS} {logit_bias}");
            return Err(Error::Weights { file: checkpoint.name().into(), problems: vec![problem] });
        }
        let options = options.clone();
        let mut clip = Self {
            name,
            notes,
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
        let executor = clip.executor.clone();
        (clip.vision, clip.text) = clip.towers(&executor).await?;
        Ok(clip)
    }

    /// Loads the model again, from the same files onto `executor`: what to do after [`Error::DeviceLost`], with a device opened
    /// anew. Results are those of before; classifiers are made anew. On an error, or where this is given up, the model is as it
    /// was.
    ///
    /// # Errors
    /// As [`Clip::load`].
    pub async fn restore(&mut self, executor: &Executor) -> Result<()> {
        let executor = self.options.compute.on(executor).await?;
        (self.vision, self.text) = self.towers(&executor).await?;
        self.executor = executor;
        (self.frames, self.parts) = (Mutex::new(None), Mutex::new(None)); // of the device of before
        Ok(())
    }

    /// Both towers, where the model has them.
    async fn towers(&self, executor: &Executor) -> Result<(Option<Tower>, Option<Tower>)> {
        let c = &self.config;
        let vision = c.vision.as_ref().map(|v| Ok((vision(c)?, v.tokens()))).transpose()?;
        let text = c.text.as_ref().map(|t| Ok((text(c)?, t.context))).transpose()?;
        let graphs: Vec<&Graph> = [&vision, &text].into_iter().flatten().map(|((graph, _), _)| graph).collect();
        load::check(&self.checkpoint, c, &graphs)?;
        let is_kept = |g: &Graph, name: &str| g.find(name).is_some_and(|value| g.origins[value.0] != Origin::Weight);
        if let Some(name) = self.keep.iter().find(|name| !graphs.iter().any(|g| is_kept(g, name))) {
            return Err(Error::Argument(format!("the model has no value `{name}` that could be kept")));
        }
        let total = self.checkpoint.tensors.values().map(|t| t.bytes()).sum();
        let mut progress = Progress { done: 0, total, say: self.options.progress.clone() };
        let vision = self.load_weights(executor, vision, &mut progress).await?; // its kernels compile while the text tower's are read
        let text = self.load_weights(executor, text, &mut progress).await?;
        Ok((self.tower(executor, vision).await?, self.tower(executor, text).await?))
    }

    async fn load_weights(
        &self,
        executor: &Executor,
        tower: Option<((Graph, Ends), usize)>,
        progress: &mut Progress,
    ) -> Result<Option<Compiling>> {
        let Some(((graph, ends), tokens)) = tower else { return Ok(None) };
        let graph = Arc::new(graph);
        let kept = (self.options.stored, self.options.compute);
        let weights = load::load(executor, &self.checkpoint, &self.config, &graph, kept, progress).await?;
        let capacity = Size { batch: self.options.batch.min(MOST_AT_ONCE), tokens };
        let compiled = compile_ahead(executor, &graph, &weights, capacity);
        Ok(Some(Compiling { graph, ends, weights, capacity, compiled }))
    }

    async fn tower(&self, executor: &Executor, filled: Option<Compiling>) -> Result<Option<Tower>> {
        let Some(Compiling { graph, ends, weights, capacity, compiled }) = filled else { return Ok(None) };
        compiled.wait();
        let output = if self.options.normalize { ends.embedding } else { ends.projected };
        let kept: Vec<Value> = self.keep.iter().filter_map(|name| graph.find(name)).chain([output, ends.embedding]).collect();
        let runner = Runner::new(executor, graph.clone(), weights, &kept, capacity).await?;
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

    pub(super) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}
