use super::dot;
use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::part;
use crate::graph::kernel::{Bind, Kernel, op_dims};
use crate::graph::op::shape_error;
use crate::graph::{Call, Desc, Op, Operand, Rows, Shape};

/// The `top` rows of a table with the greatest product with each query, best first; of equals the earlier row first.
///
/// | | shape | |
/// |---|---|---|
/// | x | `[items, k]` | f32, finite |
/// | w | `[rows, k]` | f32, finite; 2²⁴ rows at most |
/// | y | `[items, 2 · top]` | f32: the products, then the rows that have them |
#[derive(Clone, Copy, Debug)]
pub struct Nearest {
    pub top: usize,
}

op_dims! { NearestDims { rows: u32, blocks: u32, top: u32 } }

impl Nearest {
    /// The most that a kernel picks: each pass over candidates leaves a quarter of them, or fewer.
    pub const MOST: usize = 256;
    /// Rows are counted in f32.
    pub const MOST_ROWS: usize = 1 << 24;
    /// Candidates of a workgroup.
    const BLOCK: usize = part!("nearest_best.wgsl").constant("BLOCK") as usize;
}

impl Op for Nearest {
    fn name(&self) -> &'static str {
        "nearest"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Rows, Operand::Weight]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        match inputs {
            [x, w] if x.width == w.width && x.rows == Rows::Items => match w.rows {
                Rows::Fixed(rows) if (self.top.max(1)..=Self::MOST_ROWS).contains(&rows) && (1..=Self::MOST).contains(&self.top) => {
                    Ok(vec![Shape::f32(Rows::Items, 2 * self.top)])
                }
                _ => shape_error(self.name(), format!("takes the best 1 to {} of as many rows at least, found {self:?}", Self::MOST)),
            },
            [x, w] => shape_error(self.name(), format!("queries are {}, but the table is {}", x.shape(), w.shape())),
            _ => shape_error(self.name(), "takes x, w".into()),
        }
    }

    fn lower(&self, call: &Call, _: &Caps) -> Vec<Kernel> {
        let items = call.size.batch;
        let best = part!("nearest_best.wgsl");
        let mut lists = call.inputs[1].rows(call.size); // of one candidate each
        let mut each = Self::BLOCK;
        let mut kernels: Vec<Kernel> = Vec::new();
        loop {
            let blocks = lists.div_ceil(each);
            let at = kernels.len() % 2;
            let bytes = |lists: usize| (4 * items * lists * call.output().stride()) as u64;
            let made = if blocks == 1 { Bind::Output(0) } else { Bind::Scratch { at, bytes: bytes(blocks), written: true } };
            let grid = ([(items * blocks) as u32, 1, 1], 0);
            let kernel = match kernels.is_empty() {
                true => {
                    let kernel = Kernel::new(self, call, &[best, part!("nearest.wgsl")], grid);
                    Kernel { binds: vec![Bind::Input(0), Bind::Input(1), made], ..kernel }
                }
                false => {
                    let kernel = Kernel::new(self, call, &[], grid);
                    let binds = vec![Bind::Scratch { at: 1 - at, bytes: bytes(lists), written: false }, made];
                    let parts = vec![part!("dims.wgsl"), best, part!("nearest_merge.wgsl")];
                    let flops = (items * blocks * Self::BLOCK) as u64 * u64::from(Self::BLOCK.ilog2()).pow(2);
                    Kernel { label: "nearest_merge", parts, binds, flops, ..kernel }
                }
            };
            kernels.push(kernel.op_dims(NearestDims { rows: lists as u32, blocks: blocks as u32, top: self.top as u32 }));
            if blocks == 1 {
                return kernels;
            }
            (lists, each) = (blocks, Self::BLOCK / self.top);
        }
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let k = call.inputs[0].width;
        let best = |x: &[f32]| {
            let mut all: Vec<(f64, usize)> = data[1].chunks(k).enumerate().map(|(row, w)| (dot(x, w), row)).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            all.truncate(self.top);
            let (scores, rows): (Vec<f32>, Vec<f32>) = all.iter().map(|(score, row)| (*score as f32, *row as f32)).unzip();
            [scores, rows].concat()
        };
        data[0].chunks(k).flat_map(best).collect()
    }

    fn flops(&self, call: &Call) -> u64 {
        2 * (call.size.batch * call.inputs[1].rows(call.size) * call.inputs[0].width) as u64
    }
}
