//! Checkpoints: named tensors, the tables of their names, and the formats that weights are kept in on the device.

mod archive;
pub mod checkpoint;
mod compute;
pub mod layout;
pub mod load;
pub mod pickle;
mod positions;
pub mod sink;
pub mod source;
pub mod torch;

pub use self::compute::{Compute, Grain};
pub use crate::gpu::Format;
pub use crate::graph::{DeviceWeight, DeviceWeights, Piece};
