//! Tiny CLIPs against PyTorch, at every intermediate (`scripts/reference/golden.py` makes the references).
#![allow(clippy::unwrap_used)] // a test that fails may panic

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clip_wgpu::clip::config::{Text, TextPool, TowerConfig, Vision, VisionPool};
use clip_wgpu::clip::{Config, Embeddings, ModelFiles, TEXT_POOLED, Tower};
use clip_wgpu::graph::{Data, Rows, Size, Value};
use clip_wgpu::ops::Act;
use clip_wgpu::weights::load::StoredAs;
use clip_wgpu::weights::{Compute, Format};
use clip_wgpu::{Clip, Executor, Options, Result};
use safetensors::SafeTensors;

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(model)
}

/// The floats of a file of tensors.
fn floats(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(path).expect("scripts/reference made it");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().filter(|(_, tensor)| tensor.dtype() == safetensors::Dtype::F32);
    tensors.map(|(name, t)| (name.into(), t.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())).collect()
}

struct Expected {
    floats: BTreeMap<String, Vec<f32>>,
    ids: Vec<Vec<u32>>,
    eot: Vec<u32>,
}

fn expected(model: &str) -> Expected {
    let path = folder(model);
    let path = if path.is_file() { path.parent().unwrap().to_path_buf() } else { path }.join("expected.safetensors");
    let bytes = std::fs::read(&path).expect("run scripts/reference/golden.py");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let whole = |name: &str| {
        file.tensor(name).unwrap().data().chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect::<Vec<_>>()
    };
    let context = file.tensor("ids").unwrap().shape()[1];
    Expected { floats: floats(&path), ids: whole("ids").chunks(context).map(<[u32]>::to_vec).collect(), eot: whole("eot") }
}

