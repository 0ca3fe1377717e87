//! What real files do: each test is a kind of fault that people met elsewhere, by inputs of several shapes.
#![allow(clippy::unwrap_used)] // a test that fails may panic

#[path = "common/command.rs"]
mod command;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use command::{command as start, finish, root, run, run_with_input, scratch, text};
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use serde_json::{Value, json};

const RED: &str = "assets/samples/red-circle.png";
const STAR: &str = "assets/samples/green-star.jpg";

fn bytes(path: &str) -> Vec<u8> {
    std::fs::read(root().join(path)).unwrap()
}

/// A file of `folder`, as an argument.
fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    text(&path).into()
}

/// A copy of a golden model, whose files a test changes.
fn model(test: &str) -> PathBuf {
    let folder = scratch(test);
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(root().join("tests/golden/hf_gelu").join(name), folder.join(name)).unwrap();
    }
    folder
}

/// The embeddings of a command that prints JSON, with the inputs' names.
fn embeddings(said: &Value) -> Vec<(String, Vec<f64>)> {
    let rows = said["embeddings"].as_array().unwrap().iter();
    rows.map(|r| (r["input"].as_str().unwrap().into(), r["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()))
        .collect()
}

fn embed_images(paths: &[&str]) -> command::Said {
    run(&[&["embed", "image", "-m", "pico", "--json"], paths].concat())
}

// O1, O6, O7: lists and captions as editors save them.

#[test]
fn label_files_with_marks_line_ends_blank_lines_and_other_encodings() {
    let folder = scratch("labels");
    let labels = ["red circle", "blue square", "green star"];
    let utf16 = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        "\u{feff}red circle\r\nblue square\r\ngreen star".encode_utf16().flat_map(order).collect()
    };
    let files = [
        put(&folder, "plain.txt", labels.join("\n")),
        put(&folder, "bom-crlf.txt", format!("\u{feff}{}\r\n", labels.join("\r\n"))),
        put(&folder, "blank.txt", format!("\n{}\n\n\n", labels.join("\n\n"))),
        put(&folder, "utf16-le.txt", utf16(u16::to_le_bytes)),
        put(&folder, "utf16-be.txt", utf16(u16::to_be_bytes)),
    ];
    let said = files.map(|file| run(&["classify", "-m", "pico", RED, "--labels-file", &file, "--json", "--top", "9"]));
    let images: Vec<Value> = said.iter().map(|s| s.json()["images"].clone()).collect();
    assert!(images.iter().all(|i| *i == images[0]), "{images:#?}");
    assert!(said[2].err.contains("left out 5 blank lines of the labels"), "{}", said[2].err);
}

#[test]
fn captions_are_a_row_a_line_and_a_bad_one_leaves_the_others() {
    let folder = scratch("captions");
    let blank = put(&folder, "blank.txt", "a red circle\n\na blue square\r\n\r\na star\n");
    let rows = embeddings(&run(&["embed", "text", "-m", "pico", "--texts-file", &blank, "--json"]).json());
    assert_eq!(rows.iter().map(|r| r.0.as_str()).collect::<Vec<_>>(), ["a red circle", "", "a blue square", "", "a star"]);
    assert_eq!(rows[1].1, embeddings(&run(&["embed", "text", "-m", "pico", "", "--json"]).json())[0].1);

    let (bad, out) = (put(&folder, "bad.txt", b"a star\na caf\xe9\na ring\n"), folder.join("e.npy"));
    let said = run(&["embed", "text", "-q", "-m", "pico", "--texts-file", &bad, "--json", "-o", text(&out)]);
    let document = said.json_whatever_the_code();
    assert_eq!((said.code, &document["written"]["rows"]), (1, &json!(2)));
    assert!(said.err.contains("bad.txt: line 2 is not valid UTF-8"), "{}", said.err);
    assert!(std::fs::read(out).unwrap().starts_with(b"\x93NUMPY"));

    let long = put(&folder, "long.txt", format!("a star\n{}\n", "red circle ".repeat(200)));
    let said = run(&["embed", "text", "-q", "-m", "pico", "--texts-file", &long, "--strict"]);
    assert_eq!((said.code, said.out.lines().count()), (1, 1));
    assert!(said.err.contains("long.txt: line 2 has 402 tokens") && said.err.len() < 200, "{}", said.err);
    let cut = run_with_input(&["embed", "text", "-m", "pico", "--texts-file", "-"], b"\xef\xbb\xbfa star");
    assert!(cut.out.contains("\"input\":\"a star\""), "{}", cut.out);
}

// O2: downloads cut short.

#[test]
fn pictures_cut_short_are_errors_in_every_format() {
    let folder = scratch("cut");
    let picture = image::open(root().join(STAR)).unwrap().to_rgb8();
    let mut files: Vec<(String, Vec<u8>)> =
        vec![("baseline.jpg".into(), bytes(STAR)), ("drawing.jpg".into(), bytes("assets/samples/purple-triangle.jpg"))];
    for (name, format) in [
        ("a.png", image::ImageFormat::Png),
        ("a.webp", image::ImageFormat::WebP),
        ("a.gif", image::ImageFormat::Gif),
        ("a.bmp", image::ImageFormat::Bmp),
        ("a.tif", image::ImageFormat::Tiff),
    ] {
        let mut out = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut out, format).unwrap();
        files.push((name.into(), out.into_inner()));
    }
    for (name, whole) in &files {
        let mut cuts = Vec::new();
        for percent in [20, 50, 90] {
            cuts.push(put(&folder, &format!("{percent}-{name}"), &whole[..whole.len() * percent / 100]));
        }
        let whole = put(&folder, name, whole);
        let said = embed_images(&[&cuts[0], &whole, &cuts[1], &cuts[2]]);
        let document = said.json_whatever_the_code();
        assert_eq!(
            (said.code, embeddings(&document).len(), document["failed"].as_array().unwrap().len()),
            (1, 1, 3),
            "{name}: {}",
            said.err
        );
    }
    // Only the end marker is missing, or something stands behind it: the picture is whole.
    let star = bytes(STAR);
    let no_end = put(&folder, "no-end-marker.jpg", &star[..star.len() - 2]);
    let more = put(&folder, "more.jpg", [&star[..], b"trailing bytes of a camera"].concat());
    let rows = embeddings(&embed_images(&[STAR, &no_end, &more]).json());
    assert!(rows[1].1 == rows[0].1 && rows[2].1 == rows[0].1);
}

// O3, O4: shapes and sizes.

/// Peak resident memory in MiB, and the time, of a run.
fn peak(arguments: &[&str]) -> (f64, Duration, i32) {
    let begun = Instant::now();
    let mut child = start(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut peak: f64 = 0.0;
    loop {
        if let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) {
            let kib = status
                .lines()
                .find_map(|l| l.strip_prefix("VmHWM:"))
                .and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
            peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
        }
        if let Some(status) = child.try_wait().unwrap() {
            return (peak, begun.elapsed(), status.code().unwrap_or(-1));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn png(folder: &Path, name: &str, width: u32, height: u32) -> String {
    let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 7) as u8, (y * 5) as u8, (x + y) as u8]));
    let mut out = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut out);
    encoder.write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8).unwrap();
    put(folder, name, out)
}

