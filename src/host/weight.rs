use std::collections::HashMap;

use half::{bf16, f16};

use super::{Epilogue, IntegerPanels, Panels, View, integer_product, product};
use crate::gpu::Format;
use crate::graph::Value;

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
    /// A matrix `[n, k]` to multiply with.
    pub fn packed(rows: &[f32], k: usize) -> Self {
        HostWeight::Packed(Panels::new(View::rows(rows, k).transposed()))
    }

    /// Rows to look up.
    pub fn table(format: Format, rows: &[f32], width: usize) -> Self {
        HostWeight::Table { format, bytes: format.pack(rows, width), row_bytes: width.next_multiple_of(8) * format.bytes() }
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
