use super::dot;
use super::product::{SHUFFLE, SUMS};
use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::{Part, part};
use crate::graph::kernel::{Kernel, op_dims};
use crate::graph::op::shape_error;
use crate::graph::{Call, Desc, Kind, Op, Operand, Rows, Shape};

/// The widest head that `attention.wgsl` holds in its four matrices of output.
pub const MAX_HEAD: usize = 128;

const GPUS: Part = part!("attention.wgsl");
const LANES: Part = part!("attention_lanes.wgsl");
const HEADS: Part = part!("attention_heads.wgsl");

/// The kernel that a device takes, and the queries and columns of a head that a workgroup of it makes.
fn choose(caps: &Caps) -> (&'static [Part], u32, u32) {
    match caps {
        Caps { software: true, subgroup_min_size: 8.., .. } => {
            (const { &[SUMS, SHUFFLE, HEADS, LANES] }, SUMS.constant("TILE_ROWS"), LANES.constant("COLUMNS"))
        }
        _ => (const { &[part!("multiply_add.wgsl"), HEADS, GPUS] }, GPUS.constant("QUERIES"), MAX_HEAD as u32),
    }
}

/// y = softmax(q · kᵀ / sqrt(head)) · v, per item and head; a query sees the keys before `lengths[item]`, and, if `causal`,
/// none later than itself.
///
/// | | of a block | of a pooling head | |
/// |---|---|---|---|
/// | q | `[batch, tokens, 3 · width]` | `[1, width]`, one query for all items | f32 |
/// | kv | the same value: columns q, k, v | `[batch, tokens, 2 · width]`: columns k, v | f32 |
/// | lengths | `[batch]` | `[batch]` | u32, at least 1; all keys where it is left out |
/// | y | `[batch, tokens, width]` | `[batch, width]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub heads: usize,
    /// Elements per head.
    pub head: usize,
    pub causal: bool,
}

impl Attention {
    pub(crate) fn width(&self) -> usize {
        self.heads * self.head
    }

    fn misfit<T>(&self, q: &Desc, kv: &Desc) -> Result<T> {
        let (w, message) = (self.width(), format!("`{}` is {} and `{}` {}", q.name, q.shape(), kv.name, kv.shape()));
        shape_error(
            self.name(),
            format!(
                "{message}, but {} heads of {} take [batch, tokens, {}], or [1, {w}] and [batch, tokens, {}]",
                self.heads,
                self.head,
                3 * w,
                2 * w
            ),
        )
    }
}

/// The queries of one item.
pub(crate) fn queries(call: &Call) -> usize {
    call.output().rows.per_item(call.size)
}

op_dims! { AttentionDims { keys: u32, q_step: u32, kv_stride: u32, k_at: u32, v_at: u32, scale: f32 } }

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Rows, Operand::Rows, Operand::Rows]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        let (q, kv, lengths) = match inputs {
            [q, kv] => (q, kv, None),
            [q, kv, lengths] => (q, kv, Some(lengths)),
            _ => return shape_error(self.name(), "takes q, kv, and lengths or none".into()),
        };
        let width = self.width();
        if self.head == 0 || self.head > MAX_HEAD {
            return shape_error(self.name(), format!("expected heads of 1 to {MAX_HEAD}, found {}", self.head));
        }
        let rows = match (q.rows, q.width / width, kv.width / width) {
            (rows, 3, 3) if rows.are_of_items() && rows == kv.rows => rows,
            (Rows::Fixed(1), 1, 2) if !self.causal => Rows::Items,
            _ => return self.misfit(q, kv),
        };
        if !kv.rows.are_of_items() || q.width % width != 0 || kv.width % width != 0 {
            return self.misfit(q, kv);
        }
        if let Some(lengths) = lengths.filter(|l| l.rows != Rows::Items || l.kind != Kind::U32) {
            return shape_error(self.name(), format!("`{}` is {}, but lengths are [batch] u32", lengths.name, lengths.shape()));
        }
        Ok(vec![Shape::f32(rows, width)])
    }

    fn lower(&self, call: &Call, caps: &Caps) -> Vec<Kernel> {
        let (q, kv) = (call.inputs[0], call.inputs[1]);
        let (parts, tile, columns) = choose(caps);
        // Tiles of queries and items along one axis, so that a long sequence can be cut, too.
        let tiles = (queries(call) as u32).div_ceil(tile);
        let grid = [(self.head as u32).div_ceil(columns), self.heads as u32, tiles * call.size.batch as u32];
        let read = |of: &Desc, count: usize| (count * self.width()) as f64 / of.width as f64; // of its row
        let seen = |at: u32| match self.causal {
            true => (f64::from((at + 1) * tile) / kv.rows.per_item(call.size) as f64).min(1.0),
            false => 1.0,
        };
        let each = grid[0] as usize; // reads queries and keys anew, but values of its own columns
        let reads = [read(q, each), (0..tiles).map(seen).sum::<f64>() * read(kv, each + 1)];
        let dims = AttentionDims {
            keys: kv.rows.per_item(call.size) as u32,
            q_step: q.rows.per_item(call.size) as u32, // 0 for a weight: one query for all items
            kv_stride: kv.stride() as u32,
            k_at: (kv.width - 2 * self.width()) as u32,
            v_at: (kv.width - self.width()) as u32,
            scale: 1.0 / (self.head as f32).sqrt(),
        };
        let lengths = call.inputs.len() == 3;
        let flag = |on: bool| on as u32 as f64;
        let constants = [("HEAD", self.head as f64), ("CAUSAL", flag(self.causal)), ("LENGTHS", flag(lengths))];
        let kernel = Kernel::new(self, call, parts, (grid, 2));
        vec![if lengths { kernel } else { kernel.absent(2) }.constants(constants).op_dims(dims).reads(reads)]
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let (tokens, head, width, of_item) = (call.inputs[1].rows.per_item(call.size), self.head, self.width(), queries(call));
        let (qw, kvw, q_step) = (call.inputs[0].width, call.inputs[1].width, call.inputs[0].rows.per_item(call.size));
        let mut y = vec![0.0; call.size.batch * of_item * width];
        for item in 0..call.size.batch {
            let length = data.get(2).map_or(tokens, |lengths| lengths[item] as usize);
            let q_row = |t: usize| item * q_step + t;
            let key = |j: usize, at: usize| &data[1][(item * tokens + j) * kvw + at..][..head];
            for h in 0..self.heads {
                for t in 0..of_item {
                    let keys = if self.causal { length.min(t + 1) } else { length.min(tokens) };
                    let q = &data[0][q_row(t) * qw + h * head..][..head];
                    let s: Vec<f64> = (0..keys).map(|j| dot(q, key(j, kvw - 2 * width + h * head)) / (head as f64).sqrt()).collect();
                    let greatest = s.iter().copied().fold(f64::MIN, f64::max);
                    let sum: f64 = s.iter().map(|s| (s - greatest).exp()).sum();
                    let mut out = vec![0.0; head];
                    for (j, s) in s.iter().enumerate() {
                        let p = (s - greatest).exp() / sum;
                        out.iter_mut().zip(key(j, kvw - width + h * head)).for_each(|(o, v)| *o += p * *v as f64);
                    }
                    y[(item * of_item + t) * width + h * head..][..head].iter_mut().zip(out).for_each(|(y, o)| *y = o as f32);
                }
            }
        }
        y
    }

    fn flops(&self, call: &Call) -> u64 {
        4 * call.rows() as u64 * call.inputs[1].rows.per_item(call.size) as u64 * self.width() as u64
    }
}
