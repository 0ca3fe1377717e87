use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::part;
use crate::graph::kernel::{Kernel, op_dims, row_grid};
use crate::graph::op::{expect_fixed, shape_error};
use crate::graph::{Call, Desc, Op, Operand, Rows, Shape};

/// y\[t\] = (x\[t\] − mean(x\[t\])) / sqrt(var(row) + eps) · g: what each part of a row gives to its
/// [`LayerNorm`](super::LayerNorm), whose bias belongs to none.
///
/// | | shape | |
/// |---|---|---|
/// | x | `[batch, tokens, width]` | f32: the parts |
/// | row | `[batch, width]` | f32: the row that is normalised |
/// | g | `[width]` | f32 |
/// | y | `[batch, tokens, width]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct LayerNormParts {
    pub eps: f32,
}

op_dims! { LayerNormPartsDims { eps: f32 } }

impl Op for LayerNormParts {
    fn name(&self) -> &'static str {
        "layer_norm_parts"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Rows, Operand::Rows, Operand::Rows]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        match inputs {
            [x, row, g] if x.rows.are_of_items() && row.rows == Rows::Items && row.width == x.width => {
                expect_fixed(self.name(), g, 1, x.width)?;
                Ok(vec![Shape::f32(x.rows, x.width)])
            }
            _ => shape_error(self.name(), "takes x [batch, tokens, width], row [batch, width] and g".into()),
        }
    }

    fn lower(&self, call: &Call, _: &Caps) -> Vec<Kernel> {
        let kernel = Kernel::new(self, call, const { &[part!("reduce.wgsl"), part!("layer_norm_parts.wgsl")] }, row_grid(call.rows()));
        vec![kernel.op_dims(LayerNormPartsDims { eps: self.eps })]
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let (tokens, width) = (call.inputs[0].rows.per_item(call.size), call.output().width);
        let mean = |row: &[f32]| row.iter().map(|&v| v as f64).sum::<f64>() / width as f64;
        let mut y = Vec::with_capacity(data[0].len());
        for (item, row) in data[0].chunks(tokens * width).zip(data[1].chunks(width)) {
            let middle = mean(row);
            let var = row.iter().map(|&v| (v as f64 - middle).powi(2)).sum::<f64>() / width as f64;
            let scale = 1.0 / (var + self.eps as f64).sqrt();
            for part in item.chunks(width) {
                let own = mean(part);
                y.extend(part.iter().zip(data[2]).map(|(&v, &g)| ((v as f64 - own) * scale * g as f64) as f32));
            }
        }
        y
    }
}
