use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clip_wgpu::clip::Classifier;
use clip_wgpu::{Clip, Error, Result, Score};
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::inputs;
use crate::output::{failed_json, say, say_json};

/// Score pictures against labels
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu classify -m pico assets/samples/red-circle.png -l 'red circle' -l 'blue square'
  clip-wgpu classify -m ~/clip-vit-base-patch32 ~/Pictures --labels-file animals.txt -t 'a photo of a {}.' --top 3
  curl -s https://example.org/cat.jpg | clip-wgpu classify -m ~/clip-vit-base-patch32 - -l cat -l dog --json")]
pub struct Classify {
    /// Pictures, or folders of them; `-` reads one from standard input
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// A label; give it again for each
    #[arg(short, long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// A file with one label per line; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    labels_file: Option<PathBuf>,
    /// A prompt with {} where the label goes, such as 'a photo of a {}.'; several are averaged. Default: the label alone
    #[arg(short, long = "template", value_name = "TEMPLATE")]
    templates: Vec<String>,
    /// What a score is: shares of 1 among the labels (softmax), each label for itself (sigmoid), or the cosine. Default: what the
    /// model was trained for, softmax or, for SigLIP, sigmoid
    #[arg(long, value_enum)]
    score: Option<ScoreName>,
    /// Print the best N labels
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// Print only labels that score at least this
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    threshold: Option<f32>,
    /// A label that is too long for the model is an error, not a warning
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScoreName {
    Softmax,
    Sigmoid,
    Cosine,
}

impl ScoreName {
    fn score(self) -> Score {
        match self {
            ScoreName::Softmax => Score::Softmax,
            ScoreName::Sigmoid => Score::Sigmoid,
            ScoreName::Cosine => Score::Cosine,
        }
    }
}

fn name_of(score: Score) -> &'static str {
    match score {
        Score::Softmax => "softmax",
        Score::Sigmoid => "sigmoid",
        Score::Cosine => "cosine",
    }
}

impl Classify {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        let mut labels = self.labels.clone();
        if let Some(path) = &self.labels_file {
            labels.extend(inputs::lines(path)?);
        }
        if labels.is_empty() {
            return Err(Error::Argument("expected labels (-l LABEL, or --labels-file with one per line), found none".into()));
        }
        let pictures = inputs::pictures(&self.images);
        if pictures.is_empty() {
            return Err(Error::Argument("expected pictures, found none in the folders given".into()));
        }
        let clip = g.load()?;
        inputs::tokenize(g, &clip, &labels, self.strict)?; // for what it says of labels that are too long
        let classifier = pollster::block_on(clip.classifier(&labels, &self.templates))?;
        let encoded = inputs::encode(g, &clip, &pictures)?;
        let score = self.score.map_or(clip.score(), ScoreName::score);
        let scores = pollster::block_on(classifier.scores(&encoded.embeddings(clip.config.embed), score))?;
        let rows: Vec<(&String, Vec<(&str, f32)>)> = encoded
            .names
            .iter()
            .zip(scores.chunks(classifier.labels.len()))
            .map(|(name, row)| (name, self.shown(&classifier, row)))
            .collect();
        if g.json {
            print_json(g, &clip, score, &rows, &encoded.failed)?;
        } else {
            rows.iter().try_for_each(|(name, labels)| print(score, name, labels))?;
        }
        Ok(if encoded.failed.is_empty() { Outcome::Done } else { Outcome::SomeFailed })
    }

    /// The labels of a row that are to be printed, best first.
    fn shown<'a>(&self, classifier: &'a Classifier, row: &[f32]) -> Vec<(&'a str, f32)> {
        let enough = |(_, score): &(&str, f32)| self.threshold.is_none_or(|t| *score >= t);
        classifier.ranked(row).into_iter().filter(enough).take(self.top).collect()
    }
}

fn print(score: Score, name: &str, labels: &[(&str, f32)]) -> Result<()> {
    say(name)?;
    if labels.is_empty() {
        return say("          none of these");
    }
    labels.iter().try_for_each(|(label, value)| match score {
        Score::Cosine => say(&format!("  {value:>7.4}  {label}")),
        _ => say(&format!("  {:>5.1} %  {label}", 100.0 * value)),
    })
}

fn print_json(g: &Globals, clip: &Clip, score: Score, rows: &[(&String, Vec<(&str, f32)>)], failed: &[(String, String)]) -> Result<()> {
    let labels = |labels: &[(&str, f32)]| labels.iter().map(|(label, score)| json!({"label": label, "score": score})).collect::<Vec<_>>();
    let images: Vec<_> = rows.iter().map(|(name, row)| json!({"input": name, "labels": labels(row)})).collect();
    let (score, failed) = (name_of(score), failed_json(failed));
    say_json(&json!({"model": g.model()?, "device": clip.executor.name(), "score": score, "images": images, "failed": failed}))
}
