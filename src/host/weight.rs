use std::collections::HashMap;

use half::{bf16, f16};

use super::{Epilogue, IntegerPanels, Panels, View, integer_product, product};
use crate::gpu::Format;
use crate::graph::{self, Value};
use crate::weights::Grain;

/// A weight in the host's memory.
pub enum HostWeight {
    /// Rows of f32.
    Plain(Vec<f32>),
    /// Packed once, in the order that the product reads it.
    Packed(Panels),
    /// The same in integers, with their scales.
    Integers(IntegerPanels),
    /// Rows that are looked up one by one, in the format that they are kept in.
    Table { format: Format, bytes: Vec<u8>, row_bytes: usize },
}

/// The weights of a graph, by value.
pub type HostWeights = HashMap<Value, HostWeight>;

impl HostWeight {
    /// All of a weight, `[any, width]`.
    pub fn new(operand: graph::Operand, format: Format, grain: Option<Grain>, values: &[f32], width: usize) -> Self {
        let mut weight = Self::zeros(operand, format, grain, values.len() / width, width);
        weight.write(0, values, width);
        weight
    }

    /// Room for `rows` of `width`, zeros so far. A matrix that is multiplied with is kept in integers where `grain` is given.
    pub fn zeros(operand: graph::Operand, format: Format, grain: Option<Grain>, rows: usize, width: usize) -> Self {
        match operand {
            graph::Operand::Rows | graph::Operand::Texture => HostWeight::Plain(vec![0.0; rows * width]),
            graph::Operand::Weight => match grain {
                Some(grain) => HostWeight::Integers(IntegerPanels::zeros(grain, rows, width)),
                None => HostWeight::Packed(Panels::zeros(rows, width)),
            },
            graph::Operand::Table => {
                let row_bytes = width.next_multiple_of(8) * format.bytes();
                HostWeight::Table { format, bytes: vec![0; rows * row_bytes], row_bytes }
            }
        }
    }

    /// Takes in `values` `[any, width]` from row `first` on.
    pub fn write(&mut self, first: usize, values: &[f32], width: usize) {
        match self {
            HostWeight::Plain(rows) => rows[first * width..][..values.len()].copy_from_slice(values),
            HostWeight::Packed(panels) => panels.write(first, values),
            HostWeight::Integers(panels) => panels.write(first, values),
            HostWeight::Table { format, bytes, row_bytes } => {
                let packed = format.pack(values, width);
                bytes[first * *row_bytes..][..packed.len()].copy_from_slice(&packed);
            }
        }
    }

    /// `x` `[rows, k]` times it into `y` `[rows, n]`.
    pub fn product(&self, x: View<'_>, end: Epilogue<'_>, y: &mut [f32]) {
        match self {
            HostWeight::Packed(panels) => product(x, panels, end, y),
            HostWeight::Integers(panels) => integer_product(x, panels, end, y),
            _ => unreachable!("a product's weight is packed"),
        }
    }

    /// Adds row `at` of a table to `y`.
    pub fn add_row(&self, at: usize, y: &mut [f32]) {
        let HostWeight::Table { format, bytes, row_bytes } = self else { unreachable!("rows are looked up in a table") };
        let row = &bytes[at * row_bytes..][..*row_bytes];
        match format {
            Format::F32 => y.iter_mut().zip(bytemuck::cast_slice::<u8, f32>(row)).for_each(|(y, v)| *y += v),
            Format::F16 => y.iter_mut().zip(row.chunks_exact(2)).for_each(|(y, b)| *y += f16::from_le_bytes([b[0], b[1]]).to_f32()),
            Format::Bf16 => y.iter_mut().zip(row.chunks_exact(2)).for_each(|(y, b)| *y += bf16::from_le_bytes([b[0], b[1]]).to_f32()),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        match self {
            HostWeight::Plain(rows) => 4 * rows.len() as u64,
            HostWeight::Packed(panels) => panels.bytes(),
            HostWeight::Integers(panels) => panels.bytes(),
            HostWeight::Table { bytes, .. } => bytes.len() as u64,
        }
    }
}
