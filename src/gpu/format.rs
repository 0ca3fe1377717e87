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

/// Whether f16 holds `v` exactly: ten bits behind the first, above its smallest normal number; below, multiples of its smallest.
/// By arithmetic, which compilers make vectors of.
fn is_f16(v: f32) -> bool {
    const SMALLEST_NORMAL: f32 = 1.0 / (1 << 14) as f32;
    const ROUND: f32 = 0.75; // of f32 the neighbours of such a number are the smallest f16 apart
    let (size, small) = (v.abs(), v.abs() < SMALLEST_NORMAL);
    small & (size + ROUND - ROUND == size) | !small & (size <= 65504.0) & (v.to_bits() & 0x1fff == 0)
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
            Format::F16 => first(values, |v| !is_f16(v)).is_none(),
            Format::Bf16 => first(values, |v| v.to_bits() & 0xffff != 0).is_none(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_values_of_a_format_are_held_by_it() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits).to_f32(), bf16::from_bits(bits).to_f32());
            assert_eq!(Format::F16.holds(&[half]), half.is_finite(), "{half}");
            assert!(Format::Bf16.holds(&[brain]), "{brain}");
            for near in [half, brain].map(|v| [v.to_bits() ^ 1, v.to_bits() ^ 0x1000, v.to_bits() ^ 0x8000].map(f32::from_bits)).concat() {
                let rounded = f16::from_f32(near);
                assert_eq!(Format::F16.holds(&[near]), rounded.is_finite() && rounded.to_f32().to_bits() == near.to_bits(), "{near}");
                assert_eq!(Format::Bf16.holds(&[near]), near.to_bits() & 0xffff == 0, "{near}");
            }
        }
    }
}
