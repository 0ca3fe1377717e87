use super::{Call, Dims, Op, row_grid, shape_error};
use crate::error::Result;
use crate::gpu::shader::{Part, part};
use crate::graph::{Desc, Kind, Rows};
use crate::host::{self, Operand};

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

    fn clone_box(&self) -> Box<dyn Op> {
        Box::new(*self)
    }

    fn output(&self, inputs: &[&Desc]) -> Result<(Rows, usize)> {
        match inputs {
            [ids, table, p] if ids.rows == Rows::Tokens && ids.kind == Kind::U32 && table.width == p.width => {
                Ok((Rows::Tokens, table.width))
            }
            [_, table, p] => shape_error(
                self.name(),
                format!("table `{}` is {}, but positions `{}` are {}", table.name, table.shape(), p.name, p.shape()),
            ),
            _ => shape_error(self.name(), "takes ids, table, p".into()),
        }
    }

    fn parts(&self) -> &'static [Part] {
        const { &[part!("token_embed.wgsl")] }
    }

    fn reads_weight(&self) -> bool {
        true
    }

    fn looks_up_rows(&self) -> bool {
        true
    }

    fn dispatch(&self, call: &Call) -> (Dims, [u32; 3]) {
        let dims = call.dims();
        (dims, row_grid(dims.rows as usize))
    }

    fn host(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let width = call.output.width;
        let (ids, table, positions) = (operands[0].whole(), operands[1].weight(), operands[2].floats());
        host::each_row(y, width, |row, y| {
            y.copy_from_slice(&positions[row % call.size.tokens * width..][..width]);
            table.add_row(ids[row] as usize, y);
        });
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let width = call.output.width;
        let row = |(at, &id): (usize, &f32)| {
            let table = &data[1][id as usize * width..][..width];
            let p = &data[2][at % call.size.tokens * width..][..width];
            table.iter().zip(p).map(|(t, p)| t + p).collect::<Vec<_>>()
        };
        data[0].iter().enumerate().flat_map(row).collect()
    }
}
