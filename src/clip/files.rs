//! The files of a model: a folder as people have it, or the model in the box.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Config;
use super::registry::{self, Architecture, Pretrained};
use crate::error::{Error, Result};
use crate::input::{Preprocess, Tokenizer};
use crate::ops::Act;
use crate::weights::checkpoint::Checkpoint;
use crate::weights::source::{FileSource, Source};

/// The name of the model in the box.
pub const PICO: &str = "pico";

/// A model before its weights are read.
#[derive(Debug)]
pub struct ModelFiles {
    pub name: String,
    pub config: Config,
    pub preprocess: Preprocess,
    pub tokenizer: Tokenizer,
    pub checkpoint: Checkpoint,
    /// Where its files were wrong, and what was done about it.
    pub notes: Vec<String>,
}

impl ModelFiles {
    /// Finds a model by its name: `pico`, a folder, a weight file, or a name on the Hub, which is looked for as Python's
    /// environment says ([`Hub::from_env`](crate::hub::Hub::from_env)).
    ///
    /// # Errors
    /// [`Error::Model`] where there is none; [`Error::Config`], [`Error::Weights`] and [`Error::Io`] for its files.
    #[cfg(feature = "hub")]
    pub async fn find(name: &str) -> Result<Self> {
        Self::find_in(name, &crate::hub::Hub::from_env()).await
    }

    /// The same with a Hub of one's own choice. Pulling blocks the thread.
    ///
    /// # Errors
    /// As [`ModelFiles::find`].
    #[cfg(feature = "hub")]
    pub async fn find_in(name: &str, hub: &crate::hub::Hub) -> Result<Self> {
        match named(name)? {
            Named::Repo(repo) => {
                let folder = hub.model(&repo)?;
                let mut files = Self::of_weights(&folder, &weights_of(&folder)?, None).await?;
                if let Some(known) = registry::of_repo(&repo) {
                    files.notes = known.correct(&mut files.config, &mut files.preprocess);
                }
                Ok(Self { name: name.into(), ..files })
            }
            here => Self::of_named(here).await,
        }
    }

    /// Finds a model by its name: `pico`, a folder or a weight file.
    ///
    /// # Errors
    /// [`Error::Model`] where there is none; [`Error::Config`], [`Error::Weights`] and [`Error::Io`] for its files.
    #[cfg(not(feature = "hub"))]
    pub async fn find(name: &str) -> Result<Self> {
        Self::of_named(named(name)?).await
    }

    async fn of_named(named: Named) -> Result<Self> {
        match named {
            Named::Pico => pico().await,
            Named::Folder(folder) => Self::of_weights(&folder, &weights_of(&folder)?, None).await,
            Named::File(path, architecture) => {
                let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
                Self::of_weights(&folder, &[path], architecture).await
            }
            Named::Repo(repo) => fail(&repo, "this program was built without the Hub (Cargo feature `hub`)"),
        }
    }

    /// The model of these files of a folder: the names of their tensors tell whose they are.
    async fn of_weights(folder: &Path, weights: &[PathBuf], architecture: Option<&Architecture>) -> Result<Self> {
        let files = weights.iter().map(|path| Ok(Box::new(FileSource::open(path)?) as Box<dyn Source>)).collect::<Result<_>>()?;
        let checkpoint = Checkpoint::open(files).await?;
        let is_of = |prefix: &str| checkpoint.tensors.keys().any(|name| name.starts_with(prefix));
        match is_of("text_model.") || is_of("vision_model.") {
            true => Self::hugging_face(folder, checkpoint),
            false => Self::open_clip(folder, checkpoint, architecture).await,
        }
    }

    fn hugging_face(folder: &Path, checkpoint: Checkpoint) -> Result<Self> {
        let (json, file) = read(&folder.join("config.json"))?;
        let mut config = Config::from_hf(&json, &file)?;
        let size = config.vision.as_ref().map(|v| v.size);
        let preprocess = match read_if_there(&folder.join("preprocessor_config.json"))? {
            Some((json, file)) => expect_size(Preprocess::from_hf(&json, &file)?, size, &file)?,
            None if config.sigmoid => Preprocess::siglip(size.unwrap_or(224)),
            None => Preprocess::openai(size.unwrap_or(224)),
        };
        let tokenizer = tokenizer(folder)?;
        let tokenizer = if config.sigmoid { tokenizer.for_siglip() } else { tokenizer };
        config.pad_with(tokenizer.pad);
        Ok(Self { name: folder.display().to_string(), config, preprocess, tokenizer, checkpoint, notes: Vec::new() })
    }

