//! Every kernel against its plain-Rust reference, over hard shapes and seeded random ones; the host's version as well.
#![allow(clippy::unwrap_used)] // a test that fails may panic

mod common;

use std::sync::Arc;

use clip_wgpu::Executor;
use clip_wgpu::gpu::{Caps, CooperativeMatrix, Gpu, Product};
use clip_wgpu::graph::Size;
use clip_wgpu::graph::submissions::submissions;
use clip_wgpu::nearest::Nearest;
use clip_wgpu::ops::{Act, Attention, AttentionParts, Linear, Mean, PatchEmbed};
use clip_wgpu::weights::{Compute, Format};
use common::cases::{
    BOUND, attention, attention_of_a_probe, attention_parts, layer_norm, layer_norm_parts, linear, mean, nearest, normalize, patch_embed,
    peak, pool, pool_always, scores, token_embed,
};
use common::{Case, Random, nmse};

const FORMATS: [Format; 3] = [Format::F32, Format::F16, Format::Bf16];
const ROWS: [usize; 9] = [1, 3, 31, 32, 33, 63, 64, 65, 130];

fn check(what: &str, case: &Case) {
    let want = case.reference();
    let error = nmse(&case.run_on_host(), &want);
    assert!(error <= BOUND, "{what} on the host: nmse {error:.2e}, bound {BOUND:.0e}");
    let Some(gpu) = common::gpu() else { return };
    let error = nmse(&case.run(&gpu), &want);
    assert!(error <= BOUND, "{what}: nmse {error:.2e}, bound {BOUND:.0e}");
}

/// With the kernels of GPUs and of software adapters.
fn check_classes(what: &str, case: &Case) {
    check(what, case);
    let Some(gpu) = common::gpu().map(of_other_class) else { return };
    let error = nmse(&case.run(&gpu), &case.reference());
    assert!(error <= BOUND, "{what}, kernels of the other class: nmse {error:.2e}, bound {BOUND:.0e}");
}

/// The same device, with the kernels that a GPU takes where it is a processor, and the other way round.
fn of_other_class(mut gpu: Gpu) -> Gpu {
    gpu.caps.software = !gpu.caps.software;
    gpu
}

#[test]
fn linear_over_rows_and_widths() {
    let mut r = Random(1);
    for rows in ROWS {
        for (k, n) in [(1, 1), (5, 3), (8, 8), (42, 27), (60, 180), (100, 66), (257, 130)] {
            for format in FORMATS {
                let op = Linear { act: Act::None, bias: true, residual: rows % 2 == 0 };
                check(&format!("linear [{rows}, {k}] → {n} {format:?} {op:?}"), &linear(&mut r, rows, k, n, op, format, 2.0));
            }
        }
    }
}

/// Factors are rounded to f16, and so are sums of eight; between the two kernels, not even that differs.
#[test]
fn linear_in_f16() {
    let Some(gpu) = common::gpu() else { return };
    let f16 = |name: &str| gpu.clone().with_kernel(name).unwrap().in_f16();
    let error = f16("product_direct").unwrap_err().to_string();
    let (Ok(tile), Ok(few)) = (f16("product_tile"), f16("product_few")) else {
        return eprintln!("ignored: {}", gpu.in_f16().unwrap_err());
    };
    assert!(error.contains("product_direct has no f16 arithmetic"), "{error}");
    let mut r = Random(13);
    for class in [true, false] {
        let case = patch_embed(&mut r, PatchEmbed { size: 30, patch: 7, class }, 60, Format::F16);
        let (y, error) = (case.run(&tile), nmse(&case.run(&tile), &case.reference()));
        assert!((1e-10..1e-6).contains(&error), "patches: nmse {error:.2e}");
        assert_eq!(y, case.run(&few), "patches");
    }
    for rows in ROWS {
        for (k, n) in [(5, 3), (8, 8), (60, 180), (257, 130), (768, 66)] {
            for format in FORMATS {
                let case = linear(&mut r, rows, k, n, Linear { act: Act::QuickGelu, bias: true, residual: true }, format, 2.0);
                let (y, error) = (case.run(&tile), nmse(&case.run(&tile), &case.reference()));
                assert!((1e-10..1e-6).contains(&error), "linear [{rows}, {k}] → {n} {format:?}: nmse {error:.2e}");
                assert_eq!(y, case.run(&few), "linear [{rows}, {k}] → {n} {format:?}");
            }
        }
    }
}

