//! A model's sizes and choices, from `config.json` (Hugging Face) or `open_clip_config.json`.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::ops::Act;

/// What the two towers share in kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tower {
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// The MLP's width.
    pub hidden: usize,
    pub act: Act,
    pub eps: f32,
}

/// The image tower: a plain ViT with a class token and a norm before its blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vision {
    pub tower: Tower,
    /// Side of the picture and of a patch, in pixels.
    pub size: usize,
    pub patch: usize,
}

impl Vision {
    /// The class token and the patches.
    pub fn tokens(&self) -> usize {
        1 + (self.size / self.patch).pow(2)
    }
}

/// Which row of the text tower stands for the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPool {
    /// The first of the greatest ids (OpenAI, open_clip; Hugging Face's legacy `eos_token_id: 2`).
    Argmax,
    /// The first token of this id.
    Eos(u32),
}

/// The text tower: causal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Text {
    pub tower: Tower,
    pub context: usize,
    pub vocabulary: usize,
    pub pool: TextPool,
}

/// Which names a checkpoint gives its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    HuggingFace,
    OpenClip,
}

/// A whole model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub layout: Layout,
    /// Width of the joint space.
    pub embed: usize,
    pub vision: Vision,
    pub text: Text,
}

/// A JSON object that says of which file it is when something is wrong with it.
struct Fields<'a> {
    file: &'a str,
    path: String,
    object: &'a Value,
}

impl<'a> Fields<'a> {
    fn error<T>(&self, key: &str, expected: &str, found: &Value) -> Result<T> {
        Err(Error::Config { file: self.file.into(), message: format!("`{}{key}`: expected {expected}, found {found}", self.path) })
    }

    fn at(&self, key: &str) -> Result<Fields<'a>> {
        match self.object.get(key) {
            Some(object) if object.is_object() => Ok(Fields { file: self.file, path: format!("{}{key}.", self.path), object }),
            other => self.error(key, "an object", other.unwrap_or(&Value::Null)),
        }
    }

    /// A positive whole number, or `default` where the key is absent.
    fn count(&self, key: &str, default: Option<usize>) -> Result<usize> {
        match (self.object.get(key).filter(|v| !v.is_null()), default) {
            (None, Some(default)) => Ok(default),
            (found, _) => match found.and_then(Value::as_u64) {
                Some(n) if n > 0 => Ok(n as usize),
                _ => self.error(key, "a positive whole number", found.unwrap_or(&Value::Null)),
            },
        }
    }

    fn number(&self, key: &str, default: f64) -> Result<f64> {
        match self.object.get(key).filter(|v| !v.is_null()) {
            None => Ok(default),
            Some(v) => v.as_f64().map_or_else(|| self.error(key, "a number", v), Ok),
        }
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.object.get(key).filter(|v| !v.is_null()) {
            None => Ok(default),
            Some(v) => v.as_bool().map_or_else(|| self.error(key, "true or false", v), Ok),
        }
    }

    /// An error for any key that is neither known nor without effect on inference.
    fn only(&self, known: &[&str]) -> Result<()> {
        let unknown = self.object.as_object().into_iter().flatten().find(|(k, v)| !known.contains(&k.as_str()) && !v.is_null());
        unknown.map_or(Ok(()), |(k, v)| self.error(k, "no such field (this architecture is not supported)", v))
    }
}

impl Config {
    /// Reads Hugging Face's `config.json` of a `CLIPModel`. Fields left out take transformers' defaults, which are those of
    /// ViT-B/32 (`configuration_clip.py`).
    ///
    /// # Errors
    /// [`Error::Config`] that names the field, what was expected and what was found.
    pub fn from_hf(json: &str, file: &str) -> Result<Self> {
        let value = parse(json, file)?;
        let top = Fields { file, path: String::new(), object: &value };
        match value.get("model_type") {
            Some(Value::String(kind)) if kind == "clip" => {}
            other => return top.error("model_type", "\"clip\"", other.unwrap_or(&Value::Null)),
        }
        let (vision, text) = (top.at("vision_config")?, top.at("text_config")?);
        let pool = match text.count("eos_token_id", Some(49407))? {
            2 => TextPool::Argmax, // the wrong id that OpenAI's and LAION's configs carry (transformers PR #24773)
            id => TextPool::Eos(id as u32),
        };
        let config = Self {
            layout: Layout::HuggingFace,
            embed: top.count("projection_dim", Some(512))?,
            vision: Vision {
                tower: hf_tower(&vision, 768, 12, 3072)?,
                size: vision.count("image_size", Some(224))?,
                patch: vision.count("patch_size", Some(32))?,
            },
            text: Text {
                tower: hf_tower(&text, 512, 8, 2048)?,
                context: text.count("max_position_embeddings", Some(77))?,
                vocabulary: text.count("vocab_size", Some(49408))?,
                pool,
            },
        };
        config.check(file)
    }

