//! Damaged files of every kind that is read, made from whole ones: no panic, no hang, bounded memory.
//!
//! A second of each in every test run; for longer ones, `CLIP_WGPU_FUZZ_SECONDS=600 cargo test --release --test fuzz -- --nocapture`.
#![allow(clippy::unwrap_used)] // a test that fails may panic

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use clip_wgpu::clip::{Folder, ModelFiles};
use clip_wgpu::weights::source::Source;
use clip_wgpu::{Image, Preprocess, Result};
use common::Random;

/// The longest that one input may take, and the most that the process may hold.
const LONGEST: Duration = Duration::from_secs(20);
const MOST_MIB: f64 = 2048.0;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder with one of these extensions.
fn files(folder: &str, extensions: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()) {
            match entry.extension().and_then(|e| e.to_str()) {
                _ if entry.is_dir() => folders.push(entry),
                Some(extension) if extensions.contains(&extension) => found.push(std::fs::read(entry).unwrap()),
                _ => {}
            }
        }
    }
    assert!(!found.is_empty(), "{folder:?} {extensions:?}");
    found
}

/// One of `seeds` with a few things wrong: bytes, numbers, stretches taken out, doubled or cut off, pieces of another.
fn damaged(r: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[r.below(seeds.len())].clone();
    // The first bytes are the header's, where damage tells most.
    let place = |r: &mut Random, n: usize| if r.below(2) == 0 { r.below(n.min(256)) } else { r.below(n) };
    for _ in 0..1 + r.below(6) {
        if bytes.is_empty() {
            break;
        }
        let at = place(r, bytes.len());
        let end = (at + 1 + r.below(64)).min(bytes.len());
        match r.below(8) {
            0 => bytes[at] ^= 1 << r.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][r.below(5)],
            2 => bytes[at..end].fill([0, 0xff][r.below(2)]),
            3 => drop(bytes.drain(at..end)),
            4 => bytes.truncate(at),
            5 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            6 => {
                let other = &seeds[r.below(seeds.len())];
                let from = r.below(other.len());
                let part = other[from..(from + 64).min(other.len())].to_vec();
                bytes.splice(at..end, part);
            }
            _ => {
                // A number of text, as JSON has them.
                let digit = (at..bytes.len()).find(|&i| bytes[i].is_ascii_digit());
                if let Some(i) = digit {
                    bytes.splice(i..i + 1, ["-1", "0", "1e30", "99999999999999999999", "null", "[]"][r.below(6)].bytes());
                }
            }
        }
    }
    bytes
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn fuzz(what: &str, seeds: &[Vec<u8>], f: impl Fn(Vec<u8>) -> Result<()>) {
    let seconds = std::env::var("CLIP_WGPU_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1.0);
    let (begun, mut r) = (Instant::now(), Random(std::process::id() as u64));
    let (mut cases, mut errors) = (0u64, 0u64);
    assert!(seeds.iter().any(|seed| f(seed.clone()).is_ok()), "{what}: every seed is refused, so damage would not be seen");
    while begun.elapsed().as_secs_f64() < seconds {
        let bytes = damaged(&mut r, seeds);
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| f(bytes.clone())));
        let (took, kept) = (start.elapsed(), std::env::temp_dir().join(format!("clip-wgpu-fuzz-{what}")));
        if result.is_err() || took > LONGEST {
            std::fs::write(&kept, &bytes).unwrap();
            panic!("{what}: {} after {took:?}, kept as {}", if result.is_err() { "a panic" } else { "a hang" }, kept.display());
        }
        cases += 1;
        errors += result.is_ok_and(|r| r.is_err()) as u64;
    }
    let peak = resident_mib();
    println!("{what}: {cases} inputs, {errors} of them refused, peak {peak:.0} MiB");
    assert!(peak < MOST_MIB, "{what}: {peak:.0} MiB");
}

/// Bytes of a test.
#[derive(Debug)]
struct Bytes(&'static str, Vec<u8>);

impl Source for Bytes {
    fn name(&self) -> &str {
        self.0
    }
    fn len(&self) -> u64 {
        self.1.len() as u64
    }
    fn read(&self, range: std::ops::Range<u64>) -> futures::future::BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(std::future::ready(Ok(self.1[range.start as usize..range.end as usize].to_vec())))
    }
}

/// A golden model with one file that is this.
fn with(model: &str, file: &'static str, bytes: Vec<u8>) -> Result<()> {
    let folder = root().join("tests/golden").join(model);
    let mut files: Vec<(String, Box<dyn Source>)> = Vec::new();
    for name in
        ["config.json", "open_clip_config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin"]
    {
        if name == "model.safetensors" && file == "pytorch_model.bin" {
            continue; // it would be taken first
        }
        if let Ok(whole) = std::fs::read(folder.join(name)).or_else(|e| if name == file { Ok(Vec::new()) } else { Err(e) }) {
            files.push((name.into(), Box::new(Bytes(file, if name == file { bytes.clone() } else { whole }))));
        }
    }
    pollster::block_on(ModelFiles::of_folder(Folder::new("fuzz", files))).map(drop)
}

#[test]
fn pictures() {
    let mut seeds = files("tests/input/pictures", &["png", "jpg", "webp", "gif", "bmp", "tif", "tiff", "ico"]);
    seeds.extend(files("assets/samples", &["png", "jpg"]));
    let recipe = Preprocess::openai(32);
    fuzz("pictures", &seeds, |bytes| Image::decode(&bytes).map(|image| assert_eq!(recipe.pixels(&image).len(), 3 * 32 * 32)));
}

#[test]
fn configurations() {
    let seeds = files("tests/golden", &["json"]);
    fuzz("config", &seeds, |bytes| with("hf_gelu", "config.json", bytes));
}

#[test]
fn recipes() {
    let size = 33; // the golden model's
    let common = r#""do_rescale":true,"rescale_factor":0.00392156862745098,"do_normalize":true,"image_mean":[0.5,0.5,0.5],"image_std":[0.5,0.5,0.5]"#;
    let seeds: Vec<Vec<u8>> = [
        format!(r#"{{"image_processor_type":"CLIPImageProcessor","size":{{"shortest_edge":{size}}},"do_center_crop":true,"crop_size":{size},"resample":3,{common}}}"#),
        format!(r#"{{"feature_extractor_type":"CLIPFeatureExtractor","size":{size},"crop_size":{{"height":{size},"width":{size}}},"resample":2,{common}}}"#),
        format!(r#"{{"image_processor_type":"SiglipImageProcessor","size":{{"height":{size},"width":{size}}},"resample":3,{common}}}"#),
    ]
    .map(String::into_bytes)
    .into();
    fuzz("preprocessor_config", &seeds, |bytes| with("hf_gelu", "preprocessor_config.json", bytes));
}

#[test]
fn tokenizers() {
    let seeds: Vec<Vec<u8>> = files("assets/pico", &["json"]).into_iter().filter(|f| f.len() > 5_000).collect();
    fuzz("tokenizer", &seeds, |bytes| with("hf_gelu", "tokenizer.json", bytes));
}

#[test]
fn safetensors_headers() {
    let seeds = vec![std::fs::read(root().join("tests/golden/hf_gelu/model.safetensors")).unwrap()];
    fuzz("safetensors", &seeds, |bytes| with("hf_gelu", "model.safetensors", bytes));
}

#[test]
fn pytorch_files() {
    let seeds = [files("tests/golden", &["pt", "bin"]), files("tests/real_files/saved", &["pt", "bin"])].concat();
    fuzz("pytorch", &seeds, |bytes| with("hf_gelu", "pytorch_model.bin", bytes));
}
