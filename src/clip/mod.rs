//! The model: its configuration, its two towers, written once over graph values, and what a user calls.

mod block;
pub mod config;
mod encode;
mod files;
mod folder;
mod frame;
mod model;
mod outputs;
mod parts;
pub mod registry;
mod saved;
pub mod sets;
mod text;
mod tower;
mod vision;
mod zero_shot;

pub use config::Config;
pub use encode::{Embeddings, TextInputs};
#[cfg(feature = "hub")]
pub(crate) use files::{BESIDE, has_weights};
pub use files::{ModelFiles, PICO, repository, wanted_files};
pub use folder::Folder;
pub use model::{Clip, Options};
pub use outputs::TEXT_POOLED;
pub use parts::parts;
pub use saved::SavedLabels;
pub use text::text;
pub use tower::{Runner, Tower};
pub use vision::{Ends, vision};
pub use zero_shot::{Classifier, PromptCache, Score, no_repeats};
