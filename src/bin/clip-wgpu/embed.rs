use std::path::PathBuf;

use clap::{Args, Subcommand};
use clip_wgpu::{Clip, Options, Result};
use serde_json::{Value, json};

use crate::Outcome;
use crate::context::Globals;
use crate::files::{EmbeddingFile, FileFormat, row_json};
use crate::inputs;
use crate::interrupt;
use crate::output::{Document, Failed, failed_json, file_name, say};
use crate::texts::{self, Texts};
use crate::walk;

/// Turn pictures or texts into embeddings
#[derive(Subcommand)]
#[command(after_help = "Examples:
  clip-wgpu embed image -m pico assets/samples -o samples.npy
  clip-wgpu embed image -m ~/clip-vit-base-patch32 cat.jpg --layer 11 -o tokens.npy
  clip-wgpu embed text -m pico 'a red circle' 'a blue square' -o texts.safetensors
  clip-wgpu embed text -m pico - < captions.txt > captions.jsonl")]
pub enum Embed {
    /// Embed pictures
    Image(EmbedImage),
    /// Embed texts
    Text(EmbedText),
}

#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu embed image -m pico assets/samples -o samples.npy
  clip-wgpu embed image -m ~/clip-vit-base-patch32 ~/Pictures -o pictures.parquet
  clip-wgpu embed image -m ~/clip-vit-base-patch32 cat.jpg --layer 11 -o tokens.npy
  curl -s https://example.org/cat.jpg | clip-wgpu embed image -m ~/clip-vit-base-patch32 - --raw")]
pub struct EmbedImage {
    /// Pictures, or folders of them; `-` reads one from standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Instead: every token after N blocks (0: before the first), the class token's first: `hidden_states[N]` of transformers
    #[arg(long, value_name = "N", conflicts_with_all = ["pooled", "parts"])]
    layer: Option<usize>,
    /// Instead: the pooled row before the projection, `pooler_output` of transformers
    #[arg(long, conflicts_with = "parts")]
    pooled: bool,
    /// Instead: what each patch gives to the embedding, row after row from the top left; its product with a text's embedding is its
    /// part of their cosine
    #[arg(long, conflicts_with = "raw")]
    parts: bool,
    #[command(flatten)]
    to: To,
}

#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu embed text -m pico 'a red circle' 'a blue square' -o texts.safetensors
  clip-wgpu embed text -m pico - < captions.txt > captions.jsonl
  clip-wgpu embed text -m ~/clip-vit-base-patch32 --texts-file captions.txt --strict -o captions.npy")]
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
    /// The file to write: .npy, .safetensors, .parquet or .jsonl by its name. Default: JSON lines on standard output
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
        self.to.check()?;
        let found = walk::pictures(g, &self.paths)?;
        let files = g.opened()?;
        let value = match (self.layer, self.pooled) {
            (Some(layer), _) => Some(files.config.hidden_state(layer)?),
            (None, true) => Some(files.config.pooled()?),
            _ => None,
        };
        let clip = g.load_on(&g.executor()?, files, self.to.options(g), value.as_deref().as_slice())?;
        let shape = match &value {
            Some(name) => clip.value_shape(name)?,
            None if self.parts => vec![clip.patch_grid()?.pow(2), clip.config.embed],
            None => vec![clip.config.embed],
        };
        let mut rows = Rows::begin(&self.to, g, &clip, shape)?;
        rows.failed = found.failed;
        inputs::batches(g, &clip, &found.pictures, |batch| {
            rows.failed.extend(batch.failed);
            let made = pollster::block_on(async {
                match &value {
                    Some(name) => clip.value_of_pixels(name, &batch.pixels).await,
                    None if self.parts => Ok(clip.pixel_parts(&batch.pixels).await?.data),
                    None => Ok(clip.encode_pixels(&batch.pixels).await?.data),
                }
            })?;
            rows.push(&batch.names, &made)
        })?;
        rows.finish(json!({"passed_over": found.passed_over}))
    }
}

