use rayon::prelude::*;
use rten_simd::SimdUnaryOp;
use rten_vecmath::{ApproxGelu, Gelu, Swish};

use super::HostOp;
use crate::graph::Call;
use crate::host::{self, Epilogue, Operand};
use crate::ops::{Act, Linear, PatchEmbed, Scores};

/// In place, on all cores, to about 1e-6.
fn apply_all(act: Act, y: &mut [f32]) {
    if act == Act::None {
        return;
    }
    y.par_chunks_mut(8192).for_each(|part| match act {
        Act::None => {}
        Act::QuickGelu => Swish { alpha: 1.702 }.map_mut(part),
        Act::Gelu => Gelu {}.map_mut(part),
        Act::GeluTanh => ApproxGelu {}.map_mut(part),
        Act::Relu => part.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v }),
        Act::Silu => Swish { alpha: 1.0 }.map_mut(part),
    });
}

impl HostOp for Linear {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (rows, k) = (call.rows(), call.inputs[0].width);
        let x = host::matrix(operands[0].floats(), [rows, k], [k, 1]);
        let w = operands[1].weight().right_side();
        let bias = self.bias.then(|| operands[2].floats());
        let residual = self.residual_at().map(|at| operands[at].floats());
        let inside = residual.filter(|_| self.act == Act::None); // r can be added by the product itself
        if let Some(r) = inside {
            y.copy_from_slice(r);
        }
        let beta = if inside.is_some() { 1.0 } else { 0.0 };
        host::product(x, w, Epilogue { beta, bias, ..Default::default() }, y);
        apply_all(self.act, y);
        if let (Some(r), None) = (residual, inside) {
            y.iter_mut().zip(r).for_each(|(y, r)| *y += r);
        }
    }
}

impl HostOp for PatchEmbed {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (n, k) = (call.output().width, call.inputs[1].width);
        let (c, positions) = (operands[2].floats(), operands[3].floats());
        let pixels = operands[0].floats().par_chunks(3 * self.size * self.size);
        y.par_chunks_mut(self.tokens() * n).zip(pixels).for_each(|(y, pixels)| {
            y.copy_from_slice(positions);
            let added = if self.class { n } else { y.len() };
            y[..added].iter_mut().zip(c.iter().cycle()).for_each(|(y, c)| *y += c);
            let patches = &mut y[self.class as usize * n..];
            let rows: Vec<f32> = (0..self.patches()).flat_map(|i| self.patch_pixels(pixels, i)).collect();
            let x = host::matrix(&rows, [self.patches(), k], [k, 1]);
            host::product(x, operands[1].weight().right_side(), Epilogue { beta: 1.0, ..Default::default() }, patches);
        });
    }
}

impl HostOp for Scores {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (rows, k) = (call.rows(), call.inputs[0].width);
        let x = host::matrix(operands[0].floats(), [rows, k], [k, 1]);
        host::product(x, operands[1].weight().right_side(), Epilogue { alpha: self.scale, ..Default::default() }, y);
        y.iter_mut().for_each(|y| *y += self.bias);
    }
}
