//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use clip_wgpu::Device;

use crate::labels::{LabelSet, ScoreName};

/// A camera's picture, and beside it the labels that you type, scored live
#[derive(Clone, Parser)]
#[command(
    name = "viewer",
    version,
    after_help = "Examples:
  viewer                                             the camera, with the model in the box
  viewer --source ~/Pictures -l cat -l dog -m openai/clip-vit-base-patch32
  viewer --source film.mp4 --labels things.json
  viewer --headless --frames 100 --json --source ~/Pictures -l cat -l dog"
)]
pub struct Arguments {
    /// `camera`, a camera's name or device (/dev/video0), `screen`, a folder of pictures, a picture, or a film (read by ffmpeg)
    #[arg(long, short, default_value = "camera")]
    pub source: String,
    /// `pico` (in the box), a folder, a weight file, or a name on the Hub, which is downloaded
    #[arg(long, short, default_value = "pico", env = "CLIP_WGPU_MODEL")]
    pub model: String,
    /// auto, gpu, gpu:NAME, gpu:INDEX or cpu. The window is drawn on the same device
    #[arg(long, default_value = "auto")]
    pub device: Device,
    /// A label to look for; may be given again
    #[arg(long = "label", short = 'l', value_name = "LABEL")]
    pub labels: Vec<String>,
    /// A label set that the viewer has saved (JSON), or a text with a label in each line
    #[arg(long = "labels", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A prompt, with {} where the label goes
    #[arg(long, value_name = "PROMPT")]
    pub template: Option<String>,
    /// Default: what the model was trained for
    #[arg(long, value_enum)]
    pub score: Option<ScoreArgument>,
    /// Shows where in the picture this label is
    #[arg(long = "where", value_name = "LABEL")]
    pub located: Option<String>,
    /// Seconds that each picture of a folder is shown
    #[arg(long, value_name = "SECONDS")]
    pub every: Option<f64>,
    /// Seconds in which smoothed scores follow a change by two thirds
    #[arg(long, default_value_t = 0.3, value_name = "SECONDS")]
    pub smoothing: f64,
    /// Writes the scores of each frame to this file: CSV where it ends in .csv, else JSON lines
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// No window: prints a line for each frame, and at the end where the time went
    #[arg(long)]
    pub headless: bool,
    /// With --headless: how many frames
    #[arg(long, default_value_t = 100)]
    pub frames: u64,
    /// With --headless: each line is JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ScoreArgument {
    Softmax,
    Sigmoid,
    Cosine,
}

impl From<ScoreArgument> for ScoreName {
    fn from(score: ScoreArgument) -> Self {
        match score {
            ScoreArgument::Softmax => Self::Softmax,
            ScoreArgument::Sigmoid => Self::Sigmoid,
            ScoreArgument::Cosine => Self::Cosine,
        }
    }
}

impl Arguments {
    /// How long each picture of a folder is shown: two seconds in a window, as fast as it goes without one.
    pub fn every(&self) -> Duration {
        seconds(self.every.unwrap_or(if self.headless { 0.0 } else { 2.0 }))
    }

    pub fn smoothing(&self) -> Duration {
        seconds(self.smoothing)
    }

    /// The labels that are asked for.
    ///
    /// # Errors
    /// A sentence that says which file or label is wrong.
    pub fn label_set(&self) -> Result<LabelSet, String> {
        let mut set = match &self.file {
            Some(file) => LabelSet::load(file)?,
            None => LabelSet::default(),
        };
        if self.file.is_none() && !self.labels.is_empty() {
            set.labels.clear();
        }
        self.labels.iter().for_each(|label| set.add(label));
        set.template = self.template.clone().unwrap_or(set.template);
        set.score = self.score.map(ScoreName::from).or(set.score);
        if let Some(located) = self.located.as_deref().filter(|l| set.names().all(|name| name != *l)) {
            let names: Vec<&str> = set.names().collect();
            return Err(format!("--where: expected one of the labels ({}), found `{located}`", names.join(", ")));
        }
        set.complaint().map_or(Ok(set), Err)
    }
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}
