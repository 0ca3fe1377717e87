//! A model's sizes and choices, as data: what tells one family from another.

mod fields;
mod hugging_face;
mod open_clip;
pub mod tensors;
mod timm;

use crate::error::{Error, Result};
use crate::ops::{Act, MAX_HEAD};

/// The sizes of one block. Pruned checkpoints (TinyCLIP) differ from block to block, and leave whole halves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// 0 where the block has no attention.
    pub heads: usize,
    /// The MLP's width; 0 where the block has none.
    pub hidden: usize,
}

/// What the two towers share in kind.
#[derive(Clone, Debug, PartialEq)]
pub struct TowerConfig {
    pub width: usize,
    /// Elements per head.
    pub head: usize,
    pub act: Act,
    /// Of the layer norms.
    pub eps: f32,
    pub blocks: Vec<Block>,
}

impl TowerConfig {
    /// `layers` equal blocks.
    fn even(width: usize, heads: usize, hidden: usize, layers: usize, act: Act, eps: f32) -> Self {
        Self { width, head: width / heads, act, eps, blocks: vec![Block { heads, hidden }; layers] }
    }
}

/// How a tower's result comes to the joint space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// It is there already (SigLIP's image tower).
    None,
    /// A matrix without a bias.
    Matrix,
    /// A matrix and a bias.
    Linear,
}

/// How the image tower's tokens become one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisionPool {
    /// The class token.
    Class,
    /// The mean of the patches (CLIPA).
    Mean,
    /// A learned query attends over the patches (SigLIP's MAP head).
    Attention(Block),
}

/// The image tower: a ViT.
#[derive(Clone, Debug, PartialEq)]
pub struct Vision {
    pub tower: TowerConfig,
    /// Side of the picture and of a patch, in pixels.
    pub size: usize,
    pub patch: usize,
    /// The side that the checkpoint's positions are for; where `size` is another, they are resampled.
    pub trained: usize,
    /// Whether a class token stands before the patches; without one, their convolution has a bias.
    pub class: bool,
    /// Whether a norm stands before the blocks.
    pub ln_pre: bool,
    pub pool: VisionPool,
    /// Whether the last norm comes before pooling. It works row by row, so for a class token that is the same.
    pub norm_first: bool,
    pub projection: Projection,
}

impl Vision {
    /// As trained on pictures of the side that the checkpoint has positions for, whatever its architecture says: open_clip's
    /// `--force-image-size` leaves it so, and resamples them when they are loaded (`open_clip/model.py`: `resize_pos_embed`).
    fn trained_on(self, shapes: &impl tensors::Shapes) -> Self {
        let class = usize::from(self.class);
        let rows = shapes.shape("visual.positional_embedding").and_then(|shape| shape.first()).copied().unwrap_or(0);
        let grid = rows.saturating_sub(class).isqrt();
        let is_other = grid * grid + class == rows && grid > 0 && grid != self.size / self.patch;
        if is_other { Self { trained: grid.saturating_mul(self.patch), ..self } } else { self }
    }

    /// The patches, and the class token where there is one.
    pub fn tokens(&self) -> usize {
        self.class as usize + (self.size / self.patch).pow(2)
    }
}

/// Which row of the text tower stands for the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPool {
    /// The first of the greatest ids (OpenAI, open_clip; Hugging Face's legacy `eos_token_id: 2`).
    Argmax,
    /// The first token of this id.
    Eos(u32),
    First,
    Last,
}

/// The text tower.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    pub tower: TowerConfig,
    pub context: usize,
    pub vocabulary: usize,
    pub pool: TextPool,
    /// Whether a token sees only those before it.
    pub causal: bool,
    /// What rows are filled up with where padding is seen.
    pub pad: u32,
    pub projection: Projection,
}

impl Text {
    /// Whether padding counts: then every text has all its context's rows.
    pub fn sees_padding(&self) -> bool {
        !self.causal || self.pool == TextPool::Last
    }
}

/// Which names a checkpoint gives its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    HuggingFace,
    OpenClip,
    /// open_clip with timm's image tower.
    Timm,
}

