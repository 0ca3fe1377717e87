//! An argument that is a picture or a text.

use std::path::Path;

use clip_wgpu::{Clip, Error, Result};
use serde_json::json;

use crate::archives;
use crate::context::Globals;
use crate::inputs;
use crate::texts;
use crate::walk::is_named_like_a_picture;

/// What is compared or searched for.
#[derive(Debug)]
pub enum Side {
    Image(String),
    Text(String),
}

impl Side {
    /// What exists as a file, or is named like a picture, is a picture, as is `-`, standard input; any other argument is a text. `image:`
    /// or `text:` before it says which.
    ///
    /// # Errors
    /// [`Error::Argument`] for a folder, and a picture that is not there.
    pub fn of(argument: &str) -> Result<Self> {
        if let Some(text) = argument.strip_prefix("text:") {
            return Ok(Side::Text(text.into()));
        }
        if let Some(path) = argument.strip_prefix("image:") {
            return Ok(Side::Image(path.into()));
        }
        let path = Path::new(argument);
        match path.metadata() {
            _ if argument == "-" => Ok(Side::Image(argument.into())),
            Ok(found) if found.is_dir() => {
                Err(Error::Argument(format!("{argument}: is a folder, expected a picture (text:{argument} would take it as a text)")))
            }
            Ok(_) => Ok(Side::Image(argument.into())),
            Err(_) if archives::has(path) => Ok(Side::Image(argument.into())),
            Err(_) if is_named_like_a_picture(argument) => {
                Err(Error::Argument(format!("{argument}: no such file (text:{argument} would take it as a text)")))
            }
            Err(_) => Ok(Side::Text(argument.into())),
        }
    }

    pub fn embed(&self, g: &Globals, clip: &Clip, strict: bool) -> Result<Vec<f32>> {
        match self {
            Side::Image(path) => Ok(pollster::block_on(clip.encode_images(&[inputs::open(Path::new(path))?]))?.data),
            Side::Text(text) => Ok(pollster::block_on(clip.encode_ids(&[texts::ids_of(g, clip, text, strict)?]))?.data),
        }
    }

    pub fn json(&self) -> serde_json::Value {
        match self {
            Side::Image(path) => json!({"image": path}),
            Side::Text(text) => json!({"text": text}),
        }
    }
}
