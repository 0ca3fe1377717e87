//! The same without `async`: each call blocks its thread. Not for the browser, whose thread must not block.

use std::ops::Deref;

use crate::clip::{self, Embeddings, ModelFiles, Options, PromptCache, SavedLabels, Score};
use crate::device::{Device, Executor};
use crate::error::Result;
use crate::input::Image;

/// [`Device::open`]
///
/// # Errors
/// As there.
pub fn open(device: &Device) -> Result<Executor> {
    pollster::block_on(device.open())
}

/// [`ModelFiles::find`]
///
/// # Errors
/// As there.
pub fn find(model: &str) -> Result<ModelFiles> {
    pollster::block_on(ModelFiles::find(model))
}

/// Waits for what has no blocking form here, such as a search by [`Nearest`](crate::nearest::Nearest).
pub use pollster::block_on;

/// [`clip_wgpu::Clip`](crate::Clip), blocking.
#[derive(Debug)]
pub struct Clip(clip::Clip);

/// [`clip_wgpu::Classifier`](crate::Classifier), blocking.
#[derive(Debug)]
pub struct Classifier(clip::Classifier);

impl Deref for Clip {
    type Target = clip::Clip;

    fn deref(&self) -> &clip::Clip {
        &self.0
    }
}

impl Deref for Classifier {
    type Target = clip::Classifier;

    fn deref(&self) -> &clip::Classifier {
        &self.0
    }
}

impl Clip {
    /// [`clip::Clip::load`]
    ///
    /// # Errors
    /// As there.
    pub fn load(model: &str, options: &Options) -> Result<Self> {
        pollster::block_on(clip::Clip::load(model, options)).map(Self)
    }

    /// [`clip::Clip::load_on`]
    ///
    /// # Errors
    /// As there.
    pub fn load_on(executor: &Executor, files: ModelFiles, options: &Options, keep: &[&str]) -> Result<Self> {
        pollster::block_on(clip::Clip::load_on(executor, files, options, keep)).map(Self)
    }

    /// [`clip::Clip::encode_images`]
    ///
    /// # Errors
    /// As there.
    pub fn encode_images(&self, images: &[Image]) -> Result<Embeddings> {
        pollster::block_on(self.0.encode_images(images))
    }

    /// [`clip::Clip::encode_pixels`]
    ///
    /// # Errors
    /// As there.
    pub fn encode_pixels(&self, pixels: &[f32]) -> Result<Embeddings> {
        pollster::block_on(self.0.encode_pixels(pixels))
    }

    /// [`clip::Clip::image_parts`]
    ///
    /// # Errors
    /// As there.
    pub fn image_parts(&self, images: &[Image]) -> Result<Embeddings> {
        pollster::block_on(self.0.image_parts(images))
    }

    /// [`clip::Clip::pixel_parts`]
    ///
    /// # Errors
    /// As there.
    pub fn pixel_parts(&self, pixels: &[f32]) -> Result<Embeddings> {
        pollster::block_on(self.0.pixel_parts(pixels))
    }

    /// [`clip::Clip::frame_parts`]
    ///
    /// # Errors
    /// As there.
    pub fn frame_parts(&self, texture: &wgpu::Texture) -> Result<Embeddings> {
        pollster::block_on(self.0.frame_parts(texture))
    }

    /// [`clip::Clip::value_of_pixels`]
    ///
    /// # Errors
    /// As there.
    pub fn value_of_pixels(&self, name: &str, pixels: &[f32]) -> Result<Vec<f32>> {
        pollster::block_on(self.0.value_of_pixels(name, pixels))
    }

    /// [`clip::Clip::value_of_ids`]
    ///
    /// # Errors
    /// As there.
    pub fn value_of_ids(&self, name: &str, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        pollster::block_on(self.0.value_of_ids(name, texts))
    }

    /// [`clip::Clip::fingerprint`]
    ///
    /// # Errors
    /// As there.
    pub fn fingerprint(&self) -> Result<String> {
        pollster::block_on(self.0.fingerprint())
    }

    /// [`clip::Clip::saved_labels`]
    ///
    /// # Errors
    /// As there.
    pub fn saved_labels(&self, name: &str, labels: Vec<String>, templates: Vec<String>, rows: Embeddings) -> Result<SavedLabels> {
        pollster::block_on(self.0.saved_labels(name, labels, templates, rows))
    }

    /// [`clip::Clip::classifier_saved`]
    ///
    /// # Errors
    /// As there.
    pub fn classifier_saved(&self, saved: SavedLabels) -> Result<Classifier> {
        pollster::block_on(self.0.classifier_saved(saved)).map(Classifier)
    }

