use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::part;
use crate::graph::kernel::{Kernel, row_grid};
use crate::graph::op::shape_error;
use crate::graph::{Call, Desc, Kind, Op, Operand, Rows, Shape};

/// y\[b, t\] = table\[ids\[b, t\]\] + p\[t\]
///
/// | | shape | |
/// |---|---|---|
/// | ids | `[batch, tokens]` | u32 |
/// | table | `[vocabulary, width]` | any weight format; in pieces where it passes the device's binding limit |
/// | p | `[context, width]` | f32, positions |
/// | y | `[batch, tokens, width]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct TokenEmbed;

impl Op for TokenEmbed {
    fn name(&self) -> &'static str {
        "token_embed"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Rows, Operand::Table, Operand::Rows]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        match inputs {
            [ids, table, p] if ids.rows == Rows::Tokens && ids.kind == Kind::U32 && table.width == p.width => {
                Ok(vec![Shape::f32(Rows::Tokens, table.width)])
            }
            [_, table, p] => shape_error(
                self.name(),
                format!("table `{}` is {}, but positions `{}` are {}", table.name, table.shape(), p.name, p.shape()),
            ),
            _ => shape_error(self.name(), "takes ids, table, p".into()),
        }
    }

    fn lower(&self, call: &Call, _: &Caps) -> Vec<Kernel> {
        vec![Kernel::new(self, call, const { &[part!("token_embed.wgsl")] }, row_grid(call.rows()))]
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let width = call.output().width;
        let row = |(at, &id): (usize, &f32)| {
            let table = &data[1][id as usize * width..][..width];
            let p = &data[2][at % call.size.tokens * width..][..width];
            table.iter().zip(p).map(|(t, p)| t + p).collect::<Vec<_>>()
        };
        data[0].iter().enumerate().flat_map(row).collect()
    }
}
