//! Every kernel against its plain-Rust reference, over hard shapes and seeded random ones.
#![allow(clippy::unwrap_used)] // a test that fails may panic

mod common;

use std::sync::Arc;

use clip_wgpu::graph::{Graph, Kind, Rows, Size, Value};
use clip_wgpu::ops::{Act, Attention, LayerNorm, Linear, Normalize, PatchEmbed, Pool, Scores, TokenEmbed};
use clip_wgpu::weights::Format;
use common::{Case, Random, nmse};

/// f32 rounding measures 1e-14 to 3e-13 here; QuickGELU's 1.702 → 1.7 measures 1e-8, eps × 3 above 1e-12.
const BOUND: f64 = 1e-12;

const FORMATS: [Format; 3] = [Format::F32, Format::F16, Format::Bf16];
const ROWS: [usize; 9] = [1, 3, 31, 32, 33, 63, 64, 65, 130];

fn check(what: &str, case: &Case) {
    let Some(gpu) = common::gpu() else { return };
    let error = nmse(&case.run(&gpu), &case.reference());
    assert!(error <= BOUND, "{what}: nmse {error:.2e}, bound {BOUND:.0e}");
}

fn linear(r: &mut Random, rows: usize, k: usize, n: usize, op: Linear, format: Format, scale: f32) -> Case {
    let mut g = Graph::default();
    let x = g.input("x", Rows::Items, k, Kind::F32);
    let w = g.weight("w", n, k);
    let b = g.weight("b", 1, n);
    let residual = g.input("r", Rows::Items, n, Kind::F32);
    let output = g.push("y", op, &[x, w, b, if op.residual { residual } else { b }]).unwrap();
    let data = vec![(x, r.many(rows * k, scale)), (w, r.many(n * k, 0.3)), (b, r.many(n, 1.0)), (residual, r.many(rows * n, 1.0))];
    Case { graph: Arc::new(g), output, data, format, size: Size { batch: rows, tokens: 1 } }
}

#[test]
fn linear_over_rows_and_widths() {
    let mut r = Random(1);
    for rows in ROWS {
        for (k, n) in [(1, 1), (5, 3), (8, 8), (42, 27), (60, 180), (100, 66), (257, 130)] {
            for format in FORMATS {
                let op = Linear { act: Act::None, residual: rows % 2 == 0 };
                check(&format!("linear [{rows}, {k}] → {n} {format:?} {op:?}"), &linear(&mut r, rows, k, n, op, format, 2.0));
            }
        }
    }
}

#[test]
fn linear_activations_up_to_large_values() {
    let mut r = Random(2);
    for act in [Act::QuickGelu, Act::Gelu, Act::GeluTanh] {
        for scale in [0.1, 1.0, 1e4] {
            for residual in [false, true] {
                let op = Linear { act, residual };
                check(&format!("{op:?} inputs ±{scale}"), &linear(&mut r, 33, 30, 21, op, Format::F32, scale));
            }
        }
    }
}

fn layer_norm(r: &mut Random, rows: usize, width: usize, mean: f32, deviation: f32) -> Case {
    let mut g = Graph::default();
    let x = g.input("x", Rows::Items, width, Kind::F32);
    let (gain, bias) = (g.weight("g", 1, width), g.weight("b", 1, width));
    let output = g.push("y", LayerNorm { eps: 1e-5 }, &[x, gain, bias]).unwrap();
    let values = r.many(rows * width, deviation).into_iter().map(|v| v + mean).collect();
    let data = vec![(x, values), (gain, r.many(width, 1.0)), (bias, r.many(width, 0.1))];
    Case { graph: Arc::new(g), output, data, format: Format::F32, size: Size { batch: rows, tokens: 1 } }
}

#[test]
fn layer_norm_over_widths_and_statistics() {
    let mut r = Random(3);
    for rows in ROWS {
        for width in [1, 3, 60, 64, 257, 768] {
            // A deviation of 5e-3 has a variance near eps.
            for (mean, deviation) in [(0.0, 1.0), (0.0, 5e-3), (100.0, 1.0), (1e4, 1.0)] {
                check(
                    &format!("layer_norm [{rows}, {width}] mean {mean} ± {deviation}"),
                    &layer_norm(&mut r, rows, width, mean, deviation),
                );
            }
        }
    }
}

#[test]
fn seventy_thousand_rows_fold_into_two_dimensions() {
    check("layer_norm", &layer_norm(&mut Random(4), 70_000, 8, 0.0, 1.0));
    check("normalize", &normalize(&mut Random(4), 70_000, 8, 1.0));
}