    async fn open_clip(folder: &Path, checkpoint: Checkpoint, architecture: Option<&Architecture>) -> Result<Self> {
        let name = folder.display().to_string();
        let (json, file) = match (architecture, read_if_there(&folder.join("open_clip_config.json"))?) {
            (Some(architecture), _) => (json!({"model_cfg": architecture.config}).to_string(), "open_clip's table".to_string()),
            (None, Some(read)) => read,
            (None, None) if checkpoint.is_script().await? => {
                // As OpenAI published its models: everything is in the tensors, and the activation is theirs.
                let config = Config::from_tensors(&checkpoint, Act::QuickGelu)?;
                let preprocess = Preprocess::openai(config.vision()?.size);
                return Ok(Self { name, config, preprocess, tokenizer: Tokenizer::clip(), checkpoint, notes: Vec::new() });
            }
            (None, None) => {
                let message = "does not say which model's weights it holds: expected open_clip_config.json beside it, \
                     or open_clip's name before it (-m ViT-B-32/epoch_32.pt)";
                return fail(checkpoint.name(), message);
            }
        };
        let mut config = Config::from_open_clip(&json, &file, &checkpoint)?;
        let value: Value =
            serde_json::from_str(&json).map_err(|e| Error::Config { file: file.clone(), message: format!("is no JSON: {e}") })?;
        let size = config.vision()?.size;
        let preprocess = match value.get("preprocess_cfg") {
            Some(recipe) => Preprocess::from_open_clip(recipe, size, &file)?,
            None if config.sigmoid => Preprocess::siglip(size),
            None => Preprocess::openai(size),
        };
        let text = &value["model_cfg"]["text_cfg"];
        if let Some(wanted) = text.get("hf_tokenizer_name").filter(|v| !v.is_null() && !folder.join("tokenizer.json").is_file()) {
            let message = format!("`text_cfg.hf_tokenizer_name` is {wanted}: expected its tokenizer.json in {name}, found none");
            return Err(Error::Config { file, message });
        }
        let tokenizer = tokenizer(folder)?.for_open_clip(text, &file)?;
        config.pad_with(tokenizer.pad);
        Ok(Self { name, config, preprocess, tokenizer, checkpoint, notes: Vec::new() })
    }
}

/// The repository on the Hub that a name stands for, or `None` for a model that is here: `pico`, a folder or a file.
///
/// # Errors
/// [`Error::Model`] for a name of neither kind.
pub fn repository(name: &str) -> Result<Option<String>> {
    Ok(match named(name)? {
        Named::Repo(repo) => Some(repo),
        _ => None,
    })
}

