use rayon::prelude::*;

use super::HostOp;
use crate::graph::Call;
use crate::host::{Epilogue, Operand, View};
use crate::ops::{Linear, PatchEmbed, Scores};

impl HostOp for Linear {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let bias = self.bias.then(|| operands[2].floats());
        let residual = self.residual_at().map(|at| operands[at].floats());
        let end = Epilogue { bias, act: self.act, residual, ..Default::default() };
        operands[1].weight().product(View::rows(operands[0].floats(), call.inputs[0].width), end, y);
    }
}

impl HostOp for PatchEmbed {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (n, k) = (call.output().width, call.inputs[1].width);
        let (c, positions) = (operands[2].floats(), operands[3].floats());
        let pixels = operands[0].floats().par_chunks(3 * self.size * self.size);
        y.par_chunks_mut(self.tokens() * n).zip(pixels).for_each(|(y, pixels)| {
            let (before, patches) = y.split_at_mut(self.class as usize * n);
            before.iter_mut().zip(c.iter().zip(positions)).for_each(|(y, (c, p))| *y = c + p);
            let mut rows = vec![0.0; self.patches() * k];
            rows.par_chunks_mut(k).enumerate().for_each(|(i, row)| {
                row.chunks_exact_mut(self.patch).zip(self.patch_lines(pixels, i)).for_each(|(row, line)| row.copy_from_slice(line));
            });
            let bias = (!self.class).then_some(c);
            let end = Epilogue { bias, residual: Some(&positions[before.len()..]), ..Default::default() };
            operands[1].weight().product(View::rows(&rows, k), end, patches);
        });
    }
}

impl HostOp for Scores {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let x = View::rows(operands[0].floats(), call.inputs[0].width);
        operands[1].weight().product(x, Epilogue { alpha: self.scale, ..Default::default() }, y);
        y.iter_mut().for_each(|y| *y += self.bias);
    }
}
