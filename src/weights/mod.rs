//! Checkpoints: named tensors, and the formats that weights are kept in.

mod device;
mod format;

pub use device::{DeviceWeight, DeviceWeights, Piece};
pub use format::Format;
