//! Weights on a device: made empty, then written in runs of rows.

use std::collections::HashMap;

use super::session::storage;
use super::{Desc, Size, Value};
use crate::error::{Error, Result};
use crate::gpu::{Format, Gpu};

/// Rows of a weight that share a buffer.
#[derive(Clone, Debug)]
pub struct Piece {
    pub buffer: wgpu::Buffer,
    /// Its first row of the whole weight.
    pub first: usize,
    pub rows: usize,
}

/// A weight on the device, in more than one piece only where it passes the device's binding limit.
#[derive(Clone, Debug)]
pub struct DeviceWeight {
    pub format: Format,
    pub pieces: Vec<Piece>,
    width: usize,
}

/// The weights of a graph, by value.
pub type DeviceWeights = HashMap<Value, DeviceWeight>;

impl DeviceWeight {
    /// Buffers for the weight `desc`, zeros so far. `split` says whether its reader takes it in pieces (token tables do).
    ///
    /// # Errors
    /// [`Error::TooLarge`] where it passes the device's limits and cannot be split.
    pub fn new(gpu: &Gpu, desc: &Desc, format: Format, split: bool) -> Result<Self> {
        let rows = desc.rows(Size { batch: 0, tokens: 0 });
        // Columns of a product are made eight at a time: the rows of a matrix are padded like the rows of an activation.
        let padded = if rows == 1 { 1 } else { rows.next_multiple_of(8) };
        let row_bytes = (desc.stride() * format.bytes()) as u64;
        let limit = gpu.caps.max_binding_bytes.min(gpu.caps.max_buffer_bytes);
        if padded as u64 * row_bytes > limit && !split {
            return Err(Error::TooLarge { what: format!("weight `{}`", desc.name), bytes: padded as u64 * row_bytes, limit });
        }
        let most = ((limit / row_bytes) as usize).max(1);
        let piece = |first: usize| {
            let rows = most.min(padded - first);
            Piece { buffer: storage(gpu, &desc.name, rows as u64 * row_bytes), first, rows }
        };
        Ok(Self { format, pieces: (0..padded).step_by(most).map(piece).collect(), width: desc.width })
    }

    /// Writes `rows` (`[n, width]`) from row `first` on.
    pub fn write(&self, gpu: &Gpu, first: usize, rows: &[f32]) {
        let row_bytes = self.width.next_multiple_of(8) * self.format.bytes();
        let count = rows.len() / self.width;
        for piece in &self.pieces {
            let (from, to) = (first.max(piece.first), (first + count).min(piece.first + piece.rows));
            if from < to {
                let data = self.format.pack(&rows[(from - first) * self.width..(to - first) * self.width], self.width);
                gpu.queue.write_buffer(&piece.buffer, ((from - piece.first) * row_bytes) as u64, &data);
            }
        }
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|p| p.buffer.size()).sum()
    }
}
