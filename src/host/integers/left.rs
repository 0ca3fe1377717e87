//! Rounding to integers, and the left side of a product.

use std::ops::Range;

use rten_simd::{Isa, SimdOp};

use super::MOST_STEPS;
use crate::host::View;
use crate::weights::Grain;

/// `x` in integers, and their scale; NaN where `x` is not finite, so that what comes of it is NaN, too.
#[inline(always)]
pub fn quantize(grain: Grain, x: &[f32], q: &mut [i16; MOST_STEPS]) -> f32 {
    /// Added to a number this size, a float is rounded to a whole one, which stands in its lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LANES: usize = 16;
    // Plain loops over lanes: compilers do not make them of a fold.
    let (mut max, mut odd) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for i in 0..LANES {
            max[i] = if x[i].abs() > max[i] { x[i].abs() } else { max[i] };
            odd[i] += x[i] * 0.0; // NaN, if x is infinite or NaN
        }
    }
    for (i, x) in rest.iter().enumerate() {
        max[i] = if x.abs() > max[i] { x.abs() } else { max[i] };
        odd[i] += x * 0.0;
    }
    let (mut most, mut nan) = (0.0, 0.0);
    for i in 0..LANES {
        most = if max[i] > most { max[i] } else { most };
        nan += odd[i];
    }
    let inverse = if most > 0.0 { grain.greatest() / most } else { 0.0 };
    for i in 0..x.len() {
        q[i] = (x[i] * inverse + ROUND).to_bits() as i16;
    }
    for q in &mut q[x.len()..] {
        *q = 0;
    }
    most / grain.greatest() + nan
}

/// Rows of the left side for a tile: lanes of k, rows; and of each block the scales of the rows and what their sums start with.
#[derive(Default)]
pub struct Left {
    pub lanes: Vec<i32>,
    pub scales: Vec<f32>,
    pub starts: Vec<i32>,
}

/// Fills a [`Left`].
pub struct Pack<'a> {
    pub grain: Grain,
    pub x: View<'a>,
    pub rows: Range<usize>,
    pub left: &'a mut Left,
}

impl SimdOp for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, _: I) {
        match self.grain {
            Grain::Bits8(_) => self.run::<4>(),
            Grain::Bits13 => self.run::<2>(),
        }
    }
}

impl Pack<'_> {
    #[inline(always)]
    fn run<const PER_LANE: usize>(self) {
        let Self { grain, x, rows, left } = self;
        let (count, k) = (rows.len(), x.shape[1]);
        left.lanes.resize(k.div_ceil(PER_LANE) * count, 0);
        left.scales.clear();
        left.starts.clear();
        let mut q = [0; MOST_STEPS];
        for first in (0..k).step_by(grain.block()) {
            let steps = first..k.min(first + grain.block());
            for row in 0..count {
                let x = &x.data[(rows.start + row) * x.strides[0]..][steps.clone()];
                left.scales.push(quantize(grain, x, &mut q));
                let mut sum = 0;
                for q in &q[..grain.block()] {
                    sum += i32::from(*q);
                }
                left.starts.push(-sum * i32::from(grain.offset()));
                let lanes = left.lanes[first / PER_LANE * count + row..].iter_mut().step_by(count);
                for (lane, q) in lanes.zip(q[..grain.block()].as_chunks::<PER_LANE>().0) {
                    *lane = grain.lane(q);
                }
            }
        }
    }
}
