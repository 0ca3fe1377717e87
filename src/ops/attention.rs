use rayon::prelude::*;
use rten_gemm::GemmInputB;
use rten_simd::SimdOp;
use rten_vecmath::Softmax;

use super::{Call, Constant, Dims, Op, dot, shape_error};
use crate::error::Result;
use crate::gpu::shader::{Part, part};
use crate::graph::{Desc, Kind, Rows};
use crate::host::{self, Epilogue, Operand};

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

impl Attention {
    /// One head of one item on the host: `out` `[tokens, head]`, from its columns at `at` of q and kv `[tokens, 3 · width]`.
    fn head_of(&self, q: &[f32], kv: &[f32], at: usize, keys: usize, scores: &mut Vec<f32>, out: &mut [f32]) {
        let (head, width, tokens) = (self.head, self.heads * self.head, out.len() / self.head);
        scores.resize(tokens * keys, 0.0);
        let q = host::matrix(&q[at..], [tokens, head], [3 * width, 1]);
        let k = host::matrix(&kv[width + at..], [head, keys], [1, 3 * width]);
        let v = host::matrix(&kv[2 * width + at..], [keys, head], [3 * width, 1]);
        let alpha = 1.0 / (head as f32).sqrt();
        host::product(q, GemmInputB::Unpacked(k), Epilogue { alpha, ..Default::default() }, scores);
        for (t, row) in scores.chunks_mut(keys).enumerate() {
            let (seen, hidden) = row.split_at_mut(if self.causal { keys.min(t + 1) } else { keys });
            Softmax::new_mut(seen).dispatch();
            hidden.fill(0.0);
        }
        host::product(host::matrix(scores, [tokens, keys], [keys, 1]), GemmInputB::Unpacked(v), Epilogue::default(), out);
    }
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
            return shape_error(
                self.name(),
                format!("`{}` is {}, but {} heads of {} take [batch, tokens, {}]", q.name, q.shape(), self.heads, self.head, 3 * width),
            );
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

    fn host(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (tokens, head, width) = (call.size.tokens, self.head, call.output.width);
        let (q, kv, lengths) = (operands[0].floats(), operands[1].floats(), operands[2].whole());
        let mut heads = vec![0.0; y.len()]; // [batch, heads, tokens, head]: a head's rows of y are not one after another
        heads.par_chunks_mut(tokens * head).enumerate().for_each_init(Vec::new, |scores, (i, out)| {
            let (item, at) = (i / self.heads, i % self.heads * head);
            let rows = item * tokens * 3 * width..(item + 1) * tokens * 3 * width;
            self.head_of(&q[rows.clone()], &kv[rows], at, (lengths[item] as usize).min(tokens), scores, out);
        });
        host::each_row(y, width, |row, y| {
            let (item, token) = (row / tokens, row % tokens);
            for (h, y) in y.chunks_mut(head).enumerate() {
                y.copy_from_slice(&heads[((item * self.heads + h) * tokens + token) * head..][..head]);
            }
        });
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
