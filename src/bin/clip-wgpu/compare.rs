use std::path::Path;

use clap::Args;
use clip_wgpu::{Clip, Error, Result};
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::inputs::{self, is_named_like_a_picture};
use crate::output::{say, say_json};
use crate::texts;

/// The cosine of two pictures, two texts, or one of each
///
/// What exists as a file, or is named like a picture, is a picture, any other argument a text; `image:` or `text:` before it says
/// which.
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu compare -m pico assets/samples/green-star.jpg 'a green star'
  clip-wgpu compare -m pico 'a green star' text:star.png")]
pub struct Compare {
    a: String,
    b: String,
    /// A text that is too long for the model is an error, not a warning
    #[arg(long)]
    strict: bool,
}

impl Compare {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        let sides = [Side::of(&self.a)?, Side::of(&self.b)?];
        let clip = g.load()?;
        let [a, b] = [sides[0].embed(g, &clip, self.strict)?, sides[1].embed(g, &clip, self.strict)?];
        let cosine: f64 = a.iter().zip(&b).map(|(a, b)| *a as f64 * *b as f64).sum();
        match g.json {
            true => say_json(
                &json!({"model": g.model()?, "device": clip.executor.name(), "a": sides[0].json(), "b": sides[1].json(), "cosine": cosine}),
            )?,
            false => say(&format!("{cosine:.4}"))?,
        }
        Ok(Outcome::Done)
    }
}

enum Side {
    Image(String),
    Text(String),
}

impl Side {
    fn of(argument: &str) -> Result<Self> {
        if let Some(text) = argument.strip_prefix("text:") {
            return Ok(Side::Text(text.into()));
        }
        if let Some(path) = argument.strip_prefix("image:") {
            return Ok(Side::Image(path.into()));
        }
        let path = Path::new(argument);
        match path.metadata() {
            Ok(found) if found.is_dir() => {
                Err(Error::Argument(format!("{argument}: is a folder, expected a picture (text:{argument} would take it as a text)")))
            }
            Ok(_) => Ok(Side::Image(argument.into())),
            Err(_) if is_named_like_a_picture(argument) => {
                Err(Error::Argument(format!("{argument}: no such file (text:{argument} would take it as a text)")))
            }
            Err(_) => Ok(Side::Text(argument.into())),
        }
    }

    fn embed(&self, g: &Globals, clip: &Clip, strict: bool) -> Result<Vec<f32>> {
        match self {
            Side::Image(path) => Ok(pollster::block_on(clip.encode_images(&[inputs::open(Path::new(path))?]))?.data),
            Side::Text(text) => Ok(pollster::block_on(clip.encode_ids(&[texts::ids_of(g, clip, text, strict)?]))?.data),
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Side::Image(path) => json!({"image": path}),
            Side::Text(text) => json!({"text": text}),
        }
    }
}
