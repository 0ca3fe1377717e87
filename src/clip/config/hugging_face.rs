use serde_json::Value;

use super::fields::{Fields, parse};
use super::{Block, Config, Layout, Projection, Text, TextPool, TowerConfig, Vision, VisionPool};
use crate::error::Result;
use crate::ops::Act;

/// What transformers fills in for fields that are left out: of `configuration_clip.py` and `configuration_siglip.py`.
struct Defaults {
    vision: (usize, usize, usize, usize), // width, heads, hidden, patch
    text: (usize, usize, usize),
    context: usize,
    vocabulary: usize,
    act: &'static str,
    eps: f64,
}

const CLIP: Defaults =
    Defaults { vision: (768, 12, 3072, 32), text: (512, 8, 2048), context: 77, vocabulary: 49408, act: "quick_gelu", eps: 1e-5 };
const SIGLIP: Defaults =
    Defaults { vision: (768, 12, 3072, 16), text: (768, 12, 3072), context: 64, vocabulary: 32000, act: "gelu_pytorch_tanh", eps: 1e-6 };

impl Config {
    /// Reads Hugging Face's `config.json` of a `CLIPModel`, a `SiglipModel`, or of one tower of either. Fields left out take
    /// transformers' defaults.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) that names the field, what was expected and what was found.
    pub fn from_hf(json: &str, file: &str) -> Result<Self> {
        let value = parse(json, file)?;
        let top = Fields::new(file, &value);
        let config = match value.get("model_type").and_then(Value::as_str) {
            Some("clip") => {
                let embed = top.count("projection_dim", Some(512))?;
                let (vision, text) = (clip_vision(&tower_of(&top, "vision_config")?)?, clip_text(&tower_of(&top, "text_config")?)?);
                Self { layout: Layout::HuggingFace, embed, vision: Some(vision), text: Some(text), sigmoid: false }
            }
            Some("clip_vision_model") => {
                let mut vision = clip_vision(&top)?;
                let embed = one_tower(&top, "CLIPVisionModel", vision.tower.width, &mut vision.projection)?;
                Self { layout: Layout::HuggingFace, embed, vision: Some(vision), text: None, sigmoid: false }
            }
            Some("clip_text_model") => {
                let mut text = clip_text(&top)?;
                let embed = one_tower(&top, "CLIPTextModel", text.tower.width, &mut text.projection)?;
                Self { layout: Layout::HuggingFace, embed, vision: None, text: Some(text), sigmoid: false }
            }
            Some("siglip") => {
                let (vision, text) = (siglip_vision(&tower_of(&top, "vision_config")?)?, siglip_text(&tower_of(&top, "text_config")?)?);
                let embed = vision.tower.width;
                Self { layout: Layout::HuggingFace, embed, vision: Some(vision), text: Some(text), sigmoid: true }
            }
            Some("siglip_vision_model") => {
                let vision = siglip_vision(&top)?;
                let embed = vision.tower.width;
                Self { layout: Layout::HuggingFace, embed, vision: Some(vision), text: None, sigmoid: false }
            }
            _ => {
                let found = value.get("model_type").unwrap_or(&Value::Null);
                return top.error("model_type", "clip, siglip, clip_text_model, clip_vision_model or siglip_vision_model", found);
            }
        };
        config.check(file)
    }
}

/// A tower's fields: those of `text_config_dict` and the like, which older configs have, win over `text_config` with all their
/// defaults (`CLIPConfig.__init__`); `null` and nothing mean the defaults.
fn tower_of<'a>(top: &Fields<'a>, key: &str) -> Result<Fields<'a>> {
    let old = format!("{key}_dict");
    if top.get(&old).is_some() { top.at(&old) } else { top.at_or_empty(key) }
}

/// The joint space of a one-tower export, which has a projection only where its class's name says so.
fn one_tower(top: &Fields, without: &str, width: usize, projection: &mut Projection) -> Result<usize> {
    let bare = top.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str) == Some(without);
    if bare {
        *projection = Projection::None;
    }
    if bare { Ok(width) } else { top.count("projection_dim", Some(512)) }
}

