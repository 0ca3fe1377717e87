use clap::Args;
use clip_wgpu::{Error, Result};
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::output::{say, say_json};
use crate::side::Side;

/// The cosine of two pictures, two texts, or one of each
///
/// What exists as a file, or is named like a picture, is a picture, as is `-`, standard input; any other argument is a text. `image:` or
/// `text:` before it says which.
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu compare -m pico assets/samples/green-star.jpg 'a green star'
  clip-wgpu compare -m pico 'a green star' text:star.png")]
pub struct Compare {
    /// A picture or a text; text:… and image:… say which
    a: String,
    /// Another
    b: String,
    /// A text that is too long for the model is an error, not a warning
    #[arg(long)]
    strict: bool,
}

impl Compare {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        if [&self.a, &self.b].iter().all(|side| matches!(side.as_str(), "-" | "image:-")) {
            return Err(Error::Argument("expected one picture from standard input at most, found `-` twice".into()));
        }
        let sides = [Side::of(&self.a)?, Side::of(&self.b)?];
        let clip = g.load()?;
        let [a, b] = [sides[0].embed(g, &clip, self.strict)?, sides[1].embed(g, &clip, self.strict)?];
        let cosine: f64 = a.iter().zip(&b).map(|(a, b)| *a as f64 * *b as f64).sum();
        match g.json {
            true => say_json(
                &json!({"model": g.model()?, "device": clip.executor.name(), "compute": g.compute.to_string(), "a": sides[0].json(), "b": sides[1].json(), "cosine": cosine}),
            )?,
            false => say(&format!("{cosine:.4}"))?,
        }
        Ok(Outcome::Done)
    }
}
