//! Where each layout keeps the model's weights: one table per layout, from the names of `clip/model.py`.

use std::ops::Range;

use crate::clip::Config;
use crate::clip::config::Layout;

/// How one weight is made from tensors of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// The rows of these tensors, one after another.
    Rows(Vec<String>),
    /// Some of the `of` equal shares of a tensor's rows: the query's of a fused query, key and value.
    Shares { name: String, shares: Range<usize>, of: usize },
    /// One tensor, transposed.
    Transposed(String),
    /// Positions of a square of `from` × `from` patches, resampled to `to` × `to`; those of a class token stay.
    Resampled { name: String, class: bool, from: usize, to: usize, antialias: bool },
}

impl Recipe {
    fn row(name: impl Into<String>) -> Self {
        Recipe::Rows(vec![name.into()])
    }

    /// The tensors that it reads.
    pub fn tensors(&self) -> &[String] {
        match self {
            Recipe::Rows(names) => names,
            Recipe::Shares { name, .. } | Recipe::Transposed(name) | Recipe::Resampled { name, .. } => std::slice::from_ref(name),
        }
    }
}

/// The recipe of the weight `name` (OpenAI's name for it; `clip/vision.rs` and `clip/text.rs` name what OpenAI's towers lack).
pub fn recipe(config: &Config, name: &str) -> Recipe {
    let recipe = match config.layout {
        Layout::HuggingFace => hugging_face(name),
        Layout::Timm if name.starts_with("visual.") => timm(name),
        Layout::OpenClip | Layout::Timm => open_clip(name),
    };
    match (&config.vision, recipe) {
        (Some(v), Recipe::Rows(names)) if name == "visual.positional_embedding" && v.size != v.trained => {
            let name = names.into_iter().next().unwrap_or_default();
            let antialias = config.layout != Layout::HuggingFace;
            Recipe::Resampled { name, class: v.class, from: v.trained / v.patch, to: v.size / v.patch, antialias }
        }
        (_, recipe) => recipe,
    }
}

/// OpenAI's name of a tensor under what training and pruning wrap around it, or `None` for one that carries no weight.
pub fn unwrapped(name: &str) -> Option<&str> {
    let wrappers = [
        "module.",
        "model.", // Lightning's
        "clip.",
        "_orig_mod.",
        "_image_encoder.",
        "image_encoder_without_ddp.",
        "_text_encoder.",
        "text_encoder_without_ddp.",
        "_logit_scale.",
        "text.",
    ];
    let mut name = name;
    while let Some(rest) = wrappers.iter().find_map(|w| name.strip_prefix(w)) {
        name = rest;
    }
    let without_weight = ["input_resolution", "context_length", "vocab_size", "attn_mask"]; // OpenAI's buffers
    let ignored = name.ends_with(".position_ids") || name.starts_with("l0_module.") || without_weight.contains(&name);
    (!ignored).then_some(name)
}

/// The scalar that scores are multiplied by, as a logarithm, and the one that is added (SigLIP): the same in every layout.
pub const LOGIT_SCALE: &str = "logit_scale";
pub const LOGIT_BIAS: &str = "logit_bias";

/// open_clip kept OpenAI's names. `proj` and `text_projection` are parameters `[width, embed]`, not linear layers.
fn open_clip(name: &str) -> Recipe {
    match name {
        "visual.proj" | "text_projection" => Recipe::Transposed(name.into()),
        _ => Recipe::row(name),
    }
}

/// `timm/models/vision_transformer.py` under `open_clip/timm_model.py`
fn timm(name: &str) -> Recipe {
    if name == "visual.proj" {
        return Recipe::row("visual.head.proj.weight");
    }
    let renamed = [
        ("conv1.", "patch_embed.proj."),
        ("class_embedding", "cls_token"),
        ("positional_embedding", "pos_embed"),
        ("ln_pre.", "norm_pre."),
        ("ln_post.", "norm."),
        ("proj.", "head."),
        ("attn_pool.probe", "attn_pool.latent"),
        ("attn_pool.ln.", "attn_pool.norm."),
        ("transformer.resblocks.", "blocks."),
    ];
    let rest = name.strip_prefix("visual.").unwrap_or(name);
    let path = renamed.iter().find_map(|(ours, theirs)| Some(format!("{theirs}{}", rest.strip_prefix(ours)?)));
    let path = path.unwrap_or_else(|| rest.into());
    let leaves = [
        (".ln_", ".norm"),
        (".attn.in_proj_", ".attn.qkv."),
        (".out_proj.", ".proj."),
        (".mlp.c_fc.", ".mlp.fc1."),
        (".mlp.c_proj.", ".mlp.fc2."),
    ];
    Recipe::row(format!("visual.trunk.{}", leaves.iter().fold(path, |path, (ours, theirs)| path.replace(ours, theirs))))
}

