use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clip_wgpu::clip::Classifier;
use clip_wgpu::{Result, Score};
use serde_json::{Value, json};

use crate::Outcome;
use crate::context::{Globals, number};
use crate::inputs;
use crate::labels::Labels;
use crate::output::{Document, Failed, failed_json, say};
use crate::walk;

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
    #[command(flatten)]
    labels: Labels,
    /// What a score is: shares of 1 among the labels (softmax), each label for itself (sigmoid), or the cosine. Default: what the
    /// model was trained for, softmax or, for SigLIP, sigmoid
    #[arg(long, value_enum)]
    score: Option<ScoreName>,
    /// Print the best N labels
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Print only labels that score at least this
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = number)]
    threshold: Option<f32>,
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
        let given = self.labels.given(g, Vec::new)?;
        let mut found = walk::pictures(g, &self.images)?;
        let clip = g.load()?;
        let Some(classifier) = self.labels.classifier(g, &clip, given)? else { return Ok(Outcome::SomeFailed) };
        let score = self.score.map_or(clip.score(), ScoreName::score);
        let head = json!({"model": g.model()?, "device": clip.executor.name(), "compute": g.compute.to_string(), "score": name_of(score)});
        let mut document = g.json.then(|| Document::begin(&head, "images")).transpose()?;
        inputs::batches(g, &clip, &found.pictures, |batch| {
            found.failed.extend(batch.failed);
            let scores = pollster::block_on(classifier.classify_pixels(&clip, &batch.pixels, score))?;
            for (name, row) in batch.names.iter().zip(scores.chunks(classifier.labels().len())) {
                if row.iter().any(|v| !v.is_finite()) {
                    found.failed.push(Failed::not_finite(name));
                    continue;
                }
                let labels = self.shown(&classifier, row);
                match &mut document {
                    Some(document) => document.row(&json!({"input": name, "labels": labels_json(&labels)}))?,
                    None => print(score, name, &labels)?,
                }
            }
            Ok(())
        })?;
        if let Some(document) = document {
            document.end(&json!({"failed": failed_json(&found.failed), "passed_over": found.passed_over}))?;
        }
        Ok(Outcome::of(&found.failed))
    }

    /// The labels of a row that are to be printed, best first.
    fn shown<'a>(&self, classifier: &'a Classifier, row: &[f32]) -> Vec<(&'a str, f32)> {
        let enough = |(_, score): &(&str, f32)| self.threshold.is_none_or(|t| *score >= t);
        classifier.ranked(row).into_iter().filter(enough).take(self.top as usize).collect()
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

fn labels_json(labels: &[(&str, f32)]) -> Vec<Value> {
    labels.iter().map(|(label, score)| json!({"label": label, "score": score})).collect()
}
