//! Where each layout keeps the model's weights: one table per layout, from the names of `clip/model.py`.

use crate::clip::config::Layout;

/// How one weight is made from tensors of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// The rows of these tensors, one after another.
    Rows(Vec<String>),
    /// One tensor, transposed.
    Transposed(String),
}

impl Recipe {
    /// The tensors that it reads.
    pub fn tensors(&self) -> &[String] {
        match self {
            Recipe::Rows(names) => names,
            Recipe::Transposed(name) => std::slice::from_ref(name),
        }
    }
}

/// The recipe of the weight `name` (OpenAI's name for it).
pub fn recipe(layout: Layout, name: &str) -> Recipe {
    match layout {
        // open_clip kept OpenAI's names. `proj` and `text_projection` are parameters [width, embed], not linear layers.
        Layout::OpenClip if matches!(name, "visual.proj" | "text_projection") => Recipe::Transposed(name.into()),
        Layout::OpenClip => Recipe::Rows(vec![name.into()]),
        Layout::HuggingFace => Recipe::Rows(hugging_face(name)),
    }
}

/// Tensors that carry no weight, found in older files.
pub fn ignored(name: &str) -> bool {
    name.ends_with(".position_ids")
}

/// The scalar that scores are multiplied by, as a logarithm: the same in every layout.
pub const LOGIT_SCALE: &str = "logit_scale";

/// `transformers/models/clip/modeling_clip.py`
fn hugging_face(name: &str) -> Vec<String> {
    let (tower, rest) = name.strip_prefix("visual.").map_or(("text_model", name), |rest| ("vision_model", rest));
    let whole = match name {
        "visual.proj" => "visual_projection.weight".into(),
        "text_projection" => "text_projection.weight".into(),
        _ => match rest.strip_prefix("transformer.resblocks.") {
            Some(rest) => return in_block(tower, rest),
            None => format!("{tower}.{}", outside_blocks(rest)),
        },
    };
    vec![whole]
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
