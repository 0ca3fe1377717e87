//! A loaded model with the labels that it looks for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clip_wgpu::blocking::{Classifier, Clip, find};
use clip_wgpu::clip::{Embeddings, PromptCache};
use clip_wgpu::input::ResizeMode;
use clip_wgpu::{Error, Executor, Options, Result, Score};

use crate::frame::Shown;
use crate::heat::{Heat, heat};
use crate::labels::{LabelSet, ScoreName};
use crate::score::{Logits, scores, with_one_background};

pub struct Model {
    pub name: String,
    clip: Clip,
    prompts: PromptCache,
    backgrounds: PromptCache,
    looks_for: Option<Looked>,
}

/// What is looked for at the moment.
struct Looked {
    classifier: Classifier,
    taught: Vec<bool>,
    /// How many of the last rows are of backgrounds.
    backgrounds: usize,
    score: ScoreName,
}

/// One picture's scores, in the order of [`LabelSet::names`].
#[derive(Clone, Debug, Default)]
pub struct Scored {
    pub scores: Vec<f32>,
    /// From the frame's hand-over to its scores.
    pub took: Duration,
}

impl Model {
    /// Loads `name` onto a device that is open: `pico`, a folder, a weight file, or a name on the Hub, which is downloaded first.
    ///
    /// # Errors
    /// As [`clip_wgpu::Clip::load`].
    pub fn load(name: &str, executor: &Executor, progress: impl Fn(&str, u64, u64) + Send + Sync + Clone + 'static) -> Result<Self> {
        #[cfg(feature = "hub")]
        pull(name, progress.clone())?;
        let options = Options { batch: 1, progress: Some(Arc::new(move |done, all| progress("loading", done, all))), ..Options::default() };
        let clip = Clip::load_on(executor, find(name)?, &options, &[])?;
        Ok(Self { name: name.into(), clip, prompts: PromptCache::default(), backgrounds: PromptCache::default(), looks_for: None })
    }

    /// The score that the model was trained for.
    pub fn score(&self) -> ScoreName {
        self.clip.score().into()
    }

    /// Side of what it sees, in pixels.
    pub fn size(&self) -> usize {
        self.clip.preprocess.size
    }

    /// Bytes of its weights where they are used.
    pub fn weight_bytes(&self) -> u64 {
        [self.clip.vision(), self.clip.text()].into_iter().flatten().map(|t| t.runner.weight_bytes()).sum()
    }

    /// Prompts that were encoded since it was loaded.
    pub fn encoded(&self) -> usize {
        self.prompts.encoded + self.backgrounds.encoded
    }

    /// Looks for the labels of `set`; only prompts that are new are encoded.
    ///
    /// # Errors
    /// [`Error::Argument`] for a template without `{}` or labels taught by another model, or what the device says.
    pub fn look_for(&mut self, set: &LabelSet) -> Result<()> {
        self.looks_for = None;
        if let Some(complaint) = set.complaint() {
            return Err(Error::Argument(complaint));
        }
        let prototypes: Vec<Option<&[f32]>> = set.labels.iter().map(|l| l.prototype.as_deref()).collect();
        let backgrounds: Vec<&str> = set.backgrounds().iter().map(String::as_str).collect();
        if prototypes.is_empty() && backgrounds.is_empty() {
            return Ok(());
        }
        let width = self.clip.config.embed;
        if let Some(other) = set.taught_by.as_ref().filter(|by| **by != self.name && prototypes.iter().any(Option::is_some)) {
            return Err(Error::Argument(format!("some labels were taught with the model `{other}`: teach them again, or remove them")));
        }
        if let Some((label, taught)) = set.labels.iter().zip(&prototypes).find(|(_, p)| p.is_some_and(|row| row.len() != width)) {
            let found = taught.map_or(0, <[f32]>::len);
            return Err(Error::Argument(format!("`{}` was taught in {found} values, this model has {width}: teach it again", label.text)));
        }
        let texts: Vec<&str> = set.names().zip(&prototypes).filter(|(_, p)| p.is_none()).map(|(name, _)| name).collect();
        let rows_of = |cache: &mut PromptCache, texts: &[&str], template: &str| match texts.is_empty() {
            true => Ok(Embeddings { rows: 0, width, data: Vec::new() }),
            false => self.clip.label_rows(cache, texts, &[template]),
        };
        let rows = rows_of(&mut self.prompts, &texts, &set.template)?;
        let of_backgrounds = rows_of(&mut self.backgrounds, &backgrounds, "{}")?;
        let mut text_rows = (0..rows.rows).map(|i| rows.row(i));
        let of_labels = prototypes.iter().flat_map(|p| p.or_else(|| text_rows.next())).flatten();
        let data: Vec<f32> = of_labels.chain(&of_backgrounds.data).copied().collect();
        let names: Vec<&str> = set.labels.iter().map(|l| l.text.as_str()).chain(backgrounds.iter().copied()).collect();
        let all = Embeddings { rows: names.len(), width, data };
        let classifier = self.clip.classifier_of(&names, all)?;
        let taught = prototypes.iter().map(Option::is_some).chain(backgrounds.iter().map(|_| false)).collect();
        let backgrounds = backgrounds.len();
        self.looks_for = Some(Looked { classifier, taught, backgrounds, score: set.score.unwrap_or(self.score()) });
        Ok(())
    }

