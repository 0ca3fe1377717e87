//! Tiny CLIPs against PyTorch, at every intermediate (`scripts/reference/golden.py` makes the references).
#![allow(clippy::unwrap_used)] // a test that fails may panic

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clip_wgpu::clip::{ModelFiles, Tower};
use clip_wgpu::graph::session::Data;
use clip_wgpu::graph::{Rows, Size, Value};
use clip_wgpu::weights::Format;
use clip_wgpu::weights::load::StoredAs;
use clip_wgpu::{Clip, Executor, Options};
use safetensors::SafeTensors;

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(model)
}

struct Expected {
    floats: BTreeMap<String, Vec<f32>>,
    ids: Vec<Vec<u32>>,
    eot: Vec<u32>,
}

fn expected(model: &str) -> Expected {
    let bytes = std::fs::read(folder(model).join("expected.safetensors")).expect("run scripts/reference/golden.py");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let whole = |name: &str| {
        file.tensor(name).unwrap().data().chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect::<Vec<_>>()
    };
    let context = file.tensor("ids").unwrap().shape()[1];
    let floats = file.iter().filter(|(name, _)| !matches!(*name, "ids" | "eot"));
    Expected {
        floats: floats
            .map(|(name, t)| (name.into(), t.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()))
            .collect(),
        ids: whole("ids").chunks(context).map(<[u32]>::to_vec).collect(),
        eot: whole("eot"),
    }
}

/// Greatest difference, in standard deviations of `want`.
fn deviation(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let mean = want.iter().map(|&v| v as f64).sum::<f64>() / want.len() as f64;
    let sigma = (want.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / want.len() as f64).sqrt();
    got.iter().zip(want).map(|(g, w)| (*g as f64 - *w as f64).abs()).fold(0.0, f64::max) / sigma
}

fn load(executor: &Executor, model: &str, stored: StoredAs, keep: &[&str]) -> Clip {
    let options = Options { stored, batch: 4, ..Options::default() };
    let load = async { Clip::load_on(executor, ModelFiles::find(&folder(model).display().to_string())?, &options, keep).await };
    pollster::block_on(load).unwrap_or_else(|e| panic!("{model}: {e}"))
}

/// The GPU, where there is one, and the host.
fn executors() -> Vec<Executor> {
    common::gpu().map(Executor::Gpu).into_iter().chain([Executor::Host]).collect()
}

/// Every intermediate of both towers, and the embeddings, within `bound` standard deviations.
fn check(model: &str, bound: f64) {
    executors().iter().for_each(|executor| check_on(executor, model, bound));
}

fn check_on(executor: &Executor, model: &str, bound: f64) {
    let want = expected(model);
    let names: Vec<&str> = want.floats.keys().map(String::as_str).filter(|n| n.starts_with("vision.") || n.starts_with("text.")).collect();
    assert!(names.len() > 20);
    let clip = load(executor, model, StoredAs::Auto, &names);

    let (inputs, text_size) = clip.text_inputs(&want.ids).unwrap();
    assert_eq!(inputs.eot, want.eot, "{model}: pooled rows");
    let images = want.floats["pixels"].len() / (3 * clip.config.vision.size.pow(2));
    let tokens = clip.vision.runner.capacity().tokens;
    let (lengths, class) = (vec![tokens as u32; images], vec![0; images]);
    let ends = &clip.vision.ends;
    let pixels =
        [(ends.input, Data::F32(&want.floats["pixels"])), (ends.lengths, Data::U32(&lengths)), (ends.pooled_at, Data::U32(&class))];
    let vision_size = Size { batch: images, tokens };

    let mut worst = (0.0, String::new());
    for (tower, inputs, size, prefix) in
        [(&clip.vision, &pixels, vision_size, "vision."), (&clip.text, &inputs.of(&clip.text.ends), text_size, "text.")]
    {
        let names: Vec<&&str> = names.iter().filter(|n| n.starts_with(prefix)).collect();
        let values: Vec<Value> = names.iter().map(|name| tower.graph.find(name).unwrap_or_else(|| panic!("no value `{name}`"))).collect();
        let found = pollster::block_on(tower.runner.run_and_read(inputs, size, &values)).unwrap();
        for ((name, value), got) in names.into_iter().zip(values).zip(found) {
            let (got, want) = comparable(tower, value, got, &want.floats[*name], &want.eot, size, want.ids[0].len());
            let error = deviation(&got, &want);
            if error > worst.0 {
                worst = (error, name.to_string());
            }
            assert!(error <= bound, "{model}: `{name}` is {error:.1e} standard deviations off, bound {bound:.0e}");
        }
    }
    println!("{model} on {}: worst {:.1e} of a standard deviation, at `{}`", executor.name(), worst.0, worst.1);
}