/// On devices with cooperative matrices of f16 (lavapipe's from Mesa 26 on): factors are rounded to f16, sums are not.
#[test]
fn linear_in_cooperative_matrices() {
    let Some(gpu) = common::gpu() else { return };
    let gpu = match gpu.clone().with_kernel("product_cooperative") {
        Ok(gpu) => gpu.in_f16().unwrap(),
        Err(error) => {
            assert!(gpu.caps.cooperative.is_none() && error.to_string().contains("takes cooperative matrices"), "{error}");
            return eprintln!("ignored: {error}");
        }
    };
    let mut r = Random(14);
    for class in [true, false] {
        let case = patch_embed(&mut r, PatchEmbed { size: 30, patch: 7, class }, 60, Format::F16);
        let error = nmse(&case.run(&gpu), &case.reference());
        assert!((1e-11..2e-7).contains(&error), "patches: nmse {error:.2e}");
    }
    for rows in ROWS {
        for (k, n) in [(5, 3), (8, 8), (60, 180), (257, 130), (768, 66)] {
            for format in FORMATS {
                let op = Linear { act: Act::QuickGelu, bias: true, residual: true };
                let case = linear(&mut r, rows, k, n, op, format, 2.0);
                let (y, error) = (case.run(&gpu), nmse(&case.run(&gpu), &case.reference()));
                assert!((1e-11..2e-7).contains(&error), "linear [{rows}, {k}] → {n} {format:?}: nmse {error:.2e}");
                let mut alone = Case { size: Size { batch: 1, tokens: 1 }, ..case };
                alone.data[0].1.truncate(k);
                alone.data[3].1.truncate(n);
                assert_eq!(alone.run(&gpu), y[..n], "the first row of [{rows}, {k}] → {n} {format:?} alone");
            }
        }
    }
}

/// A GPU that offers cooperative matrices which it cannot run, or that come out wrong, does without.
#[test]
fn matrices_that_fail_their_self_test_are_not_taken() {
    let Some(mut gpu) = common::gpu().filter(|gpu| gpu.clone().in_f16().is_ok()) else { return };
    gpu.caps.software = false; // of which none takes them
    let on = |gpu: &Gpu| match pollster::block_on(Compute::F16.on(&gpu.clone().into())).unwrap() {
        Executor::Gpu(gpu) => gpu.caps,
        Executor::Host => unreachable!(),
    };
    let real = on(&gpu);
    assert_eq!((real.cooperative, real.cooperative_fault), (gpu.caps.cooperative, None), "what works is kept");
    gpu.caps.cooperative = Some(match gpu.caps.cooperative {
        None => CooperativeMatrix { side: 16, subgroup: 32 },                    // refused
        Some(real) => CooperativeMatrix { subgroup: real.subgroup / 4, ..real }, // most of a tile is left undone
    });
    let faulty = on(&gpu);
    println!("{:?}", faulty.cooperative_fault);
    assert!(faulty.cooperative.is_none() && faulty.cooperative_fault.is_some());
    let forced = pollster::block_on(Compute::F16.on(&gpu.with_kernel("product_cooperative").unwrap().into())).unwrap_err().to_string();
    assert!(forced.contains("product_cooperative fails its self-test"), "{forced}");
}

#[test]
fn linear_activations_up_to_large_values() {
    let mut r = Random(2);
    for act in [Act::QuickGelu, Act::Gelu, Act::GeluTanh, Act::Relu, Act::Silu] {
        for scale in [0.1, 1.0, 1e4] {
            for residual in [false, true] {
                let op = Linear { act, bias: true, residual };
                check(&format!("{op:?} inputs ±{scale}"), &linear(&mut r, 33, 30, 21, op, Format::F32, scale));
            }
        }
    }
}

#[test]
fn layer_norm_over_widths_and_statistics() {
    let mut r = Random(3);
    for rows in ROWS {
        for width in [1, 3, 60, 64, 257, 768] {
            // A deviation of 5e-3 has a variance near eps.
            for (mean, deviation) in [(0.0, 1.0), (0.0, 5e-3), (100.0, 1.0), (1e4, 1.0)] {
                let case = layer_norm(&mut r, rows, width, mean, deviation);
                check_classes(&format!("layer_norm [{rows}, {width}] mean {mean} ± {deviation}"), &case);
            }
        }
    }
}

#[test]
fn seventy_thousand_rows_fold_into_two_dimensions() {
    check("layer_norm", &layer_norm(&mut Random(4), 70_000, 8, 0.0, 1.0));
    check("normalize", &normalize(&mut Random(4), 70_000, 8, 1.0));
}