/// `transformers/models/clip/modeling_clip.py` and `transformers/models/siglip/modeling_siglip.py`
fn hugging_face(name: &str) -> Recipe {
    let (tower, rest) = name.strip_prefix("visual.").map_or(("text_model", name), |rest| ("vision_model", rest));
    if let Some(leaf) = name.strip_prefix("text_projection.") {
        return Recipe::row(format!("text_model.head.{leaf}"));
    }
    if let Some(rest) = rest.strip_prefix("attn_pool.") {
        return in_head(rest);
    }
    match name {
        "visual.proj" => Recipe::row("visual_projection.weight"),
        "text_projection" => Recipe::row("text_projection.weight"),
        _ => match rest.strip_prefix("transformer.resblocks.") {
            Some(rest) => Recipe::Rows(in_block(tower, rest)),
            None => Recipe::row(format!("{tower}.{}", outside_blocks(rest))),
        },
    }
}

/// SigLIP's pooling head, whose query, key and value are one tensor.
fn in_head(rest: &str) -> Recipe {
    let head = "vision_model.head";
    let fused = |leaf: &str, shares| Recipe::Shares { name: format!("{head}.attention.in_proj_{leaf}"), shares, of: 3 };
    match rest.split_once('.') {
        Some(("q", leaf)) => fused(leaf, 0..1),
        Some(("kv", leaf)) => fused(leaf, 1..3),
        Some(("ln", leaf)) => Recipe::row(format!("{head}.layernorm.{leaf}")),
        Some(("out_proj", leaf)) => Recipe::row(format!("{head}.attention.out_proj.{leaf}")),
        Some(("mlp", leaf)) => Recipe::row(format!("{head}.mlp.{}", leaf.replace("c_fc", "fc1").replace("c_proj", "fc2"))),
        _ => Recipe::row(format!("{head}.{rest}")),
    }
}

fn outside_blocks(rest: &str) -> String {
    let (module, leaf) = rest.rsplit_once('.').unwrap_or(("", rest));
    match (module, leaf) {
        ("conv1", leaf) => format!("embeddings.patch_embedding.{leaf}"),
        ("", "class_embedding") => "embeddings.class_embedding".into(),
        ("", "positional_embedding") => "embeddings.position_embedding.weight".into(),
        ("token_embedding", leaf) => format!("embeddings.token_embedding.{leaf}"),
        ("ln_pre", leaf) => format!("pre_layrnorm.{leaf}"), // sic: the typo is the real name
        ("ln_post", leaf) => format!("post_layernorm.{leaf}"),
        ("ln_final", leaf) => format!("final_layer_norm.{leaf}"),
        _ => rest.into(),
    }
}

fn in_block(tower: &str, rest: &str) -> Vec<String> {
    let (i, rest) = rest.split_once('.').unwrap_or((rest, ""));
    let at = |path: String| format!("{tower}.encoder.layers.{i}.{path}");
    if let Some(leaf) = rest.strip_prefix("attn.in_proj_") {
        return ["q", "k", "v"].map(|x| at(format!("self_attn.{x}_proj.{leaf}"))).into();
    }
    let renamed = [
        ("ln_1", "layer_norm1"),
        ("ln_2", "layer_norm2"),
        ("attn.out_proj", "self_attn.out_proj"),
        ("mlp.c_fc", "mlp.fc1"),
        ("mlp.c_proj", "mlp.fc2"),
    ];
    let found = renamed.iter().find_map(|(ours, theirs)| Some(at(format!("{theirs}{}", rest.strip_prefix(ours)?))));
    vec![found.unwrap_or_else(|| at(rest.into()))]
}
