//! Zero-shot classification: labels as prompts, scored against pictures.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::encode::{Embeddings, Runs};
use super::model::Clip;
use super::tower::Runner;
use crate::device::Executor;
use crate::error::{Error, Result};
use crate::graph::session::storage;
use crate::graph::{Data, Graph, Kind, Operand, Pending, Rows, Size, Target, Value};
use crate::input::Image;
use crate::ops::Scores;
use crate::weights::Format;
use crate::weights::load::Weights;
use crate::weights::sink::Sink;

/// What a score is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Score {
    /// Shares of 1 among the labels: softmax of the logits.
    #[default]
    Softmax,
    /// Each label for itself: sigmoid of its logit. Made for models trained so (SigLIP).
    Sigmoid,
    /// The cosine of picture and label.
    Cosine,
}

impl Clip {
    /// exp(logit_scale) · I · Tᵀ + logit_bias: `[images.rows, texts.rows]`, row after row.
    ///
    /// # Errors
    /// [`Error::Shape`] where the widths differ, or what the device says.
    pub async fn logits(&self, images: &Embeddings, texts: &Embeddings) -> Result<Vec<f32>> {
        if images.rows == 0 || texts.rows == 0 {
            return Ok(Vec::new());
        }
        images.check("logits", self.config.embed)?;
        texts.check("logits", self.config.embed)?;
        Scorer::new(&self.executor, texts, self.logits_of(), images.rows).await?.run(images).await
    }

    /// A zero-shot classifier over `labels`. Each label goes into each template (`{}` is where); the embeddings of a label's
    /// prompts are averaged and brought to unit length again, as OpenAI's `zeroshot_classifier` does. No template means the
    /// labels as they are.
    ///
    /// # Errors
    /// [`Error::Argument`] for no labels, an empty or repeated one, or a template without `{}`; else as
    /// [`Clip::encode_texts`].
    pub async fn classifier<L: AsRef<str>, T: AsRef<str>>(&self, labels: &[L], templates: &[T]) -> Result<Classifier> {
        self.classifier_with(&mut PromptCache::default(), labels, templates).await
    }

    /// As [`Clip::classifier`], for labels that are edited while they are in use: only prompts that `cache` does not know are
    /// encoded. The cache belongs to this model.
    ///
    /// # Errors
    /// As [`Clip::classifier`].
    pub async fn classifier_with<L: AsRef<str>, T: AsRef<str>>(
        &self,
        cache: &mut PromptCache,
        labels: &[L],
        templates: &[T],
    ) -> Result<Classifier> {
        no_repeats(labels)?;
        let texts = self.label_rows(cache, labels, templates).await?;
        self.classifier_of(labels, texts).await
    }

    /// One row of unit length for each label, as [`Clip::classifier`] makes it; a label may be there twice, as in ImageNet's.
    ///
    /// # Errors
    /// As [`Clip::classifier`], but for repeated labels.
    pub async fn label_rows<L: AsRef<str>, T: AsRef<str>>(
        &self,
        cache: &mut PromptCache,
        labels: &[L],
        templates: &[T],
    ) -> Result<Embeddings> {
        let labels = checked(labels)?;
        if let Some(t) = templates.iter().find(|t| !t.as_ref().contains("{}")) {
            return Err(Error::Argument(format!("expected a template with {{}} where the label goes, found `{}`", t.as_ref())));
        }
        let prompts: Vec<String> = match templates {
            [] => labels.clone(),
            templates => labels.iter().flat_map(|l| templates.iter().map(move |t| t.as_ref().replace("{}", l))).collect(),
        };
        let rows = cache.rows(self, &prompts).await?;
        Ok(if templates.len() > 1 { means(&rows, templates.len()) } else { rows })
    }