/// A whole model, or an export of one of its towers.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub layout: Layout,
    /// Width of the joint space.
    pub embed: usize,
    pub vision: Option<Vision>,
    pub text: Option<Text>,
    /// Whether scores have a bias, as SigLIP's do: they are made for a sigmoid.
    pub sigmoid: bool,
}

impl Config {
    /// The image tower.
    ///
    /// # Errors
    /// [`Error::Argument`] where the model has none.
    pub fn vision(&self) -> Result<&Vision> {
        self.vision.as_ref().ok_or_else(|| Error::Argument("this model has no image tower: it is an export of the text tower alone".into()))
    }

    /// The text tower.
    ///
    /// # Errors
    /// [`Error::Argument`] where the model has none.
    pub fn text(&self) -> Result<&Text> {
        self.text.as_ref().ok_or_else(|| Error::Argument("this model has no text tower: it is an export of the image tower alone".into()))
    }

    /// Whether it is SigLIP's: its image tower alone, too, which has no scores.
    pub(super) fn is_siglip(&self) -> bool {
        self.sigmoid || self.vision.as_ref().is_some_and(|v| matches!(v.pool, VisionPool::Attention(_)))
    }

    /// Takes the tokenizer's padding where it says which.
    pub(super) fn pad_with(&mut self, pad: Option<u32>) {
        if let (Some(text), Some(pad)) = (&mut self.text, pad) {
            text.pad = pad;
        }
    }

    /// The same model for pictures of another side, its positions resampled as open_clip's `force_image_size` does.
    ///
    /// # Errors
    /// [`Error::Argument`] for a side that is no multiple of the patch.
    pub fn with_image_size(mut self, size: usize) -> Result<Self> {
        self.vision()?;
        if let Some(vision) = &mut self.vision {
            if size == 0 || size > LARGEST_SIDE || !size.is_multiple_of(vision.patch) {
                let message = format!("expected an image size up to {LARGEST_SIDE} that is a multiple of {}, found {size}", vision.patch);
                return Err(Error::Argument(message));
            }
            vision.size = size;
        }
        Ok(self)
    }

    /// An error for sizes that cannot be, before anything is made of them.
    fn check(self, file: &str) -> Result<Self> {
        let fail = |message: String| Err(Error::Config { file: file.into(), message });
        let towers = [("vision", self.vision.as_ref().map(|v| &v.tower)), ("text", self.text.as_ref().map(|t| &t.tower))];
        for (name, tower) in towers.into_iter().filter_map(|(name, tower)| Some((name, tower?))) {
            let heads = tower.blocks.iter().map(|b| b.heads).max().unwrap_or(0);
            if tower.head == 0 || tower.head > MAX_HEAD || heads > 1 << 12 {
                return fail(format!("{name}: a width of {} does not divide into {heads} heads of 1 to {MAX_HEAD}", tower.width));
            }
            let hidden = tower.blocks.iter().map(|b| b.hidden).max().unwrap_or(0);
            if tower.blocks.len() > 512 || tower.width > 1 << 16 || hidden > 1 << 18 {
                return fail(format!("{name}: {} blocks of {} and {hidden} are more than any model has", tower.blocks.len(), tower.width));
            }
        }
        let ends = [
            ("vision", self.vision.as_ref().map(|v| (v.projection, v.tower.width))),
            ("text", self.text.as_ref().map(|t| (t.projection, t.tower.width))),
        ];
        for (name, end) in ends {
            if let Some((Projection::None, width)) = end.filter(|(_, width)| *width != self.embed) {
                return fail(format!("{name}: a width of {width} without a projection makes no rows of {}", self.embed));
            }
        }
        match (&self.vision, &self.text) {
            (Some(v), _) if v.patch > v.size || v.size > LARGEST_SIDE => {
                fail(format!("vision: pictures of {} × {0} in patches of {1} cannot be", v.size, v.patch))
            }
            (_, Some(t)) if t.context > 1 << 14 || t.vocabulary > 1 << 24 => {
                fail(format!("text: {} tokens of {} words are more than any model has", t.context, t.vocabulary))
            }
            _ if self.embed > 1 << 16 => fail(format!("a joint space of {} is wider than any model's", self.embed)),
            _ => Ok(self),
        }
    }
}

/// Of a picture, in pixels.
const LARGEST_SIDE: usize = 4096;
