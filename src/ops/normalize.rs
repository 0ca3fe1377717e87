use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::part;
use crate::graph::kernel::{Kernel, row_grid};
use crate::graph::op::shape_error;
use crate::graph::{Call, Desc, Op, Operand, Shape};

/// y = x / |x|, over the last axis; a row of zeros stays zeros.
///
/// | | shape | |
/// |---|---|---|
/// | x | `[rows, width]` | f32 |
/// | y | `[rows, width]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct Normalize;

impl Op for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Rows]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        let [x] = inputs else { return shape_error(self.name(), "takes x".into()) };
        Ok(vec![Shape::f32(x.rows, x.width)])
    }

    fn lower(&self, call: &Call, _: &Caps) -> Vec<Kernel> {
        vec![Kernel::new(self, call, const { &[part!("reduce.wgsl"), part!("normalize.wgsl")] }, row_grid(call.rows()))]
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let length = |row: &[f32]| row.iter().map(|&v| (v as f64).powi(2)).sum::<f64>().sqrt().max(1e-30);
        data[0].chunks(call.output().width).flat_map(|row| row.iter().map(move |&v| (v as f64 / length(row)) as f32)).collect()
    }
}