fn clip_vision(f: &Fields) -> Result<Vision> {
    let size = f.count("image_size", Some(224))?;
    Ok(Vision {
        tower: tower(f, &CLIP, CLIP.vision.0, CLIP.vision.1, CLIP.vision.2)?,
        size,
        trained: size,
        patch: f.count("patch_size", Some(CLIP.vision.3))?,
        class: true,
        ln_pre: true,
        pool: VisionPool::Class,
        norm_first: false,
        projection: Projection::Matrix,
    })
}

fn clip_text(f: &Fields) -> Result<Text> {
    let pool = match f.id("eos_token_id", 49407)? {
        2 => TextPool::Argmax, // the wrong id that OpenAI's and LAION's configs carry (transformers PR #24773)
        id => TextPool::Eos(id),
    };
    Ok(Text {
        tower: tower(f, &CLIP, CLIP.text.0, CLIP.text.1, CLIP.text.2)?,
        context: f.count("max_position_embeddings", Some(CLIP.context))?,
        vocabulary: f.count("vocab_size", Some(CLIP.vocabulary))?,
        pool,
        causal: true,
        pad: 0,
        projection: Projection::Matrix,
    })
}

fn siglip_vision(f: &Fields) -> Result<Vision> {
    if !f.flag("vision_use_head", true)? {
        return f.error("vision_use_head", "true (without its head the tower has no embedding)", &Value::Bool(false));
    }
    let (width, heads, hidden, patch) = SIGLIP.vision;
    let tower = tower(f, &SIGLIP, width, heads, hidden)?;
    let size = f.count("image_size", Some(224))?;
    let head = Block { heads: tower.width / tower.head, hidden: f.count("intermediate_size", Some(hidden))? };
    Ok(Vision {
        tower,
        size,
        trained: size,
        patch: f.count("patch_size", Some(patch))?,
        class: false,
        ln_pre: false,
        pool: VisionPool::Attention(head),
        norm_first: true,
        projection: Projection::None,
    })
}

fn siglip_text(f: &Fields) -> Result<Text> {
    let (width, heads, hidden) = SIGLIP.text;
    Ok(Text {
        tower: tower(f, &SIGLIP, width, heads, hidden)?,
        context: f.count("max_position_embeddings", Some(SIGLIP.context))?,
        vocabulary: f.count("vocab_size", Some(SIGLIP.vocabulary))?,
        pool: TextPool::Last,
        causal: false,
        pad: f.id("pad_token_id", 1)?,
        projection: Projection::Linear,
    })
}

fn tower(f: &Fields, defaults: &Defaults, width: usize, heads: usize, hidden: usize) -> Result<TowerConfig> {
    let (width, heads) = (f.count("hidden_size", Some(width))?, f.count("num_attention_heads", Some(heads))?);
    if !width.is_multiple_of(heads) {
        return f.error("num_attention_heads", &format!("heads that divide the width of {width}"), &heads.into());
    }
    let layers = f.count("num_hidden_layers", Some(12))?;
    let name = f.text("hidden_act")?.unwrap_or(defaults.act);
    let act = match act(name) {
        Some(act) => act,
        None => return f.error("hidden_act", "quick_gelu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu or silu", &name.into()),
    };
    let hidden = f.count("intermediate_size", Some(hidden))?;
    Ok(TowerConfig::even(width, heads, hidden, layers.min(4096), act, f.number("layer_norm_eps", defaults.eps)? as f32))
}

/// transformers' names (`activations.py`, `ACT2FN`).
fn act(name: &str) -> Option<Act> {
    Some(match name {
        "quick_gelu" => Act::QuickGelu,
        "gelu" | "gelu_python" => Act::Gelu,
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh" => Act::GeluTanh,
        "relu" => Act::Relu,
        "silu" | "swish" => Act::Silu,
        _ => return None,
    })
}
