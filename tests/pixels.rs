//! Pictures of every kind against PIL (`scripts/reference/pixels.py` makes the references).
#![allow(clippy::unwrap_used)] // a test that fails may panic

use std::path::Path;

use clip_wgpu::{Filter, Image, Preprocess, ResizeMode};
use safetensors::SafeTensors;

fn expected() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input/pixels.safetensors")).unwrap()
}

fn picture(name: &str) -> Image {
    Image::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input/pictures").join(name)).unwrap()
}

fn recipe(name: &str) -> Preprocess {
    let (size, mode, filter, fill) = match name {
        "shortest" => (32, ResizeMode::Shortest, Filter::Bicubic, 0),
        "bilinear" => (40, ResizeMode::Shortest, Filter::Bilinear, 0),
        "squash" => (40, ResizeMode::Squash, Filter::Bicubic, 0),
        "longest" => (40, ResizeMode::Longest, Filter::Bicubic, 0),
        "filled" => (40, ResizeMode::Longest, Filter::Bilinear, 99),
        other => panic!("no recipe {other}"),
    };
    Preprocess { mode, filter, fill: [fill; 3], ..Preprocess::openai(size) }
}

/// Greatest and mean difference of 8-bit levels, and how many differ.
fn difference(got: &[u8], want: &[u8]) -> (u8, f64, usize) {
    assert_eq!(got.len(), want.len());
    let each: Vec<u8> = got.iter().zip(want).map(|(g, w)| g.abs_diff(*w)).collect();
    (
        each.iter().copied().max().unwrap(),
        each.iter().map(|&d| d as f64).sum::<f64>() / each.len() as f64,
        each.iter().filter(|d| **d > 0).count(),
    )
}

/// Every result whose picture `wanted` takes, with the greatest difference that is allowed and that on average.
fn check(wanted: impl Fn(&str) -> bool, at_least: usize, most: u8, mean: f64) {
    let bytes = expected();
    let mut found = 0;
    for (key, tensor) in SafeTensors::deserialize(&bytes).unwrap().iter() {
        let (kind, file) = key.split_once('/').unwrap();
        if kind == "hf" || !wanted(file) {
            continue;
        }
        let (worst, average, count) = difference(&recipe(kind).square(&picture(file)), tensor.data());
        println!("{key}: at most {worst} levels, {average:.4} on average, {count} of {} differ", tensor.data().len());
        assert!(worst <= most && average <= mean, "{key}: {worst} levels apart, {average:.4} on average; at most {most} and {mean}");
        found += 1;
    }
    assert!(found >= at_least, "{found} pictures");
}

fn lossy(file: &str) -> bool {
    file.ends_with(".jpg") || file == "lossy.webp" || matches!(file, "cmyk.tif" | "lab.tif" | "lab-noise.tif")
}

/// Better than the promise of one level: the same, to the last bit.
#[test]
fn lossless_pictures_are_those_of_pil() {
    check(|file| !lossy(file), 58, 0, 0.0);
}

/// Decoders of what was coded with a loss differ among themselves (inverse transforms, chroma upsampling, CMYK without a
/// profile); the bounds are what was measured.
#[test]
fn jpeg_and_lossy_webp_are_as_near_as_the_decoders() {
    check(|file| matches!(file, "444.jpg" | "grey.jpg" | "progressive.jpg" | "420.jpg" | "lossy.webp"), 5, 2, 0.35);
    check(|file| file.starts_with("cmyk."), 2, 1, 0.01);
    check(|file| file.starts_with("lab"), 2, 2, 0.03); // decoded one level apart, of which resizing makes two
}

#[test]
fn every_orientation_is_turned_upright() {
    let upright: Vec<Vec<u8>> = (1..=8).map(|o| recipe("shortest").square(&picture(&format!("turned-{o}.png")))).collect();
    assert!((1..8).all(|o| upright[o] != upright[0]), "the eight are eight different pictures");
    let (a, b) = (picture("turned-1.png"), picture("turned-6.png"));
    assert_eq!((a.width(), a.height()), (b.height(), b.width()));
}

