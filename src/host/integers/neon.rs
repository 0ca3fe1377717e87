//! The tile in Arm's dot products (FEAT_DotProd: most processors since 2018), four columns to a vector.
#![allow(unsafe_code)] // a function with features of the processor is called, after `Kernel::all` found them

use std::arch::aarch64::*;
use std::arch::asm;

use super::{Left, Panel, WIDTH};

/// Columns to a vector.
const LANES: usize = 4;

/// sum + Σ of four products of signed bytes, lane by lane. Its intrinsic is not stable (rust-lang/rust#117224).
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(mut sum: int32x4_t, w: int32x4_t, x: int32x4_t) -> int32x4_t {
    // SAFETY: it touches these registers only.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in(vreg) w, in(vreg) x, options(pure, nomem, nostack, preserves_flags))
    };
    sum
}

/// The `lanes`th four of `values`.
#[inline]
#[target_feature(enable = "neon")]
fn load(values: &[i32; WIDTH], lanes: usize) -> int32x4_t {
    // SAFETY: an array of four is read.
    unsafe { vld1q_s32(values.as_chunks::<LANES>().0[lanes].as_ptr()) }
}

/// Adds a block's sums of four columns to those before it.
#[inline]
#[target_feature(enable = "neon")]
fn add(sums: int32x4_t, scale: f32, by: &[f32; WIDTH], into: &mut [f32; WIDTH], lanes: usize) {
    let (by, into) = (&by.as_chunks::<LANES>().0[lanes], &mut into.as_chunks_mut::<LANES>().0[lanes]);
    // SAFETY: arrays of four are read and written.
    unsafe {
        let by = vmulq_n_f32(vld1q_f32(by.as_ptr()), scale);
        vst1q_f32(into.as_mut_ptr(), vfmaq_f32(vld1q_f32(into.as_ptr()), vcvtq_f32_s32(sums), by));
    }
}

/// into\[ROWS, WIDTH\] = x\[ROWS, k\] · w\[k, WIDTH\] of 8 bits: the weight is kept as q + 128, which is q when its highest bit is
/// turned, and signed numbers are what these instructions multiply.
pub fn dot_8<const ROWS: usize>(left: &Left, w: &Panel<'_>, into: &mut [[f32; WIDTH]; ROWS]) {
    /// Vectors of columns at a time: what fits 32 registers with six rows.
    const VECTORS: usize = 4;

    #[target_feature(enable = "neon,dotprod")]
    fn run<const ROWS: usize>(left: &Left, w: &Panel<'_>, into: &mut [[f32; WIDTH]; ROWS]) {
        let each = w.grain.block() / w.grain.per_lane();
        let turn = vdupq_n_s32(i32::from_le_bytes([0x80; 4]));
        for first in (0..WIDTH / LANES).step_by(VECTORS) {
            let blocks = left.lanes.as_chunks::<ROWS>().0.chunks(each).zip(w.lanes.chunks(each)).zip(w.scales);
            for (((x, w), by), scales) in blocks.zip(left.scales.as_chunks::<ROWS>().0) {
                let mut dots = [[vdupq_n_s32(0); VECTORS]; ROWS];
                for (x, w) in x.iter().zip(w) {
                    let mut q = [turn; VECTORS];
                    for i in 0..VECTORS {
                        q[i] = veorq_s32(load(w, first + i), turn);
                    }
                    for row in 0..ROWS {
                        let x = vdupq_n_s32(x[row]);
                        for i in 0..VECTORS {
                            dots[row][i] = dot(dots[row][i], q[i], x);
                        }
                    }
                }
                for row in 0..ROWS {
                    for i in 0..VECTORS {
                        add(dots[row][i], scales[row], by, &mut into[row], first + i);
                    }
                }
            }
        }
    }

    // SAFETY: the processor has these features, or its kernel would not have been chosen.
    unsafe { run::<ROWS>(left, w, into) }
}

/// The same of 13 bits, two to a lane: their products are summed apart and added up at a block's end: as many
/// instructions as in f32.
pub fn dot_16<const ROWS: usize>(left: &Left, w: &Panel<'_>, into: &mut [[f32; WIDTH]; ROWS]) {
    const VECTORS: usize = 2;

    #[target_feature(enable = "neon")]
    fn run<const ROWS: usize>(left: &Left, w: &Panel<'_>, into: &mut [[f32; WIDTH]; ROWS]) {
        let each = w.grain.block() / w.grain.per_lane();
        for first in (0..WIDTH / LANES).step_by(VECTORS) {
            let blocks = left.lanes.as_chunks::<ROWS>().0.chunks(each).zip(w.lanes.chunks(each)).zip(w.scales);
            for (((x, w), by), scales) in blocks.zip(left.scales.as_chunks::<ROWS>().0) {
                let mut dots = [[[vdupq_n_s32(0); 2]; VECTORS]; ROWS];
                for (x, w) in x.iter().zip(w) {
                    let mut q = [vdupq_n_s16(0); VECTORS];
                    for i in 0..VECTORS {
                        q[i] = vreinterpretq_s16_s32(load(w, first + i));
                    }
                    for row in 0..ROWS {
                        let x = vreinterpretq_s16_s32(vdupq_n_s32(x[row]));
                        for i in 0..VECTORS {
                            let [low, high] = dots[row][i];
                            dots[row][i] = [vmlal_s16(low, vget_low_s16(q[i]), vget_low_s16(x)), vmlal_high_s16(high, q[i], x)];
                        }
                    }
                }
                for row in 0..ROWS {
                    for i in 0..VECTORS {
                        let [low, high] = dots[row][i];
                        add(vpaddq_s32(low, high), scales[row], by, &mut into[row], first + i);
                    }
                }
            }
        }
    }

    // SAFETY: every processor of this architecture has these.
    unsafe { run::<ROWS>(left, w, into) }
}