#[test]
fn pictures_of_any_shape_cost_what_their_square_does() {
    let folder = scratch("thin");
    for (width, height) in [(1, 65_535), (60_000, 2), (1, 5_000), (65_535, 1), (3, 40_000)] {
        let file = png(&folder, &format!("{width}x{height}.png"), width, height);
        let (mib, time, code) = peak(&["embed", "image", "-q", "-m", "pico", &file]);
        assert_eq!(code, 0);
        assert!(mib < 100.0, "{width} × {height}: {mib:.0} MiB, {time:?}");
    }
}

#[test]
fn a_batch_of_large_pictures_costs_a_few_of_them() {
    let folder = scratch("large");
    let file = png(&folder, "24-megapixels.png", 6_000, 4_000);
    let paths: Vec<String> = (0..8)
        .map(|i| {
            let link = folder.join(format!("{i}.png"));
            std::fs::hard_link(&file, &link).unwrap();
            text(&link).to_string()
        })
        .collect();
    let arguments: Vec<&str> = ["embed", "image", "-q", "-m", "pico"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    let (mib, time, code) = peak(&arguments);
    assert!(code == 0 && mib < 400.0, "{mib:.0} MiB, {time:?}");
}

#[test]
fn sizes_of_nothing_and_of_too_much_are_named() {
    let folder = scratch("zero");
    let mut gif = bytes_of_gif();
    gif[6..10].fill(0); // a screen of 0 × 0
    let screen = put(&folder, "screen-0x0.gif", gif);
    let said = embed_images(&[RED, &screen, STAR]);
    let document = said.json_whatever_the_code();
    assert!(embeddings(&document).len() >= 2 && !said.err.contains("panicked"), "{}", said.err);
}

/// A frame of one pixel in the middle of a screen of 3 × 3: the rest has the palette's first colour, as Pillow's has, or its
/// transparent one.
#[test]
fn a_gif_whose_frame_is_smaller_than_its_screen() {
    let palette = [[10, 20, 30], [200, 100, 50], [7, 8, 9], [0, 0, 0]];
    let gif = |extension: &[u8]| {
        let screen = [&b"GIF89a"[..], &[3, 0, 3, 0, 0x81, 0, 0], &palette.concat()].concat();
        [&screen[..], extension, &[0x2c, 1, 0, 1, 0, 1, 0, 1, 0, 0, 2, 2, 0x4c, 0x01, 0, 0x3b]].concat()
    };
    for (extension, rest) in [(&[][..], 0), (&[0x21, 0xf9, 4, 1, 0, 0, 2, 0], 2)] {
        let image = clip_wgpu::Image::decode(&gif(extension)).unwrap();
        let mut want = [palette[rest]; 9];
        want[4] = palette[1];
        assert_eq!(image.rgb8(), want.concat());
    }
}

fn bytes_of_gif() -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(20, 20, image::Rgb([255, 0, 0])).write_to(&mut out, image::ImageFormat::Gif).unwrap();
    out.into_inner()
}

