use super::{dot, product};
use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::part;
use crate::graph::kernel::{Kernel, op_dims};
use crate::graph::op::shape_error;
use crate::graph::{Call, Desc, Op, Operand, Rows, Shape};

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

op_dims! { ScoresDims { scale: f32, bias: f32 } }

impl Op for Scores {
    fn name(&self) -> &'static str {
        "scores"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Rows, Operand::Weight]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        match inputs {
            [x, w] if x.width == w.width => match w.rows {
                Rows::Fixed(texts) => Ok(vec![Shape::f32(x.rows, texts)]),
                _ => shape_error(self.name(), format!("`{}` is no matrix of texts", w.name)),
            },
            [x, w] => shape_error(self.name(), format!("images are {}, but texts are {}", x.shape(), w.shape())),
            _ => shape_error(self.name(), "takes x, w".into()),
        }
    }

    fn lower(&self, call: &Call, caps: &Caps) -> Vec<Kernel> {
        let caps = Caps { f16: false, ..caps.clone() }; // they are multiplied by a hundred
        let kernel = product::kernel(self, call, &caps, &[part!("input.wgsl"), part!("scores.wgsl")]);
        vec![kernel.op_dims(ScoresDims { scale: self.scale, bias: self.bias })]
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let k = call.inputs[0].width;
        let score = |x, w| (self.scale as f64 * dot(x, w) + self.bias as f64) as f32;
        data[0].chunks(k).flat_map(|x| data[1].chunks(k).map(move |w| score(x, w))).collect()
    }

    fn flops(&self, call: &Call) -> u64 {
        2 * call.rows() as u64 * call.output().width as u64 * call.inputs[0].width as u64
    }
}