    /// A classifier over `rows`, one for each label: [`Clip::label_rows`], embeddings of pictures that show what is meant, or
    /// both, one after the other.
    ///
    /// # Errors
    /// [`Error::Argument`] for no labels or an empty one; [`Error::Shape`] for rows of another number or width.
    pub async fn classifier_of<L: AsRef<str>>(&self, labels: &[L], rows: Embeddings) -> Result<Classifier> {
        let (labels, texts) = (checked(labels)?, rows);
        texts.check("classifier", self.config.embed)?;
        if texts.rows != labels.len() {
            let message = format!("expected a row for each of {} labels, found {}", labels.len(), texts.rows);
            return Err(Error::Shape { op: "classifier", message });
        }
        let tower = self.vision()?;
        let scorer = Scorer::new(&self.executor, &texts, self.logits_of(), tower.runner.capacity().batch).await?;
        Ok(Classifier { labels, texts, logits: self.logits_of(), tower: tower.graph.clone(), scorer })
    }

    fn logits_of(&self) -> Scores {
        Scores { scale: self.logit_scale.exp(), bias: self.logit_bias }
    }

    /// What this model's scores are made for.
    pub fn score(&self) -> Score {
        if self.config.sigmoid { Score::Sigmoid } else { Score::Softmax }
    }
}

/// Prompts that were encoded, and their embeddings. What was not asked for the last time is forgotten.
#[derive(Clone, Debug, Default)]
pub struct PromptCache {
    known: HashMap<String, Vec<f32>>,
    /// Prompts that were encoded so far.
    pub encoded: usize,
}

impl PromptCache {
    async fn rows(&mut self, clip: &Clip, prompts: &[String]) -> Result<Embeddings> {
        let mut asked = HashSet::new();
        let new: Vec<&String> = prompts.iter().filter(|p| asked.insert(p.as_str()) && !self.known.contains_key(*p)).collect();
        let rows = clip.encode_texts(&new).await?;
        let rows = if clip.options.normalize { rows } else { means(&rows, 1) };
        self.encoded += new.len();
        let made: HashMap<String, Vec<f32>> = new.iter().enumerate().map(|(i, p)| (p.to_string(), rows.row(i).to_vec())).collect();
        self.known.retain(|p, _| asked.contains(p.as_str()));
        self.known.extend(made);
        let data = prompts.iter().flat_map(|p| &self.known[p]).copied().collect();
        Ok(Embeddings { rows: prompts.len(), width: clip.config.embed, data })
    }
}

/// An error for a label that is there twice.
///
/// # Errors
/// [`Error::Argument`]
pub fn no_repeats<L: AsRef<str>>(labels: &[L]) -> Result<()> {
    let mut seen = HashSet::new();
    match labels.iter().map(|l| l.as_ref().trim()).find(|label| !seen.insert(*label)) {
        Some(label) => Err(Error::Argument(format!("label `{label}` is given twice"))),
        None => Ok(()),
    }
}

/// Labels without blanks at their ends; empty ones are refused.
fn checked<L: AsRef<str>>(labels: &[L]) -> Result<Vec<String>> {
    let labels: Vec<String> = labels.iter().map(|l| l.as_ref().trim().to_string()).collect();
    if labels.is_empty() {
        return Err(Error::Argument("expected at least one label, found none".into()));
    }
    match labels.iter().position(String::is_empty) {
        Some(at) => Err(Error::Argument(format!("label {} is empty", at + 1))),
        None => Ok(labels),
    }
}

/// The mean of each `group` rows, of unit length.
fn means(rows: &Embeddings, group: usize) -> Embeddings {
    let width = rows.width;
    let mut data = Vec::with_capacity(rows.data.len() / group);
    for rows in rows.data.chunks(group * width) {
        let sum: Vec<f64> = (0..width).map(|i| rows.iter().skip(i).step_by(width).map(|&v| v as f64).sum()).collect();
        let length = sum.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-30);
        data.extend(sum.iter().map(|v| (v / length) as f32));
    }
    Embeddings { rows: rows.rows / group, width, data }
}

/// Labels with their embeddings, ready to score pictures by the model that made it, until that is loaded again ([`Clip::restore`]).
pub struct Classifier {
    labels: Vec<String>,
    texts: Embeddings,
    logits: Scores,
    /// The image tower of the model that made it, as it was loaded then.
    tower: Arc<Graph>,
    scorer: Scorer,
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classifier").field("labels", &self.labels).finish_non_exhaustive()
    }
}

impl Classifier {
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// One row per label, of unit length.
    pub fn texts(&self) -> &Embeddings {
        &self.texts
    }