    /// Reads `open_clip_config.json`, which holds `model_cfg` (`open_clip/model.py`: `CLIPVisionCfg`, `CLIPTextCfg`).
    ///
    /// # Errors
    /// [`Error::Config`] that names the field, what was expected and what was found.
    pub fn from_open_clip(json: &str, file: &str) -> Result<Self> {
        let value = parse(json, file)?;
        let model = Fields { file, path: String::new(), object: &value }.at("model_cfg")?;
        model.only(&["embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_scale"])?;
        let (vision, text) = (model.at("vision_cfg")?, model.at("text_cfg")?);
        vision.only(&["image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "patch_dropout"])?;
        text.only(&["context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"])?;
        let act = if model.flag("quick_gelu", false)? { Act::QuickGelu } else { Act::Gelu };
        let tower = |f: &Fields, width: usize, heads: usize| -> Result<Tower> {
            let hidden = (width as f64 * f.number("mlp_ratio", 4.0)?) as usize;
            Ok(Tower { width, heads, hidden, act, layers: f.count("layers", Some(12))?, eps: 1e-5 })
        };
        let width = vision.count("width", Some(768))?;
        let head = vision.count("head_width", Some(64))?;
        let config = Self {
            layout: Layout::OpenClip,
            embed: model.count("embed_dim", None)?,
            vision: Vision {
                tower: tower(&vision, width, width / head)?,
                size: vision.count("image_size", Some(224))?,
                patch: vision.count("patch_size", Some(16))?,
            },
            text: Text {
                tower: tower(&text, text.count("width", Some(512))?, text.count("heads", Some(8))?)?,
                context: text.count("context_length", Some(77))?,
                vocabulary: text.count("vocab_size", Some(49408))?,
                pool: TextPool::Argmax,
            },
        };
        config.check(file)
    }

    fn check(self, file: &str) -> Result<Self> {
        let fail = |message: String| Err(Error::Config { file: file.into(), message });
        for (name, tower) in [("vision", self.vision.tower), ("text", self.text.tower)] {
            if tower.heads == 0 || tower.width % tower.heads != 0 {
                return fail(format!("{name}: a width of {} does not divide into {} heads", tower.width, tower.heads));
            }
        }
        if self.vision.patch > self.vision.size {
            return fail(format!("vision: a patch of {} is larger than the picture of {}", self.vision.patch, self.vision.size));
        }
        Ok(self)
    }
}

fn parse(json: &str, file: &str) -> Result<Value> {
    serde_json::from_str(json).map_err(|e| Error::Config { file: file.into(), message: format!("is no JSON: {e}") })
}

fn hf_tower(f: &Fields, width: usize, heads: usize, hidden: usize) -> Result<Tower> {
    let act = match f.object.get("hidden_act") {
        None | Some(Value::Null) => Act::QuickGelu,
        Some(v) => match v.as_str() {
            Some("quick_gelu") => Act::QuickGelu,
            Some("gelu") => Act::Gelu,
            Some("gelu_new" | "gelu_pytorch_tanh") => Act::GeluTanh,
            _ => return f.error("hidden_act", "quick_gelu, gelu, gelu_new or gelu_pytorch_tanh", v),
        },
    };
    Ok(Tower {
        width: f.count("hidden_size", Some(width))?,
        layers: f.count("num_hidden_layers", Some(12))?,
        heads: f.count("num_attention_heads", Some(heads))?,
        hidden: f.count("intermediate_size", Some(hidden))?,
        act,
        eps: f.number("layer_norm_eps", 1e-5)? as f32,
    })
}