/// Orientation 6 as a SHORT and as a LONG, in either byte order.
#[test]
fn orientations_of_every_spelling_turn_the_picture() {
    let mut jpeg = Vec::new();
    let picture = RgbImage::from_fn(40, 20, |x, y| image::Rgb([(x * 6) as u8, (y * 12) as u8, 90]));
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95).encode_image(&picture).unwrap();
    let with = |order: &[u8], kind: &[u8], value: &[u8]| {
        let numbers: [&[u8]; 4] = if order == b"II" {
            [b"\x2a\0", b"\x08\0\0\0", b"\x01\0\x12\x01", b"\x01\0\0\0"]
        } else {
            [b"\0\x2a", b"\0\0\0\x08", b"\0\x01\x01\x12", b"\0\0\0\x01"]
        };
        let exif = [b"Exif\0\0", order, numbers[0], numbers[1], numbers[2], kind, numbers[3], value, &[0; 4]].concat();
        let length = (exif.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
    };
    let upright = clip_wgpu::Image::decode(&jpeg).unwrap();
    let turned = |bytes: &[u8]| {
        let image = clip_wgpu::Image::decode(bytes).unwrap();
        assert_eq!((image.width(), image.height()), (20, 40));
        // Turned a quarter clockwise: the left column, from below, becomes the top row.
        let first = &image.rgb8()[..3];
        assert_eq!(first, &upright.rgb8()[3 * 40 * 19..][..3]);
    };
    turned(&with(b"II", b"\x03\0", b"\x06\0\0\0"));
    turned(&with(b"II", b"\x04\0", b"\x06\0\0\0"));
    turned(&with(b"MM", b"\0\x03", b"\0\x06\0\0"));
    turned(&with(b"MM", b"\0\x04", b"\0\0\0\x06"));
    let odd = clip_wgpu::Image::decode(&with(b"II", b"\x04\0", b"\xff\xff\xff\xff")).unwrap();
    assert_eq!((odd.width(), odd.height()), (40, 20));
}

