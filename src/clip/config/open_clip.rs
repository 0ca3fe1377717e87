use serde_json::Value;

use super::fields::{Fields, parse};
use super::tensors::Shapes;
use super::{Config, Layout, Projection, Text, TextPool, TowerConfig, Vision, VisionPool, timm};
use crate::error::Result;
use crate::ops::Act;

impl Config {
    /// Reads `open_clip_config.json`, which holds `model_cfg` (`open_clip/model.py`: `CLIPVisionCfg`, `CLIPTextCfg`). The sizes
    /// of timm's towers and of pruned ones (TinyCLIP) are read off the tensors.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) that names the field, what was expected and what was found;
    /// [`Error::Weights`](crate::Error::Weights) where a tensor is not there to read sizes off.
    pub fn from_open_clip(json: &str, file: &str, shapes: &impl Shapes) -> Result<Self> {
        let value = parse(json, file)?;
        let model = Fields::new(file, &value).at("model_cfg")?;
        let known = ["embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_scale", "init_logit_bias", "custom_text"];
        model.only(&[&known[..], &["mask_image", "mask_text"]].concat())?;
        let (vision, text) = (model.at("vision_cfg")?, model.at("text_cfg")?);
        let quick = model.flag("quick_gelu", false)?;
        if model.flag("mask_image", false)? || model.flag("mask_text", false)? {
            return Self::from_tensors(shapes, if quick { Act::QuickGelu } else { Act::Gelu });
        }
        let embed = model.count("embed_dim", None)?;
        let sigmoid = model.get("init_logit_bias").is_some();
        let (layout, vision) = match vision.text("timm_model_name")? {
            Some(name) => (Layout::Timm, timm::vision(&vision, name, shapes)?),
            None => (Layout::OpenClip, plain_vision(&vision, quick)?.trained_on(shapes)),
        };
        Self { layout, embed, vision: Some(vision), text: Some(plain_text(&text, quick)?), sigmoid }.check(file)
    }
}

fn plain_vision(f: &Fields, quick: bool) -> Result<Vision> {
    let sizes = ["image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "patch_dropout", "output_tokens"];
    f.only(&[&sizes[..], &["no_ln_pre", "pool_type", "final_ln_after_pool", "act_kwargs", "norm_kwargs"]].concat())?;
    let width = f.count("width", Some(768))?;
    let head = f.count("head_width", Some(64))?;
    let size = match f.get("image_size").and_then(Value::as_array) {
        Some(sides) if sides.len() == 2 && sides[0] == sides[1] => f.positive("image_size", &sides[0])?,
        _ => f.count("image_size", Some(224))?,
    };
    Ok(Vision {
        tower: tower(f, width, (width / head).max(1), quick)?,
        size,
        trained: size,
        patch: f.count("patch_size", Some(16))?,
        class: true,
        ln_pre: !f.flag("no_ln_pre", false)?,
        pool: match f.text("pool_type")? {
            None | Some("tok") => VisionPool::Class,
            Some("avg") => VisionPool::Mean,
            Some(other) => return f.error("pool_type", "tok or avg", &other.into()),
        },
        norm_first: !f.flag("final_ln_after_pool", false)?,
        projection: Projection::Matrix,
    })
}

fn plain_text(f: &Fields, quick: bool) -> Result<Text> {
    let sizes = ["context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "pad_id", "eos_id", "output_tokens"];
    let choices = ["no_causal_mask", "pool_type", "proj_bias", "proj_type", "final_ln_after_pool", "act_kwargs", "norm_kwargs"];
    f.only(&[&sizes[..], &choices, &["hf_tokenizer_name", "tokenizer_kwargs"]].concat())?;
    Ok(Text {
        tower: tower(f, f.count("width", Some(512))?, f.count("heads", Some(8))?, quick)?,
        context: f.count("context_length", Some(77))?,
        vocabulary: f.count("vocab_size", Some(49408))?,
        pool: match f.text("pool_type")? {
            None | Some("argmax") => TextPool::Argmax,
            Some("eos") => TextPool::Eos(f.id("eos_id", 2)?),
            Some("first") => TextPool::First,
            Some("last") => TextPool::Last,
            Some(other) => return f.error("pool_type", "argmax, eos, first or last", &other.into()),
        },
        causal: !f.flag("no_causal_mask", false)?,
        pad: f.id("pad_id", 0)?,
        projection: match (f.text("proj_type")?, f.flag("proj_bias", false)?) {
            (None | Some("linear"), false) => Projection::Matrix,
            (None | Some("linear"), true) => Projection::Linear,
            (Some("none"), _) => Projection::None,
            (Some(other), _) => return f.error("proj_type", "linear or none", &other.into()),
        },
    })
}

fn tower(f: &Fields, width: usize, heads: usize, quick: bool) -> Result<TowerConfig> {
    if !width.is_multiple_of(heads) {
        return f.error("heads", &format!("heads that divide the width of {width}"), &heads.into());
    }
    let hidden = (width as f64 * f.number("mlp_ratio", 4.0)?) as usize;
    let eps = match f.get("norm_kwargs") {
        Some(norm) => Fields { file: f.file, path: format!("{}norm_kwargs.", f.path), object: norm }.number("eps", 1e-5)?,
        None => 1e-5,
    };
    let act = match f.get("act_kwargs").and_then(|a| a.get("approximate")).and_then(Value::as_str) {
        Some("tanh") if !quick => Act::GeluTanh,
        Some(other) if quick || other != "none" => return f.error("act_kwargs", "{\"approximate\": \"tanh\"}", &other.into()),
        _ if quick => Act::QuickGelu,
        _ => Act::Gelu,
    };
    let layers = f.count("layers", Some(12))?.min(4096);
    Ok(TowerConfig::even(width, heads, hidden, layers, act, eps as f32))
}
