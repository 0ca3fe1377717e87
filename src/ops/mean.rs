use super::{Call, Constant, Dims, Op, row_grid, shape_error};
use crate::error::Result;
use crate::gpu::shader::{Part, part};
use crate::graph::{Desc, Rows};
use crate::host::Operand;

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

impl Op for Mean {
    fn name(&self) -> &'static str {
        "mean"
    }

    fn clone_box(&self) -> Box<dyn Op> {
        Box::new(*self)
    }

    fn output(&self, inputs: &[&Desc]) -> Result<(Rows, usize)> {
        match inputs {
            [x] if x.rows == Rows::Tokens => Ok((Rows::Items, x.width)),
            _ => shape_error(self.name(), "takes x [batch, tokens, width]".into()),
        }
    }

    fn parts(&self) -> &'static [Part] {
        const { &[part!("mean.wgsl")] }
    }

    fn constants(&self) -> Vec<Constant> {
        vec![("SKIP", self.skip as f64)]
    }

    fn dispatch(&self, call: &Call) -> (Dims, [u32; 3]) {
        let dims = call.dims();
        (dims, row_grid(dims.rows as usize))
    }

    fn host(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        y.copy_from_slice(&self.reference(&[operands[0].floats()], call));
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let (tokens, width) = (call.size.tokens, call.output.width);
        let mean = |item: &[f32], i: usize| {
            let rows = item.chunks(width).skip(self.skip);
            (rows.map(|row| row[i] as f64).sum::<f64>() / (tokens - self.skip) as f64) as f32
        };
        data[0].chunks(tokens * width).flat_map(|item| (0..width).map(move |i| mean(item, i))).collect()
    }
}
