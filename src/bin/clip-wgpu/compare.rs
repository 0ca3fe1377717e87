use std::path::Path;

use clap::Args;
use clip_wgpu::{Clip, Error, Result};
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::inputs;
use crate::output::{say, say_json};

/// The cosine of two pictures, two texts, or one of each
///
/// An argument that is a file is a picture, any other a text; `image:` or `text:` before it says which.
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
        let looks_like_a_file =
            argument.rsplit_once('.').is_some_and(|(_, e)| ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"].contains(&e));
        match Path::new(argument).is_file() {
            true => Ok(Side::Image(argument.into())),
            false if looks_like_a_file => {
                Err(Error::Argument(format!("{argument}: no such file (text:{argument} would take it as a text)")))
            }
            false => Ok(Side::Text(argument.into())),
        }
    }

    fn embed(&self, g: &Globals, clip: &Clip, strict: bool) -> Result<Vec<f32>> {
        match self {
            Side::Image(path) => Ok(pollster::block_on(clip.encode_images(&[inputs::open(Path::new(path))?]))?.data),
            Side::Text(text) => {
                Ok(pollster::block_on(clip.encode_ids(&inputs::tokenize(g, clip, std::slice::from_ref(text), strict)?))?.data)
            }
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Side::Image(path) => json!({"image": path}),
            Side::Text(text) => json!({"text": text}),
        }
    }
}
