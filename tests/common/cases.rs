//! One-op graphs with seeded data, for the kernels' tests and for their mutants.

use std::sync::Arc;

use clip_wgpu::Preprocess;
use clip_wgpu::graph::{Graph, Kind, Rows, Size, Value};
use clip_wgpu::ops::{
    Attention, AttentionParts, Frame, LayerNorm, LayerNormParts, Linear, Mean, Nearest, Normalize, PatchEmbed, Peak, Pool, PooledRow,
    Scores, TokenEmbed,
};
use clip_wgpu::weights::Format;

use super::{Case, Random};

/// The normalised mean square error that every kernel stays below. f32 rounding measures 1e-14 to 3e-13; the mutants of
/// tests/mutants.rs measure above.
pub const BOUND: f64 = 1e-12;

pub fn linear(r: &mut Random, rows: usize, k: usize, n: usize, op: Linear, format: Format, scale: f32) -> Case {
    let mut g = Graph::default();
    let x = g.input("x", Rows::Items, k, Kind::F32);
    let w = g.weight("w", n, k);
    let mut data = vec![(x, r.many(rows * k, scale)), (w, r.many(n * k, 0.3))];
    if op.bias {
        data.push((g.weight("b", 1, n), r.many(n, 1.0)));
    }
    if op.residual {
        data.push((g.input("r", Rows::Items, n, Kind::F32), r.many(rows * n, 1.0)));
    }
    let inputs: Vec<Value> = data.iter().map(|(v, _)| *v).collect();
    let output = g.push("y", op, &inputs).unwrap();
    Case { graph: Arc::new(g), output, data, format, size: Size { batch: rows, tokens: 1 } }
}

pub fn layer_norm(r: &mut Random, rows: usize, width: usize, mean: f32, deviation: f32) -> Case {
    let mut g = Graph::default();
    let x = g.input("x", Rows::Items, width, Kind::F32);
    let (gain, bias) = (g.weight("g", 1, width), g.weight("b", 1, width));
    let output = g.push("y", LayerNorm { eps: 1e-5 }, &[x, gain, bias]).unwrap();
    let values = r.many(rows * width, deviation).into_iter().map(|v| v + mean).collect();
    let data = vec![(x, values), (gain, r.many(width, 1.0)), (bias, r.many(width, 0.1))];
    Case { graph: Arc::new(g), output, data, format: Format::F32, size: Size { batch: rows, tokens: 1 } }
}

pub fn normalize(r: &mut Random, rows: usize, width: usize, scale: f32) -> Case {
    let mut g = Graph::default();
    let x = g.input("x", Rows::Items, width, Kind::F32);
    let output = g.push("y", Normalize, &[x]).unwrap();
    Case {
        graph: Arc::new(g),
        output,
        data: vec![(x, r.many(rows * width, scale))],
        format: Format::F32,
        size: Size { batch: rows, tokens: 1 },
    }
}

pub fn attention(r: &mut Random, size: Size, op: Attention, scale: f32, lengths: Vec<f32>) -> Case {
    let mut g = Graph::default();
    let qkv = g.input("qkv", Rows::Tokens, 3 * op.heads * op.head, Kind::F32);
    let at = g.input("lengths", Rows::Items, 1, Kind::U32);
    let output = g.push("y", op, &[qkv, qkv, at]).unwrap();
    let count = size.batch * size.tokens * 3 * op.heads * op.head;
    Case { graph: Arc::new(g), output, data: vec![(qkv, r.many(count, scale)), (at, lengths)], format: Format::F32, size }
}

/// One query for all items, as a pooling head has.
pub fn attention_of_a_probe(r: &mut Random, size: Size, op: Attention, lengths: Vec<f32>) -> Case {
    let (width, mut g) = (op.heads * op.head, Graph::default());
    let (q, kv) = (g.weight("q", 1, width), g.input("kv", Rows::Tokens, 2 * width, Kind::F32));
    let at = g.input("lengths", Rows::Items, 1, Kind::U32);
    let output = g.push("y", op, &[q, kv, at]).unwrap();
    let data = vec![(q, r.many(width, 1.0)), (kv, r.many(size.batch * size.tokens * 2 * width, 1.0)), (at, lengths)];
    Case { graph: Arc::new(g), output, data, format: Format::F32, size }
}

