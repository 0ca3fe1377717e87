//! CLIP, contrastive language-image models, as WGSL compute shaders on any GPU through wgpu.

pub mod clip;
pub mod error;
pub mod gpu;
pub mod graph;
pub mod input;
pub mod ops;
pub mod weights;

pub use clip::{Clip, Config, Embeddings, Options};
pub use error::{Error, Result};
pub use input::{Filter, Image, Preprocess, ResizeMode, Tokenizer, Tokens};