/// What a model's name means.
enum Named {
    Pico,
    Folder(PathBuf),
    /// A weight file, and the architecture that was named with it.
    File(PathBuf, Option<&'static Architecture>),
    Repo(String),
}

fn named(name: &str) -> Result<Named> {
    let path = Path::new(name);
    let is_weights = |path: &Path| path.extension().is_some_and(|e| WEIGHTS.iter().any(|w| e == *w));
    if path.is_dir() {
        return Ok(Named::Folder(path.into()));
    }
    if path.is_file() {
        return match is_weights(path) {
            true => Ok(Named::File(path.into(), None)),
            false => fail(name, "expected a model's folder or its .safetensors, .pt, .pth or .bin file, found another kind of file"),
        };
    }
    if name == PICO {
        return Ok(Named::Pico);
    }
    let known = registry::openai(name).unwrap_or(name);
    if let Some((model, rest)) = known.split_once('/')
        && let Some(architecture) = registry::architecture(model)
    {
        let tags: Vec<&Pretrained> = registry::pretrained().iter().filter(|p| p.name == model).collect();
        return match tags.iter().find(|p| p.tag == rest) {
            Some(found) => Ok(Named::Repo(found.repo.clone())),
            None if Path::new(rest).is_file() => Ok(Named::File(rest.into(), Some(architecture))),
            None => fail(name, &format!("{model} has no weights of that tag, and there is no such file: its tags are {}", tag_list(&tags))),
        };
    }
    if registry::architecture(name).is_some() {
        let tags: Vec<&Pretrained> = registry::pretrained().iter().filter(|p| p.name == name).collect();
        return fail(name, &format!("expected a tag after it ({name}/TAG): {}", tag_list(&tags)));
    }
    let repo = name.strip_prefix("hf-hub:").unwrap_or(name);
    let part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    match repo.split_once('/') {
        Some((owner, model)) if part(owner) && part(model) && !is_weights(path) => Ok(Named::Repo(repo.into())),
        _ => fail(
            name,
            "no such folder or file (a model is `pico`, a folder, a weight file, a name on the Hub such as openai/clip-vit-base-patch32, \
             or open_clip's such as ViT-B-32/laion2b_s34b_b79k; clip-wgpu model list shows some)",
        ),
    }
}

fn tag_list(tags: &[&Pretrained]) -> String {
    tags.iter().map(|p| p.tag.as_str()).collect::<Vec<_>>().join(", ")
}

fn fail<T>(name: &str, message: &str) -> Result<T> {
    Err(Error::Model { name: name.into(), message: message.into() })
}

/// How the names of weight files end.
const WEIGHTS: [&str; 4] = ["safetensors", "pt", "pth", "bin"];

/// The weight files of a folder, and the configuration that goes with them: safetensors before pickles, and open_clip's before
/// Hugging Face's, whose place timm's repositories use for an image tower alone.
const PAIRS: [(&str, &str); 5] = [
    ("open_clip_config.json", "open_clip_model.safetensors"),
    ("config.json", "model.safetensors"),
    ("config.json", "model.safetensors.index.json"),
    ("open_clip_config.json", "open_clip_pytorch_model.bin"),
    ("config.json", "pytorch_model.bin"),
];

/// What else is read where it is there.
const BESIDE: [&str; 3] = ["preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"];

/// Which of a repository's files the model needs, or `None` where it has no weights that are read.
pub fn wanted_files(names: &[String]) -> Option<Vec<String>> {
    let has = |wanted: &str| names.iter().any(|n| n == wanted);
    let (config, weights) = PAIRS.iter().find(|(config, weights)| has(config) && has(weights))?;
    let is_shard = |name: &&String| weights.ends_with(".index.json") && name.starts_with("model-") && name.ends_with(".safetensors");
    let shards = names.iter().filter(is_shard).cloned();
    let whole = [config, weights].into_iter().chain(BESIDE.iter().filter(|n| has(n))).map(|n| n.to_string());
    Some(whole.chain(shards).collect())
}

fn weights_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let has = |name: &str| folder.join(name).is_file();
    match PAIRS.iter().find(|(config, weights)| has(config) && has(weights)) {
        Some((_, weights)) if weights.ends_with(".index.json") => shards(folder),
        Some((_, weights)) => Ok(vec![folder.join(weights)]),
        None => fail(
            &folder.display().to_string(),
            "expected config.json with model.safetensors or pytorch_model.bin, or open_clip_config.json with open_clip_model.safetensors or open_clip_pytorch_model.bin",
        ),
    }
}

/// The folder's tokenizer, or CLIP's own where it has none.
fn tokenizer(folder: &Path) -> Result<Tokenizer> {
    let Some((json, file)) = read_if_there(&folder.join("tokenizer.json"))? else { return Ok(Tokenizer::clip()) };
    let tokenizer = Tokenizer::from_json(json.as_bytes(), &file)?;
    match read_if_there(&folder.join("tokenizer_config.json"))? {
        Some((json, file)) => tokenizer.with_config(&json, &file),
        None => Ok(tokenizer),
    }
}

/// A file's text, and its name for errors.
fn read(path: &Path) -> Result<(String, String)> {
    Ok((std::fs::read_to_string(path).map_err(Error::io(path))?, path.display().to_string()))
}

fn read_if_there(path: &Path) -> Result<Option<(String, String)>> {
    if path.is_file() { read(path).map(Some) } else { Ok(None) }
}

fn expect_size(preprocess: Preprocess, size: Option<usize>, file: &str) -> Result<Preprocess> {
    match size {
        Some(size) if size != preprocess.size => {
            let message = format!("makes pictures of {0} × {0}, but the model takes {size} × {size}", preprocess.size);
            Err(Error::Config { file: file.into(), message })
        }
        _ => Ok(preprocess),
    }
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
async fn pico() -> Result<ModelFiles> {
    use crate::weights::source::StaticSource;
    macro_rules! asset {
        ($file:literal) => {
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/pico/", $file))
        };
    }
    let weights = StaticSource { name: "pico/model.safetensors".into(), bytes: asset!("model.safetensors") };
    let text = |bytes: &'static [u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(ModelFiles {
        name: PICO.into(),
        config: Config::from_hf(&text(asset!("config.json")), "pico/config.json")?,
        preprocess: Preprocess::from_hf(&text(asset!("preprocessor_config.json")), "pico/preprocessor_config.json")?,
        tokenizer: Tokenizer::from_json(asset!("tokenizer.json"), "pico/tokenizer.json")?,
        checkpoint: Checkpoint::open(vec![Box::new(weights)]).await?,
        notes: Vec::new(),
    })
}

#[cfg(not(feature = "pico"))]
async fn pico() -> Result<ModelFiles> {
    fail(PICO, "this program was built without the model in the box (Cargo feature `pico`)")
}