/// The rows that count: of texts, those up to EOT. The full-size references keep values on the way for the first item only.
fn comparable(tower: &Tower, value: Value, got: Vec<f32>, want: &[f32], eot: &[u32], size: Size, context: usize) -> (Vec<f32>, Vec<f32>) {
    let desc = tower.graph.desc(value);
    if !desc.name.starts_with("text.") || desc.rows != Rows::Tokens {
        return (got[..want.len()].to_vec(), want.to_vec());
    }
    let rows = |data: &[f32], tokens: usize| -> Vec<f32> {
        let item = |(b, &e): (usize, &u32)| data[b * tokens * desc.width..][..(e as usize + 1) * desc.width].to_vec();
        eot.iter().enumerate().take(want.len() / (context * desc.width)).flat_map(item).collect()
    };
    (rows(&got, size.tokens), rows(want, context))
}

/// DESIGN's bound for f32 arithmetic, whatever the storage: the references use the rounded weights.
const BOUND: f64 = 2e-4;

#[test]
fn hugging_face_quick_gelu() {
    check("hf_quick", BOUND);
}

#[test]
fn hugging_face_gelu_with_one_wide_head() {
    check("hf_gelu", BOUND);
}

#[test]
fn hugging_face_tanh_gelu_in_shards() {
    check("hf_tanh", BOUND);
}

#[test]
fn hugging_face_f16_and_bf16() {
    check("hf_f16", BOUND);
    check("hf_bf16", BOUND);
}

#[test]
fn open_clip_quick_gelu_and_gelu() {
    check("open_clip_quick", BOUND);
    check("open_clip_gelu", BOUND);
}

/// Massive activations: PyTorch's own f32 is the yardstick.
#[test]
fn planted_activations() {
    executors().iter().for_each(planted_activations_on);
}

fn planted_activations_on(executor: &Executor) {
    let want = expected("hf_planted");
    let clip = load(executor, "hf_planted", StoredAs::Auto, &[]);
    let (image, text) = pollster::block_on(async {
        (clip.encode_pixels(&want.floats["pixels"]).await.unwrap(), clip.encode_ids(&want.ids).await.unwrap())
    });
    for (name, got) in [("vision.embedding", image.data), ("text.embedding", text.data)] {
        let (ours, theirs) = (deviation(&got, &want.floats[name]), deviation(&want.floats[&format!("f32.{name}")], &want.floats[name]));
        println!("planted {name}: ours {ours:.1e}, PyTorch's f32 {theirs:.1e}");
        assert!(ours <= BOUND.max(3.0 * theirs), "{name}: {ours:.1e} standard deviations off, PyTorch's f32 {theirs:.1e}");
    }
}

/// f32 weights kept as f16, against the f32 reference.
#[test]
fn f16_storage_of_f32_weights() {
    for (model, executor) in ["hf_quick", "open_clip_gelu"].into_iter().flat_map(|m| executors().into_iter().map(move |e| (m, e))) {
        let want = expected(model);
        let clip = load(&executor, model, StoredAs::As(Format::F16), &[]);
        let got = pollster::block_on(clip.encode_pixels(&want.floats["pixels"])).unwrap();
        for (g, w) in got.data.chunks(got.width).zip(want.floats["vision.embedding"].chunks(got.width)) {
            let cosine: f64 = g.iter().zip(w).map(|(g, w)| *g as f64 * *w as f64).sum();
            assert!(cosine >= 0.9999, "{model}: cosine {cosine}");
        }
    }
}

#[test]
fn a_row_is_the_same_in_any_batch() {
    executors().iter().for_each(a_row_is_the_same_in_any_batch_on);
}

fn a_row_is_the_same_in_any_batch_on(executor: &Executor) {
    let want = expected("hf_quick");
    let clip = load(executor, "hf_quick", StoredAs::Auto, &[]);
    let pixels = &want.floats["pixels"];
    let each = pixels.len() / 2;
    let many: Vec<f32> = (0..7).flat_map(|i| pixels[i % 2 * each..][..each].to_vec()).collect();
    pollster::block_on(async {
        let (all, one) = (clip.encode_pixels(&many).await.unwrap(), clip.encode_pixels(&pixels[..each]).await.unwrap());
        for row in [0, 2, 4, 6] {
            assert_eq!(&all.data[row * all.width..][..all.width], &one.data[..], "picture in row {row}");
        }
        let (all, one) = (clip.encode_ids(&want.ids).await.unwrap(), clip.encode_ids(&want.ids[1..2]).await.unwrap());
        assert_eq!(&all.data[all.width..2 * all.width], &one.data[..], "text cut with others and alone");
    });
}

/// ViT-B/32, ViT-B/16 and the like with seeded random weights: `scripts/reference/README.md` says how to make and run them.
#[test]
#[ignore = "takes folders made by scripts/reference/full_size.py, in CLIP_WGPU_FULL_SIZE with `:` between them"]
fn full_size() {
    let folders = std::env::var("CLIP_WGPU_FULL_SIZE").expect("CLIP_WGPU_FULL_SIZE names folders made by scripts/reference/full_size.py");
    folders.split(':').for_each(|folder| check(folder, BOUND));
}
