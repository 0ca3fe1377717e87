//! The model: its configuration and its two towers, written once over graph values.

mod block;
pub mod config;
mod text;
mod vision;

pub use block::ZEROS;
pub use config::Config;
pub use text::text;
pub use vision::{Ends, vision};
