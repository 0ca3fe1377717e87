//! The kernels' tests can fail: each planted fault is caught by the bound that the kernels themselves stay below.
#![allow(clippy::unwrap_used)] // a test that fails may panic

mod common;

use std::sync::Arc;

use clip_wgpu::gpu::{Caps, Gpu};
use clip_wgpu::graph::kernel::Kernel;
use clip_wgpu::graph::{Call, Desc, Op, Operand, Shape, Size};
use clip_wgpu::ops::{Act, Attention, AttentionParts, Linear, Mean, Normalize, PatchEmbed};
use clip_wgpu::weights::Format;
use clip_wgpu::{Preprocess, Result};
use common::cases::{
    BOUND, attention, attention_of_a_probe, attention_parts, frame, layer_norm, layer_norm_parts, linear, mean, nearest, normalize,
    patch_embed, pool, scores, token_embed,
};
use common::{Case, Random, nmse};

/// An op with another shader text.
#[derive(Debug)]
struct Mutant {
    op: Box<dyn Op>,
    from: &'static str,
    to: &'static str,
}

impl Op for Mutant {
    fn name(&self) -> &'static str {
        self.op.name()
    }
    fn operands(&self) -> &'static [Operand] {
        self.op.operands()
    }
    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        self.op.outputs(inputs)
    }
    /// The op's kernels, with `from` replaced by `to` in its own shader files, where it stands exactly once.
    fn lower(&self, call: &Call, caps: &Caps) -> Vec<Kernel> {
        let mut kernels = self.op.lower(call, caps);
        for kernel in &mut kernels {
            let own = kernel.parts.iter_mut().filter(|p| is_own(p.file, self.name())).filter(|p| p.text.contains(self.from));
            for (nth, part) in own.enumerate() {
                assert!(nth == 0 && part.text.matches(self.from).count() == 1, "`{}` stands once in {}'s files", self.from, self.name());
                part.text = part.text.replace(self.from, self.to).leak();
            }
        }
        kernels
    }
    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        self.op.reference(data, call)
    }
}

/// attention.wgsl and attention_lanes.wgsl, say, of attention, but not attention_parts.wgsl, which is another op's.
fn is_own(file: &str, op: &str) -> bool {
    file.strip_prefix(op).is_some_and(|rest| [".wgsl", "_heads.wgsl", "_lanes.wgsl", "_pixels.wgsl", "_pixels_4.wgsl"].contains(&rest))
}

/// The device, as of the class whose kernels of `case` have `text`.
fn device_with(case: &Case, text: &str) -> Gpu {
    let mut gpu = common::gpu().unwrap();
    let op = case.graph.nodes.last().unwrap().op.name();
    let has = |gpu: &Gpu| case.kernels(&gpu.caps).iter().flat_map(|k| &k.parts).any(|p| is_own(p.file, op) && p.text.contains(text));
    if !has(&gpu) {
        gpu.caps.software = !gpu.caps.software;
    }
    assert!(has(&gpu), "`{text}` stands in no kernel of {op}");
    gpu
}

/// The error of `case` on a device that has `from` in its last op's shader, changed to `to`.
fn error(case: &mut Case, from: &'static str, to: &'static str) -> f64 {
    let gpu = device_with(case, from);
    if from != to {
        let node = Arc::get_mut(&mut case.graph).unwrap().nodes.last_mut().unwrap();
        let op = std::mem::replace(&mut node.op, Box::new(Normalize));
        node.op = Box::new(Mutant { op, from, to });
    }
    nmse(&case.run(&gpu), &case.reference())
}

type Build = fn(&mut Random) -> Case;

fn act(r: &mut Random, act: Act) -> Case {
    linear(r, 33, 30, 21, Linear { act, bias: true, residual: false }, Format::F32, 1.0)
}

fn with_residual(r: &mut Random) -> Case {
    linear(r, 33, 30, 21, Linear { act: Act::QuickGelu, bias: true, residual: true }, Format::F32, 1.0)
}

fn masked(r: &mut Random, causal: bool) -> Case {
    attention(r, Size { batch: 2, tokens: 33 }, Attention { heads: 3, head: 14, causal }, 1.0, vec![33.0, 9.0])
}