fn normalize(r: &mut Random, rows: usize, width: usize, scale: f32) -> Case {
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

#[test]
fn normalize_over_sizes_and_scales() {
    let mut r = Random(5);
    for rows in ROWS {
        for (width, scale) in [(1, 1.0), (27, 1e-6), (512, 1.0), (66, 1e25)] {
            check(&format!("normalize [{rows}, {width}] ±{scale}"), &normalize(&mut r, rows, width, scale));
        }
    }
    let mut zeros = normalize(&mut r, 2, 9, 1.0);
    zeros.data[0].1[..9].fill(0.0);
    check("normalize a row of zeros", &zeros);
}

fn attention(r: &mut Random, size: Size, op: Attention, scale: f32, lengths: Vec<f32>) -> Case {
    let mut g = Graph::default();
    let qkv = g.input("qkv", Rows::Tokens, 3 * op.heads * op.head, Kind::F32);
    let at = g.input("lengths", Rows::Items, 1, Kind::U32);
    let output = g.push("y", op, &[qkv, qkv, at]).unwrap();
    let count = size.batch * size.tokens * 3 * op.heads * op.head;
    Case { graph: Arc::new(g), output, data: vec![(qkv, r.many(count, scale)), (at, lengths)], format: Format::F32, size }
}

#[test]
fn attention_over_heads_tokens_and_lengths() {
    let mut r = Random(6);
    for (heads, head) in [(1, 16), (5, 12), (3, 14), (2, 64), (1, 80), (2, 88), (1, 104), (1, 120)] {
        for tokens in [1, 3, 16, 17, 50, 77] {
            for causal in [false, true] {
                let size = Size { batch: 3, tokens };
                let op = Attention { heads, head, causal };
                let lengths = (0..3).map(|_| 1 + r.below(tokens)).map(|l| l as f32).collect();
                check(&format!("{op:?} tokens {tokens}"), &attention(&mut r, size, op, 1.0, lengths));
            }
        }
    }
    let op = Attention { heads: 1, head: 24, causal: false };
    check("attention over 730 tokens", &attention(&mut r, Size { batch: 1, tokens: 730 }, op, 1.0, vec![730.0]));
    check("attention logits to ±1e4", &attention(&mut r, Size { batch: 2, tokens: 40 }, op, 60.0, vec![40.0, 7.0]));
}

#[test]
fn patch_embed_over_sizes() {
    let mut r = Random(7);
    for (size, patch, n) in [(30, 7, 60), (64, 16, 128), (28, 14, 42), (32, 32, 9)] {
        for format in FORMATS {
            let op = PatchEmbed { size, patch };
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
            let case = Case { graph: Arc::new(g), output, data, format, size: Size { batch: 3, tokens: op.tokens() } };
            check(&format!("{op:?} → {n} {format:?}"), &case);
        }
    }
}

#[test]
fn token_embed_pool_and_scores() {
    let mut r = Random(8);
    for (tokens, width) in [(1, 1), (16, 42), (77, 130)] {
        let size = Size { batch: 5, tokens };
        for format in FORMATS {
            let mut g = Graph::default();
            let ids = g.input("ids", Rows::Tokens, 1, Kind::U32);
            let (table, p) = (g.weight("table", 200, width), g.weight("p", 77, width));
            let output = g.push("y", TokenEmbed, &[ids, table, p]).unwrap();
            let data = vec![
                (ids, (0..5 * tokens).map(|_| r.below(200) as f32).collect()),
                (table, r.many(200 * width, 1.0)),
                (p, r.many(77 * width, 1.0)),
            ];
            check(&format!("token_embed {tokens} × {width} {format:?}"), &Case { graph: Arc::new(g), output, data, format, size });
        }
        let mut g = Graph::default();
        let (x, at) = (g.input("ids", Rows::Tokens, 1, Kind::U32), g.input("at", Rows::Items, 1, Kind::U32));
        let (table, p) = (g.weight("table", 20, width), g.weight("p", 77, width));
        let rows = g.push("rows", TokenEmbed, &[x, table, p]).unwrap();
        let output = g.push("y", Pool, &[rows, at]).unwrap();
        let data: Vec<(Value, Vec<f32>)> = vec![
            (x, (0..5 * tokens).map(|_| r.below(20) as f32).collect()),
            (table, r.many(20 * width, 1.0)),
            (p, r.many(77 * width, 1.0)),
            (at, (0..5).map(|_| r.below(tokens) as f32).collect()),
        ];
        check(&format!("pool {tokens} × {width}"), &Case { graph: Arc::new(g), output, data, format: Format::F32, size });
    }
    for (images, texts, embed) in [(1, 1, 27), (65, 3, 512), (3, 1000, 64)] {
        let mut g = Graph::default();
        let x = g.input("images", Rows::Items, embed, Kind::F32);
        let w = g.weight("texts", texts, embed);
        let output = g.push("y", Scores { scale: 100.0, bias: -10.0 }, &[x, w]).unwrap();
        let data = vec![(x, r.many(images * embed, 0.1)), (w, r.many(texts * embed, 0.1))];
        check(
            &format!("scores {images} × {texts} × {embed}"),
            &Case { graph: Arc::new(g), output, data, format: Format::F32, size: Size { batch: images, tokens: 1 } },
        );
    }
}
