//! The planner, and the exact promises about real models' graphs. No GPU.
#![allow(clippy::unwrap_used)] // a test that fails may panic

mod common;

use clip_wgpu::clip::{Config, parts, text, vision};
use clip_wgpu::gpu::Caps;
use clip_wgpu::graph::plan::plan;
use clip_wgpu::graph::submissions::submissions;
use clip_wgpu::graph::{Graph, Kind, Rows, Size, Value};
use clip_wgpu::ops::{Act, Linear};
use common::Random;

const B32: &str = r#"{"model_cfg": {"embed_dim": 512, "quick_gelu": true,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}}}"#;

#[test]
fn vit_b_32_keeps_its_promises() {
    let config = Config::from_open_clip(B32, "b32", &()).unwrap();
    let (graph, ends) = vision(&config).unwrap();
    let plan = plan(&graph, &[ends.embedding], Size { batch: 1, tokens: 50 }, &[]);
    assert_eq!((graph.nodes.len(), plan.slot_bytes.len()), (90, 4));
    assert_eq!(plan.slot_bytes.iter().sum::<u64>(), 1_376_256, "{:?}", plan.slot_bytes);
    let (graph, ends) = text(&config).unwrap();
    let plan = clip_wgpu::graph::plan::plan(&graph, &[ends.embedding], Size { batch: 1, tokens: 77 }, &[]);
    assert_eq!((graph.nodes.len(), plan.slot_bytes.len()), (89, 4));
}

const L14_336: &str = r#"{"model_cfg": {"embed_dim": 768, "quick_gelu": true,
    "vision_cfg": {"image_size": 336, "layers": 24, "width": 1024, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 768, "heads": 12, "layers": 12}}}"#;

/// What patches give to an embedding is gathered block by block: no block's queries, keys and values outlive it.
#[test]
fn parts_take_little_more_than_the_tower() {
    let config = Config::from_open_clip(L14_336, "l14", &()).unwrap();
    let (size, bytes) = (Size { batch: 8, tokens: 577 }, |plan: clip_wgpu::graph::plan::Plan| plan.slot_bytes.iter().sum::<u64>());
    let (tower, ends) = vision(&config).unwrap();
    let (with_parts, parts_ends, parts) = parts(&config).unwrap();
    let alone = bytes(plan(&tower, &[ends.embedding], size, &[]));
    let both = bytes(plan(&with_parts, &[parts, parts_ends.projected], size, &[]));
    assert!(both < 2 * alone, "{both} bytes beside {alone}");
}

/// No driver takes our work for a hang: a product of 155 GFLOP goes in pieces.
#[test]
fn no_submission_is_above_the_budget() {
    let classes = [
        Caps::default(),
        Caps { discrete: true, ..Caps::default() },
        Caps { shared: true, ..Caps::default() },
        Caps { software: true, ..Caps::default() },
        Caps { software: true, subgroup_min_size: 8, ..Caps::default() },
    ];
    for (model, tokens) in [(B32, 50), (L14_336, 577)] {
        let config = Config::from_open_clip(model, "model", &()).unwrap();
        for (graph, tokens) in [(vision(&config).unwrap().0, tokens), (text(&config).unwrap().0, 77)] {
            for caps in &classes {
                let greatest = submissions(&graph, Size { batch: 32, tokens }, caps).into_iter().max().unwrap();
                assert!(greatest > 0 && greatest <= caps.submission_flops(), "{greatest} of {} ({caps:?})", caps.submission_flops());
            }
        }
    }
}

/// A graph of linear layers whose inputs are drawn from all that was made before.
fn random_graph(r: &mut Random) -> Graph {
    let mut g = Graph::default();
    let mut made = vec![g.input("x", Rows::Items, 8, Kind::F32)];
    for i in 0..3 + r.below(30) {
        let (from, width) = (made[r.below(made.len())], 8 * (1 + r.below(4)));
        let k = g.desc(from).width;
        let (w, b) = (g.weight(format!("w{i}"), width, k), g.weight(format!("b{width}"), 1, width));
        let residual = made.iter().copied().find(|v| g.desc(*v).width == width);
        let op = Linear { act: Act::None, bias: true, residual: residual.is_some() };
        made.push(g.push(format!("y{i}"), op, &[&[from, w, b], residual.as_slice()].concat()).unwrap());
    }
    g
}

#[test]
fn no_two_live_values_share_a_slot() {
    let mut r = Random(11);
    for _ in 0..200 {
        let g = random_graph(&mut r);
        let kept = Value(g.values.len() - 1);
        let plan = plan(&g, &[kept], Size { batch: 1 + r.below(200), tokens: 1 }, &[]);
        let last_read = |v: Value| if v == kept { g.nodes.len() } else { g.nodes.iter().rposition(|n| n.inputs.contains(&v)).unwrap_or(0) };
        for (i, a) in g.nodes.iter().enumerate() {
            for input in &a.inputs {
                assert!(
                    plan.slot_of[input.0].is_none() || plan.slot_of[input.0] != plan.slot_of[a.outputs[0].0],
                    "an output in its input's slot"
                );
            }
            for b in &g.nodes[i + 1..] {
                let made = g.nodes.iter().position(|n| n.outputs == b.outputs).unwrap();
                if made <= last_read(a.outputs[0]) {
                    assert_ne!(plan.slot_of[a.outputs[0].0], plan.slot_of[b.outputs[0].0], "two live values in one slot");
                }
            }
        }
        assert!(plan.slot_bytes.iter().sum::<u64>() >= plan.lower_bound_bytes);
    }
}