/// Fault, its case, what stands in the shader, what stands there instead.
const FAULTS: [(&str, Build, &str, &str); 41] = [
    ("QuickGELU's 1.702 as 1.7", |r| act(r, Act::QuickGelu), "-1.702", "-1.7"),
    ("GELU's 1/sqrt(2) as 0.707", |r| act(r, Act::Gelu), "0.70710678", "0.707"),
    ("tanh GELU's 0.044715 as 0.0447", |r| act(r, Act::GeluTanh), "0.044715", "0.0447"),
    ("no bias", |r| act(r, Act::None), "v += b[n4];", "v += 0.0 * b[n4];"),
    ("the bias after the activation", |r| act(r, Act::Gelu), "v = act(v);", "v = act(v - b[n4]) + b[n4];"),
    ("no residual", with_residual, "v += r[at]", "v += 0.0 * r[at]"),
    ("the residual before the activation", with_residual, "v = act(v);", "v = act(v + r[at]) - r[at];"),
    ("another row's residual", with_residual, "v += r[at]", "v += r[max(at, 1u) - 1u]"),
    ("eps × 3", |r| layer_norm(r, 31, 60, 0.0, 1.0), "op.eps)", "3.0 * op.eps)"),
    ("no eps", |r| layer_norm(r, 31, 60, 0.0, 1.0), " + op.eps)", ")"),
    ("the mean not taken off", |r| layer_norm(r, 31, 60, 0.0, 1.0), "(x[row + i] - mean - moments.x) *", "x[row + i] *"),
    ("a causal mask that is late by one", |r| masked(r, true), "key <= vec4(query.x)", "key <= vec4(query.x) + 1u"),
    ("a causal mask that is early by one", |r| masked(r, true), "key <= vec4(query.y)", "key + 1u <= max(vec4(query.y), vec4(1u))"),
    ("lengths not read", |r| masked(r, false), "min(lengths[item], op.keys)", "max(lengths[item], op.keys)"),
    ("lanes: a causal mask that is late by one", |r| masked(r, true), "key <= vec4(query))", "key <= vec4(query + 1u))"),
    (
        "lanes: a causal mask that is early by one",
        |r| masked(r, true),
        "key <= vec4(query + 1u)",
        "key + 1u <= max(vec4(query + 1u), vec4(1u))",
    ),
    ("lanes: scores of another head width", |r| masked(r, false), "op.scale * scores(i)", "0.96609 * op.scale * scores(i)"),
    (
        "lanes: sums of other lanes left out",
        |r| masked(r, false),
        "return fours + subgroupShuffle(fours, lane ^ 4u)",
        "return fours + fours",
    ),
    (
        "lanes: what was summed left at its scale",
        |r| attention(r, Size { batch: 2, tokens: 77 }, Attention { heads: 3, head: 14, causal: false }, 1.0, vec![77.0, 70.0]),
        "y0 = scaled(y0, state0[2]);",
        "",
    ),
    (
        "lanes: the second 64 columns of a head as the first",
        |r| attention(r, Size { batch: 2, tokens: 33 }, Attention { heads: 2, head: 88, causal: false }, 1.0, vec![33.0, 9.0]),
        "let near = min(column, HEAD4 - 1u);",
        "let near = lane;",
    ),
    ("scores of another head width", |r| masked(r, false), "op.scale * multiply_add", "0.96609 * op.scale * multiply_add"),
    (
        "an odd head's last elements left out",
        |r| attention(r, Size { batch: 2, tokens: 33 }, Attention { heads: 3, head: 12, causal: false }, 1.0, vec![33.0, 9.0]),
        "HEAD4 % 2u == 1u",
        "HEAD4 == 0u",
    ),
    (
        "positions of the next patch",
        |r| patch_embed(r, PatchEmbed { size: 30, patch: 7, class: true }, 60, Format::F32),
        "p[token * (dims.n",
        "p[((token + 1u) % dims.tokens) * (dims.n",
    ),
    (
        "no class token",
        |r| patch_embed(r, PatchEmbed { size: 30, patch: 7, class: true }, 60, Format::F32),
        "v += c[n4]",
        "v += 0.0 * c[n4]",
    ),
    (
        "rows and columns of a patch exchanged",
        |r| patch_embed(r, PatchEmbed { size: 30, patch: 7, class: true }, 60, Format::F32),
        "channel * op.size + row) * op.size + k % PATCH",
        "channel * op.size + k % PATCH) * op.size + row",
    ),
    (
        "rows and channels of a patch of whole vec4s exchanged",
        |r| patch_embed(r, PatchEmbed { size: 32, patch: 8, class: true }, 60, Format::F32),
        "(channel * op.size + row)",
        "(row * op.size + channel)",
    ),
    (
        "the convolution's bias left out",
        |r| patch_embed(r, PatchEmbed { size: 30, patch: 7, class: false }, 60, Format::F32),
        "!CLASS || token == 0u",
        "CLASS && token == 0u",
    ),
    (
        "a part that is no share of the whole",
        |r| attention_parts(r, Size { batch: 2, tokens: 33 }, AttentionParts { heads: 3, head: 14 }, false),
        "- greatest) / sum",
        "- greatest)",
    ),
    (
        "a part by its own variance",
        |r| layer_norm_parts(r, Size { batch: 2, tokens: 9 }, 42),
        "row[whole + i] - means.y",
        "x[part + i] - means.x",
    ),
    ("the class token in the mean", |r| mean(r, Mean { skip: 1 }, 16, 42), "var t = SKIP", "var t = 0u"),
    (
        "a query for each item where there is one",
        |r| attention_of_a_probe(r, Size { batch: 2, tokens: 33 }, Attention { heads: 3, head: 14, causal: false }, vec![33.0, 9.0]),
        "item * op.q_step",
        "item",
    ),
    ("no positions", |r| token_embed(r, 16, 42, Format::F32), "p[row % dims.tokens * n4 + i]", "0.0 * p[row % dims.tokens * n4 + i]"),
    (
        "the next token's positions",
        |r| token_embed(r, 16, 42, Format::F32),
        "p[row % dims.tokens * n4 + i]",
        "p[(row + 1u) % dims.tokens * n4 + i]",
    ),
    ("the row before the pooled one", |r| pool(r, 16, 42), "token = at[row];", "token = max(at[row], 1u) - 1u;"),
    (
        "a square root left out",
        |r| normalize(r, 31, 27, 1.0),
        "sqrt(group_sum(lane, vec2(squares, 0.0)).x)",
        "group_sum(lane, vec2(squares, 0.0)).x",
    ),
    ("sums not rounded", |r| frame(r, (31, 40), Preprocess::openai(14)), "vec3<i32>(1 << (BITS - 1u))", "vec3<i32>(0)"),
    (
        "rows and columns of a frame exchanged",
        |r| frame(r, (40, 40), Preprocess::openai(14)),
        "vec2(x, first + i), vec2(first + i, y)",
        "vec2(first + i, y), vec2(x, first + i)",
    ),
    (
        "no overshoot held in range",
        |r| frame(r, (9, 10), Preprocess::openai(14)),
        "clamp(sum >> vec3(BITS), vec3(0), vec3(255))",
        "(sum >> vec3(BITS)) & vec3(255)",
    ),
    ("a lane's share left out", |r| nearest(r, 10, 1, 100, 64), "i < LANES; i", "i < LANES - 1u; i"),
    ("a row behind the table", |r| nearest(r, 10, 1, 10, 27), "own < op.rows", "own <= op.rows"),
    ("no bias of the scores", |r| scores(r, 65, 3, 512), "* acc + op.bias", "* acc"),
];

#[test]
fn planted_faults_pass_the_bound() {
    if common::gpu().is_none() {
        return;
    }
    let lanes = common::gpu().unwrap().caps.subgroup_min_size >= 8;
    for (fault, build, from, to) in FAULTS {
        if fault.starts_with("lanes") && !lanes {
            eprintln!("ignored: {fault}: the device has no subgroups of 8");
            continue;
        }
        let sound = error(&mut build(&mut Random(9)), from, from);
        let planted = error(&mut build(&mut Random(9)), from, to);
        println!("{planted:.1e} (sound {sound:.1e})  {fault}");
        assert!(sound <= BOUND, "{fault}: the sound kernel is {sound:.1e} off");
        assert!(planted > 2.0 * BOUND, "{fault}: nmse {planted:.1e} is not caught by the bound {BOUND:.0e}");
    }
}
