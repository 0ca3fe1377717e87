use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::part;
use crate::graph::kernel::{Kernel, op_dims, row_grid};
use crate::graph::op::{expect_fixed, shape_error};
use crate::graph::{Call, Desc, Op, Operand, Shape};

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

op_dims! { LayerNormDims { eps: f32 } }

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Rows, Operand::Rows, Operand::Rows]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        let [x, g, b] = inputs else { return shape_error(self.name(), "takes x, g, b".into()) };
        expect_fixed(self.name(), g, 1, x.width)?;
        expect_fixed(self.name(), b, 1, x.width)?;
        Ok(vec![Shape::f32(x.rows, x.width)])
    }

    fn lower(&self, call: &Call, caps: &Caps) -> Vec<Kernel> {
        let kernel = Kernel::new(self, call, const { &[part!("reduce.wgsl"), part!("layer_norm.wgsl")] }, row_grid(call.rows()));
        // On a processor a barrier is a switch between as many coroutines as a workgroup has vectors: of 8 invocations one or two.
        let group = caps.software.then_some(("GROUP", 8.0));
        vec![kernel.constants(group).op_dims(LayerNormDims { eps: self.eps })]
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let width = call.output().width;
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
