use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use clip_wgpu::{Clip, Embeddings, Error, Options, Result};
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::inputs::{self, Texts};
use crate::output::{FileFormat, failed_json, row_json, say, say_json, write_embeddings};

/// Turn pictures or texts into embeddings
#[derive(Subcommand)]
#[command(after_help = "Examples:
  clip-wgpu embed image -m pico assets/samples -o samples.npy
  clip-wgpu embed text -m pico 'a red circle' 'a blue square' -o texts.safetensors
  clip-wgpu embed text -m pico --texts-file - < captions.txt > captions.jsonl")]
pub enum Embed {
    /// Embed pictures
    Image(EmbedImage),
    /// Embed texts
    Text(EmbedText),
}

#[derive(Args)]
pub struct EmbedImage {
    /// Pictures, or folders of them; `-` reads one from standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    to: To,
}

#[derive(Args)]
pub struct EmbedText {
    #[command(flatten)]
    texts: Texts,
    /// A text that is too long for the model is an error, not a warning
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    to: To,
}

#[derive(Args)]
struct To {
    /// The file to write: .npy, .safetensors or .jsonl by its name. Default: JSON lines on standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// As the projection makes them, not of unit length
    #[arg(long)]
    raw: bool,
}

impl Embed {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        match self {
            Embed::Image(c) => c.run(g),
            Embed::Text(c) => c.run(g),
        }
    }
}

impl EmbedImage {
    fn run(self, g: &Globals) -> Result<Outcome> {
        let pictures = inputs::pictures(&self.paths);
        if pictures.is_empty() {
            return Err(Error::Argument("expected pictures, found none in the folders given".into()));
        }
        let clip = self.to.load(g)?;
        let encoded = inputs::encode(g, &clip, &pictures)?;
        self.to.write(g, &clip, &encoded.names, &encoded.embeddings(clip.config.embed), &encoded.failed)
    }
}

impl EmbedText {
    fn run(self, g: &Globals) -> Result<Outcome> {
        let texts = self.texts.all()?;
        let clip = self.to.load(g)?;
        let ids = inputs::tokenize(g, &clip, &texts, self.strict)?;
        let bar = g.bar(ids.len() as u64, "encoding {bar:30} {pos}/{len} {per_sec} {eta}");
        let mut all = Embeddings { rows: ids.len(), width: clip.config.embed, data: Vec::new() };
        for part in ids.chunks(clip.text()?.runner.capacity().batch) {
            all.data.extend(pollster::block_on(clip.encode_ids(part))?.data);
            bar.inc(part.len() as u64);
        }
        bar.finish_and_clear();
        self.to.write(g, &clip, &texts, &all, &[])
    }
}

impl To {
    /// Loads the model, once the output's name is known to be good.
    fn load(&self, g: &Globals) -> Result<Clip> {
        self.output.as_deref().map(FileFormat::of).transpose()?;
        g.load_with(Options { normalize: !self.raw, ..g.options() })
    }

    fn write(&self, g: &Globals, clip: &Clip, names: &[String], embeddings: &Embeddings, failed: &[(String, String)]) -> Result<Outcome> {
        let rows = || (0..embeddings.rows).map(|i| row_json(&names[i], embeddings.row(i)));
        if let Some(path) = &self.output {
            write_embeddings(path, &g.model()?, names, embeddings)?;
        }
        match (&self.output, g.json) {
            (output, true) => {
                let file = output.as_deref().map(Path::display).map(|d| d.to_string());
                let rows: Vec<_> = if output.is_some() { Vec::new() } else { rows().collect() };
                let written = json!({"file": file, "rows": embeddings.rows, "width": embeddings.width, "normalized": !self.raw});
                say_json(
                    &json!({"model": g.model()?, "device": clip.executor.name(), "written": written, "embeddings": rows, "failed": failed_json(failed)}),
                )?;
            }
            (None, false) => rows().try_for_each(|row| say(&row.to_string()))?,
            (Some(path), false) => say(&format!("{}: {} × {}", path.display(), embeddings.rows, embeddings.width))?,
        }
        Ok(if failed.is_empty() { Outcome::Done } else { Outcome::SomeFailed })
    }
}