// O5: what is in folders.

#[test]
fn folders_are_read_by_content_and_what_is_passed_over_is_said() {
    let folder = scratch("folder");
    let star = bytes(STAR);
    for name in ["a.jpg", "B.JPG", "saved.jfif", "c.JPE", "no-extension", "wrong.dat", "sub/d.jpeg"] {
        put(&folder, name, &star);
    }
    put(&folder, "notes.txt", "a text");
    put(&folder, "clip.mp4", "no film");
    put(&folder, ".hidden.jpg", &star);
    put(&folder, "phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0");
    put(&folder, "web.avif", b"\0\0\0\x18ftypavif\0\0\0\0");
    std::os::unix::fs::symlink(&folder, folder.join("sub/up")).unwrap(); // leads back
    std::os::unix::fs::symlink(root().join(RED), folder.join("link.png")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("broken.png")).unwrap();
    let said = embed_images(&[text(&folder)]);
    let document = said.json_whatever_the_code();
    assert_eq!((said.code, embeddings(&document).len()), (1, 8), "{}", said.err);
    assert_eq!(document["passed_over"], json!({".txt": 1, ".mp4": 1}));
    let failed: Vec<&str> = document["failed"].as_array().unwrap().iter().map(|f| f["input"].as_str().unwrap()).collect();
    assert_eq!(failed.len(), 3, "{failed:?}");
    for name in ["phone.heic", "web.avif", "broken.png"] {
        assert!(failed.iter().any(|f| f.ends_with(name)) && said.err.contains(name), "{name}: {}", said.err);
    }
    let named = run(&["embed", "image", "-q", "-m", "pico", text(&folder.join("phone.heic"))]);
    assert!(named.err.contains("a HEIC picture, which is not read: convert it"), "{}", named.err);
}

#[test]
fn names_that_are_no_utf8_can_be_found_again() {
    use std::os::unix::ffi::OsStrExt;
    let folder = scratch("names");
    for name in [&b"caf\xe9.png"[..], b"caf\xe8.png"] {
        std::fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), bytes(RED)).unwrap();
    }
    let rows = embeddings(&embed_images(&[text(&folder)]).json());
    let names: Vec<&str> = rows.iter().map(|r| r.0.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["caf\\xe8.png", "caf\\xe9.png"]);
}

// O8, O9, O12, O15: model folders.

fn embed(model: &Path) -> command::Said {
    run(&["embed", "image", "-q", "-m", text(model), RED, "--json"])
}

#[test]
fn weights_that_are_something_else_say_what() {
    let folder = model("pointer");
    std::fs::write(folder.join("model.safetensors"), "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 605247071\n")
        .unwrap();
    let said = embed(&folder);
    assert!(said.err.contains("is a Git LFS pointer") && said.err.contains("git lfs pull"), "{}", said.err);
    for page in ["<!DOCTYPE html>\n<html>", "\n<html lang=en>", "<?xml version='1.0'?>"] {
        std::fs::write(folder.join("model.safetensors"), page).unwrap();
        assert!(embed(&folder).err.contains("is a web page that was saved"), "{page}");
    }
}

#[test]
fn folders_one_level_off_say_which_to_take() {
    let folder = scratch("levels");
    let inner = folder.join("0_CLIPModel");
    std::fs::create_dir_all(&inner).unwrap();
    put(&folder, "modules.json", "[]");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(root().join("tests/golden/hf_gelu").join(name), inner.join(name)).unwrap();
    }
    let said = embed(&folder);
    assert!(said.err.contains("sentence-transformers folder") && said.err.contains(&format!("take -m {}", text(&inner))), "{}", said.err);

    let cache = scratch("models--someone--tiny-clip");
    let snapshot = cache.join("snapshots/0123abcd");
    std::fs::create_dir_all(&snapshot).unwrap();
    put(&cache, "refs/main", "0123abcd");
    let said = embed(&cache);
    assert!(said.err.contains("Hub's cache") && said.err.contains(&format!("take -m {}", text(&snapshot))), "{}", said.err);

    let weights = scratch("bin-only");
    put(&weights, "pytorch_model.bin", b"PK");
    assert!(embed(&weights).err.contains("found pytorch_model.bin without a configuration"));
    put(&weights, "config.json", "{}");
    std::fs::rename(weights.join("pytorch_model.bin"), weights.join("model.fp16.safetensors")).unwrap();
    let said = embed(&weights);
    assert!(said.err.contains("take -m ") && said.err.contains("model.fp16.safetensors"), "{}", said.err);
}

