use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::part;
use crate::graph::kernel::{Kernel, op_dims, row_grid};
use crate::graph::op::shape_error;
use crate::graph::{Call, Desc, Kind, Op, Operand, Rows, Shape};

/// Which row of an item is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PooledRow {
    /// The same of every item, such as the class token's.
    Always(usize),
    /// The input `at` says: a text's EOT.
    Given,
}

/// y\[b\] = x\[b, at\[b\]\], or x\[b, row\].
///
/// | | shape | |
/// |---|---|---|
/// | x | `[batch, tokens, width]` | f32 |
/// | at | `[batch]` | u32, where the row is given |
/// | y | `[batch, width]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    pub row: PooledRow,
}

op_dims! { PoolDims { tokens: u32, given: u32, row: u32 } }

impl Op for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Rows, Operand::Rows]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        match inputs {
            [x, at] if self.row == PooledRow::Given && x.rows.are_of_items() && at.rows == Rows::Items && at.kind == Kind::U32 => {
                Ok(vec![Shape::f32(Rows::Items, x.width)])
            }
            [x] if self.row != PooledRow::Given && x.rows.are_of_items() => Ok(vec![Shape::f32(Rows::Items, x.width)]),
            _ => shape_error(self.name(), "takes x [batch, tokens, width] and, where the row is given, at [batch] u32".into()),
        }
    }

    fn lower(&self, call: &Call, _: &Caps) -> Vec<Kernel> {
        let tokens = call.inputs[0].rows.per_item(call.size) as u32;
        let kernel = Kernel::new(self, call, const { &[part!("pool.wgsl")] }, row_grid(call.rows()));
        vec![match self.row {
            PooledRow::Always(row) => kernel.absent(1).op_dims(PoolDims { tokens, given: 0, row: row as u32 }),
            PooledRow::Given => kernel.op_dims(PoolDims { tokens, given: 1, row: 0 }),
        }]
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let (tokens, width) = (call.inputs[0].rows.per_item(call.size), call.output().width);
        let at = |b: usize| match self.row {
            PooledRow::Always(row) => row,
            PooledRow::Given => data[1][b] as usize,
        };
        (0..call.size.batch).flat_map(|b| data[0][(b * tokens + at(b)) * width..][..width].iter().copied()).collect()
    }
}