impl EmbedText {
    fn run(self, g: &Globals) -> Result<Outcome> {
        self.to.check()?;
        let lines = self.texts.all()?;
        let clip = g.load_with(self.to.options(g))?;
        let batch = TOGETHER * clip.text()?.runner.capacity().batch;
        let mut rows = Rows::begin(&self.to, g, &clip, vec![clip.config.embed])?;
        let encoded = texts::tokenize(g, &clip, &lines, self.strict);
        rows.failed = encoded.failed;
        let bar = g.bar(encoded.ids.len() as u64, "encoding {bar:30} {pos}/{len} {per_sec} {eta}");
        for (names, ids) in encoded.texts.chunks(batch).zip(encoded.ids.chunks(batch)) {
            let embeddings = pollster::block_on(clip.encode_ids(ids))?;
            bar.suspend(|| rows.push(names, &embeddings.data))?;
            bar.inc(ids.len() as u64);
            if interrupt::asked() {
                break;
            }
        }
        bar.finish_and_clear();
        rows.finish(json!({}))
    }
}

impl To {
    /// That the output's name is good.
    fn check(&self) -> Result<()> {
        self.output.as_deref().map(FileFormat::of).transpose().map(drop)
    }

    fn options(&self, g: &Globals) -> Options {
        Options { normalize: !self.raw, ..g.options() }
    }
}

/// Batches of texts that are sorted by length together: more of them waste less on padding, fewer show earlier that it goes on.
const TOGETHER: usize = 8;

fn begun(head: &Value) -> Result<Document> {
    Document::begin(head, "embeddings")
}

/// Where rows go, each as soon as it is known.
struct Rows<'a> {
    to: &'a To,
    /// The beginning of a JSON document, where one is asked for.
    head: Option<Value>,
    /// Of what one input has.
    shape: Vec<usize>,
    rows: usize,
    failed: Vec<Failed>,
    file: Option<EmbeddingFile>,
    document: Option<Document>,
}

impl<'a> Rows<'a> {
    /// Begins the output: one that cannot be written is found before the first picture is opened.
    fn begin(to: &'a To, g: &Globals, clip: &Clip, shape: Vec<usize>) -> Result<Self> {
        let model = g.model()?;
        if to.output.is_some() {
            interrupt::watch("stopping after this batch: nothing is written; Ctrl-C again ends it at once")?;
        }
        let file = to.output.as_deref().map(|path| EmbeddingFile::create(path, &model, &shape)).transpose()?;
        let head = g.json.then(|| json!({"model": model, "device": clip.executor.name(), "compute": g.compute.to_string()}));
        // Whoever stops listening stops no file.
        let document = head.as_ref().filter(|_| file.is_none()).map(begun).transpose()?;
        Ok(Self { to, head, shape, rows: 0, failed: Vec::new(), file, document })
    }

    fn push(&mut self, names: &[String], values: &[f32]) -> Result<()> {
        for (name, row) in names.iter().zip(values.chunks(self.shape.iter().product())) {
            if row.iter().any(|v| !v.is_finite()) {
                self.failed.push(Failed::not_finite(name));
                continue;
            }
            self.rows += 1;
            match (&mut self.file, &mut self.document) {
                (Some(file), _) => file.row(name, row)?,
                (None, Some(document)) => document.row(&row_json(name, row, &self.shape))?,
                (None, None) => say(&row_json(name, row, &self.shape).to_string())?,
            }
        }
        Ok(())
    }

    /// Puts the file in its place, unless nothing succeeded, or it was stopped: then an earlier one stays.
    fn finish(self, more: Value) -> Result<Outcome> {
        if interrupt::asked() {
            return Ok(Outcome::Interrupted);
        }
        let written = self.file.filter(|_| self.rows > 0).map(EmbeddingFile::finish).transpose()?.is_some();
        let file = self.to.output.as_deref().filter(|_| written).map(file_name);
        if let Some(head) = self.head {
            let document = self.document.map_or_else(|| begun(&head), Ok)?;
            let written =
                json!({"file": file, "rows": self.rows, "width": self.shape.last(), "shape": self.shape, "normalized": !self.to.raw});
            let mut tail = json!({"written": written, "failed": failed_json(&self.failed)});
            more.as_object().into_iter().flatten().for_each(|(k, v)| tail[k] = v.clone());
            document.end(&tail)?;
        } else if let Some(file) = file {
            let sides: Vec<String> = [&[self.rows], &self.shape[..]].concat().iter().map(usize::to_string).collect();
            say(&format!("{file}: {}", sides.join(" × ")))?;
        }
        Ok(Outcome::of(&self.failed))
    }
}
