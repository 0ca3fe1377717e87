//! The ops that work row by row.

use rten_simd::SimdOp;
use rten_vecmath::{Normalize as ScaleAndShift, NormalizeOptions, Sum, SumSquareSub};

use super::HostOp;
use crate::graph::{Call, Op};
use crate::host::{self, Operand};
use crate::ops::{AttentionParts, LayerNorm, LayerNormParts, Mean, Normalize, Pool, PooledRow, TokenEmbed};

impl HostOp for LayerNorm {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (x, width) = (operands[0].floats(), call.output().width);
        let (gain, bias) = (operands[1].floats(), operands[2].floats());
        host::each_row(y, width, |row, y| {
            let x = &x[row * width..][..width];
            // The mean in two steps: the first one's rounding error, large beside a small variance, is in the second.
            let near = Sum::new(x).dispatch() / width as f32;
            y.iter_mut().zip(x).for_each(|(y, x)| *y = x - near);
            let rest = Sum::new(y).dispatch() / width as f32;
            let var = SumSquareSub::new(y, rest).dispatch() / width as f32;
            let scale = 1.0 / (var + self.eps).sqrt();
            ScaleAndShift::new_mut(
                y,
                NormalizeOptions { pre_scale_bias: rest, scale, element_scale: Some(gain), bias: 0.0, element_bias: Some(bias) },
            )
            .dispatch();
        });
    }
}

/// Small beside the tower that they belong to: the references do.
impl HostOp for AttentionParts {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        y.copy_from_slice(&self.reference(&[operands[0].floats(), operands[1].floats()], call));
    }
}

impl HostOp for LayerNormParts {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        y.copy_from_slice(&self.reference(&[operands[0].floats(), operands[1].floats(), operands[2].floats()], call));
    }
}

impl HostOp for Mean {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        y.copy_from_slice(&self.reference(&[operands[0].floats()], call));
    }
}

impl HostOp for Normalize {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (x, width) = (operands[0].floats(), call.output().width);
        host::each_row(y, width, |row, y| {
            let x = &x[row * width..][..width];
            // f64 is cheap here, and squares of large values stay finite.
            let length = x.iter().map(|&v| (v as f64).powi(2)).sum::<f64>().sqrt().max(1e-30);
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x as f64 / length) as f32);
        });
    }
}

impl HostOp for Pool {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (tokens, width) = (call.inputs[0].rows.per_item(call.size), call.output().width);
        let x = operands[0].floats();
        for (item, y) in y.chunks_mut(width).enumerate() {
            let at = match self.row {
                PooledRow::Always(row) => row,
                PooledRow::Given => operands[1].whole()[item] as usize,
            };
            y.copy_from_slice(&x[(item * tokens + at) * width..][..width]);
        }
    }
}

impl HostOp for TokenEmbed {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let width = call.output().width;
        let (ids, table, positions) = (operands[0].whole(), operands[1].weight(), operands[2].floats());
        host::each_row(y, width, |row, y| {
            y.copy_from_slice(&positions[row % call.size.tokens * width..][..width]);
            table.add_row(ids[row] as usize, y);
        });
    }
}
