//! The files of a model: a folder as people have it, or the model in the box.

use std::collections::BTreeSet;
use std::path::Path;
#[cfg(not(target_arch = "wasm32"))]
use std::path::PathBuf;

use serde_json::{Value, json};

use super::Config;
use super::config::Vision;
use super::folder::Folder;
use super::registry::{self, Architecture, Pretrained};
use crate::error::{Error, Result};
use crate::input::{Preprocess, Tokenizer};
use crate::ops::Act;
use crate::weights::checkpoint::Checkpoint;
#[cfg(feature = "pico")]
use crate::weights::source::Source;

/// Words of CLIP's vocabulary.
const CLIP_WORDS: usize = 49408;

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
                let mut folder = Folder::open(&hub.model(&repo)?)?;
                let known = registry::of_repo(&repo);
                let mut files = match known.filter(|_| !has_config(&folder)).zip(open_clip_weights(folder.names())) {
                    // Python's open_clip pulls the weights alone: it knows the architecture.
                    Some((known, weights)) => Self::of_weights(&mut folder, &[weights], Some(&known.name)).await?,
                    None => Self::of_folder(folder).await?,
                };
                if let Some(known) = known {
                    files.notes.extend(known.correct(&mut files.config, &mut files.preprocess));
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
            Named::Pico => Self::of_folder(pico()?).await,
            #[cfg(not(target_arch = "wasm32"))]
            Named::Folder(path) => {
                let mut folder = Folder::open(&path)?;
                match weights_of(&folder).await? {
                    Some(weights) => Self::of_weights(&mut folder, &weights, None).await,
                    None => fail(&folder.name, &nearby(&path, &folder)),
                }
            }
            #[cfg(not(target_arch = "wasm32"))]
            Named::File(path, architecture) => {
                let mut folder = Folder::open(path.parent().unwrap_or(Path::new("")))?;
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                let mut files = Self::of_weights(&mut folder, &[name], architecture.as_deref()).await?;
                // open_clip's own trap (mlfoundations/open_clip#771): most weights under the plain name were trained with GELU, OpenAI's and
                // what was trained from them were not, and nothing in a file of them says so.
                if let Some(quick) = architecture.map(|name| name + "-quickgelu").filter(|name| registry::architecture(name).is_some())
                    && !files.checkpoint.is_script().await?
                {
                    files
                        .notes
                        .push(format!("computed with GELU; if it was trained from OpenAI's weights, name it {quick}/{}", path.display()));
                }
                Ok(files)
            }
            Named::Repo(repo) => fail(&repo, "this program was built without the Hub (Cargo feature `hub`)"),
        }
    }

    /// The model of these files, which may come from anywhere. One weight file under another name is taken, too, where there is
    /// no other.
    ///
    /// # Errors
    /// [`Error::Model`] where they are none's; [`Error::Config`], [`Error::Weights`] and [`Error::Io`] for what is in them.
    pub async fn of_folder(mut folder: Folder) -> Result<Self> {
        let named = weights_of(&folder).await?;
        let is_weights = |name: &&str| WEIGHTS.iter().any(|w| name.ends_with(&format!(".{w}")));
        let all: Vec<String> = folder.names().filter(is_weights).map(str::to_string).collect();
        match named.or_else(|| (all.len() == 1).then_some(all)) {
            Some(weights) => Self::of_weights(&mut folder, &weights, None).await,
            None => fail(&folder.name, EXPECTED),
        }
    }

    /// The model of these weight files of a folder: the names of their tensors tell whose they are.
    async fn of_weights(folder: &mut Folder, weights: &[String], architecture: Option<&str>) -> Result<Self> {
        let mut files = Vec::new();
        for name in weights {
            let Some(file) = folder.take(name) else { return fail(&folder.name, &format!("expected a file {name}, found none")) };
            files.push(file);
        }
        let checkpoint = Checkpoint::open(files).await?;
        let is_of = |prefix: &str| checkpoint.tensors.keys().any(|name| name.starts_with(prefix));
        match is_of("text_model.") || is_of("vision_model.") {
            true => Self::hugging_face(folder, checkpoint).await,
            false => Self::open_clip(folder, checkpoint, architecture.and_then(registry::architecture)).await,
        }
    }

    async fn hugging_face(folder: &Folder, checkpoint: Checkpoint) -> Result<Self> {
        let (json, file) = folder.expect_text("config.json").await?;
        let mut config = Config::from_hf(&json, &file)?;
        let size = config.vision.as_ref().map(|v| v.size);
        let (preprocess, of_file) = match preprocess_of(folder).await? {
            Some((recipe, file)) => (expect_size(recipe, size, &file)?, true),
            None if config.sigmoid => (Preprocess::siglip(size.unwrap_or(224)), false),
            None => (Preprocess::openai(size.unwrap_or(224)), false),
        };
        let guessed = config.vision.is_some() && !of_file;
        let which = if config.sigmoid { "SigLIP" } else { "CLIP" };
        let notes = guessed.then(|| format!("{} has no preprocessor_config.json: pictures are prepared as {which}'s own", folder.name));
        let tokenizer = match &config.text {
            // SigLIP's, or one with more words than CLIP's: whatever CLIP's made of a text would be taken for words of its own.
            Some(text) if config.sigmoid || text.vocabulary > CLIP_WORDS => {
                let expected = "expected the model's own tokenizer (tokenizer.json, or vocab.json with merges.txt)";
                let why = format!("{expected} in {}, found none", folder.name);
                tokenizer(folder, || Tokenizer::missing(why)).await?
            }
            _ => tokenizer(folder, Tokenizer::clip).await?,
        };
        let tokenizer = if config.sigmoid { tokenizer.for_siglip() } else { tokenizer };
        config.pad_with(tokenizer.pad);
        Ok(Self { name: folder.name.clone(), config, preprocess, tokenizer, checkpoint, notes: Vec::from_iter(notes) })
    }

    async fn open_clip(folder: &Folder, checkpoint: Checkpoint, architecture: Option<&Architecture>) -> Result<Self> {
        let name = folder.name.clone();
        if checkpoint.is_script().await? {
            // As OpenAI published its models: everything is in the tensors, and the activation is theirs.
            let config = Config::from_tensors(&checkpoint, Act::QuickGelu)?;
            let preprocess = Preprocess::openai(config.vision()?.size);
            return Ok(Self { name, config, preprocess, tokenizer: Tokenizer::clip().for_clip(), checkpoint, notes: Vec::new() });
        }
        let (json, file) = match (architecture, folder.text("open_clip_config.json").await?) {
            (Some(architecture), _) => (json!({"model_cfg": architecture.config}).to_string(), "open_clip's table".to_string()),
            (None, Some(read)) => read,
            (None, None) => {
                let message = "does not say which model's weights it holds: expected open_clip_config.json beside it, \
                     or open_clip's name before it (-m ViT-B-32/epoch_32.pt; -m ViT-B-32-quickgelu/epoch_32.pt if it was trained from OpenAI's)";
                return fail(checkpoint.name(), message);
            }
        };
        let mut config = Config::from_open_clip(&json, &file, &checkpoint)?;
        let Vision { size, trained, .. } = *config.vision()?;
        let resampled = (size != trained)
            .then(|| format!("{file} says pictures of {size} × {size}, its positions are of {trained} × {trained} and are resampled: --image-size {trained} takes them as they are"));
        let value: Value =
            serde_json::from_str(&json).map_err(|e| Error::Config { file: file.clone(), message: format!("is no JSON: {e}") })?;
        let preprocess = match value.get("preprocess_cfg") {
            Some(recipe) => Preprocess::from_open_clip(recipe, size, &file)?,
            None if config.sigmoid => Preprocess::siglip(size),
            None => Preprocess::openai(size),
        };
        let text = &value["model_cfg"]["text_cfg"];
        if let Some(wanted) = text.get("hf_tokenizer_name").filter(|v| !v.is_null() && !folder.has("tokenizer.json")) {
            let message = format!("`text_cfg.hf_tokenizer_name` is {wanted}: expected its tokenizer.json in {name}, found none");
            return Err(Error::Config { file, message });
        }
        let tokenizer = tokenizer(folder, Tokenizer::open_clip).await?.for_open_clip(text, &file)?;
        config.pad_with(tokenizer.pad);
        Ok(Self { name, config, preprocess, tokenizer, checkpoint, notes: Vec::from_iter(resampled) })
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
    #[cfg(not(target_arch = "wasm32"))]
    Folder(PathBuf),
    /// A weight file, and the architecture that was named with it.
    #[cfg(not(target_arch = "wasm32"))]
    File(PathBuf, Option<String>),
    Repo(String),
}

