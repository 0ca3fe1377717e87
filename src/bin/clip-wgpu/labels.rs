//! The labels that pictures are scored against.

use std::path::PathBuf;

use clap::Args;
use clip_wgpu::clip::{Classifier, PromptCache, SavedLabels, no_repeats, sets};
use clip_wgpu::{Clip, Embeddings, Error, Result};

use crate::context::Globals;
use crate::files::write_whole;
use crate::inputs::bytes_of;
use crate::texts;

#[derive(Args)]
pub struct Labels {
    /// A label; give it again for each
    #[arg(short, long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// A file with one label per line; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    labels_file: Option<PathBuf>,
    /// Labels known by name: imagenet (OpenAI's names of its 1,000 classes)
    #[arg(long = "labels", value_name = "SET", value_parser = known_set)]
    set: Option<String>,
    /// A prompt with {} where the label goes, such as 'a photo of a {}.'; several are averaged. imagenet80 and imagenet7 are
    /// OpenAI's for ImageNet. Default: the label alone
    #[arg(short, long = "template", value_name = "TEMPLATE")]
    templates: Vec<String>,
    /// Write the labels' embeddings to this file, for --classifier
    #[arg(long, value_name = "FILE")]
    save_classifier: Option<PathBuf>,
    /// Labels whose embeddings --save-classifier has written: they are not encoded again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["labels", "labels_file", "set", "templates", "save_classifier"])]
    classifier: Option<PathBuf>,
    /// A label that is too long for the model is an error, not a warning
    #[arg(long)]
    strict: bool,
}

fn known_set(name: &str) -> std::result::Result<String, String> {
    match sets::labels(name) {
        Some(_) => Ok(name.into()),
        None => Err("expected imagenet; labels of your own are given with -l, one each".into()),
    }
}

/// Labels before there is a model.
pub enum Given {
    Texts(Vec<String>),
    Saved(SavedLabels, String),
}

impl Labels {
    /// What was given, or `otherwise`, where that is nothing.
    ///
    /// # Errors
    /// [`Error::Argument`] for a file that is none of labels; [`Error::Io`], [`Error::Text`].
    pub fn given(&self, g: &Globals, otherwise: impl FnOnce() -> Vec<String>) -> Result<Given> {
        if let Some(path) = &self.classifier {
            let (bytes, name) = bytes_of(path)?;
            let saved = SavedLabels::from_bytes(&bytes).map_err(|e| Error::Argument(format!("{name}: {e}")))?;
            return Ok(Given::Saved(saved, name));
        }
        let mut labels = texts::labels(g, &self.labels, self.labels_file.as_deref())?;
        no_repeats(&labels)?; // ImageNet's have two
        labels.extend(self.set.as_deref().and_then(sets::labels).into_iter().flatten().map(String::from));
        if labels.is_empty() {
            labels = otherwise();
        }
        match labels.is_empty() {
            true => {
                Err(Error::Argument("expected labels (-l LABEL, --labels-file with one per line, or --labels imagenet), found none".into()))
            }
            false => Ok(Given::Texts(labels)),
        }
    }

    /// A classifier over them; `None` where one was refused, which is said.
    ///
    /// # Errors
    /// As [`Clip::label_rows`] and [`Clip::classifier_saved`]; [`Error::Io`].
    pub fn classifier(&self, g: &Globals, clip: &Clip, given: Given) -> Result<Option<Classifier>> {
        let labels = match given {
            Given::Saved(saved, name) => {
                let made = pollster::block_on(clip.classifier_saved(saved));
                return made.map(Some).map_err(|e| Error::Argument(format!("{name}: {e}")));
            }
            Given::Texts(labels) => labels,
        };
        let lines: Vec<texts::Line> = labels.iter().map(|label| texts::Line::argument(label)).collect();
        if !texts::tokenize(g, clip, &lines, self.strict).failed.is_empty() {
            return Ok(None);
        }
        let known = |t: &String| sets::templates(t).map_or_else(|| vec![t.clone()], |set| set.into_iter().map(String::from).collect());
        let templates: Vec<String> = self.templates.iter().flat_map(known).collect();
        let rows = encoded(g, clip, &labels, &templates)?;
        pollster::block_on(async {
            let Some(path) = &self.save_classifier else { return clip.classifier_of(&labels, rows).await };
            let saved = clip.saved_labels(&g.model()?, labels, templates, rows).await?;
            write_whole(path, &saved.to_bytes()?)?;
            clip.classifier_of(&saved.labels, saved.rows).await
        })
        .map(Some)
    }
}

/// Prompts between two looks at the progress.
const TOGETHER: usize = 256;

/// The rows of the labels: 80 prompts for 1,000 of them take a while.
fn encoded(g: &Globals, clip: &Clip, labels: &[String], templates: &[String]) -> Result<Embeddings> {
    let bar = g.bar(labels.len() as u64, "labels   {bar:30} {pos}/{len} {per_sec} {eta}");
    let mut all = Embeddings { rows: 0, width: clip.config.embed, data: Vec::new() };
    for part in labels.chunks((TOGETHER / templates.len().max(1)).max(1)) {
        let rows = pollster::block_on(clip.label_rows(&mut PromptCache::default(), part, templates))?;
        all.rows += rows.rows;
        all.data.extend(rows.data);
        bar.inc(part.len() as u64);
    }
    bar.finish_and_clear();
    Ok(all)
}
