//! CLIP, contrastive language-image models, as WGSL compute shaders on any GPU through wgpu.
//!
//! A [`Clip`] is loaded from a folder or weight file as people have it (Hugging Face's, open_clip's or OpenAI's; safetensors or PyTorch's),
//! by its name on the Hub, or from the box:
//!
//! ```
//! use clip_wgpu::blocking::Clip;
//! use clip_wgpu::{Image, Options, Score};
//!
//! # fn main() -> clip_wgpu::Result<()> {
//! let clip = Clip::load("pico", &Options::default())?;
//! let classifier = clip.classifier(&["red circle", "blue square"], &["a photo of a {}"])?;
//! let images = clip.encode_images(&[Image::open("assets/samples/red-circle.png")?])?;
//! let scores = classifier.scores(&images, Score::Softmax)?;
//! assert_eq!(classifier.ranked(&scores)[0].0, "red circle");
//! # Ok(())
//! # }
//! ```
//!
//! The tour, from what a user calls down to the shaders:
//! - [`clip`]: [`Clip`], its [`Classifier`], and the towers written once over graph values; [`blocking`] is the same without
//!   `async`.
//! - [`device`]: which [`Device`] is asked for; [`Executor`] is what was opened. An application shares its own wgpu device
//!   through [`gpu::Gpu::from_device`] and [`Clip::load_on`].
//! - [`input`]: picture files and strings as the pixels and ids that a model was trained on.
//! - [`weights`]: checkpoints, read range by range, into the formats that the kernels read.
//! - [`graph`]: values and ops, a planner that is pure arithmetic, and the session that runs the plan on a GPU;
//!   [`host`] runs the same graph on the processor.
//! - [`ops`]: one op per file, with its shader of the same name in `shaders/` and a plain-Rust reference beside it.
//! - `hub`: models by name, in Python's cache and from the network (Cargo feature `hub`).
//! - [`nearest`]: exact search in many embeddings, where the model runs.
//! - [`gpu`]: adapters, devices, pipelines; [`peak`] measures what one can do at most.

#[cfg(not(target_arch = "wasm32"))]
pub mod blocking;
pub mod clip;
pub mod device;
pub mod error;
pub mod gpu;
pub mod graph;
#[cfg(feature = "host")]
pub mod host;
#[cfg(feature = "hub")]
pub mod hub;
pub mod input;
pub mod nearest;
pub mod ops;
#[cfg(not(target_arch = "wasm32"))] // it has no such clock
pub mod peak;
mod self_test;
mod send;
pub mod weights;

pub use clip::{Classifier, Clip, Config, Embeddings, ModelFiles, Options, PromptCache, Score};
pub use device::{Device, Executor};
pub use error::{Error, Result};
pub use gpu::Gpu;
pub use input::{Filter, Image, Preprocess, ResizeMode, Tokenizer, Tokens};
pub use weights::load::StoredAs;
pub use weights::{Compute, Format};
// Whose types stand in signatures.
pub use {half, wgpu};
