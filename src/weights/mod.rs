//! Checkpoints: named tensors, the tables of their names, and the formats that weights are kept in on the device.

pub mod checkpoint;
mod device;
mod format;
pub mod layout;
pub mod load;
pub mod sink;
pub mod source;

pub use device::{DeviceWeight, DeviceWeights, Piece};
pub use format::Format;
