use super::{Call, Dims, Op, dot, product_grid, shape_error};
use crate::error::Result;
use crate::gpu::shader::{Part, part};
use crate::graph::{Desc, Rows};
use crate::host::{self, Epilogue, Operand};

/// y = scale · x · Wᵀ + bias: each image against each text.
///
/// | | shape | |
/// |---|---|---|
/// | x | `[images, embed]` | f32, unit rows |
/// | w | `[texts, embed]` | f32, unit rows |
/// | y | `[images, texts]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct Scores {
    /// exp(logit_scale)
    pub scale: f32,
    /// logit_bias (SigLIP), else 0
    pub bias: f32,
}

impl Op for Scores {
    fn name(&self) -> &'static str {
        "scores"
    }

    fn clone_box(&self) -> Box<dyn Op> {
        Box::new(*self)
    }

    fn output(&self, inputs: &[&Desc]) -> Result<(Rows, usize)> {
        match inputs {
            [x, w] if x.width == w.width => match w.rows {
                Rows::Fixed(texts) => Ok((x.rows, texts)),
                _ => shape_error(self.name(), format!("`{}` is no matrix of texts", w.name)),
            },
            [x, w] => shape_error(self.name(), format!("images are {}, but texts are {}", x.shape(), w.shape())),
            _ => shape_error(self.name(), "takes x, w".into()),
        }
    }

    fn parts(&self) -> &'static [Part] {
        const { &[part!("product.wgsl"), part!("scores.wgsl")] }
    }

    fn reads_weight(&self) -> bool {
        true
    }

    fn dispatch(&self, call: &Call) -> (Dims, [u32; 3]) {
        let dims = Dims { scale: self.scale, bias: self.bias, ..call.dims() };
        (dims, product_grid(&dims))
    }

    fn host(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (rows, k) = (call.output.rows(call.size), call.inputs[0].width);
        let x = host::matrix(operands[0].floats(), [rows, k], [k, 1]);
        host::product(x, operands[1].weight().right_side(), Epilogue { alpha: self.scale, ..Default::default() }, y);
        y.iter_mut().for_each(|y| *y += self.bias);
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let k = call.inputs[0].width;
        let score = |x, w| (self.scale as f64 * dot(x, w) + self.bias as f64) as f32;
        data[0].chunks(k).flat_map(|x| data[1].chunks(k).map(move |w| score(x, w))).collect()
    }

    fn flops(&self, call: &Call) -> u64 {
        (2 * call.output.rows(call.size) * call.output.width * call.inputs[0].width) as u64
    }
}
