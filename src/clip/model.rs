use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::{Config, TextPool};
use super::vision::Ends;
use super::{text, vision};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::session::{Data, Session, fitting_batch};
use crate::graph::{Graph, Size, Value};
use crate::weights::DeviceWeights;
use crate::weights::checkpoint::Checkpoint;
use crate::weights::load::{self, StoredAs};
use crate::weights::source::FileSource;

/// How a model is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub stored: StoredAs,
    /// The largest batch that runs at once; a device that cannot hold it runs smaller ones.
    pub batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { stored: StoredAs::Auto, batch: 32 }
    }
}

/// Rows of unit length in the joint space.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    pub rows: usize,
    /// Width of the joint space.
    pub width: usize,
    /// `[rows, width]`
    pub data: Vec<f32>,
}

/// One tower on a device.
pub struct Tower {
    pub graph: Arc<Graph>,
    pub ends: Ends,
    pub session: Session,
    pub weights: DeviceWeights,
}

/// A CLIP model on a device.
pub struct Clip {
    pub config: Config,
    /// The logarithm that scores are scaled by, as stored.
    pub logit_scale: f32,
    pub vision: Tower,
    pub text: Tower,
}

/// The configuration and weight files of a model folder.
fn files(folder: &Path) -> Result<(Config, Vec<PathBuf>)> {
    let fail = |message: String| Err(Error::Model { name: folder.display().to_string(), message });
    if !folder.is_dir() {
        return fail("no such folder".into());
    }
    let read = |name: &str| -> Result<(String, String)> {
        let path = folder.join(name);
        Ok((std::fs::read_to_string(&path).map_err(Error::io(&path))?, path.display().to_string()))
    };
    let has = |name: &str| folder.join(name).is_file();
    if has("config.json") && (has("model.safetensors") || has("model.safetensors.index.json")) {
        let (json, file) = read("config.json")?;
        let config = Config::from_hf(&json, &file)?;
        let shards = if has("model.safetensors") { vec![folder.join("model.safetensors")] } else { shards(folder)? };
        return Ok((config, shards));
    }
    if has("open_clip_config.json") && has("open_clip_model.safetensors") {
        let (json, file) = read("open_clip_config.json")?;
        return Ok((Config::from_open_clip(&json, &file)?, vec![folder.join("open_clip_model.safetensors")]));
    }
    fail("expected config.json with model.safetensors, or open_clip_config.json with open_clip_model.safetensors".into())
}

fn shards(folder: &Path) -> Result<Vec<PathBuf>> {
    let path = folder.join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let fail = |message: String| Error::Config { file: path.display().to_string(), message };
    let index: serde_json::Value = serde_json::from_str(&text).map_err(|e| fail(format!("is no JSON: {e}")))?;
    let map = index.get("weight_map").and_then(|m| m.as_object()).ok_or_else(|| fail("expected an object `weight_map`".into()))?;
    let names: std::collections::BTreeSet<&str> = map.values().filter_map(|v| v.as_str()).collect();
    match names.iter().find(|n| n.contains(['/', '\\'])) {
        Some(name) => Err(fail(format!("expected file names, found `{name}`"))),
        None => Ok(names.iter().map(|n| folder.join(n)).collect()),
    }
}

impl Clip {
    /// Loads a model folder onto `gpu`.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::Config`], [`Error::Weights`], [`Error::Io`], or what the device says.
    pub async fn load(gpu: &Gpu, folder: &Path, options: &Options) -> Result<Self> {
        Self::load_keeping(gpu, folder, options, &[]).await
    }

    /// As [`Clip::load`], with the values of these names kept so that they can be read after a run.
    ///
    /// # Errors
    /// As [`Clip::load`].
    pub async fn load_keeping(gpu: &Gpu, folder: &Path, options: &Options, keep: &[&str]) -> Result<Self> {
        let (config, paths) = files(folder)?;
        let sources = paths.iter().map(|p| FileSource::open(p)).collect::<Result<Vec<_>>>()?;
        let checkpoint = Checkpoint::open(sources).await?;
        let (vision, text) = (vision(&config)?, text(&config)?);
        load::check(&checkpoint, config.layout, &[&vision.0, &text.0])?;
        let tokens = 1 + (config.vision.size / config.vision.patch).pow(2);
        let logit_scale = load::logit_scale(&checkpoint).await?;
        let vision = Tower::new(gpu, &checkpoint, &config, vision, tokens, options, keep).await?;
        let text = Tower::new(gpu, &checkpoint, &config, text, config.text.context, options, keep).await?;
        Ok(Self { config, logit_scale, vision, text })
    }

    /// Unit embeddings of pictures: `pixels` is `[n, 3, size, size]`, preprocessed.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong length, [`Error::NonFinite`], or what the device says.
    pub async fn encode_pixels(&self, pixels: &[f32]) -> Result<Embeddings> {
        let each = 3 * self.config.vision.size.pow(2);
        let tokens = 1 + (self.config.vision.size / self.config.vision.patch).pow(2);
        let mut data = Vec::new();
        for part in pixels.chunks(each * self.vision.session.capacity().batch) {
            let batch = part.len().div_ceil(each);
            let (lengths, class) = (vec![tokens as u32; batch], vec![0; batch]);
            let ends = &self.vision.ends;
            let inputs = [(ends.input, Data::F32(part)), (ends.lengths, Data::U32(&lengths)), (ends.pooled_at, Data::U32(&class))];
            data.extend(self.vision.session.run(&inputs, Size { batch, tokens }).await?);
        }
        self.embeddings(data)
    }

    /// Unit embeddings of texts: each the ids from SOT to EOT, with or without padding. Rows are cut at the longest EOT of
    /// their batch: in a causal tower nothing behind it counts.
    ///
    /// # Errors
    /// [`Error::Text`] for an empty text, one above the context or an id outside the vocabulary; [`Error::NonFinite`], or
    /// what the device says.
    pub async fn encode_ids(&self, texts: &[Vec<u32>]) -> Result<Embeddings> {
        let mut data = Vec::new();
        for part in texts.chunks(self.text.session.capacity().batch) {
            let (inputs, size) = self.text_inputs(part)?;
            data.extend(self.text.session.run(&inputs.of(&self.text.ends), size).await?);
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
            return Err(Error::Text(format!("expected ids below {}, found {id}", c.vocabulary)));
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

impl Tower {
    async fn new(
        gpu: &Gpu,
        checkpoint: &Checkpoint<FileSource>,
        config: &Config,
        (graph, ends): (Graph, Ends),
        tokens: usize,
        options: &Options,
        keep: &[&str],
    ) -> Result<Self> {
        let graph = Arc::new(graph);
        let weights = load::upload(gpu, checkpoint, config.layout, &graph, options.stored).await?;
        let capacity = Size { batch: fitting_batch(gpu, &graph, options.batch, tokens)?, tokens };
        let kept: Vec<Value> = keep.iter().filter_map(|name| graph.find(name)).chain([ends.embedding]).collect();
        let session = Session::new(gpu, graph.clone(), &weights, &kept, capacity).await?;
        Ok(Self { graph, ends, session, weights })
    }
}
