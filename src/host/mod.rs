//! The host's processor: the same graphs on all cores. What `auto` falls back to, and
//! a second opinion on the GPU's numbers.

mod epilogue;
mod integers;
mod memory;
#[cfg(test)]
mod noise;
mod ops;
mod product;
mod session;
mod split;
mod weight;

pub use epilogue::Epilogue;
pub use integers::{IntegerPanels, integer_product, multiplies_integers};
pub use ops::{HostOp, host_op};
pub use product::{Panels, View, product};
pub use session::HostSession;
pub use weight::{HostWeight, HostWeights};

use rayon::prelude::*;

/// An input of an op on the host: rows without padding.
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    F32(&'a [f32]),
    U32(&'a [u32]),
    Weight(&'a HostWeight),
}

impl<'a> Operand<'a> {
    /// The floats of an activation or of a weight that is kept plain.
    pub fn floats(self) -> &'a [f32] {
        match self {
            Operand::F32(data) => data,
            Operand::Weight(HostWeight::Plain(data)) => data,
            _ => unreachable!("the graph checked this operand's type"),
        }
    }

    pub fn whole(self) -> &'a [u32] {
        match self {
            Operand::U32(data) => data,
            _ => unreachable!("the graph checked this operand's type"),
        }
    }

    pub fn weight(self) -> &'a HostWeight {
        match self {
            Operand::Weight(weight) => weight,
            _ => unreachable!("the graph checked this operand's type"),
        }
    }
}

/// `f` on each row of `y` with its number, on all cores.
pub fn each_row(y: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    // Small pieces cost more to hand out than to do.
    let rows = (4096 / width.max(1)).max(1);
    y.par_chunks_mut(rows * width).enumerate().for_each(|(piece, part)| {
        part.chunks_mut(width).enumerate().for_each(|(i, row)| f(piece * rows + i, row));
    });
}
