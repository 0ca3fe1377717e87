//! The files of a model: a folder as people have it, or the model in the box.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Config;
use crate::error::{Error, Result};
use crate::input::{Preprocess, Tokenizer};
use crate::weights::source::{AnySource, FileSource};

/// The name of the model in the box.
pub const PICO: &str = "pico";

/// A model before its weights are read.
#[derive(Debug)]
pub struct ModelFiles {
    pub name: String,
    pub config: Config,
    pub preprocess: Preprocess,
    pub tokenizer: Tokenizer,
    pub weights: Vec<AnySource>,
}

impl ModelFiles {
    /// Finds a model by its name: `pico`, a folder, or a weight file in one.
    ///
    /// # Errors
    /// [`Error::Model`] where there is none; [`Error::Config`] and [`Error::Io`] for its files.
    pub fn find(name: &str) -> Result<Self> {
        let path = Path::new(name);
        if path.is_dir() {
            return Self::of_folder(path);
        }
        match path.parent().filter(|_| path.is_file()) {
            Some(folder) if path.extension().is_some_and(|e| e == "safetensors") => Self::of_folder(folder),
            Some(_) => fail(name, "expected a model's folder or its .safetensors file, found another kind of file"),
            None if name == PICO => pico(),
            None => fail(name, "no such folder (a model is `pico`, or a folder with config.json and model.safetensors)"),
        }
    }

    fn of_folder(folder: &Path) -> Result<Self> {
        let has = |name: &str| folder.join(name).is_file();
        if has("config.json") && (has("model.safetensors") || has("model.safetensors.index.json")) {
            return Self::hugging_face(folder);
        }
        if has("open_clip_config.json") && has("open_clip_model.safetensors") {
            return Self::open_clip(folder);
        }
        fail(
            &folder.display().to_string(),
            "expected config.json with model.safetensors, or open_clip_config.json with open_clip_model.safetensors",
        )
    }

    fn hugging_face(folder: &Path) -> Result<Self> {
        let (json, file) = read(&folder.join("config.json"))?;
        let config = Config::from_hf(&json, &file)?;
        let preprocess = match read_if_there(&folder.join("preprocessor_config.json"))? {
            Some((json, file)) => expect_size(Preprocess::from_hf(&json, &file)?, &config, &file)?,
            None => Preprocess::openai(config.vision.size),
        };
        let single = folder.join("model.safetensors");
        let shards = if single.is_file() { vec![single] } else { shards(folder)? };
        Self::new(folder, config, preprocess, &shards)
    }

    fn open_clip(folder: &Path) -> Result<Self> {
        let (json, file) = read(&folder.join("open_clip_config.json"))?;
        let config = Config::from_open_clip(&json, &file)?;
        let value: Value =
            serde_json::from_str(&json).map_err(|e| Error::Config { file: file.clone(), message: format!("is no JSON: {e}") })?;
        let preprocess = match value.get("preprocess_cfg") {
            Some(recipe) => Preprocess::from_open_clip(recipe, config.vision.size, &file)?,
            None => Preprocess::openai(config.vision.size),
        };
        Self::new(folder, config, preprocess, &[folder.join("open_clip_model.safetensors")])
    }

    fn new(folder: &Path, config: Config, preprocess: Preprocess, weights: &[PathBuf]) -> Result<Self> {
        let tokenizer = match read_if_there(&folder.join("tokenizer.json"))? {
            Some((json, file)) => Tokenizer::from_json(json.as_bytes(), &file)?,
            None => Tokenizer::clip(),
        };
        let weights = weights.iter().map(|path| Ok(AnySource::File(FileSource::open(path)?))).collect::<Result<_>>()?;
        Ok(Self { name: folder.display().to_string(), config, preprocess, tokenizer, weights })
    }
}

fn fail<T>(name: &str, message: &str) -> Result<T> {
    Err(Error::Model { name: name.into(), message: message.into() })
}

/// A file's text, and its name for errors.
fn read(path: &Path) -> Result<(String, String)> {
    Ok((std::fs::read_to_string(path).map_err(Error::io(path))?, path.display().to_string()))
}

fn read_if_there(path: &Path) -> Result<Option<(String, String)>> {
    if path.is_file() { read(path).map(Some) } else { Ok(None) }
}

fn expect_size(preprocess: Preprocess, config: &Config, file: &str) -> Result<Preprocess> {
    if preprocess.size == config.vision.size {
        return Ok(preprocess);
    }
    let message = format!("makes pictures of {0} × {0}, but the model takes {1} × {1}", preprocess.size, config.vision.size);
    Err(Error::Config { file: file.into(), message })
}

/// The files that `model.safetensors.index.json` names.
fn shards(folder: &Path) -> Result<Vec<PathBuf>> {
    let (text, file) = read(&folder.join("model.safetensors.index.json"))?;
    let fail = |message: String| Error::Config { file: file.clone(), message };
    let index: Value = serde_json::from_str(&text).map_err(|e| fail(format!("is no JSON: {e}")))?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or_else(|| fail("expected an object `weight_map`".into()))?;
    let names: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    match names.iter().find(|n| n.contains(['/', '\\'])) {
        Some(name) => Err(fail(format!("expected file names, found `{name}`"))),
        None => Ok(names.iter().map(|n| folder.join(n)).collect()),
    }
}

#[cfg(feature = "pico")]
fn pico() -> Result<ModelFiles> {
    use crate::weights::source::StaticSource;
    macro_rules! asset {
        ($file:literal) => {
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/pico/", $file))
        };
    }
    let text = |bytes: &'static [u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(ModelFiles {
        name: PICO.into(),
        config: Config::from_hf(&text(asset!("config.json")), "pico/config.json")?,
        preprocess: Preprocess::from_hf(&text(asset!("preprocessor_config.json")), "pico/preprocessor_config.json")?,
        tokenizer: Tokenizer::from_json(asset!("tokenizer.json"), "pico/tokenizer.json")?,
        weights: vec![AnySource::Static(StaticSource { name: "pico/model.safetensors".into(), bytes: asset!("model.safetensors") })],
    })
}

#[cfg(not(feature = "pico"))]
fn pico() -> Result<ModelFiles> {
    fail(PICO, "this program was built without the model in the box (Cargo feature `pico`)")
}
