use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::part;
use crate::graph::kernel::{Kernel, op_dims, row_grid};
use crate::graph::op::shape_error;
use crate::graph::{Call, Desc, Op, Operand, Rows, Shape};

/// y\[b\] = the mean of x\[b, skip …\]: average pooling over the patches.
///
/// | | shape | |
/// |---|---|---|
/// | x | `[batch, tokens, width]` | f32 |
/// | y | `[batch, width]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct Mean {
    /// Leading tokens that are left out: the class token.
    pub skip: usize,
}

op_dims! { MeanDims { tokens: u32 } }

impl Op for Mean {
    fn name(&self) -> &'static str {
        "mean"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Rows]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        match inputs {
            [x] if x.rows.are_of_items() => Ok(vec![Shape::f32(Rows::Items, x.width)]),
            _ => shape_error(self.name(), "takes x [batch, tokens, width]".into()),
        }
    }

    fn lower(&self, call: &Call, _: &Caps) -> Vec<Kernel> {
        let tokens = call.inputs[0].rows.per_item(call.size) as u32;
        let kernel = Kernel::new(self, call, const { &[part!("mean.wgsl")] }, row_grid(call.rows()));
        vec![kernel.constants([("SKIP", self.skip as f64)]).op_dims(MeanDims { tokens })]
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let (tokens, width) = (call.inputs[0].rows.per_item(call.size), call.output().width);
        let mean = |item: &[f32], i: usize| {
            let rows = item.chunks(width).skip(self.skip);
            (rows.map(|row| row[i] as f64).sum::<f64>() / (tokens - self.skip) as f64) as f32
        };
        data[0].chunks(tokens * width).flat_map(|item| (0..width).map(move |i| mean(item, i))).collect()
    }
}