pub fn mean(r: &mut Random, op: Mean, tokens: usize, width: usize) -> Case {
    let mut g = Graph::default();
    let x = g.input("x", Rows::Tokens, width, Kind::F32);
    let output = g.push("y", op, &[x]).unwrap();
    let size = Size { batch: 3, tokens };
    Case { graph: Arc::new(g), output, data: vec![(x, r.many(3 * tokens * width, 1.0))], format: Format::F32, size }
}

/// Of a block, whose first token asks, or of a pooling head with one query for all items.
pub fn attention_parts(r: &mut Random, size: Size, op: AttentionParts, probe: bool) -> Case {
    let (width, mut g) = (op.heads * op.head, Graph::default());
    let columns = if probe { 2 * width } else { 3 * width };
    let kv = g.input("kv", Rows::Tokens, columns, Kind::F32);
    let mut data = vec![(kv, r.many(size.batch * size.tokens * columns, 1.0))];
    let q = if probe { g.weight("q", 1, width) } else { kv };
    if probe {
        data.push((q, r.many(width, 1.0)));
    }
    let output = g.push("y", op, &[q, kv]).unwrap();
    Case { graph: Arc::new(g), output, data, format: Format::F32, size }
}

pub fn layer_norm_parts(r: &mut Random, size: Size, width: usize) -> Case {
    let mut g = Graph::default();
    let (x, row) = (g.input("x", Rows::Tokens, width, Kind::F32), g.input("row", Rows::Items, width, Kind::F32));
    let gain = g.weight("g", 1, width);
    let output = g.push("y", LayerNormParts { eps: 1e-5 }, &[x, row, gain]).unwrap();
    let data = vec![(x, r.many(size.batch * size.tokens * width, 1.0)), (row, r.many(size.batch * width, 3.0)), (gain, r.many(width, 1.0))];
    Case { graph: Arc::new(g), output, data, format: Format::F32, size }
}

/// A texture of random texels; the tables are those of the recipe.
pub fn frame(r: &mut Random, (width, height): (usize, usize), recipe: Preprocess) -> Case {
    let op = Frame { width, height, recipe };
    let (tables, mut g) = (op.tables(), Graph::default());
    let frame = g.input("frame", Rows::PerItem(height), 4 * width, Kind::Texel);
    let looked_up = g.weight("tables", 1, tables.len());
    let output = g.push("y", op, &[frame, looked_up]).unwrap();
    let texels = (0..4 * width * height).map(|_| r.below(256) as f32).collect();
    let bits = tables.into_iter().map(f32::from_bits).collect();
    Case {
        graph: Arc::new(g),
        output,
        data: vec![(frame, texels), (looked_up, bits)],
        format: Format::F32,
        size: Size { batch: 1, tokens: 1 },
    }
}

pub fn peak(r: &mut Random, loops: usize, rows: usize, width: usize) -> Case {
    let mut g = Graph::default();
    let x = g.weight("x", rows, width);
    let output = g.push("y", Peak { loops }, &[x]).unwrap();
    let size = Size { batch: rows, tokens: 1 };
    Case { graph: Arc::new(g), output, data: vec![(x, r.many(rows * width, 0.9))], format: Format::F32, size }
}

pub fn patch_embed(r: &mut Random, op: PatchEmbed, n: usize, format: Format) -> Case {
    let (size, patch) = (op.size, op.patch);
    let mut g = Graph::default();
    let x = g.input("pixels", Rows::Items, 3 * size * size, Kind::F32);
    let (w, c, p) = (g.weight("w", n, 3 * patch * patch), g.weight("c", 1, n), g.weight("p", op.tokens(), n));
    let output = g.push("y", op, &[x, w, c, p]).unwrap();
    let data = vec![
        (x, r.many(3 * 3 * size * size, 2.0)),
        (w, r.many(n * 3 * patch * patch, 0.1)),
        (c, r.many(n, 1.0)),
        (p, r.many(op.tokens() * n, 1.0)),
    ];
    Case { graph: Arc::new(g), output, data, format, size: Size { batch: 3, tokens: op.tokens() } }
}

