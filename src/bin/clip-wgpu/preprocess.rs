use std::path::PathBuf;

use clap::Args;
use clip_wgpu::{Error, Result};
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::files::write_npy;
use crate::inputs;
use crate::output::{say, say_json};

/// The exact tensor that the image tower gets: [3, size, size] f32 as .npy
///
/// By the recipe of the model that is named; without -m by that of OpenAI's CLIP, for 224 × 224 pixels.
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu preprocess assets/samples/red-circle.png -o pixels.npy
  clip-wgpu preprocess -m pico assets/samples/red-circle.png -o pixels.npy")]
pub struct Preprocess {
    /// A picture; `-` reads standard input
    image: PathBuf,
    /// The .npy file to write
    #[arg(short, long, value_name = "FILE.npy")]
    output: PathBuf,
}

impl Preprocess {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        if self.output.extension().is_none_or(|e| e != "npy") {
            return Err(Error::Argument(format!("{}: expected a name that ends in .npy", self.output.display())));
        }
        let recipe = match g.files()? {
            Some(files) => match g.image_size.map(usize::from) {
                Some(size) => files.preprocess.with_size(files.config.with_image_size(size)?.vision()?.size),
                None => files.config.vision().map(|_| files.preprocess)?,
            },
            None => clip_wgpu::Preprocess::openai(g.image_size.map_or(224, usize::from)),
        };
        let image = inputs::open(&self.image)?;
        let shape = [3, recipe.size, recipe.size];
        write_npy(&self.output, &shape, &recipe.pixels(&image))?;
        match g.json {
            true => say_json(
                &json!({"model": g.model, "input": self.image.display().to_string(), "file": self.output.display().to_string(), "shape": shape}),
            )?,
            false => say(&format!(
                "{}: 3 × {2} × {2} from {3} × {4} ({1:?}, {5:?})",
                self.output.display(),
                recipe.mode,
                recipe.size,
                image.width(),
                image.height(),
                recipe.filter
            ))?,
        }
        Ok(Outcome::Done)
    }
}
