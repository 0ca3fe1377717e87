//! Sizes read off a checkpoint's tensors: what OpenAI's `build_model` does, block by block, so that pruned towers are read too.

use super::{Block, Config, Layout, Projection, Text, TextPool, TowerConfig, Vision, VisionPool};
use crate::error::{Error, Result};
use crate::ops::Act;

/// The shape of each tensor of a checkpoint.
pub trait Shapes {
    /// What errors call the checkpoint.
    fn file(&self) -> &str;

    fn shape(&self, name: &str) -> Option<&[usize]>;

    fn names(&self) -> impl Iterator<Item = &str>;

    /// One axis of a tensor that must be there.
    ///
    /// # Errors
    /// [`Error::Weights`] where it is not.
    fn axis(&self, name: &str, axis: usize) -> Result<usize> {
        let found = self.shape(name).and_then(|s| s.get(axis)).copied().filter(|&n| n > 0 && n <= 0x0fff_ffff);
        found.ok_or_else(|| {
            let problem =
                format!("tensor `{name}`: expected one with an axis {axis}, to read the model's sizes off, found {:?}", self.shape(name));
            Error::Weights { file: self.file().into(), problems: vec![problem] }
        })
    }
}

/// No tensors, where a configuration says every size.
impl Shapes for () {
    fn file(&self) -> &str {
        "no checkpoint"
    }

    fn shape(&self, _: &str) -> Option<&[usize]> {
        None
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
}

/// The blocks under `path`, such as `visual.transformer.resblocks`, whose heads are `head` wide.
pub fn blocks(shapes: &impl Shapes, path: &str, [qkv, fc]: [&str; 2], head: usize) -> Vec<Block> {
    let number = |name: &str| name.strip_prefix(path)?.strip_prefix('.')?.split('.').next()?.parse::<usize>().ok();
    let layers = shapes.names().filter_map(number).max().map_or(0, |last| last.saturating_add(1)).min(4096);
    let rows = |i: usize, leaf: &str| shapes.shape(&format!("{path}.{i}.{leaf}")).and_then(|s| s.first()).copied().unwrap_or(0);
    (0..layers).map(|i| Block { heads: rows(i, qkv) / 3 / head.max(1), hidden: rows(i, fc) }).collect()
}

/// open_clip's and OpenAI's names of the two matrices that show a block's sizes.
pub const OPEN_CLIP: [&str; 2] = ["attn.in_proj_weight", "mlp.c_fc.weight"];

/// How wide OpenAI's heads are, and those of everything pruned from it.
const HEAD: usize = 64;

impl Config {
    /// A checkpoint of OpenAI's names without a configuration (`clip/model.py`: `build_model`).
    ///
    /// # Errors
    /// [`Error::Weights`] where a tensor is not there to read sizes off.
    pub fn from_tensors(shapes: &impl Shapes, act: Act) -> Result<Self> {
        if shapes.shape("visual.layer1.0.conv1.weight").is_some() {
            let problem =
                "its image tower is a ResNet (OpenAI's RN50 and the like): expected a vision transformer, such as ViT-B/32".into();
            return Err(Error::Weights { file: shapes.file().into(), problems: vec![problem] });
        }
        let tower =
            |width: usize, path: &str| TowerConfig { width, head: HEAD, act, eps: 1e-5, blocks: blocks(shapes, path, OPEN_CLIP, HEAD) };
        let patch = shapes.axis("visual.conv1.weight", 2)?;
        let grid = (shapes.axis("visual.positional_embedding", 0)? - 1).isqrt();
        let size = patch.saturating_mul(grid);
        let config = Self {
            layout: Layout::OpenClip,
            embed: shapes.axis("text_projection", 1)?,
            vision: Some(Vision {
                tower: tower(shapes.axis("visual.conv1.weight", 0)?, "visual.transformer.resblocks"),
                size,
                trained: size,
                patch,
                class: true,
                ln_pre: true,
                pool: VisionPool::Class,
                norm_first: false,
                projection: Projection::Matrix,
            }),
            text: Some(Text {
                tower: tower(shapes.axis("ln_final.weight", 0)?, "transformer.resblocks"),
                context: shapes.axis("positional_embedding", 0)?,
                vocabulary: shapes.axis("token_embedding.weight", 0)?,
                pool: TextPool::Argmax,
                causal: true,
                pad: 0,
                projection: Projection::Matrix,
            }),
            sigmoid: false,
        };
        config.check(shapes.file())
    }
}