fn named(name: &str) -> Result<Named> {
    if name == PICO {
        return Ok(Named::Pico); // a folder of that name is ./pico
    }
    let path = Path::new(name);
    #[cfg(not(target_arch = "wasm32"))]
    if let Some(here) = on_disk(name, path)? {
        return Ok(here);
    }
    let known = registry::openai(name).unwrap_or(name);
    if let Some((model, rest)) = known.split_once('/')
        && registry::architecture(model).is_some()
    {
        let tags: Vec<&Pretrained> = registry::pretrained().iter().filter(|p| p.name == model).collect();
        return match tags.iter().find(|p| p.tag == rest) {
            Some(found) => Ok(Named::Repo(found.repo.clone())),
            #[cfg(not(target_arch = "wasm32"))]
            None if Path::new(rest).is_file() => Ok(Named::File(rest.into(), Some(model.into()))),
            None => {
                let message = format!("{model} has no weights of that tag, and there is no such file: its tags are {}", tag_list(&tags));
                fail(name, &(message + &registry::did_you_mean(name)))
            }
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
        _ => {
            let message = "no such folder or file (a model is `pico`, a folder, a weight file, a name on the Hub such as \
                 openai/clip-vit-base-patch32, or open_clip's such as ViT-B-32/laion2b_s34b_b79k; clip-wgpu model list shows some)";
            fail(name, &(message.to_string() + &registry::did_you_mean(name)))
        }
    }
}

/// A folder or a weight file that is there.
#[cfg(not(target_arch = "wasm32"))]
fn on_disk(name: &str, path: &Path) -> Result<Option<Named>> {
    if path.is_dir() {
        return Ok(Some(Named::Folder(path.into())));
    }
    match path.is_file() {
        true if is_weights(path) => Ok(Some(Named::File(path.into(), None))),
        true => fail(name, "expected a model's folder or its .safetensors, .pt, .pth or .bin file, found another kind of file"),
        false => Ok(None),
    }
}

fn is_weights(path: &Path) -> bool {
    path.extension().is_some_and(|e| WEIGHTS.iter().any(|w| e == *w))
}

fn tag_list(tags: &[&Pretrained]) -> String {
    tags.iter().map(|p| p.tag.as_str()).collect::<Vec<_>>().join(", ")
}

fn fail<T>(name: &str, message: &str) -> Result<T> {
    Err(Error::Model { name: name.into(), message: message.into() })
}

/// How the names of weight files end.
pub(super) const WEIGHTS: [&str; 4] = ["safetensors", "pt", "pth", "bin"];

/// The weight files of a folder, and the configuration that goes with them: safetensors before pickles, and open_clip's before
/// Hugging Face's, whose place timm's repositories use for an image tower alone.
const PAIRS: [(&str, &str); 6] = [
    ("open_clip_config.json", "open_clip_model.safetensors"),
    ("config.json", "model.safetensors"),
    ("config.json", "model.safetensors.index.json"),
    ("open_clip_config.json", "open_clip_pytorch_model.bin"),
    ("config.json", "pytorch_model.bin"),
    ("config.json", "pytorch_model.bin.index.json"),
];

/// What else is read where it is there.
pub(crate) const BESIDE: [&str; 7] = [
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
];

const EXPECTED: &str = "expected config.json with model.safetensors or pytorch_model.bin, or open_clip_config.json with \
     open_clip_model.safetensors or open_clip_pytorch_model.bin";

/// Which of a repository's files the model needs, or `None` where it has no weights that are read.
pub fn wanted_files(names: &[String]) -> Option<Vec<String>> {
    let has = |wanted: &str| names.iter().any(|n| n == wanted);
    let (config, weights) = PAIRS.iter().find(|(config, weights)| has(config) && has(weights))?;
    let parts = weights.strip_suffix(".index.json").and_then(|whole| whole.rsplit_once('.'));
    let is_shard = |name: &&String| {
        parts.is_some_and(|(stem, kind)| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('-') && rest.ends_with(kind)))
    };
    let shards = names.iter().filter(is_shard).cloned();
    let whole = [config, weights].into_iter().chain(BESIDE.iter().filter(|n| has(n))).map(|n| n.to_string());
    Some(whole.chain(shards).collect())
}