    /// [`clip::Clip::encode_frame`]
    ///
    /// # Errors
    /// As there.
    pub fn encode_frame(&self, texture: &wgpu::Texture) -> Result<Embeddings> {
        pollster::block_on(self.0.encode_frame(texture))
    }

    /// [`clip::Clip::frame_pixels`]
    ///
    /// # Errors
    /// As there.
    pub fn frame_pixels(&self, texture: &wgpu::Texture) -> Result<Vec<f32>> {
        pollster::block_on(self.0.frame_pixels(texture))
    }

    /// [`clip::Clip::restore`]
    ///
    /// # Errors
    /// As there.
    pub fn restore(&mut self, executor: &Executor) -> Result<()> {
        pollster::block_on(self.0.restore(executor))
    }

    /// [`clip::Clip::encode_texts`]
    ///
    /// # Errors
    /// As there.
    pub fn encode_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Embeddings> {
        pollster::block_on(self.0.encode_texts(texts))
    }

    /// [`clip::Clip::encode_ids`]
    ///
    /// # Errors
    /// As there.
    pub fn encode_ids(&self, texts: &[Vec<u32>]) -> Result<Embeddings> {
        pollster::block_on(self.0.encode_ids(texts))
    }

    /// [`clip::Clip::logits`]
    ///
    /// # Errors
    /// As there.
    pub fn logits(&self, images: &Embeddings, texts: &Embeddings) -> Result<Vec<f32>> {
        pollster::block_on(self.0.logits(images, texts))
    }

    /// [`clip::Clip::classifier`]
    ///
    /// # Errors
    /// As there.
    pub fn classifier<L: AsRef<str>, T: AsRef<str>>(&self, labels: &[L], templates: &[T]) -> Result<Classifier> {
        pollster::block_on(self.0.classifier(labels, templates)).map(Classifier)
    }

    /// [`clip::Clip::classifier_with`]
    ///
    /// # Errors
    /// As there.
    pub fn classifier_with<L: AsRef<str>, T: AsRef<str>>(
        &self,
        cache: &mut PromptCache,
        labels: &[L],
        templates: &[T],
    ) -> Result<Classifier> {
        pollster::block_on(self.0.classifier_with(cache, labels, templates)).map(Classifier)
    }

    /// [`clip::Clip::label_rows`]
    ///
    /// # Errors
    /// As there.
    pub fn label_rows<L: AsRef<str>, T: AsRef<str>>(&self, cache: &mut PromptCache, labels: &[L], templates: &[T]) -> Result<Embeddings> {
        pollster::block_on(self.0.label_rows(cache, labels, templates))
    }

    /// [`clip::Clip::classifier_of`]
    ///
    /// # Errors
    /// As there.
    pub fn classifier_of<L: AsRef<str>>(&self, labels: &[L], rows: Embeddings) -> Result<Classifier> {
        pollster::block_on(self.0.classifier_of(labels, rows)).map(Classifier)
    }
}

impl From<clip::Clip> for Clip {
    fn from(clip: clip::Clip) -> Self {
        Self(clip)
    }
}

impl From<clip::Classifier> for Classifier {
    fn from(classifier: clip::Classifier) -> Self {
        Self(classifier)
    }
}

impl Classifier {
    /// [`clip::Classifier::classify`]
    ///
    /// # Errors
    /// As there.
    pub fn classify(&self, clip: &Clip, images: &[Image], score: Score) -> Result<Vec<f32>> {
        pollster::block_on(self.0.classify(&clip.0, images, score))
    }

    /// [`clip::Classifier::classify_pixels`]
    ///
    /// # Errors
    /// As there.
    pub fn classify_pixels(&self, clip: &Clip, pixels: &[f32], score: Score) -> Result<Vec<f32>> {
        pollster::block_on(self.0.classify_pixels(&clip.0, pixels, score))
    }

    /// [`clip::Classifier::classify_frame`]
    ///
    /// # Errors
    /// As there.
    pub fn classify_frame(&self, clip: &Clip, texture: &wgpu::Texture, score: Score) -> Result<Vec<f32>> {
        pollster::block_on(self.0.classify_frame(&clip.0, texture, score))
    }

    /// [`clip::Classifier::scores`]
    ///
    /// # Errors
    /// As there.
    pub fn scores(&self, images: &Embeddings, score: Score) -> Result<Vec<f32>> {
        pollster::block_on(self.0.scores(images, score))
    }
}
