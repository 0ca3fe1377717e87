use super::fields::Fields;
use super::tensors::{Shapes, blocks};
use super::{Block, Projection, TowerConfig, Vision, VisionPool};
use crate::error::Result;
use crate::ops::Act;

/// The heads of timm's plain ViTs by the size in their names (`timm/models/vision_transformer.py`).
const HEADS: [(&str, usize); 11] = [
    ("xsmall", 4),
    ("small", 6),
    ("medium", 8),
    ("betwixt", 10),
    ("base", 12),
    ("large", 16),
    ("so400m", 16),
    ("huge", 16),
    ("giant", 16),
    ("giantopt", 16),
    ("gigantic", 16),
];

/// The ones among SigLIP's towers that compute the tanh form of GELU.
const TANH: [&str; 4] =
    ["vit_base_patch32_siglip", "vit_large_patch16_siglip_512", "vit_so400m_patch16_siglip", "vit_giantopt_patch16_siglip"];

/// The image tower of this name, such as `vit_base_patch16_siglip_224` or `vit_large_patch14_clip_224`. The name says how many
/// heads there are; every other size is read off the tensors.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) for towers that are no plain ViT, and for heads that are no plain projection;
/// [`Error::Weights`](crate::Error::Weights) where a tensor is not there to read sizes off.
pub fn vision(f: &Fields, name: &str, shapes: &impl Shapes) -> Result<Vision> {
    let training = ["timm_model_pretrained", "timm_drop", "timm_drop_path", "patch_dropout"];
    f.only(&[&training[..], &["timm_model_name", "timm_pool", "timm_proj", "timm_proj_bias", "image_size"]].concat())?;
    let supported = "a plain ViT of timm's clip or siglip kind";
    let Some((size, patch, kind)) = parse(name) else { return f.error("timm_model_name", supported, &name.into()) };
    let Some(heads) = HEADS.iter().find(|h| h.0 == size).map(|h| h.1) else {
        return f.error("timm_model_name", supported, &name.into());
    };
    let width = shapes.axis("visual.trunk.norm.weight", 0)?;
    let head = width / heads;
    let blocks = blocks(shapes, "visual.trunk.blocks", ["attn.qkv.weight", "mlp.fc1.weight"], head);
    let siglip = kind.starts_with("siglip");
    let act = match (kind.contains("quickgelu"), TANH.iter().any(|t| name.starts_with(t))) {
        (true, _) => Act::QuickGelu,
        (_, true) => Act::GeluTanh,
        _ => Act::Gelu,
    };
    let side = f.count("image_size", Some(224))?;
    Ok(Vision {
        tower: TowerConfig { width, head, act, eps: if siglip { 1e-6 } else { 1e-5 }, blocks },
        size: side,
        trained: side,
        patch,
        class: !siglip,
        ln_pre: !siglip,
        pool: match (f.text("timm_pool")?, siglip) {
            (Some("map"), true) => VisionPool::Attention(Block { heads, hidden: shapes.axis("visual.trunk.attn_pool.mlp.fc1.weight", 0)? }),
            (Some("token" | ""), false) => VisionPool::Class,
            (other, _) => return f.error("timm_pool", "token, or map for a siglip tower", &other.unwrap_or("avg").into()),
        },
        norm_first: true,
        projection: match f.text("timm_proj")? {
            Some("none") => Projection::None,
            None if f.object.get("timm_proj").is_some() => Projection::Linear, // timm's own classifier head
            Some("") => Projection::Linear,
            None | Some("linear") if !f.flag("timm_proj_bias", false)? => Projection::Matrix,
            other => return f.error("timm_proj", "none, linear without a bias, or null", &other.unwrap_or("linear").into()),
        },
    })
}

/// `vit_{size}_patch{patch}_{kind}`
fn parse(name: &str) -> Option<(&str, usize, &str)> {
    let (size, rest) = name.strip_prefix("vit_")?.split_once("_patch")?;
    let (patch, kind) = rest.split_once('_')?;
    let plain = kind.starts_with("clip_") || (kind.starts_with("siglip_") && !kind.contains("gap"));
    Some((size, patch.parse().ok().filter(|p| (1..=64).contains(p))?, kind)).filter(|_| plain)
}
