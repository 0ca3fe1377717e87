//! The files of a model: a folder as people have it, or the model in the box.

#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use serde_json::{Value, json};

use super::Config;
use super::config::Vision;
use super::folder::Folder;
use super::named::{Named, named};
use super::registry::{self, Architecture};
#[cfg(not(target_arch = "wasm32"))]
use super::weight_files::nearby;
#[cfg(feature = "hub")]
use super::weight_files::open_clip_weights;
use super::weight_files::{EXPECTED, WEIGHTS, weights_of};
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
                let by_name = registry::of_name(name);
                let known = by_name.or_else(|| registry::of_repo(&repo));
                let is_whole = weights_of(&folder).await?.is_some();
                let mut files = match known.filter(|_| !is_whole).zip(open_clip_weights(folder.names())) {
                    // Python's open_clip pulls the weights alone: it knows the architecture.
                    Some((known, weights)) => Self::of_weights(&mut folder, &[weights], Some(&known.name)).await?,
                    None => Self::of_folder(folder).await?,
                };
                let other = |size: &usize| files.config.vision.as_ref().is_some_and(|v| v.size != *size && size.is_multiple_of(v.patch));
                if let Some(size) = by_name.and_then(registry::Pretrained::image_size).filter(other) {
                    files.notes.push(format!("{repo}: its files are for other pictures: {name} takes {size} × {size}"));
                    files.config = files.config.with_image_size(size)?;
                    files.preprocess = files.preprocess.with_size(size);
                }
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
                files.notes.extend(activation_note(&files, architecture.as_deref(), &path).await?);
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
        if is_of("embeddings.") {
            let message = "holds a tower of transformers' alone, without its projection into the space of pictures and words: save a \
                 CLIPModel, or a CLIPVisionModelWithProjection or CLIPTextModelWithProjection";
            return fail(checkpoint.name(), message);
        }
        match is_of("text_model.") || is_of("vision_model.") {
            true => Self::hugging_face(folder, checkpoint).await,
            false => Self::open_clip(folder, checkpoint, architecture.and_then(registry::architecture)).await,
        }
    }

    async fn hugging_face(folder: &Folder, checkpoint: Checkpoint) -> Result<Self> {
        let (json, file) = folder.expect_text("config.json").await?;
        let mut config = Config::from_hf(&json, &file)?;
        let size = config.vision.as_ref().map(|v| v.size);
        let (preprocess, taken_from) = match preprocess_of(folder).await? {
            Some((recipe, file)) => (expect_size(recipe, size, &file)?, None),
            None if config.is_siglip() => (Preprocess::siglip(size.unwrap_or(224)), Some("SigLIP")),
            None => (Preprocess::openai(size.unwrap_or(224)), Some("CLIP")),
        };
        let notes = taken_from.filter(|_| config.vision.is_some());
        let notes = notes.map(|model| format!("{} has no preprocessor_config.json: pictures are prepared as {model}'s own", folder.name));
        let tokenizer = match &config.text {
            // SigLIP's, or one with more words than CLIP's: whatever CLIP's made of a text would be taken for words of its own.
            Some(text) if config.sigmoid || text.vocabulary > CLIP_WORDS => {
                let expected = "expected the model's own tokenizer (tokenizer.json, or vocab.json with merges.txt)";
                let why = format!("{expected} in {}, found none", folder.name);
                tokenizer(folder, || Tokenizer::missing(why)).await?
            }
            _ => tokenizer(folder, Tokenizer::clip).await?,
        };
        let tokenizer = match config.sigmoid {
            true => {
                let is_known = tokenizer.pad.is_some() && folder.has("tokenizer_config.json");
                tokenizer.for_siglip().or_missing(is_known, || without_settings(folder))
            }
            false => tokenizer,
        };
        config.pad_with(tokenizer.pad);
        Ok(Self { name: folder.name.clone(), config, preprocess, tokenizer, checkpoint, notes: Vec::from_iter(notes) })
    }

    async fn open_clip(folder: &Folder, checkpoint: Checkpoint, architecture: Option<&Architecture>) -> Result<Self> {
        let name = folder.name.clone();
        let described = folder.text("open_clip_config.json").await?;
        if described.is_none() && checkpoint.is_script().await? {
            // As OpenAI published its models: everything is in the tensors, and the activation is theirs.
            let config = Config::from_tensors(&checkpoint, Act::QuickGelu)?;
            let preprocess = Preprocess::openai(config.vision()?.size);
            return Ok(Self { name, config, preprocess, tokenizer: Tokenizer::clip().for_clip(), checkpoint, notes: Vec::new() });
        }
        let (json, file) = match (architecture, described) {
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
        let resampled = (size != trained).then(|| {
            format!(
                "its positions are of pictures of {trained} × {trained}, not {size} × {size}: resampled, but for --image-size {trained}"
            )
        });
        let value: Value =
            serde_json::from_str(&json).map_err(|e| Error::Config { file: file.clone(), message: format!("is no JSON: {e}") })?;
        let preprocess = match value.get("preprocess_cfg") {
            Some(recipe) => Preprocess::from_open_clip(recipe, size, &file)?,
            None => Preprocess::openai(size), // of SigLIP, too, unless open_clip's table says otherwise (`factory.py`)
        };
        let text = &value["model_cfg"]["text_cfg"];
        if let Some(wanted) = text.get("hf_tokenizer_name").filter(|v| !v.is_null() && !folder.has("tokenizer.json")) {
            let message = format!(
                "`text_cfg.hf_tokenizer_name` is {wanted}: expected its tokenizer.json (and tokenizer_config.json) in {name}, found none"
            );
            return Err(Error::Config { file, message });
        }
        let own = text.get("hf_tokenizer_name").is_some_and(|v| !v.is_null());
        let tokenizer = match config.text.as_ref().is_some_and(|t| own || t.vocabulary != CLIP_WORDS) {
            true => tokenizer(folder, Tokenizer::open_clip).await?,
            false => Tokenizer::open_clip(), // whatever lies beside the weights (`factory.py`, `get_tokenizer`)
        };
        let tokenizer = tokenizer.for_open_clip(text, &file)?;
        let is_known = !own || tokenizer.pad.is_some() || config.text.as_ref().is_none_or(|t| !t.sees_padding());
        let tokenizer = tokenizer.or_missing(is_known, || without_settings(folder));
        config.pad_with(tokenizer.pad);
        Ok(Self { name, config, preprocess, tokenizer, checkpoint, notes: Vec::from_iter(resampled) })
    }
}
pub(super) fn fail<T>(name: &str, message: &str) -> Result<T> {
    Err(Error::Model { name: name.into(), message: message.into() })
}

/// What to know of a file whose architecture was named, where open_clip has that with both activations (mlfoundations/open_clip#771):
/// nothing in a state dictionary says which it was trained with.
#[cfg(not(target_arch = "wasm32"))]
async fn activation_note(files: &ModelFiles, architecture: Option<&str>, path: &Path) -> Result<Option<String>> {
    let quick = architecture.map(|name| format!("{name}-quickgelu")).filter(|name| registry::architecture(name).is_some());
    let Some(quick) = quick.filter(|_| files.config.layout != super::config::Layout::HuggingFace) else { return Ok(None) };
    Ok(Some(match files.checkpoint.is_script().await? {
        true => "is a TorchScript archive: computed with QuickGELU, as OpenAI's are".into(),
        false => format!("computed with GELU; if it was trained from OpenAI's weights, name it {quick}/{}", path.display()),
    }))
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
/// Why texts are refused where it is not known what they are filled up with, which such models see.
fn without_settings(folder: &Folder) -> String {
    format!(
        "expected tokenizer_config.json beside the tokenizer in {}, which says how texts are cleaned and filled up, found none",
        folder.name
    )
}

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