/// As transformers' `CLIPConfig.__init__` reads them.
#[test]
fn older_configurations_keep_their_towers_in_dicts() {
    let whole = embeddings(&embed(&model("dicts-none")).json());
    let edit = |test: &str, f: fn(&mut Value)| {
        let folder = model(test);
        let path = folder.join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        f(&mut config);
        std::fs::write(&path, config.to_string()).unwrap();
        embeddings(&embed(&folder).json())
    };
    let only = edit("dicts-only", |c| {
        for tower in ["text_config", "vision_config"] {
            c[format!("{tower}_dict")] = c[tower].take();
        }
    });
    let beside = edit("dicts-beside", |c| {
        for tower in ["text_config", "vision_config"] {
            c[format!("{tower}_dict")] = c[tower].clone();
            c[tower]["hidden_act"] = "quick_gelu".into(); // the dicts win
        }
    });
    assert!(only == whole && beside == whole);
}

#[test]
fn a_folders_own_vocabulary_is_used_or_refused() {
    let folder = model("own-vocabulary");
    let vocabulary = json!({"a</w>": 0, "r": 1, "e": 2, "d</w>": 3, "re": 4, "red</w>": 5, "<|startoftext|>": 118, "<|endoftext|>": 119});
    put(&folder, "vocab.json", vocabulary.to_string());
    embed(&folder).fails(1, &["expected merges.txt beside vocab.json"]);
    put(&folder, "merges.txt", "#version: 0.2\nr e\nre d</w>\n");
    let said = run(&["tokenize", "-m", text(&folder), "a red", "--json"]).json();
    assert_eq!(said["texts"][0]["ids"], json!([118, 0, 5, 119]));
    put(&folder, "vocab.json", json!({"a</w>": 0}).to_string());
    embed(&folder).fails(1, &["vocab.json: expected the token \"<|startoftext|>\", found none"]);
    std::fs::remove_file(folder.join("vocab.json")).unwrap();
    embed(&folder).fails(1, &["expected vocab.json beside merges.txt"]);
}

#[test]
fn every_recipe_of_a_folder_is_used_or_refused() {
    let folder = model("recipes");
    let recipe =
        |mean: f64| json!({"size": {"shortest_edge": 33}, "crop_size": 33, "image_mean": [mean, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]});
    put(&folder, "processor_config.json", json!({"image_processor": recipe(0.1)}).to_string());
    let beside = embeddings(&embed(&folder).json());
    std::fs::rename(folder.join("processor_config.json"), folder.join("kept")).unwrap();
    assert_ne!(beside, embeddings(&embed(&folder).json()));
    put(&folder, "preprocessor_config.json", recipe(0.1).to_string());
    assert_eq!(beside, embeddings(&embed(&folder).json()));
    put(&folder, "processor_config.json", json!({"image_processor": recipe(0.2)}).to_string());
    embed(&folder).fails(1, &["processor_config.json: says another recipe than"]);
    put(&folder, "processor_config.json", "{}");
    put(&folder, "preprocessor_config.json", json!({"size": {"shortest_edge": 33}, "crop_size": null}).to_string());
    embed(&folder).fails(1, &["makes pictures of 224 × 224, but the model takes 33 × 33"]); // transformers' default
}

// O10: paths are no texts.

