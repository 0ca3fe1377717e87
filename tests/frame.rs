//! Textures as a tower's pixels: on the device, bit for bit what the host makes of the same pictures, which is PIL's.
#![allow(clippy::unwrap_used)] // a test that fails may panic

mod common;

use std::path::Path;

use clip_wgpu::blocking::Clip;
use clip_wgpu::clip::ModelFiles;
use clip_wgpu::gpu::{self, Gpu};
use clip_wgpu::{Executor, Filter, Image, Options, Preprocess, ResizeMode, Score};
use common::{Random, cases, nmse, texture};

const RGBA: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

fn recipes() -> Vec<Preprocess> {
    let all = [
        (ResizeMode::Shortest, Filter::Bicubic, 32, 0),
        (ResizeMode::Shortest, Filter::Bilinear, 41, 0),
        (ResizeMode::Squash, Filter::Bicubic, 40, 0),
        (ResizeMode::Longest, Filter::Bicubic, 40, 0),
        (ResizeMode::Longest, Filter::Bilinear, 41, 99),
    ];
    let of = |(mode, filter, size, fill)| Preprocess { mode, filter, fill: [fill, 7, 200], ..Preprocess::openai(size) };
    all.into_iter().map(of).chain([Preprocess { resize: 44, ..Preprocess::openai(40) }]).collect()
}

fn pico(gpu: &Gpu, preprocess: Option<Preprocess>) -> Clip {
    let files = pollster::block_on(ModelFiles::find("pico")).unwrap();
    let mut clip = pollster::block_on(clip_wgpu::Clip::load_on(&Executor::Gpu(gpu.clone()), files, &Options::default(), &[])).unwrap();
    if let Some(preprocess) = preprocess {
        clip.preprocess = preprocess;
    }
    clip.into()
}

/// A picture as four values per texel, in the order given by `at`; the fourth is not read.
fn texels(image: &Image, at: [usize; 3]) -> Vec<u8> {
    image.rgb8().chunks(3).flat_map(|p| [p[at[0]], p[at[1]], p[at[2]], 77]).collect()
}

#[test]
fn every_picture_and_every_recipe_are_those_of_the_host_bit_for_bit() {
    let Some(gpu) = common::gpu() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input/pictures");
    let pictures: Vec<Image> = std::fs::read_dir(folder).unwrap().filter_map(|e| Image::open(e.unwrap().path()).ok()).collect();
    assert!(pictures.len() >= 40, "{} pictures", pictures.len());
    let mut compared = 0;
    for recipe in recipes() {
        let clip = pico(&gpu, Some(recipe.clone()));
        for image in &pictures {
            let frame = texture(&gpu, (image.width(), image.height()), RGBA, &texels(image, [0, 1, 2]));
            let got = clip.frame_pixels(&frame).unwrap();
            assert_eq!(got, recipe.pixels(image), "{} × {} by {recipe:?}", image.width(), image.height());
            compared += 1;
        }
    }
    println!("{compared} frames bit for bit");
}

#[test]
fn random_sizes_in_both_orders_of_the_passes() {
    let Some(gpu) = common::gpu() else { return };
    let mut r = Random(12);
    let sizes = [(1, 1), (1, 300), (300, 1), (14, 14), (13, 900), (900, 13), (640, 480), (480, 640), (97, 33)];
    for size in sizes {
        for recipe in recipes() {
            let case = cases::frame(&mut r, size, recipe.clone());
            assert_eq!(nmse(&case.run(&gpu), &case.reference()), 0.0, "{size:?} {recipe:?}");
        }
    }
}

#[test]
fn a_frame_is_scored_like_its_picture_and_only_the_scores_come_back() {
    if common::gpu().is_none() {
        return;
    }
    // A device of its own, where nothing else reads.
    let gpu = pollster::block_on(async { Gpu::open(&gpu::adapters().await[0]).await.unwrap() });
    let clip = pico(&gpu, None);
    let image = Image::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input/pictures/300x203.png")).unwrap();
    let labels = ["red circle", "blue square", "dog"];
    let classifier = clip.classifier(&labels, &["a photo of a {}"]).unwrap();
    let want = (
        clip.encode_images(std::slice::from_ref(&image)).unwrap(),
        classifier.classify(&clip, std::slice::from_ref(&image), Score::Cosine).unwrap(),
    );
    for (format, order) in [(RGBA, [0, 1, 2]), (wgpu::TextureFormat::Bgra8Unorm, [2, 1, 0])] {
        // Two textures in turn, as a camera has them.
        for _ in 0..2 {
            let frame = texture(&gpu, (image.width(), image.height()), format, &texels(&image, order));
            assert_eq!(clip.encode_frame(&frame).unwrap(), want.0, "{format:?}");
            let before = gpu.read_bytes();
            assert_eq!(classifier.classify_frame(&clip, &frame, Score::Cosine).unwrap(), want.1, "{format:?}");
            assert_eq!(gpu.read_bytes() - before, 3 * 4);
        }
    }
}

#[test]
fn a_texture_that_cannot_be_read_is_an_error_that_says_why() {
    let Some(gpu) = common::gpu() else { return };
    let clip = pico(&gpu, None);
    let linear = texture(&gpu, (4, 4), wgpu::TextureFormat::Rgba8UnormSrgb, &[0; 64]);
    let message = clip.encode_frame(&linear).unwrap_err().to_string();
    assert!(message.contains("expected a flat texture of 4 × 4 Rgba8Unorm") && message.contains("Rgba8UnormSrgb"), "{message}");
    let on_the_host = Clip::load("pico", &Options { device: clip_wgpu::Device::Cpu, ..Options::default() }).unwrap();
    let message = on_the_host.encode_frame(&texture(&gpu, (4, 4), RGBA, &[0; 64])).unwrap_err().to_string();
    assert!(message.contains("CPU executor"), "{message}");
}
