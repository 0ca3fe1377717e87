//! The model: its configuration and its two towers, written once over graph values.

mod block;
pub mod config;
mod model;
mod text;
mod vision;

pub use block::ZEROS;
pub use config::Config;
pub use model::{Clip, Embeddings, Options, TextInputs, Tower};
pub use text::text;
pub use vision::{Ends, vision};
