use rayon::prelude::*;
use rten_simd::SimdOp;
use rten_vecmath::Softmax;

use super::HostOp;
use crate::graph::Call;
use crate::host::{self, Epilogue, Operand, Panels, View};
use crate::ops::{Attention, queries};

/// Rows of one item, one after another.
#[derive(Clone, Copy)]
struct ItemRows<'a> {
    data: &'a [f32],
    width: usize,
}

/// What a thread keeps from head to head.
#[derive(Default)]
struct Scratch {
    k: Panels,
    v: Panels,
    scores: Vec<f32>,
}

/// One head of one item on the host: `out` `[queries, head]`, from its columns at `at` of that item's q and kv.
fn head_of(op: &Attention, (q, kv): (ItemRows, ItemRows), at: usize, keys: usize, scratch: &mut Scratch, out: &mut [f32]) {
    let (head, width, tokens) = (op.head, op.width(), out.len() / op.head);
    scratch.scores.resize(tokens * keys, 0.0);
    let q = View { data: &q.data[at..], shape: [tokens, head], strides: [q.width, 1] };
    let rows = |at: usize| View { data: &kv.data[at..], shape: [keys, head], strides: [kv.width, 1] };
    let (k, v) = (rows(kv.width - 2 * width + at), rows(kv.width - width + at));
    let alpha = 1.0 / (head as f32).sqrt();
    scratch.k.pack(k.transposed());
    scratch.v.pack(v);
    host::product(q, &scratch.k, Epilogue { alpha, ..Default::default() }, &mut scratch.scores);
    for (t, row) in scratch.scores.chunks_mut(keys).enumerate() {
        let (seen, hidden) = row.split_at_mut(if op.causal { keys.min(t + 1) } else { keys });
        softmax(seen);
        hidden.fill(0.0);
    }
    host::product(View::rows(&scratch.scores, keys), &scratch.v, Epilogue::default(), out);
}

/// In place. What is no number stays none: the library's maximum passes over it.
fn softmax(row: &mut [f32]) {
    match row.iter().all(|v| v.is_finite()) {
        true => drop(Softmax::new_mut(row).dispatch()),
        false => row.fill(f32::NAN),
    }
}

impl HostOp for Attention {
    fn run(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (q, kv) = (operands[0].floats(), operands[1].floats());
        let (head, width, tokens, of_item) = (self.head, call.output().width, call.inputs[1].rows.per_item(call.size), queries(call));
        let (qw, kvw) = (call.inputs[0].width, call.inputs[1].width);
        let mut heads = vec![0.0; y.len()]; // [batch, heads, queries, head]: a head's rows of y are not one after another
        heads.par_chunks_mut(of_item * head).enumerate().for_each_init(Scratch::default, |scratch, (i, out)| {
            let (item, at) = (i / self.heads, i % self.heads * head);
            let first = item * call.inputs[0].rows.per_item(call.size) * qw; // a weight is the query of all items
            let q = ItemRows { data: &q[first..first + of_item * qw], width: qw };
            let kv = ItemRows { data: &kv[item * tokens * kvw..(item + 1) * tokens * kvw], width: kvw };
            let keys = operands.get(2).map_or(tokens, |lengths| (lengths.whole()[item] as usize).min(tokens));
            head_of(self, (q, kv), at, keys, scratch, out);
        });
        host::each_row(y, width, |row, y| {
            let (item, token) = (row / of_item, row % of_item);
            for (h, y) in y.chunks_mut(head).enumerate() {
                y.copy_from_slice(&heads[((item * self.heads + h) * of_item + token) * head..][..head]);
            }
        });
    }
}
