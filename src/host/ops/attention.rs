use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, Simd, SimdOp, SimdUnaryOp};
use rten_vecmath::Exp;

use super::HostOp;
use crate::graph::Call;
use crate::host::product::{STEPS, pack_left, tile, tiles};
use crate::host::split::evenly;
use crate::host::{Operand, Panels, View};
use crate::ops::{Attention, MAX_HEAD, queries};

const _: () = assert!(MAX_HEAD <= STEPS, "a head is one part of k");

/// One head of one item. Scores are kept key by key, queries in the lanes of vectors, so that the softmax goes straight down and
/// the product with the values reads them as they are.
struct Head<'a, 'y> {
    scale: f32,
    causal: bool,
    q: View<'a>,
    k: View<'a>,
    v: View<'a>,
    scratch: &'a mut Scratch,
    /// That head's part of each row.
    y: &'a mut [&'y mut [f32]],
}

/// What a thread keeps from head to head.
#[derive(Default)]
struct Scratch {
    q: Panels,
    k: Vec<f32>,
    v: Panels,
    scores: Vec<f32>,
    /// A tile of y; then what each query's row is to be multiplied by.
    rest: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl SimdOp for Head<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Self { scale, causal, q, k, v, scratch, y } = self;
        let ([keys, head], ops) = (k.shape, isa.f32());
        scratch.q.pack(q.transposed());
        scratch.v.pack(v);
        let (width, most) = (scratch.q.width(), scratch.q.tile_rows());
        scratch.k.resize(scratch.k.len().max(keys * head), 0.0);
        pack_left(k, 0..keys, most, true, &mut scratch.k);
        scratch.scores.resize(scratch.scores.len().max(keys * width), 0.0);
        scratch.rest.resize((most + 1) * width, 0.0);
        let (into, inverses) = scratch.rest.split_at_mut(most * width);
        for (panel, y) in y.chunks_mut(width).enumerate() {
            let first = panel * width; // query
            let seen = if causal { keys.min(first + y.len()) } else { keys };
            let b = scratch.q.part(panel, &(0..head));
            for block in evenly(keys, most).take_while(|block| block.start < seen) {
                let a = &scratch.k[block.start * head..block.end * head];
                let into = &mut scratch.scores[block.start * width..block.end * width];
                tiles!(block.len(), rows => tile::<I, rows>(isa, a, (rows, 0), b, (b.as_ptr(), 0), true, into));
            }
            let scores = &mut scratch.scores[..seen * width];
            for at in (0..width).step_by(ops.len()) {
                softmax(isa, scale, causal.then_some(first + at), scores, at..width, &mut inverses[at..]);
            }
            for block in evenly(y.len(), most) {
                let inverse = &inverses[block.clone()];
                for (panel, at) in (0..head).step_by(width).enumerate() {
                    let b = scratch.v.part(panel, &(0..seen));
                    tiles!(block.len(), rows => tile::<I, rows>(isa, scores, (width, block.start), b, (b.as_ptr(), 0), true, into));
                    for (row, y) in y[block.clone()].iter_mut().enumerate() {
                        let y = &mut y[at..head.min(at + width)];
                        for (y, sum) in y.iter_mut().zip(&into[row * width..]) {
                            *y = sum * inverse[row];
                        }
                    }
                }
            }
        }
    }
}

/// Of a vector of queries at `at` of each row of `scores`, what `scores` · `scale` are the logarithms of, and in `inverse` one
/// over their sum. Of a causal head's queries, the `first`'s number hides the keys after it.
#[inline(always)]
fn softmax<I: Isa>(isa: I, scale: f32, first: Option<usize>, scores: &mut [f32], at: Range<usize>, inverse: &mut [f32]) {
    let ops = isa.f32();
    let (width, lowest, scale) = (at.end, ops.splat(f32::NEG_INFINITY), ops.splat(scale));
    let (mut max, mut odd) = (lowest, ops.zero());
    for (key, scores) in scores.chunks_exact_mut(width).enumerate() {
        let scores = &mut scores[at.start..][..ops.len()];
        let mut v = ops.mul(ops.load(scores), scale);
        let mut seen = v;
        let hidden = first.map_or(0, |first| key.saturating_sub(first).min(ops.len()));
        if hidden > 0 {
            let mask = ops.first_n_mask(hidden);
            (v, seen) = (ops.select(lowest, v, mask), ops.select(ops.zero(), v, mask));
        }
        odd = ops.mul_add(seen, ops.zero(), odd); // no number, if it is none or is infinite: a maximum passes over it
        max = ops.max(max, v);
        ops.store(v, scores);
    }
    let mut sum = odd;
    for scores in scores.chunks_exact_mut(width) {
        let scores = &mut scores[at.start..][..ops.len()];
        let v = Exp {}.eval(isa, ops.sub(ops.load(scores), max));
        sum = ops.add(sum, v);
        ops.store(v, scores);
    }
    for (inverse, sum) in inverse.iter_mut().zip(sum.to_array()) {
        *inverse = 1.0 / sum;
    }
}

impl HostOp for Attention {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (q, kv) = (operands[0].floats(), operands[1].floats());
        let (head, width, tokens, of_item) = (self.head, self.width(), call.inputs[1].rows.per_item(call.size), queries(call));
        let (qw, kvw) = (call.inputs[0].width, call.inputs[1].width);
        let mut heads: Vec<Vec<&mut [f32]>> = Vec::new();
        for y in y.chunks_exact_mut(of_item * width) {
            let first = heads.len();
            heads.resize_with(first + self.heads, || Vec::with_capacity(of_item));
            for y in y.chunks_exact_mut(width) {
                heads[first..].iter_mut().zip(y.chunks_exact_mut(head)).for_each(|(rows, y)| rows.push(y));
            }
        }
        heads.par_iter_mut().enumerate().for_each(|(i, y)| {
            let (item, at) = (i / self.heads, i % self.heads * head);
            let first = item * call.inputs[0].rows.per_item(call.size) * qw; // a weight is the query of all items
            let keys = operands.get(2).map_or(tokens, |lengths| (lengths.whole()[item] as usize).min(tokens));
            let q = View { data: &q[first + at..], shape: [of_item, head], strides: [qw, 1] };
            let rows = |at: usize| View { data: &kv[item * tokens * kvw + at..], shape: [keys, head], strides: [kvw, 1] };
            let (k, v) = (rows(kvw - 2 * width + at), rows(kvw - width + at));
            let mut scratch = SCRATCH.take();
            Head { scale: 1.0 / (head as f32).sqrt(), causal: self.causal, q, k, v, scratch: &mut scratch, y }.dispatch();
            SCRATCH.set(scratch);
        });
    }
}
