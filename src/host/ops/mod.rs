//! The ops on the host, in f32: what `shaders/` are on a GPU.

mod attention;
mod linear;
mod rows;

use std::any::Any;

use super::Operand;
use crate::error::{Error, Result};
use crate::graph::{Call, Op};
use crate::ops::{Attention, AttentionParts, LayerNorm, LayerNormParts, Linear, Mean, Normalize, PatchEmbed, Pool, Scores, TokenEmbed};

/// An op that the host runs.
pub trait HostOp {
    /// Fills `y`, the rows of the op's one output without padding.
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]);
}

/// The host's version of `op`.
///
/// # Errors
/// [`Error::Device`] where it has none.
pub fn host_op(op: &dyn Op) -> Result<&dyn HostOp> {
    let any: &dyn Any = op;
    macro_rules! one_of {
        ($($kind:ty),*) => {
            $(if let Some(op) = any.downcast_ref::<$kind>() { return Ok(op); })*
        };
    }
    one_of!(Attention, AttentionParts, LayerNorm, LayerNormParts, Linear, Mean, Normalize, PatchEmbed, Pool, Scores, TokenEmbed);
    Err(Error::Device(format!("the CPU executor has no {}", op.name())))
}