#[test]
fn compare_takes_no_path_for_a_text() {
    for name in ["PHOTO.JPG", "photo.jfif", "photo.heic", "no/such/photo.png", "x.TIFF"] {
        run(&["compare", "-q", "-m", "pico", name, "a red circle"]).fails(2, &[name, "no such file"]);
    }
    run(&["compare", "-q", "-m", "pico", "assets", "a red circle"]).fails(2, &["assets: is a folder"]);
    let cosine = |a: &str| run(&["compare", "-q", "-m", "pico", a, RED]).out.trim().parse::<f32>().unwrap();
    assert_eq!(cosine("text:photo.png"), cosine("text:photo.png"));
    assert!(cosine("a red circle") > cosine("text:assets"));
}

// O11, O14: outputs.

#[test]
fn an_output_that_cannot_be_written_is_found_first_and_an_earlier_one_stays() {
    let folder = scratch("outputs");
    let bad = put(&folder, "bad.png", "no picture");
    let begun = run(&["embed", "image", "-q", "-m", "pico", &bad, "-o", text(&folder.join("none/x.npy"))]);
    begun.fails(1, &["none/x.npy: No such file"]); // and not a word of the picture
    for name in ["kept.npy", "kept.jsonl", "kept.safetensors"] {
        let kept = put(&folder, name, "before");
        assert_eq!(run(&["embed", "image", "-q", "-m", "pico", &bad, "-o", &kept]).code, 1);
        assert_eq!(std::fs::read(&kept).unwrap(), b"before");
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4, "nothing is left beside");
}

#[test]
fn a_killed_run_leaves_the_earlier_file_whole() {
    let folder = scratch("killed");
    let pictures = folder.join("pictures");
    for i in 0..200 {
        put(&pictures, &format!("{i}.jpg"), bytes(STAR));
    }
    let kept = put(&folder, "x.npy", "before");
    for after in 1..=20 {
        let mut child = start(&["embed", "image", "-q", "-m", "pico", text(&pictures), "-o", &kept]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(10 * after));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = std::fs::read(&kept).unwrap();
        let whole = found.len() == 128 + 200 * 4 * 128 && found.starts_with(b"\x93NUMPY");
        assert!(found == b"before" || whole, "after {after}: {} bytes", found.len());
    }
}

#[test]
fn a_stderr_that_is_gone_or_full_ends_nothing() {
    let out = scratch("stderr").join("e.npy");
    for stderr in ["2>&-", "2>/dev/full"] {
        let line =
            format!("{} embed image -m pico no-such.png {RED} -o {} --device cpu {stderr}", env!("CARGO_BIN_EXE_clip-wgpu"), text(&out));
        let status = Command::new("sh").args(["-c", &line]).current_dir(root()).stdout(Stdio::null()).status().unwrap();
        assert_eq!((status.code(), std::fs::read(&out).unwrap().len()), (Some(1), 128 + 4 * 128), "{stderr}");
    }
}

#[test]
fn rows_appear_as_they_are_known() {
    let folder = scratch("stream");
    for i in 0..120 {
        put(&folder, &format!("{i:03}.jpg"), bytes(STAR));
    }
    for arguments in
        [&["embed", "image", "-q", "-m", "pico", "--json"][..], &["classify", "-q", "-m", "pico", "-l", "red circle", "-l", "green star"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut child = start(&[arguments, &[text(&folder)]].concat()).stdout(writer).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(reader));
        let first = lines.by_ref().take(20).map(|line| line.unwrap()).collect::<Vec<_>>().join("\n");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(first.contains("000.jpg") && first.contains("001.jpg"), "{first}");
    }
    let whole = finish(&mut start(&["embed", "image", "-q", "-m", "pico", "--json", text(&folder)]), b"").json();
    assert_eq!(whole["embeddings"].as_array().unwrap().len(), 120);
}

#[test]
fn quiet_means_quiet() {
    let mut command = start(&["embed", "text", "-q", "-m", "pico", "a star", "--device", "gpu"]);
    let said = finish(command.env_remove("XDG_RUNTIME_DIR"), b"");
    assert!(said.code != 0 || said.err.is_empty(), "{}", said.err);
}
