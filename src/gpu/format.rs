//! The formats that weight matrices are kept in on the device.

use std::borrow::Cow;

use half::{bf16, f16};

use super::shader::{Part, part};

/// Halfway from f16's greatest value to the next that it would have: what is below rounds to a finite one.
const F16_LIMIT: f32 = 65_520.0;

/// The first value that is `lost`, looked for in blocks without a branch in them: every weight passes here.
fn first(values: &[f32], lost: impl Fn(f32) -> bool) -> Option<f32> {
    let block = values.chunks(1024).find(|block| block.iter().fold(false, |any, v| any | lost(*v)))?;
    block.iter().copied().find(|v| lost(*v))
}

/// How a weight matrix is stored, whatever the arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    F32,
    F16,
    Bf16,
}

impl Format {
    /// The file that declares `weight4()` for this format.
    pub fn part(self) -> Part {
        match self {
            Format::F32 => part!("weight/f32.wgsl"),
            Format::F16 => part!("weight/f16.wgsl"),
            Format::Bf16 => part!("weight/bf16.wgsl"),
        }
    }

    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::Bf16 => 2,
        }
    }

    /// Whether every value survives this format exactly.
    pub fn holds(self, values: &[f32]) -> bool {
        match self {
            Format::F32 => true,
            Format::F16 => values.iter().all(|&v| f16::from_f32(v).to_f32().to_bits() == v.to_bits()),
            Format::Bf16 => values.iter().all(|&v| v.to_bits() & 0xffff == 0),
        }
    }

    /// The first value that is not finite, or not in this format.
    pub fn first_lost(self, values: &[f32]) -> Option<f32> {
        match self {
            Format::F32 => first(values, |v| !v.is_finite()),
            Format::F16 => first(values, |v| v.is_nan() || v.abs() >= F16_LIMIT),
            Format::Bf16 => first(values, |v| !bf16::from_f32(v).is_finite()),
        }
    }

    /// Rows of `width` values as they lie on the device: each padded with zeros to a multiple of 8.
    pub fn pack(self, rows: &[f32], width: usize) -> Vec<u8> {
        let stride = width.next_multiple_of(8);
        let mut bytes = Vec::with_capacity(rows.len() / width.max(1) * stride * self.bytes());
        for row in rows.chunks(width) {
            match self {
                Format::F32 => bytes.extend_from_slice(bytemuck::cast_slice(row)),
                Format::F16 => row.iter().for_each(|&v| bytes.extend_from_slice(&f16::from_f32(v).to_le_bytes())),
                Format::Bf16 => row.iter().for_each(|&v| bytes.extend_from_slice(&bf16::from_f32(v).to_le_bytes())),
            }
            bytes.resize(bytes.len() + (stride - width) * self.bytes(), 0);
        }
        bytes
    }

    /// What a kernel sees of `values` once packed.
    pub fn round(self, values: &[f32]) -> Cow<'_, [f32]> {
        match self {
            Format::F32 => values.into(),
            Format::F16 => values.iter().map(|&v| f16::from_f32(v).to_f32()).collect(),
            Format::Bf16 => values.iter().map(|&v| bf16::from_f32(v).to_f32()).collect(),
        }
    }
}