/// Greatest difference, in standard deviations of `want`.
fn deviation(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let mean = want.iter().map(|&v| v as f64).sum::<f64>() / want.len() as f64;
    let sigma = (want.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / want.len() as f64).sqrt();
    let worst = got
        .iter()
        .zip(want)
        .map(|(g, w)| (*g as f64 - *w as f64).abs())
        .fold(0.0, |a, b| if b.is_nan() { f64::INFINITY } else { a.max(b) });
    worst / sigma
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn load(executor: &Executor, model: &str, stored: StoredAs, keep: &[&str]) -> Clip {
    load_changed(executor, model, Options { stored, ..Options::default() }, keep, |_| {}).unwrap_or_else(|e| panic!("{model}: {e}"))
}

fn load_changed(executor: &Executor, model: &str, options: Options, keep: &[&str], change: impl Fn(&mut Config)) -> Result<Clip> {
    let options = Options { batch: 4, ..options };
    pollster::block_on(async {
        let mut files = ModelFiles::find(&folder(model).display().to_string()).await?;
        change(&mut files.config);
        Clip::load_on(executor, files, &options, keep).await
    })
}

/// The GPU, where there is one, and the host.
fn executors() -> Vec<Executor> {
    common::gpu().map(Executor::Gpu).into_iter().chain([Executor::Host]).collect()
}

/// Every recorded value of both towers, the embeddings and the scores, within `bound` standard deviations.
fn check(model: &str, bound: f64) -> Worst {
    let found = executors().iter().map(|executor| check_on(executor, model, bound)).max_by(|a, b| a.off.total_cmp(&b.off));
    found.expect("the host is always there")
}

fn check_on(executor: &Executor, model: &str, bound: f64) -> Worst {
    let worst = worst_on(executor, model, Options::default(), |_| {});
    println!("{model} on {}: worst {:.1e} of a standard deviation, at `{}`", executor.name(), worst.off, worst.at);
    assert!(worst.off <= bound, "{model}: `{}` is {:.1e} standard deviations off, bound {bound:.0e}", worst.at, worst.off);
    worst
}

/// Where a model is furthest from its reference.
struct Worst {
    /// In standard deviations of the value `at`.
    off: f64,
    at: String,
    /// Least of all rows of both embeddings.
    cosine: f64,
    /// 1 - cosine, summed over them.
    apart: f64,
    values: usize,
    sizes: String,
}

/// Told a value's name, what was found and what was expected.
type Note<'a> = &'a mut dyn FnMut(&str, &[f32], &[f32]);

/// Of a model whose configuration may be changed first.
fn worst_on(executor: &Executor, model: &str, options: Options, change: impl Fn(&mut Config)) -> Worst {
    let want = expected(model);
    let names: Vec<&str> = want.floats.keys().map(String::as_str).filter(|n| n.starts_with("vision.") || n.starts_with("text.")).collect();
    assert!(names.len() >= 4);
    let clip = load_changed(executor, model, options, &names, change).unwrap_or_else(|e| panic!("{model}: {e}"));
    let tower = |t: &TowerConfig| format!("{} × {}", t.width, t.blocks.len());
    let sizes = [clip.config.vision.as_ref().map(|v| tower(&v.tower)), clip.config.text.as_ref().map(|t| tower(&t.tower))];
    let sizes = sizes.map(|size| size.unwrap_or("none".into())).join(", ");
    let mut worst = Worst { off: 0.0, at: String::new(), cosine: 1.0, apart: 0.0, values: names.len(), sizes };
    let mut note = |name: &str, got: &[f32], want: &[f32]| {
        let off = deviation(got, want);
        if off > worst.off {
            (worst.off, worst.at) = (off, name.to_string());
        }
        if name.ends_with(".embedding") {
            let width = clip.config.embed;
            for cosine in got.chunks(width).zip(want.chunks(width)).map(|(got, want)| cosine(got, want)) {
                worst.cosine = worst.cosine.min(cosine);
                worst.apart += 1.0 - cosine;
            }
        }
    };
    let whole = clip.config.text.as_ref().is_some_and(Text::sees_padding);
    let run = |tower: &Tower, inputs: &[(Value, Data<'_>)], size: Size, note: Note<'_>| {
        let names: Vec<&&str> = names.iter().filter(|n| tower.graph.find(n).is_some()).collect();
        let values: Vec<Value> = names.iter().filter_map(|name| tower.graph.find(name)).collect();
        let found = pollster::block_on(tower.runner.run_and_read(inputs, size, &values)).unwrap();
        for ((name, value), got) in names.iter().zip(values).zip(found) {
            let (got, want) = comparable(tower, value, got, (&want, name), size, whole);
            note(name, &got, &want);
        }
        names.len()
    };
    let mut compared = 0;
    if let (Ok(tower), Ok(v)) = (clip.vision(), clip.config.vision()) {
        let images = want.floats["pixels"].len() / (3 * v.size.pow(2));
        let size = Size { batch: images, tokens: v.tokens() };
        let inputs = [(tower.ends.input, Data::F32(&want.floats["pixels"]))];
        compared += run(tower, &inputs, size, &mut note);
    }
    if let Ok(tower) = clip.text() {
        let (inputs, size) = clip.text_inputs(&want.ids).unwrap();
        compared += run(tower, &inputs.of(&tower.ends), size, &mut note);
    }
    assert_eq!(compared, names.len(), "{model}: every recorded value is one of ours: {names:?}");
    if let Some(logits) = want.floats.get("logits") {
        let rows = |name: &str| {
            let data = want.floats[&format!("{name}.embedding")].clone();
            Embeddings { rows: data.len() / clip.config.embed, width: clip.config.embed, data }
        };
        note("logits", &pollster::block_on(clip.logits(&rows("vision"), &rows("text"))).unwrap(), logits);
    }
    worst
}

/// The rows that count: of causal texts, those up to EOT. The full-size references keep values on the way for the first item only.
fn comparable(
    tower: &Tower,
    value: Value,
    got: Vec<f32>,
    (expected, name): (&Expected, &str),
    size: Size,
    whole: bool,
) -> (Vec<f32>, Vec<f32>) {
    let (desc, want, context) = (tower.graph.desc(value), &expected.floats[name], expected.ids[0].len());
    if !desc.name.starts_with("text.") || desc.rows != Rows::Tokens || whole {
        return (got[..want.len()].to_vec(), want.to_vec());
    }
    let rows = |data: &[f32], tokens: usize| -> Vec<f32> {
        // A text that was cut too short lacks rows.
        let row = |b: usize, t: usize| {
            if t < tokens { data[(b * tokens + t) * desc.width..][..desc.width].to_vec() } else { vec![f32::NAN; desc.width] }
        };
        let item = |(b, &e): (usize, &u32)| (0..=e as usize).flat_map(move |t| row(b, t)).collect::<Vec<f32>>();
        expected.eot.iter().enumerate().take(want.len() / (context * desc.width)).flat_map(item).collect()
    };
    (rows(&got, size.tokens), rows(want, context))
}

/// DESIGN's bound for f32 arithmetic, whatever the storage: the references use the rounded weights.
const BOUND: f64 = 2e-4;

const TRANSFORMERS: &str = "transformers 5.23.0";
const OPEN_CLIP: &str = "open_clip 3.3.0";

/// A folder of tests/golden, what it stands for, and whose numbers it must give.
const FAMILIES: [(&str, &str, &str); 18] = [
    ("hf_quick", "CLIP of transformers, QuickGELU", TRANSFORMERS),
    ("hf_gelu", "the same with GELU and one wide head", TRANSFORMERS),
    ("hf_tanh", "the same with GELU's tanh form, in shards", TRANSFORMERS),
    ("hf_f16", "the same in f16", TRANSFORMERS),
    ("hf_bf16", "the same in bf16", TRANSFORMERS),
    ("hf_vision_only", "`CLIPVisionModelWithProjection`", TRANSFORMERS),
    ("hf_text_only", "`CLIPTextModelWithProjection`", TRANSFORMERS),
    ("open_clip_quick", "open_clip's ViT, QuickGELU", OPEN_CLIP),
    ("open_clip_gelu", "the same with GELU", OPEN_CLIP),
    ("open_clip_ratio", "the same with an MLP ratio of 4.92, as bigG has", OPEN_CLIP),
    ("clipa", "CLIPA: mean of the patches, no causal mask", OPEN_CLIP),
    ("openai_script/model.pt", "OpenAI's TorchScript archive", OPEN_CLIP),
    ("training_checkpoint/epoch_32.pt", "open_clip's training checkpoint", OPEN_CLIP),
    ("training_checkpoint", "open_clip's state dictionary (`.bin`)", OPEN_CLIP),
    ("siglip_hf", "SigLIP of transformers", TRANSFORMERS),
    ("siglip_open_clip", "SigLIP of open_clip and timm", "open_clip 3.3.0, timm"),
    ("mobileclip2", "a plain timm trunk (MobileCLIP2-L)", "open_clip 3.3.0, timm"),
    ("tinyclip", "TinyCLIP: pruned widths", "open_clip 3.3.0, pruned"),
];

/// docs/checkpoints.md is what this prints: `cargo test --release --test golden families -- --nocapture`.
#[test]
fn families() {
    let documented = include_str!("../docs/checkpoints.md");
    for (model, family, source) in FAMILIES {
        let worst = check(model, BOUND);
        let begin = format!("| {family} | {source} | {} | {} |", worst.sizes, worst.values);
        println!("{begin} {:.0e} | {:.1e} at `{}` |", 1.0 - worst.cosine, worst.off, worst.at);
        assert!(documented.contains(&begin), "docs/checkpoints.md lacks `{begin}`");
    }
}

/// Linear layers in 8-bit integers: their embeddings' cosine to those of PyTorch's f32.
#[test]
fn arithmetic_in_int8() {
    let options = Options { compute: Compute::Int8, ..Options::default() };
    if !clip_wgpu::host::multiplies_integers() {
        let Err(error) = load_changed(&Executor::Host, "hf_quick", options, &[], |_| {}) else { panic!("it was not refused") };
        assert!(error.to_string().contains("VNNI"), "{error}");
        return;
    }
    for (model, ..) in FAMILIES {
        let worst = worst_on(&Executor::Host, model, options.clone(), |_| {});
        println!("{model}: cosine {:.5}", worst.cosine);
        assert!((0.999..0.999_999).contains(&worst.cosine), "{model}: cosine {}", worst.cosine); // f32 gives 1
    }
    if let Some(gpu) = common::gpu() {
        let Err(error) = load_changed(&gpu.into(), "hf_quick", options, &[], |_| {}) else { panic!("it was not refused") };
        assert!(error.to_string().contains("choose the device cpu"), "{error}");
    }
}

/// Layers that multiply in f16, where the GPU has it: their embeddings' cosine to those of PyTorch's f32.
#[test]
fn arithmetic_in_f16() {
    let options = Options { compute: Compute::F16, ..Options::default() };
    let refused = |executor: &Executor| match load_changed(executor, "hf_quick", options.clone(), &[], |_| {}) {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.to_string(),
    };
    assert!(refused(&Executor::Host).contains("choose the device gpu"));
    if let Some(gpu) = common::application_gpu() {
        assert!(refused(&gpu.into()).contains("opened without"));
    }
    let Some(gpu) = common::gpu().filter(|gpu| gpu.clone().in_f16().is_ok()) else { return };
    let again = pollster::block_on(Compute::F32.on(&gpu.clone().in_f16().unwrap().into())).unwrap();
    assert!(matches!(again, Executor::Gpu(gpu) if !gpu.caps.f16), "f16 is a model's, not the device's");
    for name in [None, Some("product_tile"), Some("product_few"), Some("product_cooperative")] {
        let (kernel, gpu) = (name.unwrap_or("the device's own kernel"), gpu.clone());
        let gpu = match name.map_or(Ok(gpu.clone()), |name| gpu.with_kernel(name)) {
            Ok(gpu) => gpu,
            Err(error) => {
                eprintln!("left out: {error}");
                continue;
            }
        };
        let (mut ours, mut theirs) = (0.0, 0.0);
        for (model, ..) in FAMILIES {
            let found = worst_on(&gpu.clone().into(), model, options.clone(), |_| {});
            let worst = 1.0 - found.cosine;
            println!("{model} by {kernel}: 1 - cosine {worst:.1e}");
            assert!((1e-12..1e-5).contains(&worst), "{model} by {kernel}: 1 - cosine {worst:.1e}"); // f32 gives 0
            if let Some(half) = apart_in_half(model) {
                (ours, theirs) = (ours + found.apart, theirs + half);
            }
        }
        let ratio = f64::sqrt(ours / theirs);
        println!("by {kernel}: {ratio:.2} of the error of PyTorch's f16");
        assert!((0.1..1.5).contains(&ratio), "by {kernel}: {ratio:.2} of the error of PyTorch's f16");
    }
}

/// 1 - cosine of PyTorch's own f16 to its f32, summed over a model's embeddings (`scripts/reference/half.py`).
fn apart_in_half(model: &str) -> Option<f64> {
    let path = folder(model).join("half.safetensors");
    let (half, want) = (floats(path.exists().then_some(&path)?), expected(model).floats);
    let width = half["vision.embedding"].len() / 2; // of two pictures
    Some(half.iter().flat_map(|(name, rows)| rows.chunks(width).zip(want[name].chunks(width))).map(|(a, b)| 1.0 - cosine(a, b)).sum())
}

/// What each patch gives, where a class token, an average or a head pools them (`scripts/reference/parts.py`).
#[test]
fn parts_of_patches() {
    for (model, executor) in ["hf_quick", "siglip_hf", "clipa"].into_iter().flat_map(|m| executors().into_iter().map(move |e| (m, e))) {
        let want = floats(&folder(model).join("parts.safetensors")).remove("parts").unwrap();
        let clip = load(&executor, model, StoredAs::Auto, &[]);
        let found = pollster::block_on(clip.pixel_parts(&expected(model).floats["pixels"])).unwrap();
        assert_eq!(clip.patch_grid().unwrap(), 3);
        let worst = deviation(&found.data, &want);
        println!("{model} on {}: {worst:.1e}", executor.name());
        assert!(worst <= BOUND, "{model} on {}: {worst:.1e} standard deviations off", executor.name());
    }
}

/// Hidden states and what is pooled, by name: of transformers' text tower.
#[test]
fn hidden_states_of_texts() {
    for model in ["hf_quick", "hf_text_only", "siglip_hf"] {
        let want = expected(model);
        let files = pollster::block_on(ModelFiles::find(folder(model).to_str().unwrap())).unwrap();
        let (last, pooled) = (files.config.text_hidden_state(2).unwrap(), "text.embedding");
        assert!(files.config.text_hidden_state(3).unwrap_err().to_string().contains("expected a layer from 0 to 2, found 3"));
        let clip = load(&Executor::Host, model, StoredAs::Auto, &[&last, pooled, TEXT_POOLED]);
        let rows = |name: &str| pollster::block_on(clip.value_of_ids(name, &want.ids)).unwrap();
        let width = clip.config.text().unwrap().tower.width;
        for (i, row) in rows(&last).iter().enumerate() {
            let tokens = if clip.config.text().unwrap().sees_padding() { want.ids[i].len() } else { want.eot[i] as usize + 1 };
            let of_text = &want.floats["text.block.1.out"][i * want.ids[i].len() * width..][..tokens * width];
            assert!(deviation(row, of_text) <= BOUND, "{model}: text {i}");
        }
        assert!(deviation(&rows(pooled).concat(), &want.floats[pooled]) <= BOUND, "{model}");
        let (found, recorded) = (rows(TEXT_POOLED).concat(), want.floats.get(TEXT_POOLED));
        assert_eq!(recorded.is_some(), model == "hf_quick");
        assert!(recorded.is_none_or(|recorded| deviation(&found, recorded) <= BOUND), "{model}");
        let refused = pollster::block_on(clip.value_of_ids("text.block.0.out", &want.ids));
        assert!(refused.is_err(), "{model}: a value that was not kept");
    }
}

/// `--image-size`: positions resampled up and down, as open_clip does, and as transformers does where the folder is its own.
#[test]
fn pictures_of_another_size() {
    for model in ["open_clip_ratio", "clipa", "hf_quick", "siglip_hf"] {
        let own = folder(model).join("resized.safetensors");
        let want = floats(&if own.exists() { own } else { folder(model).join("expected.safetensors") });
        for size in [50, 20] {
            let files = pollster::block_on(ModelFiles::find(&folder(model).display().to_string())).unwrap();
            let options = Options { image_size: Some(size), ..Options::default() };
            let clip = pollster::block_on(Clip::load_on(&Executor::Host, files, &options, &[])).unwrap();
            assert_eq!(clip.preprocess.size, size);
            let got = pollster::block_on(clip.encode_pixels(&want[&format!("resized{size}.pixels")])).unwrap();
            let error = deviation(&got.data, &want[&format!("resized{size}.embedding")]);
            println!("{model} at {size}: {error:.1e} of a standard deviation");
            assert!(error <= BOUND, "{model} at {size}: {error:.1e} standard deviations off");
        }
    }
}

/// What is wrong, of which model, and what makes it so.
type Mistake = (&'static str, &'static str, fn(&mut Vision, &mut Text));

const MISTAKES: [Mistake; 13] = [
    ("GELU for QuickGELU", "hf_quick", |v, _| v.tower.act = Act::Gelu),
    ("QuickGELU for GELU", "open_clip_ratio", |_, t| t.tower.act = Act::QuickGelu),
    ("GELU for its tanh form", "siglip_open_clip", |_, t| t.tower.act = Act::Gelu),
    ("the tanh form for GELU", "siglip_open_clip", |v, _| v.tower.act = Act::GeluTanh),
    ("the greatest id for the first EOS", "hf_gelu", |_, t| t.pool = TextPool::Argmax),
    ("the first row for the last", "clipa", |_, t| t.pool = TextPool::First),
    ("the greatest id for the last row", "siglip_hf", |_, t| t.pool = TextPool::Argmax),
    ("the class token for the mean", "clipa", |v, _| v.pool = VisionPool::Class),
    ("the mean for the class token", "mobileclip2", |v, _| v.pool = VisionPool::Mean),
    ("the norm before the mean", "clipa", |v, _| v.norm_first = true),
    ("a causal mask where there is none", "mobileclip2", |_, t| t.causal = true),
    ("no causal mask where there is one", "open_clip_ratio", |_, t| t.causal = false),
    ("heads of another width", "open_clip_ratio", |v, _| {
        v.tower.head /= 2;
        v.tower.blocks.iter_mut().for_each(|b| b.heads *= 2);
    }),
];

#[test]
fn mistakes_in_the_configuration_are_caught() {
    for (what, model, change) in MISTAKES {
        let both = |config: &mut Config| change(config.vision.as_mut().unwrap(), config.text.as_mut().unwrap());
        let Worst { off, at, .. } = worst_on(&Executor::Host, model, Options::default(), both);
        println!("{off:.1e} at `{at}`: {what} ({model})");
        assert!(off > BOUND, "{what} ({model}): {off:.1e} is not caught by the bound {BOUND:.0e}");
    }
}

/// Where padding counts, what texts are filled up with.
#[test]
fn another_padding_is_caught() {
    let want = expected("siglip_hf");
    let full = want.ids[0].len();
    let own: Vec<Vec<u32>> =
        want.ids.iter().map(|ids| ids[..full - ids.iter().rev().take_while(|id| **id == 1).count()].to_vec()).collect();
    assert!(own.iter().any(|ids| ids.len() < full));
    let off = |pad: u32| {
        let clip = load_changed(&Executor::Host, "siglip_hf", Options::default(), &[], |c| c.text.as_mut().unwrap().pad = pad).unwrap();
        deviation(&pollster::block_on(clip.encode_ids(&own)).unwrap().data, &want.floats["text.embedding"])
    };
    assert!(off(1) <= BOUND && off(0) > BOUND, "{:.1e} and {:.1e}", off(1), off(0));
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
            assert!(cosine(g, w) >= 0.9999, "{model}: cosine {}", cosine(g, w));
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

/// Models of full size with seeded random weights, on a device with WebGPU's default limits and on the host:
/// `scripts/reference/README.md` says how to make and run them.
#[test]
#[ignore = "takes folders made by scripts/reference/full_size.py, in CLIP_WGPU_FULL_SIZE with `:` between them"]
fn full_size() {
    let folders = std::env::var("CLIP_WGPU_FULL_SIZE").expect("CLIP_WGPU_FULL_SIZE names folders made by scripts/reference/full_size.py");
    for folder in folders.split(':') {
        for executor in common::application_gpu().map(Executor::Gpu).into_iter().chain([Executor::Host]) {
            check_on(&executor, folder, BOUND);
            if let Some(gpu) = common::gpu().filter(|gpu| matches!(executor, Executor::Gpu(_)) && gpu.clone().in_f16().is_ok()) {
                let options = Options { compute: Compute::F16, ..Options::default() };
                println!("  in f16: 1 - cosine {:.1e}", 1.0 - worst_on(&gpu.into(), folder, options, |_| {}).cosine);
            }
            if matches!(executor, Executor::Host) && clip_wgpu::host::multiplies_integers() {
                let options = Options { compute: Compute::Int8, ..Options::default() };
                println!("  in int8: cosine {:.5}", worst_on(&executor, folder, options, |_| {}).cosine);
            }
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            status.lines().filter(|l| l.starts_with("VmHWM")).for_each(|l| println!("  the process's peak so far: {l}"));
        }
    }
}
