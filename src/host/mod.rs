//! The host's processor: the same graphs with products by a library and the rest on all cores. What `auto` falls back to, and
//! a second opinion on the GPU's numbers.

mod ops;
mod session;
mod weight;

pub use ops::{HostOp, host_op};
pub use session::HostSession;
pub use weight::{HostWeight, HostWeights};

use rayon::prelude::*;
use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::{Matrix, NdTensorView};

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

/// `[rows, cols]` of `data` with these strides.
pub fn matrix(data: &[f32], shape: [usize; 2], strides: [usize; 2]) -> Matrix<'_> {
    NdTensorView::from_data_with_strides(shape, data, strides).expect("the view lies inside its data")
}

/// How a product ends: y = alpha · x · w + beta · y + bias, the bias one per column.
#[derive(Clone, Copy)]
pub struct Epilogue<'a> {
    pub alpha: f32,
    pub beta: f32,
    pub bias: Option<&'a [f32]>,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Self { alpha: 1.0, beta: 0.0, bias: None }
    }
}

/// One product into `y` `[rows, n]`.
pub fn product(x: Matrix<'_>, w: GemmInputB<'_, f32>, epilogue: Epilogue<'_>, y: &mut [f32]) {
    let options =
        GemmOptions { alpha: epilogue.alpha, beta: epilogue.beta, bias: epilogue.bias.map(BiasVector::Row), ..Default::default() };
    GemmExecutor::<f32>::new().gemm(y, GemmInputA::Unpacked(x), w, options).expect("the graph checked the operands' shapes");
}

/// `f` on each row of `y` with its number, on all cores.
pub fn each_row(y: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    // Small pieces cost more to hand out than to do.
    let rows = (4096 / width.max(1)).max(1);
    y.par_chunks_mut(rows * width).enumerate().for_each(|(piece, part)| {
        part.chunks_mut(width).enumerate().for_each(|(i, row)| f(piece * rows + i, row));
    });
}