pub fn token_embed(r: &mut Random, tokens: usize, width: usize, format: Format) -> Case {
    let mut g = Graph::default();
    let ids = g.input("ids", Rows::Tokens, 1, Kind::U32);
    let (table, p) = (g.weight("table", 200, width), g.weight("p", 77, width));
    let output = g.push("y", TokenEmbed, &[ids, table, p]).unwrap();
    let data = vec![
        (ids, (0..5 * tokens).map(|_| r.below(200) as f32).collect()),
        (table, r.many(200 * width, 1.0)),
        (p, r.many(77 * width, 1.0)),
    ];
    Case { graph: Arc::new(g), output, data, format, size: Size { batch: 5, tokens } }
}

pub fn pool(r: &mut Random, tokens: usize, width: usize) -> Case {
    let mut g = Graph::default();
    let (x, at) = (g.input("ids", Rows::Tokens, 1, Kind::U32), g.input("at", Rows::Items, 1, Kind::U32));
    let (table, p) = (g.weight("table", 20, width), g.weight("p", 77, width));
    let rows = g.push("rows", TokenEmbed, &[x, table, p]).unwrap();
    let output = g.push("y", Pool { row: PooledRow::Given }, &[rows, at]).unwrap();
    let data = vec![
        (x, (0..5 * tokens).map(|_| r.below(20) as f32).collect()),
        (table, r.many(20 * width, 1.0)),
        (p, r.many(77 * width, 1.0)),
        (at, (0..5).map(|_| r.below(tokens) as f32).collect()),
    ];
    Case { graph: Arc::new(g), output, data, format: Format::F32, size: Size { batch: 5, tokens } }
}

/// The same row of every item.
pub fn pool_always(r: &mut Random, tokens: usize, width: usize) -> Case {
    let mut g = Graph::default();
    let x = g.input("x", Rows::PerItem(tokens), width, Kind::F32);
    let output = g.push("y", Pool { row: PooledRow::Always(tokens - 1) }, &[x]).unwrap();
    let size = Size { batch: 3, tokens: 1 };
    Case { graph: Arc::new(g), output, data: vec![(x, r.many(3 * tokens * width, 1.0))], format: Format::F32, size }
}

pub fn scores(r: &mut Random, images: usize, texts: usize, embed: usize) -> Case {
    let mut g = Graph::default();
    let x = g.input("images", Rows::Items, embed, Kind::F32);
    let w = g.weight("texts", texts, embed);
    let output = g.push("y", Scores { scale: 100.0, bias: -10.0 }, &[x, w]).unwrap();
    let data = vec![(x, r.many(images * embed, 0.1)), (w, r.many(texts * embed, 0.1))];
    Case { graph: Arc::new(g), output, data, format: Format::F32, size: Size { batch: images, tokens: 1 } }
}

/// Small whole numbers, so that products are exact in any order and many are equal; a table of f16.
pub fn nearest(r: &mut Random, top: usize, items: usize, rows: usize, k: usize) -> Case {
    let mut g = Graph::default();
    let x = g.input("x", Rows::Items, k, Kind::F32);
    let w = g.weight("w", rows, k);
    let output = g.push("y", Nearest { top }, &[x, w]).unwrap();
    let mut whole = |count: usize| (0..count).map(|_| r.below(7) as f32 - 3.0).collect::<Vec<f32>>();
    let data = vec![(x, whole(items * k)), (w, whole(rows * k))];
    Case { graph: Arc::new(g), output, data, format: Format::F16, size: Size { batch: items, tokens: 1 } }
}
