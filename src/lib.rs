//! CLIP, contrastive language-image models, as WGSL compute shaders on any GPU through wgpu.
#![deny(clippy::unwrap_used)] // what can go wrong is an `Err` that names it
#![deny(unsafe_code)] // bytemuck does the casts, wgpu the rest

pub mod blocking;
pub mod clip;
pub mod device;
pub mod error;
pub mod gpu;
pub mod graph;
pub mod host;
pub mod input;
pub mod ops;
pub mod weights;

pub use clip::{Classifier, Clip, Config, Embeddings, Options, Score};
pub use device::{Device, Executor};
pub use error::{Error, Result};
pub use input::{Filter, Image, Preprocess, ResizeMode, Tokenizer, Tokens};