/// Whether a repository's files that are here have its weights, with what says which model's they are.
#[cfg(feature = "hub")]
pub(crate) fn has_weights(repo: &str, names: &[String]) -> bool {
    let is_known = || registry::of_repo(repo).is_some() && open_clip_weights(names.iter().map(String::as_str)).is_some();
    wanted_files(names).is_some() || is_known()
}

#[cfg(feature = "hub")]
fn open_clip_weights<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<String> {
    names.find(|name| PAIRS.iter().any(|(config, weights)| *config == "open_clip_config.json" && weights == name)).map(str::to_string)
}

#[cfg(feature = "hub")]
fn has_config(folder: &Folder) -> bool {
    PAIRS.iter().any(|(config, _)| folder.has(config))
}

/// The weight files of a folder, where it has them with their configuration.
async fn weights_of(folder: &Folder) -> Result<Option<Vec<String>>> {
    match PAIRS.iter().find(|(config, weights)| folder.has(config) && folder.has(weights)) {
        Some((_, index)) if index.ends_with(".index.json") => shards(folder, index).await.map(Some),
        Some((_, weights)) => Ok(Some(vec![weights.to_string()])),
        None => Ok(None),
    }
}

/// What a folder without a model has instead, and what to do about it.
#[cfg(not(target_arch = "wasm32"))]
fn nearby(path: &Path, folder: &Folder) -> String {
    let take = |what: &str, there: PathBuf| format!("{what}: take -m {}", there.display());
    if path.join("snapshots").is_dir() {
        let commit = std::fs::read_to_string(path.join("refs/main")).unwrap_or_default();
        let first = || std::fs::read_dir(path.join("snapshots")).ok()?.flatten().next().map(|e| e.path());
        let there = Some(path.join("snapshots").join(commit.trim())).filter(|p| !commit.is_empty() && p.is_dir()).or_else(first);
        return match there {
            Some(there) => take("is the root of a model in the Hub's cache", there),
            None => "is the root of a model in the Hub's cache that has no snapshot: pull it again".into(),
        };
    }
    let inside = || {
        std::fs::read_dir(path)
            .ok()?
            .flatten()
            .map(|e| e.path())
            .find(|p| p.is_dir() && PAIRS.iter().any(|(c, w)| p.join(c).is_file() && p.join(w).is_file()))
    };
    if let Some(there) = inside() {
        let what =
            if folder.has("modules.json") { "is a sentence-transformers folder, with CLIP inside" } else { "has no model, but one inside" };
        return take(what, there);
    }
    let weights: Vec<&str> = folder.names().filter(|n| WEIGHTS.iter().any(|w| n.ends_with(&format!(".{w}")))).collect();
    let configs: Vec<&str> = ["config.json", "open_clip_config.json"].into_iter().filter(|n| folder.has(n)).collect();
    match (&weights[..], &configs[..]) {
        ([], []) => format!("{EXPECTED}; found neither weights nor a configuration"),
        ([], found) => format!("{EXPECTED}; found {} without weights: is the download complete?", found.join(" and ")),
        ([first, ..], []) => format!(
            "{EXPECTED}; found {} without a configuration: fetch it beside the weights, or name open_clip's architecture before the file \
             (-m ViT-B-32/{})",
            weights.join(", "),
            path.join(first).display()
        ),
        ([first, ..], found) => {
            let what = format!("{EXPECTED}; found {} with {}", found.join(" and "), weights.join(", "));
            take(&format!("{what}, under a name that says which variant it is"), path.join(first))
        }
    }
}