/// transformers' own processor, numbers and configuration.
#[test]
fn pixels_equal_those_of_transformers() {
    let config = r#"{"do_resize": true, "size": {"shortest_edge": 44}, "resample": 3, "do_center_crop": true, "crop_size": {"height": 40, "width": 40},
        "do_rescale": true, "rescale_factor": 0.00392156862745098, "do_normalize": true, "do_convert_rgb": true,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}"#;
    let recipe = Preprocess::from_hf(config, "preprocessor_config.json").unwrap();
    let bytes = expected();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for name in ["rgb.png", "300x203.png"] {
        let want: Vec<f32> =
            file.tensor(&format!("hf/{name}")).unwrap().data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let worst_of = |recipe: &Preprocess| {
            let got = recipe.pixels(&picture(name));
            got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max)
        };
        let worst = worst_of(&recipe);
        println!("hf/{name}: at most {worst}");
        assert!(worst <= 1e-6, "{name}: {worst}");
        // Mistakes in it are far outside that.
        for (what, wrong) in [
            ("SigLIP's mean and deviation", Preprocess { mean: [0.5; 3], std: [0.5; 3], ..recipe.clone() }),
            ("another filter", Preprocess { filter: Filter::Bilinear, ..recipe.clone() }),
            ("a squashed picture", Preprocess { mode: ResizeMode::Squash, ..recipe.clone() }),
            ("a crop as large as the picture", Preprocess { resize: recipe.size, ..recipe.clone() }),
            ("red for blue", Preprocess { mean: [recipe.mean[2], recipe.mean[1], recipe.mean[0]], ..recipe.clone() }),
        ] {
            assert!(worst_of(&wrong) > 1e-3, "{name}: {what} is not caught: {}", worst_of(&wrong));
        }
    }
}

#[test]
fn recipes_are_read_as_they_are_written() {
    let hf = |json: &str| Preprocess::from_hf(json, "p.json");
    assert_eq!(hf("{}").unwrap(), Preprocess::openai(224));
    assert_eq!(
        hf(r#"{"size": 336, "crop_size": 336, "resample": 2}"#).unwrap(),
        Preprocess { filter: Filter::Bilinear, ..Preprocess::openai(336) }
    );
    let squashed = hf(r#"{"size": {"height": 224, "width": 224}, "do_center_crop": false}"#).unwrap();
    assert_eq!((squashed.mode, squashed.size), (ResizeMode::Squash, 224));
    let message = |json: &str| hf(json).unwrap_err().to_string();
    assert_eq!(message(r#"{"resample": 1}"#), "p.json: `resample`: expected 2 (bilinear) or 3 (bicubic), found 1");
    assert_eq!(message(r#"{"do_normalize": false}"#), "p.json: `do_normalize`: expected true, found false");
    assert_eq!(message(r#"{"image_mean": [0.5]}"#), "p.json: `image_mean`: expected three numbers, found [0.5]");
    assert_eq!(message(r#"{"rescale_factor": 1.0}"#), "p.json: `rescale_factor`: expected 1/255, found 1.0");

    let open_clip = |json: &str| Preprocess::from_open_clip(&serde_json::from_str(json).unwrap(), 64, "o.json");
    assert_eq!(open_clip("{}").unwrap(), Preprocess::openai(64));
    let all = r#"{"size": [64, 64], "resize_mode": "longest", "interpolation": "bilinear", "fill_color": 7, "mean": [0, 0, 0], "std": [1, 1, 1]}"#;
    let want = Preprocess {
        mode: ResizeMode::Longest,
        filter: Filter::Bilinear,
        fill: [7; 3],
        mean: [0.0; 3],
        std: [1.0; 3],
        ..Preprocess::openai(64)
    };
    assert_eq!(open_clip(all).unwrap(), want);
    let message = |json: &str| open_clip(json).unwrap_err().to_string();
    assert_eq!(message(r#"{"resize_mode": "widest"}"#), "o.json: `resize_mode`: expected shortest, squash or longest, found \"widest\"");
    assert_eq!(message(r#"{"interpolation": "lanczos"}"#), "o.json: `interpolation`: expected bicubic or bilinear, found \"lanczos\"");
    assert_eq!(message(r#"{"size": 224}"#), "o.json: `size`: expected 64, the tower's, found 224");
}
