//! Checkpoints: named tensors, and the formats that weights are kept in.

mod format;

pub use format::Format;
