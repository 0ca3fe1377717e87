use rayon::prelude::*;
use rten_gemm::GemmInputB;
use rten_simd::SimdOp;
use rten_vecmath::Softmax;

use super::{Call, Constant, Dims, Op, dot, shape_error};
use crate::error::Result;
use crate::gpu::shader::{Part, part};
use crate::graph::{Desc, Kind, Rows, Size};
use crate::host::{self, Epilogue, Operand};

/// The widest head that `attention.wgsl` holds in WebGPU's default 16 KiB of workgroup memory.
pub const MAX_HEAD: usize = 120;

/// y = softmax(q · kᵀ / sqrt(head)) · v, per item and head; a query sees the keys before `lengths[item]`, and, if `causal`,
/// none later than itself.
///
/// | | of a block | of a pooling head | |
/// |---|---|---|---|
/// | q | `[batch, tokens, 3 · width]` | `[1, width]`, one query for all items | f32 |
/// | kv | the same value: columns q, k, v | `[batch, tokens, 2 · width]`: columns k, v | f32 |
/// | lengths | `[batch]` | `[batch]` | u32, at least 1 |
/// | y | `[batch, tokens, width]` | `[batch, width]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub heads: usize,
    /// Elements per head.
    pub head: usize,
    pub causal: bool,
}

impl Attention {
    fn width(&self) -> usize {
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

    /// One head of one item on the host: `out` `[queries, head]`, from its columns at `at` of that item's q and kv.
    fn head_of(&self, (q, kv): (ItemRows, ItemRows), at: usize, keys: usize, scores: &mut Vec<f32>, out: &mut [f32]) {
        let (head, width, tokens) = (self.head, self.width(), out.len() / self.head);
        scores.resize(tokens * keys, 0.0);
        let q = host::matrix(&q.data[at..], [tokens, head], [q.width, 1]);
        let k = host::matrix(&kv.data[kv.width - 2 * width + at..], [head, keys], [1, kv.width]);
        let v = host::matrix(&kv.data[kv.width - width + at..], [keys, head], [kv.width, 1]);
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

/// Rows of one item, one after another.
#[derive(Clone, Copy)]
struct ItemRows<'a> {
    data: &'a [f32],
    width: usize,
}

/// The queries of one item.
fn queries(q: &Desc, size: Size) -> usize {
    if q.rows == Rows::Tokens { size.tokens } else { 1 }
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
        let width = self.width();
        if self.head == 0 || self.head > MAX_HEAD {
            return shape_error(self.name(), format!("expected heads of 1 to {MAX_HEAD}, found {}", self.head));
        }
        let rows = match (q.rows, q.width / width, kv.width / width) {
            (Rows::Tokens, 3, 3) => Rows::Tokens,
            (Rows::Fixed(1), 1, 2) if !self.causal => Rows::Items,
            _ => return self.misfit(q, kv),
        };
        if kv.rows != Rows::Tokens || q.width % width != 0 || kv.width % width != 0 {
            return self.misfit(q, kv);
        }
        if lengths.rows != Rows::Items || lengths.kind != Kind::U32 {
            return shape_error(self.name(), format!("`{}` is {}, but lengths are [batch] u32", lengths.name, lengths.shape()));
        }
        Ok((rows, width))
    }

    fn parts(&self) -> &'static [Part] {
        const { &[part!("attention.wgsl")] }
    }

    fn constants(&self) -> Vec<Constant> {
        vec![("HEAD", self.head as f64), ("CAUSAL", self.causal as u32 as f64)]
    }

    fn dispatch(&self, call: &Call) -> (Dims, [u32; 3]) {
        let (q, kv) = (call.inputs[0], call.inputs[1]);
        let of_item = queries(q, call.size) as u32;
        let dims = Dims {
            tokens: of_item,
            q_step: if q.rows == Rows::Tokens { of_item } else { 0 },
            keys: call.size.tokens as u32,
            x_stride: kv.stride() as u32,
            k_at: (kv.width - 2 * self.width()) as u32,
            v_at: (kv.width - self.width()) as u32,
            scale: 1.0 / (self.head as f32).sqrt(),
            ..call.dims()
        };
        (dims, [dims.tokens.div_ceil(16).max(1), self.heads as u32, dims.batch.max(1)])
    }

    fn host(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (q, kv, lengths) = (operands[0].floats(), operands[1].floats(), operands[2].whole());
        let (head, width, tokens, of_item) = (self.head, call.output.width, call.size.tokens, queries(call.inputs[0], call.size));
        let (qw, kvw) = (call.inputs[0].width, call.inputs[1].width);
        let mut heads = vec![0.0; y.len()]; // [batch, heads, queries, head]: a head's rows of y are not one after another
        heads.par_chunks_mut(of_item * head).enumerate().for_each_init(Vec::new, |scores, (i, out)| {
            let (item, at) = (i / self.heads, i % self.heads * head);
            let first = if call.inputs[0].rows == Rows::Tokens { item * of_item * qw } else { 0 };
            let q = ItemRows { data: &q[first..first + of_item * qw], width: qw };
            let kv = ItemRows { data: &kv[item * tokens * kvw..(item + 1) * tokens * kvw], width: kvw };
            self.head_of((q, kv), at, (lengths[item] as usize).min(tokens), scores, out);
        });
        host::each_row(y, width, |row, y| {
            let (item, token) = (row / of_item, row % of_item);
            for (h, y) in y.chunks_mut(head).enumerate() {
                y.copy_from_slice(&heads[((item * self.heads + h) * of_item + token) * head..][..head]);
            }
        });
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let (tokens, head, width, of_item) = (call.size.tokens, self.head, self.width(), queries(call.inputs[0], call.size));
        let (qw, kvw) = (call.inputs[0].width, call.inputs[1].width);
        let mut y = vec![0.0; data[2].len() * of_item * width];
        for (item, &length) in data[2].iter().enumerate() {
            let q_row = |t: usize| if call.inputs[0].rows == Rows::Tokens { item * tokens + t } else { t };
            let key = |j: usize, at: usize| &data[1][(item * tokens + j) * kvw + at..][..head];
            for h in 0..self.heads {
                for t in 0..of_item {
                    let keys = if self.causal { (length as usize).min(t + 1) } else { (length as usize).min(tokens) };
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
        (4 * call.size.batch * queries(call.inputs[0], call.size) * call.size.tokens * self.width()) as u64
    }
}
