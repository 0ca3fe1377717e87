use super::dot;
use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::part;
use crate::graph::kernel::{Kernel, op_dims, row_grid};
use crate::graph::op::shape_error;
use crate::graph::{Call, Desc, Op, Operand, Rows, Shape};

/// y\[t\] = softmax(q · kᵀ / sqrt(head))\[t\] · v\[t\], per item and head, for one query: what each token gives to it, of which
/// [`Attention`](super::Attention) makes the sum.
///
/// | | of a block | of a pooling head | |
/// |---|---|---|---|
/// | q | `[batch, tokens, 3 · width]`: each item's first token asks | `[1, width]` | f32 |
/// | kv | the same value: columns q, k, v | `[batch, tokens, 2 · width]`: columns k, v | f32 |
/// | y | `[batch, tokens, width]` | `[batch, tokens, width]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct AttentionParts {
    pub heads: usize,
    /// Elements per head.
    pub head: usize,
}

op_dims! { AttentionPartsDims { keys: u32, q_step: u32, kv_stride: u32, k_at: u32, v_at: u32, heads: u32, scale: f32 } }

impl Op for AttentionParts {
    fn name(&self) -> &'static str {
        "attention_parts"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Rows, Operand::Rows]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        let width = self.heads * self.head;
        match inputs {
            [q, kv] if q.width == 3 * width && kv.width == q.width && kv.rows == q.rows && q.rows.are_of_items() => {
                Ok(vec![Shape::f32(kv.rows, width)])
            }
            [q, kv] if q.width == width && q.rows == Rows::Fixed(1) && kv.width == 2 * width && kv.rows.are_of_items() => {
                Ok(vec![Shape::f32(kv.rows, width)])
            }
            _ => shape_error(
                self.name(),
                format!("takes [batch, tokens, {}], or [1, {width}] and [batch, tokens, {}]", 3 * width, 2 * width),
            ),
        }
    }

    fn lower(&self, call: &Call, _: &Caps) -> Vec<Kernel> {
        let (q, kv, width) = (call.inputs[0], call.inputs[1], self.heads * self.head);
        let dims = AttentionPartsDims {
            keys: kv.rows.per_item(call.size) as u32,
            q_step: q.rows.per_item(call.size) as u32, // 0 for a weight: one query for all items
            kv_stride: kv.stride() as u32,
            k_at: (kv.width - 2 * width) as u32,
            v_at: (kv.width - width) as u32,
            heads: self.heads as u32,
            scale: 1.0 / (self.head as f32).sqrt(),
        };
        let grid = row_grid(call.size.batch * self.heads);
        let kernel = Kernel::new(self, call, const { &[part!("reduce.wgsl"), part!("attention_parts.wgsl")] }, grid);
        vec![kernel.constants([("HEAD", self.head as f64)]).op_dims(dims)]
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let (tokens, head, width) = (call.inputs[1].rows.per_item(call.size), self.head, self.heads * self.head);
        let (q_item, kvw) = (call.inputs[0].rows.per_item(call.size) * call.inputs[0].width, call.inputs[1].width);
        let mut y = vec![0.0; call.size.batch * tokens * width];
        for (item, y) in y.chunks_mut(tokens * width).enumerate() {
            for at in (0..width).step_by(head) {
                let of = |t: usize, column: usize| &data[1][(item * tokens + t) * kvw + column + at..][..head];
                let q = &data[0][item * q_item + at..][..head];
                let s: Vec<f64> = (0..tokens).map(|t| dot(q, of(t, kvw - 2 * width)) / (head as f64).sqrt()).collect();
                let greatest = s.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = s.iter().map(|s| (s - greatest).exp()).sum();
                for (t, row) in y.chunks_mut(width).enumerate() {
                    let share = (s[t] - greatest).exp() / sum;
                    row[at..][..head].iter_mut().zip(of(t, kvw - width)).for_each(|(y, v)| *y = (share * *v as f64) as f32);
                }
            }
        }
        y
    }

    fn flops(&self, call: &Call) -> u64 {
        (6 * self.heads * self.head) as u64 * call.rows() as u64
    }
}
