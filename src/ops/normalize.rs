use super::{Call, Dims, Op, row_grid, shape_error};
use crate::error::Result;
use crate::gpu::shader::{Part, part};
use crate::graph::{Desc, Rows};
use crate::host::{self, Operand};

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

    fn clone_box(&self) -> Box<dyn Op> {
        Box::new(*self)
    }

    fn output(&self, inputs: &[&Desc]) -> Result<(Rows, usize)> {
        let [x] = inputs else { return shape_error(self.name(), "takes x".into()) };
        Ok((x.rows, x.width))
    }

    fn parts(&self) -> &'static [Part] {
        const { &[part!("reduce.wgsl"), part!("normalize.wgsl")] }
    }

    fn dispatch(&self, call: &Call) -> (Dims, [u32; 3]) {
        let dims = call.dims();
        (dims, row_grid(dims.rows as usize))
    }

    fn host(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (x, width) = (operands[0].floats(), call.output.width);
        host::each_row(y, width, |row, y| {
            let x = &x[row * width..][..width];
            // f64 is cheap here, and squares of large values stay finite.
            let length = x.iter().map(|&v| (v as f64).powi(2)).sum::<f64>().sqrt().max(1e-30);
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x as f64 / length) as f32);
        });
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let length = |row: &[f32]| row.iter().map(|&v| (v as f64).powi(2)).sum::<f64>().sqrt().max(1e-30);
        data[0].chunks(call.output.width).flat_map(|row| row.iter().map(move |&v| (v as f64 / length(row)) as f32)).collect()
    }
}
