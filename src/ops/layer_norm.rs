use rten_simd::SimdOp;
use rten_vecmath::{Normalize, NormalizeOptions, Sum, SumSquareSub};

use super::{Call, Dims, Op, expect_fixed, row_grid, shape_error};
use crate::error::Result;
use crate::gpu::shader::{Part, part};
use crate::graph::{Desc, Rows};
use crate::host::{self, Operand};

/// y = (x − mean) / sqrt(var + eps) · g + b, over the last axis.
///
/// | | shape | |
/// |---|---|---|
/// | x | `[rows, width]` | f32 |
/// | g, b | `[width]` | f32 |
/// | y | `[rows, width]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    pub eps: f32,
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn clone_box(&self) -> Box<dyn Op> {
        Box::new(*self)
    }

    fn output(&self, inputs: &[&Desc]) -> Result<(Rows, usize)> {
        let [x, g, b] = inputs else { return shape_error(self.name(), "takes x, g, b".into()) };
        expect_fixed(self.name(), g, 1, x.width)?;
        expect_fixed(self.name(), b, 1, x.width)?;
        Ok((x.rows, x.width))
    }

    fn parts(&self) -> &'static [Part] {
        const { &[part!("reduce.wgsl"), part!("layer_norm.wgsl")] }
    }

    fn dispatch(&self, call: &Call) -> (Dims, [u32; 3]) {
        let dims = Dims { eps: self.eps, ..call.dims() };
        (dims, row_grid(dims.rows as usize))
    }

    fn host(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (x, width) = (operands[0].floats(), call.output.width);
        let (gain, bias) = (operands[1].floats(), operands[2].floats());
        host::each_row(y, width, |row, y| {
            let x = &x[row * width..][..width];
            // The mean in two steps: the first one's rounding error, large beside a small variance, is in the second.
            let near = Sum::new(x).dispatch() / width as f32;
            y.iter_mut().zip(x).for_each(|(y, x)| *y = x - near);
            let rest = Sum::new(y).dispatch() / width as f32;
            let var = SumSquareSub::new(y, rest).dispatch() / width as f32;
            let scale = 1.0 / (var + self.eps).sqrt();
            Normalize::new_mut(
                y,
                NormalizeOptions { pre_scale_bias: rest, scale, element_scale: Some(gain), bias: 0.0, element_bias: Some(bias) },
            )
            .dispatch();
        });
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let width = call.output.width;
        let mut y = Vec::with_capacity(data[0].len());
        for row in data[0].chunks(width) {
            let mean = row.iter().map(|&v| v as f64).sum::<f64>() / width as f64;
            let var = row.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / width as f64;
            let scale = 1.0 / (var + self.eps as f64).sqrt();
            y.extend((0..width).map(|i| ((row[i] as f64 - mean) * scale * data[1][i] as f64 + data[2][i] as f64) as f32));
        }
        y
    }
}
