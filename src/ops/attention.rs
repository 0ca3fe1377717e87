use super::{Call, Constant, Dims, Op, dot, shape_error};
use crate::error::Result;
use crate::gpu::shader::{Part, part};
use crate::graph::{Desc, Kind, Rows};

/// The widest head that `attention.wgsl` holds in WebGPU's default 16 KiB of workgroup memory.
pub const MAX_HEAD: usize = 120;

/// y = softmax(q · kᵀ / sqrt(head)) · v, per item and head; a query sees the keys before `lengths[item]`, and, if `causal`,
/// none later than itself.
///
/// | | shape | |
/// |---|---|---|
/// | qkv | `[batch, tokens, 3 · width]` | f32, columns q, k, v |
/// | qkv | again: queries and keys are operands apart | |
/// | lengths | `[batch]` | u32, at least 1 |
/// | y | `[batch, tokens, width]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub heads: usize,
    /// Elements per head.
    pub head: usize,
    pub causal: bool,
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn clone_box(&self) -> Box<dyn Op> {
        Box::new(*self)
    }

    fn output(&self, inputs: &[&Desc]) -> Result<(Rows, usize)> {
        let [q, kv, lengths] = inputs else { return shape_error(self.name(), "takes q, kv, lengths".into()) };
        let width = self.heads * self.head;
        if self.head == 0 || self.head > MAX_HEAD {
            return shape_error(self.name(), format!("expected heads of 1 to {MAX_HEAD}, found {}", self.head));
        }
        if q.rows != Rows::Tokens || kv.rows != Rows::Tokens || q.width != 3 * width || kv.width != 3 * width {
            return shape_error(self.name(), format!("`{}` is {}, but {} heads of {} take [batch, tokens, {}]", q.name, q.shape(), self.heads, self.head, 3 * width));
        }
        if lengths.rows != Rows::Items || lengths.kind != Kind::U32 {
            return shape_error(self.name(), format!("`{}` is {}, but lengths are [batch] u32", lengths.name, lengths.shape()));
        }
        Ok((Rows::Tokens, width))
    }

    fn parts(&self) -> &'static [Part] {
        const { &[part!("attention.wgsl")] }
    }

    fn constants(&self) -> Vec<Constant> {
        vec![("HEAD", self.head as f64), ("CAUSAL", self.causal as u32 as f64)]
    }

    fn dispatch(&self, call: &Call) -> (Dims, [u32; 3]) {
        let width = (self.heads * self.head) as u32;
        let dims = Dims {
            keys: call.size.tokens as u32,
            x_stride: call.inputs[1].stride() as u32,
            k_at: width,
            v_at: 2 * width,
            scale: 1.0 / (self.head as f32).sqrt(),
            ..call.dims()
        };
        (dims, [dims.tokens.div_ceil(16).max(1), self.heads as u32, dims.batch.max(1)])
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let (tokens, head) = (call.size.tokens, self.head);
        let width = self.heads * head;
        let mut y = vec![0.0; data[2].len() * tokens * width];
        for (item, &length) in data[2].iter().enumerate() {
            let row = |data: &'_ [f32], t: usize, at: usize| data[(item * tokens + t) * 3 * width + at..][..head].to_vec();
            for h in 0..self.heads {
                for t in 0..tokens {
                    let keys = if self.causal { (length as usize).min(t + 1) } else { (length as usize).min(tokens) };
                    let q = row(data[0], t, h * head);
                    let s: Vec<f64> = (0..keys).map(|j| dot(&q, &row(data[1], j, width + h * head)) / (head as f64).sqrt()).collect();
                    let greatest = s.iter().copied().fold(f64::MIN, f64::max);
                    let sum: f64 = s.iter().map(|s| (s - greatest).exp()).sum();
                    let mut out = vec![0.0; head];
                    for (j, s) in s.iter().enumerate() {
                        let p = (s - greatest).exp() / sum;
                        out.iter_mut().zip(row(data[1], j, 2 * width + h * head)).for_each(|(o, v)| *o += p * v as f64);
                    }
                    y[(item * tokens + t) * width + h * head..][..head].iter_mut().zip(out).for_each(|(y, o)| *y = o as f32);
                }
            }
        }
        y
    }

    fn flops(&self, call: &Call) -> u64 {
        (4 * call.size.batch * call.size.tokens * call.size.tokens * self.heads * self.head) as u64
    }
}
