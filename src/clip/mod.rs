//! The model: its configuration, its two towers, written once over graph values, and what a user calls.

mod block;
pub mod config;
mod encode;
mod files;
mod folder;
mod frame;
mod model;
mod named;
mod outputs;
mod parts;
pub mod registry;
mod saved;
pub mod sets;
mod text;
mod tower;
mod vision;
mod weight_files;
mod zero_shot;

pub use config::Config;
pub use encode::{Embeddings, TextInputs};
pub use files::{ModelFiles, PICO};
pub use folder::Folder;
pub use model::{Clip, Options};
pub use named::repository;
pub use outputs::TEXT_POOLED;
pub use parts::parts;
pub use saved::SavedLabels;
pub use text::text;
pub use tower::{Runner, Tower};
pub use vision::{Ends, vision};
pub use weight_files::wanted_files;
#[cfg(feature = "hub")]
pub(crate) use weight_files::{BESIDE, has_weights};
pub use zero_shot::{Classifier, PromptCache, Score, no_repeats};
