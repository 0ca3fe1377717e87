//! What a kind of node says of itself.

use std::any::Any;

use super::kernel::{Dims, Kernel};
use super::{Desc, Kind, Rows, Size};
use crate::error::{Error, Result};
use crate::gpu::{Caps, Format};

/// How an op reads an input, which decides how a weight is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Rows of f32 or u32 as they are.
    Rows,
    /// The right side of a product: `weight4()` reads any storage format.
    Weight,
    /// Rows that are looked up one by one through `weight4()`; they may lie in pieces, each of which gets a dispatch.
    Table,
    /// A texture of 8-bit values, read texel by texel.
    Texture,
}

/// The shape and type of what an op makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub rows: Rows,
    pub width: usize,
    pub kind: Kind,
}

impl Shape {
    /// Rows of f32.
    pub fn f32(rows: Rows, width: usize) -> Self {
        Self { rows, width, kind: Kind::F32 }
    }
}

/// What one run of an op sees: its operands' descriptions and the run's size.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub inputs: &'a [&'a Desc],
    /// The storage format of each input that is a weight matrix or a table.
    pub formats: &'a [Option<Format>],
    pub outputs: &'a [&'a Desc],
    pub size: Size,
}

impl<'a> Call<'a> {
    /// The first output; most ops have no other.
    pub fn output(&self) -> &'a Desc {
        self.outputs[0]
    }

    /// Rows of the first output.
    pub fn rows(&self) -> usize {
        self.output().rows(self.size)
    }

    /// The sizes that every op fills in alike.
    pub(super) fn dims(&self) -> Dims {
        Dims {
            batch: self.size.batch as u32,
            tokens: self.output().rows.per_item(self.size) as u32,
            rows: self.rows() as u32,
            k: self.inputs[0].stride() as u32,
            n: self.output().stride() as u32,
            width: self.output().width as u32,
            ..Dims::default()
        }
    }
}

/// One kind of node. Bindings are by rule: inputs in order, read-only; then the outputs.
pub trait Op: Any + std::fmt::Debug + Send + Sync {
    /// Also the name of its files, its tests and its row in a profile.
    fn name(&self) -> &'static str;

    /// How each input is read. Inputs at the end that an op can do without need not be there.
    fn operands(&self) -> &'static [Operand];

    /// What it makes, or what is wrong with the inputs.
    ///
    /// # Errors
    /// [`Error::Shape`]
    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>>;

    /// The kernels of one run on a device that can do `caps`, in order.
    fn lower(&self, call: &Call, caps: &Caps) -> Vec<Kernel>;

    /// The same in plain Rust with f64 sums: slow, and plainly right. The kernels are tested against it.
    ///
    /// `data[i]` is input `i` without padding, row after row; u32 inputs come as f32 (all are below 2²⁴). The
    /// result is the first output's.
    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32>;

    /// Floating-point operations of one run, a multiply-add counted as two.
    fn flops(&self, call: &Call) -> u64 {
        8 * call.rows() as u64 * call.output().width as u64
    }
}

/// An [`Error::Shape`].
pub(crate) fn shape_error<T>(op: &'static str, message: String) -> Result<T> {
    Err(Error::Shape { op, message })
}

/// An error unless `desc` holds `rows` fixed rows of `width`.
pub(crate) fn expect_fixed(op: &'static str, desc: &Desc, rows: usize, width: usize) -> Result<()> {
    if desc.rows == Rows::Fixed(rows) && desc.width == width {
        return Ok(());
    }
    shape_error(op, format!("`{}`: expected [{rows}, {width}], found {}", desc.name, desc.shape()))
}