    /// Scores of pictures, whose embeddings are of unit length: `[images.rows, labels]`, row after row.
    ///
    /// # Errors
    /// [`Error::Shape`] for embeddings of another width; what the device says.
    pub async fn scores(&self, images: &Embeddings, score: Score) -> Result<Vec<f32>> {
        if images.rows == 0 {
            return Ok(Vec::new());
        }
        images.check("scores", self.texts.width)?;
        Ok(self.scored(self.scorer.run(images).await?, score))
    }

    /// Scores of pictures, `[images, labels]`: on a GPU their embeddings stay there, and only the scores come back.
    ///
    /// # Errors
    /// As [`Classifier::classify_pixels`].
    pub async fn classify(&self, clip: &Clip, images: &[Image], score: Score) -> Result<Vec<f32>> {
        let mut runs = Runs::default();
        for part in images.chunks(self.batch(clip)?) {
            let pixels = clip.pixels(part);
            runs.push(self.scorer.submit(clip, Data::F32(&pixels), clip.pixels_size(&pixels)?).await?).await?;
        }
        self.finish(clip, runs, score).await
    }

    /// The same of preprocessed pictures: `pixels` is `[n, 3, size, size]`.
    ///
    /// # Errors
    /// [`Error::Argument`] for another model than the one that made this classifier, and for one that was loaded again since;
    /// [`Error::NonFinite`] for scores that are no numbers, unless [`Options`](crate::Options) leaves them; what the device says.
    pub async fn classify_pixels(&self, clip: &Clip, pixels: &[f32], score: Score) -> Result<Vec<f32>> {
        let mut runs = Runs::default();
        for part in pixels.chunks(3 * clip.config.vision()?.size.pow(2) * self.batch(clip)?) {
            runs.push(self.scorer.submit(clip, Data::F32(part), clip.pixels_size(part)?).await?).await?;
        }
        self.finish(clip, runs, score).await
    }

    /// Scores of a texture of the model's device, `[1, labels]`, as [`Clip::encode_frame`] takes it: only the scores come back.
    ///
    /// # Errors
    /// As [`Clip::encode_frame`] and [`Classifier::classify_pixels`].
    pub async fn classify_frame(&self, clip: &Clip, texture: &wgpu::Texture, score: Score) -> Result<Vec<f32>> {
        self.batch(clip)?;
        let size = clip.one_picture()?;
        let run = clip.submit_frame(texture, |pixels| self.scorer.hand_over(clip, pixels, size)).await?;
        let mut runs = Runs::default();
        runs.push(run).await?;
        self.finish(clip, runs, score).await
    }

    /// Pictures that it scores at once.
    ///
    /// # Errors
    /// [`Error::Argument`] for a model that it is not of.
    fn batch(&self, clip: &Clip) -> Result<usize> {
        let tower = clip.vision()?;
        match Arc::ptr_eq(&tower.graph, &self.tower) {
            true => Ok(tower.runner.capacity().batch.min(self.scorer.runner.capacity().batch)),
            false => {
                Err(Error::Argument("this classifier is of another model, or of this one before it was loaded again: make it anew".into()))
            }
        }
    }

    async fn finish(&self, clip: &Clip, runs: Runs, score: Score) -> Result<Vec<f32>> {
        let (data, width) = (runs.finish().await?, self.labels.len());
        let logits = Embeddings { rows: data.len() / width, width, data };
        match logits.non_finite() {
            rows if clip.options.refuse_non_finite && !rows.is_empty() => Err(Error::NonFinite { what: "scores", rows }),
            _ => Ok(self.scored(logits.data, score)),
        }
    }

    /// Scores of logits.
    fn scored(&self, mut y: Vec<f32>, score: Score) -> Vec<f32> {
        match score {
            Score::Softmax => y.chunks_mut(self.labels.len()).for_each(softmax),
            Score::Sigmoid => y.iter_mut().for_each(|v| *v = 1.0 / (1.0 + (-*v).exp())),
            Score::Cosine => y.iter_mut().for_each(|v| *v = (*v - self.logits.bias) / self.logits.scale),
        }
        y
    }