    /// Scores of a frame: on the device, from the frame's texture, and only the scores come back; else by the processor.
    ///
    /// # Errors
    /// What the device says.
    pub fn scored(&self, shown: &Shown) -> Result<Option<Scored>> {
        let Some(Looked { classifier, taught, backgrounds, score }) = &self.looks_for else { return Ok(None) };
        let begun = Instant::now();
        let cosines = match (&shown.texture, &self.clip.executor) {
            (Some(texture), Executor::Gpu(_)) => classifier.classify_frame(&self.clip, texture, Score::Cosine)?,
            _ => classifier.classify(&self.clip, &[shown.frame.to_image()?], Score::Cosine)?,
        };
        let logits = Logits { scale: self.clip.logit_scale.exp(), bias: self.clip.logit_bias };
        let scores = with_one_background(scores(&cosines, taught, logits, *score), *backgrounds, *score);
        Ok(Some(Scored { scores, took: begun.elapsed() }))
    }

    /// Where in a frame a label is, by its place among [`LabelSet::names`].
    ///
    /// # Errors
    /// What the device says.
    pub fn located(&self, shown: &Shown, label: usize) -> Result<Option<Heat>> {
        let Some(Looked { classifier, .. }) = self.looks_for.as_ref().filter(|l| label < l.classifier.labels().len()) else {
            return Ok(None);
        };
        let parts = match (&shown.texture, &self.clip.executor) {
            (Some(texture), Executor::Gpu(_)) => self.clip.frame_parts(texture)?,
            _ => self.clip.image_parts(&[shown.frame.to_image()?])?,
        };
        Ok(Some(heat(&parts, classifier.texts().row(label), label, self.clip.patch_grid()?)))
    }

    /// Whether it sees the whole picture, squashed, and not the square in its middle.
    pub fn squashes(&self) -> bool {
        self.clip.preprocess.mode == ResizeMode::Squash
    }

    /// Embedding of a frame, of unit length.
    ///
    /// # Errors
    /// What the device says.
    pub fn embedding(&self, shown: &Shown) -> Result<Vec<f32>> {
        let rows = match (&shown.texture, &self.clip.executor) {
            (Some(texture), Executor::Gpu(_)) => self.clip.encode_frame(texture)?,
            _ => self.clip.encode_images(&[shown.frame.to_image()?])?,
        };
        Ok(rows.data)
    }

    /// Times of a frame's steps, each the median of `runs`: resized and normalised, then encoded, then scored. Each step is
    /// measured with those before it, which are taken off.
    ///
    /// # Errors
    /// What the device says.
    pub fn budget(&self, shown: &Shown, runs: usize) -> Result<[Duration; 3]> {
        let median = |step: &dyn Fn() -> Result<()>| -> Result<Duration> {
            step()?;
            let mut times = Vec::new();
            for _ in 0..runs.max(1) {
                let begun = Instant::now();
                step()?;
                times.push(begun.elapsed());
            }
            times.sort();
            Ok(times[times.len() / 2])
        };
        let prepare = median(&|| match (&shown.texture, &self.clip.executor) {
            (Some(texture), Executor::Gpu(_)) => self.clip.frame_pixels(texture).map(drop),
            _ => shown.frame.to_image().map(|image| drop(self.clip.preprocess.pixels(&image))),
        })?;
        let encoded = median(&|| self.embedding(shown).map(drop))?;
        let scored = median(&|| self.scored(shown).map(drop))?;
        Ok([prepare, encoded.saturating_sub(prepare), scored.saturating_sub(encoded)])
    }
}