/// The recipe of `preprocessor_config.json`, or of `processor_config.json`, where later versions of transformers keep it.
async fn preprocess_of(folder: &Folder) -> Result<Option<(Preprocess, String)>> {
    let own = match folder.text("preprocessor_config.json").await? {
        Some((json, file)) => Some((Preprocess::from_hf(&json, &file)?, file)),
        None => None,
    };
    let Some((json, file)) = folder.text("processor_config.json").await? else { return Ok(own) };
    let value: Value =
        serde_json::from_str(&json).map_err(|e| Error::Config { file: file.clone(), message: format!("is no JSON: {e}") })?;
    let Some(recipe) = value.get("image_processor") else { return Ok(own) };
    let recipe = Preprocess::from_hf(&recipe.to_string(), &file)?;
    match own {
        Some((other, beside)) if other != recipe => {
            Err(Error::Config { file, message: format!("says another recipe than {beside}: take the wrong one away") })
        }
        _ => Ok(Some((recipe, file))),
    }
}

/// The folder's tokenizer, or one that is built in where it has none.
async fn tokenizer(folder: &Folder, built_in: impl FnOnce() -> Tokenizer) -> Result<Tokenizer> {
    let fail = |message: &str| fail(&folder.name, message);
    let tokenizer = match (folder.text("tokenizer.json").await?, folder.text("vocab.json").await?, folder.text("merges.txt").await?) {
        (Some((json, file)), ..) => Tokenizer::from_json(json.as_bytes(), &file)?,
        (None, Some(vocabulary), Some(merges)) => {
            let mut tokenizer = Tokenizer::from_vocabulary(vocabulary, merges)?;
            for name in ["added_tokens.json", "tokenizer_config.json"] {
                if let Some((json, file)) = folder.text(name).await? {
                    tokenizer.add_tokens(&json, &file)?;
                }
            }
            tokenizer
        }
        (None, Some(_), None) => return fail("expected merges.txt beside vocab.json, or tokenizer.json; found neither"),
        (None, None, Some(_)) => return fail("expected vocab.json beside merges.txt, or tokenizer.json; found neither"),
        (None, None, None) => return Ok(built_in()),
    };
    match folder.text("tokenizer_config.json").await? {
        Some((json, file)) => tokenizer.with_config(&json, &file),
        None => Ok(tokenizer),
    }
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
/// The files that an index names.
async fn shards(folder: &Folder, index: &str) -> Result<Vec<String>> {
    let (text, file) = folder.expect_text(index).await?;
    let fail = |message: String| Error::Config { file: file.clone(), message };
    let index: Value = serde_json::from_str(&text).map_err(|e| fail(format!("is no JSON: {e}")))?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or_else(|| fail("expected an object `weight_map`".into()))?;
    let names: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    match names.iter().find(|n| n.contains(['/', '\\'])) {
        Some(name) => Err(fail(format!("expected file names, found `{name}`"))),
        None => Ok(names.into_iter().map(str::to_string).collect()),
    }
}

#[cfg(feature = "pico")]
fn pico() -> Result<Folder> {
    use crate::weights::source::StaticSource;
    macro_rules! assets {
        ($($file:literal),*) => {
            [$(($file.to_string(), Box::new(StaticSource {
                name: concat!("pico/", $file).into(),
                bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/pico/", $file)),
            }) as Box<dyn Source>)),*]
        };
    }
    Ok(Folder::new(PICO, assets!("config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors")))
}

#[cfg(not(feature = "pico"))]
fn pico() -> Result<Folder> {
    fail(PICO, "this program was built without the model in the box (Cargo feature `pico`)")
}
