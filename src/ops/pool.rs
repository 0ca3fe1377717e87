use super::{Call, Dims, Op, row_grid, shape_error};
use crate::error::Result;
use crate::gpu::shader::{Part, part};
use crate::graph::{Desc, Kind, Rows};
use crate::host::Operand;

/// y\[b\] = x\[b, at\[b\]\]: the class token's row, or the row of a text's EOT.
///
/// | | shape | |
/// |---|---|---|
/// | x | `[batch, tokens, width]` | f32 |
/// | at | `[batch]` | u32 |
/// | y | `[batch, width]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct Pool;

impl Op for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn clone_box(&self) -> Box<dyn Op> {
        Box::new(*self)
    }

    fn output(&self, inputs: &[&Desc]) -> Result<(Rows, usize)> {
        match inputs {
            [x, at] if x.rows == Rows::Tokens && at.rows == Rows::Items && at.kind == Kind::U32 => Ok((Rows::Items, x.width)),
            _ => shape_error(self.name(), "takes x [batch, tokens, width] and at [batch] u32".into()),
        }
    }

    fn parts(&self) -> &'static [Part] {
        const { &[part!("pool.wgsl")] }
    }

    fn dispatch(&self, call: &Call) -> (Dims, [u32; 3]) {
        let dims = call.dims();
        (dims, row_grid(dims.rows as usize))
    }

    fn host(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (tokens, width) = (call.size.tokens, call.output.width);
        let (x, at) = (operands[0].floats(), operands[1].whole());
        for ((item, y), at) in y.chunks_mut(width).enumerate().zip(at) {
            y.copy_from_slice(&x[(item * tokens + *at as usize) * width..][..width]);
        }
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let (tokens, width) = (call.size.tokens, call.output.width);
        data[1].iter().enumerate().flat_map(|(b, &at)| data[0][(b * tokens + at as usize) * width..][..width].iter().copied()).collect()
    }
}