/// Downloads a model that is named on the Hub and not here.
#[cfg(feature = "hub")]
fn pull(name: &str, progress: impl Fn(&str, u64, u64) + Send + Sync + 'static) -> Result<()> {
    if let Some(repository) = clip_wgpu::clip::repository(name)? {
        let progress: clip_wgpu::hub::OnBytes = Arc::new(move |done, all| progress("downloading", done, all));
        clip_wgpu::hub::Hub { progress: Some(progress), ..clip_wgpu::hub::Hub::from_env() }.model(&repository)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that fails may panic
    use std::path::Path;

    use super::*;
    use crate::labels::{Label, prototype};
    use crate::source::open;

    fn shown(file: &str) -> Shown {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/samples").join(file);
        let frame = open(path.to_str().unwrap(), Duration::ZERO).unwrap().next().unwrap();
        Shown { frame: std::sync::Arc::new(frame), texture: None, number: 0, capture: Duration::ZERO }
    }

    #[test]
    fn an_edited_label_is_the_only_one_that_is_encoded() {
        let mut model = Model::load("pico", &Executor::Host, |_, _, _| {}).unwrap();
        let mut set = LabelSet::default();
        model.look_for(&set).unwrap();
        assert_eq!(model.encoded(), 5);
        set.labels[2].text = "banana".into();
        model.look_for(&set).unwrap();
        assert_eq!(model.encoded(), 6);
        set.labels.swap(0, 4);
        set.labels.remove(1);
        model.look_for(&set).unwrap();
        assert_eq!(model.encoded(), 6, "moved and removed: nothing new");
    }

    #[test]
    fn what_is_none_of_the_labels_is_none_of_them() {
        let mut model = Model::load("pico", &Executor::Host, |_, _, _| {}).unwrap();
        let background = ["a photo of a tiger", "a photo of a guitar"].map(String::from).into();
        let mut set = LabelSet { none_of_these: true, background, ..LabelSet::default() };
        set.labels.retain(|l| l.text != "tiger" && l.text != "guitar");
        model.look_for(&set).unwrap();
        for (file, name) in [("tiger.jpg", crate::labels::NONE), ("guitar.jpg", crate::labels::NONE), ("red-circle.png", "red circle")] {
            let scores = model.scored(&shown(file)).unwrap().unwrap().scores;
            assert_eq!(set.names().nth(crate::score::best(&scores).unwrap()), Some(name), "{file}: {scores:?}");
        }
        set.background.clear();
        assert!(model.look_for(&set).unwrap_err().to_string().contains("expected a prompt for a background"));
    }

    #[test]
    fn what_was_taught_leads_where_it_is_shown_and_is_the_same_after_saving() {
        let mut model = Model::load("pico", &Executor::Host, |_, _, _| {}).unwrap();
        let mut set = LabelSet { labels: ["guitar", "fish", "red circle"].map(Label::new).into(), ..LabelSet::default() };
        let rows: Vec<Vec<f32>> = (0..3).map(|_| model.embedding(&shown("tiger.jpg")).unwrap()).collect();
        set.teach("my thing", prototype(&rows), "pico");
        model.look_for(&set).unwrap();
        let scored = |model: &Model, file: &str| model.scored(&shown(file)).unwrap().unwrap().scores;
        let (mine, other) = (scored(&model, "tiger.jpg"), scored(&model, "fish.jpg"));
        assert_eq!((crate::score::best(&mine), crate::score::best(&other)), (Some(3), Some(1)), "{mine:?} {other:?}");
        let file = std::env::temp_dir().join("clip-wgpu-viewer-taught.json");
        set.save(&file).unwrap();
        let mut again = Model::load("pico", &Executor::Host, |_, _, _| {}).unwrap();
        again.look_for(&LabelSet::load(&file).unwrap()).unwrap();
        assert_eq!(scored(&again, "tiger.jpg"), mine, "to the last bit");
        set.taught_by = Some("another".into());
        assert!(again.look_for(&set).unwrap_err().to_string().contains("taught with the model `another`"));
    }

    /// The middles of what they show: teapot 95, 150 of 256 pixels; tiger 135, 125; the circle that of its picture.
    #[test]
    fn what_a_picture_shows_is_where_it_is() {
        let mut model = Model::load("pico", &Executor::Host, |_, _, _| {}).unwrap();
        let labels = ["teapot", "tiger", "red circle"];
        model.look_for(&LabelSet { labels: labels.map(Label::new).into(), ..LabelSet::default() }).unwrap();
        for (label, (file, columns, rows)) in
            [("teapot-and-apple.jpg", 0..2, 2..4), ("tiger.jpg", 1..3, 1..3), ("red-circle.png", 1..3, 1..3)].into_iter().enumerate()
        {
            let heat = model.located(&shown(file), label).unwrap().unwrap();
            assert_eq!((heat.grid, heat.values.len()), (4, 16));
            let at = heat.values.iter().position(|v| *v == 1.0).unwrap();
            assert!(columns.contains(&(at % 4)) && rows.contains(&(at / 4)), "{} is at {} of {:?}", labels[label], at, heat.values);
        }
    }
}