    /// The labels of one picture's scores, best first; equal scores in the labels' order. Of several pictures, which have their scores one
    /// after the other: `scores.chunks(classifier.labels().len())`.
    ///
    /// # Panics
    /// Where there are more scores or fewer than labels.
    pub fn ranked<'a>(&'a self, scores: &[f32]) -> Vec<(&'a str, f32)> {
        assert_eq!(scores.len(), self.labels.len(), "expected the scores of one picture, one for each label");
        let mut ranked: Vec<(&str, f32)> = self.labels.iter().map(String::as_str).zip(scores.iter().copied()).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }
}

fn softmax(row: &mut [f32]) {
    let greatest = row.iter().copied().fold(f32::MIN, f32::max);
    row.iter_mut().for_each(|v| *v = (*v - greatest).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|v| *v /= sum);
}

/// The scores kernel over fixed texts.
struct Scorer {
    runner: Runner,
    images: Value,
    scores: Value,
    /// Embeddings on their way from an image tower to the scores: held while both runs are handed over.
    between: Option<Mutex<wgpu::Buffer>>,
}

impl Scorer {
    async fn new(executor: &Executor, texts: &Embeddings, logits: Scores, capacity: usize) -> Result<Self> {
        let mut graph = Graph::default();
        let images = graph.input("images", Rows::Items, texts.width, Kind::F32);
        let table = graph.weight("texts", texts.rows, texts.width);
        let scores = graph.push("scores", logits, &[images, table])?;
        let mut sink = Sink::new(executor, graph.desc(table), Format::F32, Operand::Weight, None).await?;
        sink.write(0, &texts.data).await?;
        let weights = Weights::of(vec![(table, sink.finish())]);
        let capacity = Size { batch: capacity.max(1), tokens: 1 };
        let bytes = graph.desc(images).bytes(capacity);
        let runner = Runner::new(executor, Arc::new(graph), weights, &[scores], capacity).await?;
        let between = match executor {
            Executor::Gpu(gpu) => {
                let (buffer, refusals) = gpu.scoped(|| storage(gpu, "embeddings", bytes));
                refusals.check(gpu, "the embeddings of a batch").await?;
                Some(Mutex::new(buffer))
            }
            #[cfg(feature = "host")]
            Executor::Host => None,
        };
        Ok(Self { runner, images, scores, between })
    }

    /// Scores of embeddings that are on the host.
    async fn run(&self, images: &Embeddings) -> Result<Vec<f32>> {
        let mut runs = Runs::default();
        for part in images.data.chunks(images.width * self.runner.capacity().batch) {
            let size = Size { batch: part.len() / images.width, tokens: 1 };
            runs.push(self.runner.submit(&[(self.images, Data::F32(part))], size, &[self.scores])?).await?;
        }
        runs.finish().await
    }

    /// Scores of preprocessed pictures: both towers' ends meet where they run.
    async fn submit(&self, clip: &Clip, pixels: Data<'_>, size: Size) -> Result<Pending> {
        if self.between.is_some() {
            return self.hand_over(clip, pixels, size);
        }
        let tower = clip.vision()?;
        let made = tower.runner.submit(&[(tower.ends.input, pixels)], size, &[tower.ends.embedding])?;
        let embeddings = made.values().await?.remove(0);
        self.runner.submit(&[(self.images, Data::F32(&embeddings))], Size { tokens: 1, ..size }, &[self.scores])
    }

    /// The same on a GPU: both runs are handed over at once.
    fn hand_over(&self, clip: &Clip, pixels: Data<'_>, size: Size) -> Result<Pending> {
        let tower = clip.vision()?;
        let (Runner::Gpu(vision), Runner::Gpu(scorer), Some(between)) = (&tower.runner, &self.runner, &self.between) else {
            return Err(Error::Argument("expected a classifier and a model of the same GPU".into()));
        };
        let between = between.lock().unwrap_or_else(PoisonError::into_inner);
        let made = vision.submit(&[(tower.ends.input, pixels)], size, &[(tower.ends.embedding, Target::Buffer(&between))])?;
        let scored = scorer.submit(&[(self.images, Data::Buffer(&between))], Size { tokens: 1, ..size }, &[(self.scores, Target::Host)]);
        Ok(scored?.after(made))
    }
}