/// On the GPU alone, which is what it measures.
#[test]
fn the_yardstick_computes_what_it_is_timed_for() {
    let Some(gpu) = common::gpu() else { return };
    for (loops, rows, width) in [(0, 5, 24), (0, 300, 64), (1, 3, 16), (20, 70, 128)] {
        let case = peak(&mut Random(13), loops, rows, width);
        let error = nmse(&case.run(&gpu), &case.reference());
        assert!(error <= BOUND, "{loops} loops over [{rows}, {width}]: nmse {error:.2e}");
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

#[test]
fn attention_over_heads_tokens_and_lengths() {
    let mut r = Random(6);
    for (heads, head) in [(1, 16), (5, 12), (3, 14), (2, 64), (1, 66), (1, 80), (2, 88), (1, 104), (1, 120)] {
        for tokens in [1, 3, 16, 17, 50, 77] {
            for causal in [false, true] {
                let size = Size { batch: 3, tokens };
                let op = Attention { heads, head, causal };
                let lengths = (0..3).map(|_| 1 + r.below(tokens)).map(|l| l as f32).collect();
                check_classes(&format!("{op:?} tokens {tokens}"), &attention(&mut r, size, op, 1.0, lengths));
            }
        }
    }
    for (heads, head, tokens) in [(3, 14, 33), (1, 72, 5), (12, 4, 17)] {
        let op = Attention { heads, head, causal: false };
        let case = attention_of_a_probe(&mut r, Size { batch: 2, tokens }, op, vec![tokens as f32, 3.0]);
        check_classes(&format!("{op:?} of a probe over {tokens} tokens"), &case);
    }
    let op = Attention { heads: 1, head: 24, causal: false };
    check_classes("attention over 730 tokens", &attention(&mut r, Size { batch: 1, tokens: 730 }, op, 1.0, vec![730.0]));
    // Of a seed without near ties for the greatest, which f32's rounding of scores of 1e4 would decide.
    check_classes("attention logits to ±1e4", &attention(&mut Random(5), Size { batch: 2, tokens: 40 }, op, 60.0, vec![40.0, 7.0]));
}

#[test]
fn patch_embed_over_sizes() {
    let mut r = Random(7);
    for (size, patch, n) in [(30, 7, 60), (64, 16, 128), (28, 14, 42), (32, 32, 9)] {
        for format in FORMATS {
            let op = PatchEmbed { size, patch, class: (size + n) % 2 == 0 };
            check(&format!("{op:?} → {n} {format:?}"), &patch_embed(&mut r, op, n, format));
        }
    }
}

#[test]
fn token_embed_pool_and_scores() {
    let mut r = Random(8);
    for (tokens, width) in [(1, 1), (16, 42), (77, 130)] {
        for format in FORMATS {
            check(&format!("token_embed {tokens} × {width} {format:?}"), &token_embed(&mut r, tokens, width, format));
        }
        check(&format!("pool {tokens} × {width}"), &pool(&mut r, tokens, width));
        for skip in [0, 1].into_iter().filter(|skip| *skip < tokens) {
            check(&format!("mean {tokens} × {width} after {skip}"), &mean(&mut r, Mean { skip }, tokens, width));
        }
    }
    for (images, texts, embed) in [(1, 1, 27), (65, 3, 512), (3, 1000, 64)] {
        check(&format!("scores {images} × {texts} × {embed}"), &scores(&mut r, images, texts, embed));
    }
}

/// Ties at every edge, blocks that are not full, and several passes over the candidates. On the GPU alone: the host's search is
/// [`clip_wgpu::nearest`]'s own.
#[test]
fn nearest_rows_are_those_of_a_full_sort() {
    let Some(gpu) = common::gpu() else { return };
    let mut r = Random(23);
    for (top, items, rows, k) in [
        (1, 1, 1, 8),
        (10, 1, 10, 3),
        (10, 3, 1024, 40),
        (10, 2, 1025, 64),
        (3, 1, 9000, 27),
        (128, 2, 9000, 12),
        (256, 1, 5000, 512),
        (200, 1, 40_000, 8),
    ] {
        let case = nearest(&mut r, top, items, rows, k);
        assert_eq!(case.run(&gpu), case.reference(), "the best {top} of {rows} rows of {k} for {items} queries");
    }
}

/// A table that no single binding holds is searched in parts; a GPU finds what the host finds.
#[test]
fn a_table_in_parts_is_searched_as_one() {
    searched_as_one(24, 4000);
}

/// 1,000,000 rows of 512: `cargo test --release --test ops a_million -- --ignored`, 4 GiB.
#[test]
#[ignore = "takes 4 GiB"]
fn a_million_rows_in_parts() {
    searched_as_one(512, 1_000_000);
}

fn searched_as_one(width: usize, count: usize) {
    let Some(mut gpu) = common::gpu() else { return };
    gpu.caps.software = false; // these search on the host
    gpu.caps.max_binding_bytes = if count > 10_000 { 128 << 20 } else { 1 << 16 };
    let mut r = Random(24);
    let mut whole = |count: usize| (0..count).map(|_| r.below(5) as f32 - 2.0).collect::<Vec<f32>>();
    let rows: Arc<Vec<half::f16>> = Arc::new(whole(count * width).into_iter().map(half::f16::from_f32).collect());
    let query = whole(width);
    let best = |executor: Executor, top: usize| {
        let nearest = pollster::block_on(Nearest::new(&executor, rows.clone(), width)).unwrap();
        pollster::block_on(nearest.best(&query, top)).unwrap()
    };
    for top in [1, 10, 128, 300] {
        let hits = best(gpu.clone().into(), top);
        assert_eq!(hits, best(Executor::Host, top));
        assert!(top < 128 || hits.iter().any(|h| h.row > 2 * count / 3) && hits.iter().any(|h| h.row < count / 3), "all parts have some");
        // What f64 says, in order; equals in order of row.
        let product = |row: &[half::f16]| row.iter().zip(&query).map(|(a, b)| a.to_f64() * f64::from(*b)).sum::<f64>();
        let mut all: Vec<(f64, usize)> = rows.chunks(width).map(product).zip(0..).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        assert!(hits.iter().zip(&all).all(|(hit, (score, row))| (f64::from(hit.score), hit.row) == (*score, *row)));
    }
}

/// Each kernel of the product in f32 by name, over shapes with partial tiles: none is better tested than the others.
#[test]
fn every_kernel_of_the_product() {
    let Some(gpu) = common::gpu() else { return };
    let mut r = Random(11);
    for product in Product::ALL.into_iter().filter(|p| *p != Product::Cooperative) {
        let Ok(forced) = gpu.clone().with_kernel(product.name()) else { continue };
        for (rows, k, n) in [(1, 8, 8), (3, 42, 27), (28, 5, 3), (31, 5, 3), (33, 257, 130), (65, 60, 180), (130, 100, 66), (165, 44, 64)] {
            for format in FORMATS {
                let op = Linear { act: Act::QuickGelu, bias: rows % 2 == 1, residual: rows > 32 };
                let case = linear(&mut r, rows, k, n, op, format, 2.0);
                let error = nmse(&case.run(&forced), &case.reference());
                assert!(error <= BOUND, "{} [{rows}, {k}] → {n} {format:?}: nmse {error:.2e}", product.name());
            }
        }
        let case = patch_embed(&mut r, PatchEmbed { size: 30, patch: 7, class: true }, 60, Format::F16);
        let error = nmse(&case.run(&forced), &case.reference());
        assert!(error <= BOUND, "{} of patches: nmse {error:.2e}", product.name());
    }
}

/// A GPU takes one kernel or the other by the number of rows, and a row is the same from either; from loads of any size, too.
#[test]
fn kernels_of_one_class_give_the_same_bits() {
    let Some(gpu) = common::gpu() else { return };
    let mut without = gpu.clone();
    without.caps.int64 = false;
    let mut r = Random(16);
    for ((rows, k, n), format) in [(33, 257, 130), (50, 768, 768), (77, 512, 200)].into_iter().zip(FORMATS) {
        let op = Linear { act: Act::QuickGelu, bias: true, residual: true };
        let case = linear(&mut r, rows, k, n, op, format, 1.0);
        let run = |gpu: &Gpu, product: Product| gpu.clone().with_kernel(product.name()).ok().map(|gpu| case.run(&gpu));
        let same = |one: Option<Vec<f32>>, other: Option<Vec<f32>>, what: &str| {
            assert!(one.is_none() || other.is_none() || one == other, "{what} of [{rows}, {k}] → {n}, {format:?}");
        };
        same(run(&gpu, Product::Tile), run(&gpu, Product::Few), "tile and few");
        same(run(&without, Product::Subgroup), run(&gpu, Product::Direct), "subgroup and direct");
        same(run(&without, Product::Subgroup), run(&gpu, Product::Subgroup), "subgroup by loads of 32 and 64 bits");
    }
}

/// Which kernel a device takes, by its class and by the rows.
#[test]
fn devices_take_the_kernel_of_their_class() {
    let mut r = Random(12);
    let taken = |case: &Case, software, subgroup_min_size| {
        let caps = Caps { software, subgroup_min_size, ..Caps::default() };
        case.kernels(&caps)[0]
            .parts
            .iter()
            .find(|p| p.file.starts_with("product") && !["product_lanes.wgsl", "product_rows.wgsl"].contains(&p.file))
            .unwrap()
            .file
    };
    let few = linear(&mut r, 50, 8, 768, Linear { act: Act::None, bias: true, residual: false }, Format::F32, 1.0);
    let many = linear(&mut r, 3200, 8, 768, Linear { act: Act::None, bias: true, residual: false }, Format::F32, 1.0);
    assert_eq!((taken(&few, true, 8), taken(&few, true, 0)), ("product_subgroup.wgsl", "product_direct.wgsl"));
    assert_eq!((taken(&few, false, 8), taken(&many, false, 8)), ("product_few.wgsl", "product_few.wgsl"));
    let with_registers = |case: &Case| {
        case.kernels(&Caps { many_registers: true, ..Caps::default() })[0].parts.iter().any(|p| p.file == "product_tile.wgsl")
    };
    assert!(with_registers(&many) && !with_registers(&few), "a tile of 64 × 64 takes many registers, and many rows");
    let attention = attention(&mut r, Size { batch: 1, tokens: 5 }, Attention { heads: 1, head: 64, causal: true }, 1.0, vec![5.0]);
    let of_attention = |software, subgroup_min_size| {
        let caps = Caps { software, subgroup_min_size, ..Caps::default() };
        attention.kernels(&caps)[0].parts.last().unwrap().file
    };
    assert_eq!((of_attention(true, 8), of_attention(true, 16)), ("attention_lanes.wgsl", "attention_lanes.wgsl"));
    assert_eq!([(true, 4), (true, 0), (false, 32)].map(|(software, lanes)| of_attention(software, lanes)), ["attention.wgsl"; 3]);
    let matrices = Caps { cooperative: Some(CooperativeMatrix { side: 16, subgroup: 32 }), ..Caps::default() };
    let takes = |caps: Caps| few.kernels(&caps)[0].parts.iter().any(|p| p.file == "product_cooperative.wgsl");
    assert!(takes(Caps { f16: true, ..matrices.clone() }) && !takes(matrices.clone()), "in f16, and only then");
    assert!(!takes(Caps { f16: true, software: true, ..matrices }), "a processor has no matrix units");
}

#[test]
fn a_kernel_that_the_device_lacks_is_refused() {
    let Some(mut gpu) = common::gpu() else { return };
    gpu.caps.subgroup_min_size = 0;
    let error = gpu.clone().with_kernel("product_subgroup").unwrap_err().to_string();
    assert!(error.starts_with("product_subgroup takes subgroups, which `"), "{error}");
    let error = gpu.with_kernel("product_fast").unwrap_err().to_string();
    assert_eq!(
        error,
        "expected a kernel product_tile, product_few, product_direct, product_subgroup, product_cooperative, found `product_fast`"
    );
}

/// What is no number goes through: nothing clamps, skips or sorts it away.
#[test]
fn nan_is_not_laundered() {
    let mut r = Random(13);
    let reaches = |what: &str, mut case: Case, input: usize, at: usize, rows: std::ops::Range<usize>| {
        case.data[input].1[at] = f32::NAN;
        let width = case.graph.desc(case.output).width;
        let is_nan = |y: &[f32], row: usize| y[row * width..][..width].iter().any(|v| v.is_nan());
        let classes = common::gpu().map(|gpu| [gpu.clone(), of_other_class(gpu)]).into_iter().flatten();
        let runs = classes.map(|gpu| case.run(&gpu)).chain([case.run_on_host()]);
        for y in runs {
            let found: Vec<usize> = (0..y.len() / width).filter(|row| is_nan(&y, *row)).collect();
            assert_eq!(found, rows.clone().collect::<Vec<_>>(), "{what}");
        }
    };
    let size = Size { batch: 2, tokens: 5 };
    let op = Attention { heads: 2, head: 16, causal: false };
    // A key, a value and a query of item 1: its queries see it, item 0's do not.
    reaches("a key", attention(&mut r, size, op, 1.0, vec![5.0, 5.0]), 0, (5 + 2) * 96 + 32, 5..10);
    reaches("a value", attention(&mut r, size, op, 1.0, vec![5.0, 5.0]), 0, (5 + 2) * 96 + 64, 5..10);
    reaches("a query", attention(&mut r, size, op, 1.0, vec![5.0, 5.0]), 0, (5 + 2) * 96, 7..8);
    reaches("a key behind the length", attention(&mut r, size, op, 1.0, vec![5.0, 2.0]), 0, (5 + 3) * 96 + 32, 0..0);
    let causal = Attention { causal: true, ..op };
    reaches("a later key", attention(&mut r, size, causal, 1.0, vec![5.0, 5.0]), 0, (5 + 3) * 96 + 32, 8..10);
    for act in [Act::None, Act::QuickGelu, Act::Gelu, Act::GeluTanh, Act::Relu, Act::Silu] {
        let op = Linear { act, bias: true, residual: false };
        reaches(&format!("{act:?}"), linear(&mut r, 4, 16, 8, op, Format::F32, 1.0), 0, 2 * 16 + 3, 2..3);
    }
    for at in [0, 27, 28, 30] {
        let op = Linear { act: Act::None, bias: true, residual: false };
        reaches("one of 31 rows", linear(&mut r, 31, 16, 72, op, Format::F32, 1.0), 0, at * 16 + 3, at..at + 1);
    }
    reaches("layer_norm", layer_norm(&mut r, 4, 16, 0.0, 1.0), 0, 2 * 16 + 3, 2..3);
    reaches("normalize", normalize(&mut r, 4, 16, 1.0), 0, 2 * 16 + 3, 2..3);
    reaches("mean", mean(&mut r, Mean { skip: 1 }, 4, 16), 0, (4 + 2) * 16, 1..2);
}

#[test]
fn parts_of_attention_and_layer_norm() {
    let mut r = Random(21);
    for (batch, tokens, heads, head) in [(1, 1, 1, 1), (2, 50, 3, 14), (3, 65, 2, 64), (1, 200, 5, 104)] {
        let (size, op) = (Size { batch, tokens }, AttentionParts { heads, head });
        for probe in [false, true] {
            let name = format!("parts of {heads} heads of {head} over {batch} × {tokens}, probe: {probe}");
            check(&name, &attention_parts(&mut r, size, op, probe));
        }
        check(&format!("layer_norm_parts {batch} × {tokens} × {}", heads * head), &layer_norm_parts(&mut r, size, heads * head));
    }
}

#[test]
fn rows_of_a_fixed_number_per_item() {
    let mut r = Random(14);
    for tokens in [1, 3, 17] {
        check(&format!("pool of the last of {tokens}"), &pool_always(&mut r, tokens, 42));
    }
}

/// A run above the budget of one submission is cut by rows, and gives the same bits.
#[test]
fn work_above_the_budget_is_cut() {
    let Some(gpu) = common::gpu() else { return };
    let mut r = Random(15);
    let op = Linear { act: Act::Gelu, bias: true, residual: true };
    let case = linear(&mut r, 700, 512, 600, op, Format::F32, 1.0); // 430 MFLOP
    let attention = attention(&mut r, Size { batch: 6, tokens: 600 }, Attention { heads: 4, head: 32, causal: true }, 1.0, vec![600.0; 6]);
    for case in [case, attention] {
        let mut hardware = gpu.clone();
        hardware.caps.software = false;
        hardware.caps.product = Some(Product::Direct); // and attention without subgroups: the same kernels for both
        hardware.caps.subgroup_min_size = 0;
        let mut software = hardware.clone();
        software.caps.software = true;
        let budget = software.caps.submission_flops();
        let greatest = |gpu: &clip_wgpu::gpu::Gpu| submissions(&case.graph, case.size, &gpu.caps).into_iter().max().unwrap();
        assert!(greatest(&hardware) > budget && greatest(&software) <= budget, "{} and {}", greatest(&hardware), greatest(&software));
        let uncut = case.run(&hardware);
        assert_eq!(uncut, case.run(&software));
        software.caps = Caps { product: None, subgroup_min_size: gpu.caps.subgroup_min_size, ..software.caps }; // its own kernels
        assert!(greatest(&software) <= budget && nmse(&case.run(&software), &uncut) <= BOUND);
    }
}
