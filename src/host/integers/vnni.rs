//! The tile in x86's own instructions, which no library of vectors has.
#![allow(unsafe_code)] // a function with features of the processor is called, after `Kernel::all` found them

use std::arch::x86_64::*;

use super::{Left, Panel, WIDTH};

/// Instructions of one width of vectors.
macro_rules! tile {
    ($name:ident, $features:literal, $int:ty, $float:ty, $dot:ident, $splat:ident, $zero:ident, $splat_float:ident, $convert:ident, $multiply:ident, $multiply_add:ident) => {
        /// into\[ROWS, WIDTH\] = x\[ROWS, k\] · w\[k, WIDTH\]
        pub fn $name<const ROWS: usize>(left: &Left, w: &Panel<'_>, into: &mut [[f32; WIDTH]; ROWS]) {
            const VECTORS: usize = WIDTH * size_of::<f32>() / size_of::<$int>();

            #[target_feature(enable = $features)]
            fn run<const ROWS: usize>(left: &Left, w: &Panel<'_>, into: &mut [[f32; WIDTH]; ROWS]) {
                let mut sums = [[$zero(); VECTORS]; ROWS];
                let (mut next, ahead) = (w.next, w.ahead);
                let each = w.grain.block() / w.grain.per_lane();
                let blocks = left.lanes.as_chunks::<ROWS>().0.chunks(each).zip(w.lanes.chunks(each)).zip(w.scales);
                let of_rows = left.scales.as_chunks::<ROWS>().0.iter().zip(left.starts.as_chunks::<ROWS>().0);
                for (((x, w), by), (scales, starts)) in blocks.zip(of_rows) {
                    let mut dots = [[$splat(0); VECTORS]; ROWS];
                    for row in 0..ROWS {
                        dots[row] = [$splat(starts[row]); VECTORS];
                    }
                    for (x, w) in x.iter().zip(w) {
                        // SAFETY: it reads nothing.
                        #[allow(unused_unsafe)] // newer compilers know it
                        unsafe {
                            _mm_prefetch::<_MM_HINT_T0>(next.cast())
                        };
                        next = next.wrapping_add(ahead);
                        let w: [$int; VECTORS] = bytemuck::must_cast(*w);
                        for row in 0..ROWS {
                            let x = $splat(x[row]);
                            for i in 0..VECTORS {
                                dots[row][i] = $dot(dots[row][i], w[i], x);
                            }
                        }
                    }
                    let by: [$float; VECTORS] = bytemuck::must_cast(*by);
                    for row in 0..ROWS {
                        let scale = $splat_float(scales[row]);
                        for i in 0..VECTORS {
                            sums[row][i] = $multiply_add($convert(dots[row][i]), $multiply(scale, by[i]), sums[row][i]);
                        }
                    }
                }
                for row in 0..ROWS {
                    into[row] = bytemuck::must_cast(sums[row]);
                }
            }

            // SAFETY: the processor has these features, or its kernel would not have been chosen.
            unsafe { run::<ROWS>(left, w, into) }
        }
    };
}

macro_rules! avx512 {
    ($name:ident, $dot:ident) => {
        tile!(
            $name,
            "avx512f,avx512vnni",
            __m512i,
            __m512,
            $dot,
            _mm512_set1_epi32,
            _mm512_setzero_ps,
            _mm512_set1_ps,
            _mm512_cvtepi32_ps,
            _mm512_mul_ps,
            _mm512_fmadd_ps
        );
    };
}

macro_rules! avx {
    ($name:ident, $dot:ident) => {
        tile!(
            $name,
            "avx2,fma,avxvnni",
            __m256i,
            __m256,
            $dot,
            _mm256_set1_epi32,
            _mm256_setzero_ps,
            _mm256_set1_ps,
            _mm256_cvtepi32_ps,
            _mm256_mul_ps,
            _mm256_fmadd_ps
        );
    };
}

avx512!(avx512_8, _mm512_dpbusd_epi32);
avx512!(avx512_16, _mm512_dpwssd_epi32);
avx!(avx_8, _mm256_dpbusd_avx_epi32);
avx!(avx_16, _mm256_dpwssd_avx_epi32);
