//! What the command prints, writes and ends with.
#![allow(clippy::unwrap_used)] // a test that fails may panic

#[path = "common/command.rs"]
mod command;

use command::{command, finish, root, run, run_with_input, scratch, text};
use serde_json::Value;

const SAMPLES: [(&str, &str); 5] = [
    ("assets/samples/blue-square.png", "blue square"),
    ("assets/samples/green-star.jpg", "green star"),
    ("assets/samples/purple-triangle.jpg", "purple triangle"),
    ("assets/samples/red-circle.png", "red circle"),
    ("assets/samples/yellow-heart.png", "yellow heart"),
];

const LABELS: [&str; 10] = ["-l", "red circle", "-l", "blue square", "-l", "green star", "-l", "yellow heart", "-l", "purple triangle"];

/// The others, in clutter; two things are in one, of which the larger is asked for.
const EMOJI: [(&str, &str); 4] = [
    ("assets/samples/fish.jpg", "tropical fish"),
    ("assets/samples/guitar.jpg", "guitar"),
    ("assets/samples/teapot-and-apple.jpg", "teapot"),
    ("assets/samples/tiger.jpg", "tiger"),
];

const MORE_LABELS: [&str; 14] =
    ["-l", "teapot", "-l", "tropical fish", "-l", "guitar", "-l", "tiger", "-l", "cat", "-l", "violin", "-l", "steaming bowl"];

fn with<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}

#[test]
fn classify_labels_every_sample_right_on_both_devices() {
    let devices: &[&str] = if adapter() { &["cpu", "gpu"] } else { &["cpu"] };
    for device in devices {
        let said = run(&with(&[
            &["classify", "-m", "pico", "assets/samples", "--json", "--top", "99", "--device", device],
            &LABELS,
            &MORE_LABELS,
        ]))
        .json();
        let mut samples = [&SAMPLES[..], &EMOJI].concat();
        samples.sort();
        assert_eq!(said["images"].as_array().unwrap().len(), samples.len());
        for (image, (path, label)) in said["images"].as_array().unwrap().iter().zip(samples) {
            assert_eq!((image["input"].as_str(), image["labels"][0]["label"].as_str()), (Some(path), Some(label)));
            let sum: f64 = image["labels"].as_array().unwrap().iter().map(|l| l["score"].as_f64().unwrap()).sum();
            assert!((sum - 1.0).abs() < 1e-5, "softmax sums to 1: {sum}");
        }
        assert_eq!(said["failed"], Value::Array(vec![]));
    }
}

#[test]
fn the_environment_names_a_model_and_an_argument_goes_before_it() {
    let named = |arguments: &[&str]| {
        finish(command(&with(&[&["embed", "text", "a dog", "--json"], arguments])).env("CLIP_WGPU_MODEL", "no/such/model/here"), b"")
    };
    named(&[]).fails(1, &["no/such/model/here"]);
    assert_eq!(named(&["-m", "pico"]).json()["model"], "pico");
    let of_environment = finish(command(&["embed", "text", "a dog", "--json"]).env("CLIP_WGPU_MODEL", "pico"), b"").json();
    assert_eq!(of_environment["model"], "pico");
}

#[test]
fn a_folder_does_not_hide_the_model_in_the_box() {
    let folder = scratch("pico-beside");
    std::fs::create_dir(folder.join("pico")).unwrap();
    let named = |model| finish(command(&["embed", "text", "a dog", "--json", "-m", model]).current_dir(&folder), b"");
    assert_eq!(named("pico").json()["model"], "pico");
    named("./pico").fails(1, &["model `./pico`"]);
}

/// Whether there is a GPU, hardware or software; CI must have one.
fn adapter() -> bool {
    let found = !run(&["device", "--json"]).json()["adapters"].as_array().unwrap().is_empty();
    assert!(found || std::env::var_os("CI").is_none(), "no adapter: CI must have one");
    found
}

#[test]
fn classify_prints_the_best_labels_and_none_below_the_threshold() {
    let said = run(&with(&[&["classify", "-m", "pico", SAMPLES[3].0, "--top", "1"], &LABELS]));
    assert_eq!(said.code, 0);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!((lines[0], lines.len()), (SAMPLES[3].0, 2));
    assert!(lines[1].ends_with(" %  red circle"), "{}", lines[1]);
    assert!(said.err.contains("pico knows emoji and drawings of shapes"), "{}", said.err);

    let said = run(&["classify", "-q", "-m", "pico", SAMPLES[3].0, "-l", "blue square", "--score", "cosine", "--threshold", "0.9"]);
    assert_eq!((said.code, said.out.lines().nth(1), said.err.as_str()), (0, Some("          none of these"), ""));
    let refused = |option: [&str; 2], part: &str| {
        run(&[&["classify", "-m", "pico", SAMPLES[3].0, "-l", "star"], &option[..]].concat()).fails_with_usage(part)
    };
    refused(["--top", "0"], "invalid value '0'");
    refused(["--threshold", "nan"], "expected a number");
}

#[test]
fn scores_are_those_of_the_cosine() {
    let score = |name: &str| {
        let said = run(&["classify", "-m", "pico", SAMPLES[3].0, "-l", "red circle", "-l", "red ring", "--score", name, "--json"]).json();
        let labels = said["images"][0]["labels"].as_array().unwrap().clone();
        assert_eq!(labels[0]["label"], "red circle");
        [labels[0]["score"].as_f64().unwrap(), labels[1]["score"].as_f64().unwrap()]
    };
    let scale = run(&["model", "info", "pico", "--json"]).json()["logit_scale"].as_f64().unwrap();
    let (cosine, softmax, sigmoid) = (score("cosine"), score("softmax"), score("sigmoid"));
    let shares = 1.0 / (1.0 + (scale * (cosine[1] - cosine[0])).exp());
    assert!((softmax[0] - shares).abs() < 1e-4, "{softmax:?} {cosine:?}");
    assert!((sigmoid[1] - 1.0 / (1.0 + (-scale * cosine[1]).exp())).abs() < 1e-4, "{sigmoid:?} {cosine:?}");
    let compared = run(&["compare", "-m", "pico", SAMPLES[3].0, "red circle", "--json"]).json();
    assert!((compared["cosine"].as_f64().unwrap() - cosine[0]).abs() < 1e-5);
    let picture = std::fs::read(root().join(SAMPLES[3].0)).unwrap();
    let piped = run_with_input(&["compare", "-m", "pico", "-", "red circle", "--json"], &picture).json();
    assert_eq!(piped["cosine"], compared["cosine"]);
    run(&["compare", "-m", "pico", "-", "-"]).fails(2, &["found `-` twice"]);
}

#[test]
fn labels_come_from_files_and_standard_input_and_templates_average() {
    let folder = scratch("labels");
    let file = folder.join("labels.txt");
    std::fs::write(&file, "red circle\n\n  blue square  \n").unwrap();
    let said =
        run(&["classify", "-m", "pico", SAMPLES[0].0, "--labels-file", text(&file), "-t", "a photo of a {}", "-t", "a {}", "--json"])
            .json();
    assert_eq!(said["images"][0]["labels"][0]["label"], "blue square");
    let piped =
        run_with_input(&["classify", "-m", "pico", SAMPLES[0].0, "--labels-file", "-", "--json"], b"red circle\nblue square\n").json();
    assert_eq!(piped["images"][0]["labels"][0]["label"], "blue square");
    let picture = std::fs::read(root().join(SAMPLES[0].0)).unwrap();
    let piped = run_with_input(&["classify", "-m", "pico", "-", "-l", "red circle", "-l", "blue square", "--json"], &picture).json();
    assert_eq!((piped["images"][0]["input"].as_str(), piped["images"][0]["labels"][0]["label"].as_str()), (Some("-"), Some("blue square")));
}

/// The shape and the values of a .npy file of f32.
fn read_npy(bytes: &[u8]) -> (String, Vec<f32>) {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let start = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    assert_eq!(start % 64, 0);
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    let shape = header.split("'shape': ").nth(1).unwrap().trim_end().trim_end_matches(", }").to_string();
    (shape, bytes[start..].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

#[test]
fn embeddings_are_alike_in_every_format_and_in_the_order_given() {
    let folder = scratch("formats");
    let paths = ["assets/samples/yellow-heart.png", "assets/samples/blue-square.png"];
    let mut found = Vec::new();
    for name in ["e.npy", "e.safetensors", "e.jsonl"] {
        let file = folder.join(name);
        assert_eq!(run(&["embed", "image", "-q", "-m", "pico", paths[0], paths[1], "-o", text(&file)]).code, 0);
        found.push(std::fs::read(&file).unwrap());
    }
    let (shape, data) = read_npy(&found[0]);
    assert_eq!(shape, "(2, 128,)");
    for row in data.chunks(128) {
        assert!((row.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    let tensors = safetensors::SafeTensors::deserialize(&found[1]).unwrap();
    assert_eq!(tensors.tensor("embeddings").unwrap().data(), bytemuck::cast_slice::<f32, u8>(&data));
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&found[1]).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["inputs"], serde_json::json!(paths).to_string());
    let rows: Vec<Value> = std::str::from_utf8(&found[2]).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["input"], paths[i]);
        let values: Vec<f32> = row["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
        assert_eq!(values, data[i * 128..][..128]);
    }
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
    assert_eq!(left.len(), 3, "nothing half-written is left: {left:?}");
}

#[test]
fn texts_are_embedded_from_arguments_files_and_standard_input() {
    let rows = |said: command::Said| said.json()["embeddings"].as_array().unwrap().clone();
    let named = rows(run(&["embed", "text", "-m", "pico", "red circle", "blue square", "--json"]));
    let piped = rows(run_with_input(&["embed", "text", "-m", "pico", "--texts-file", "-", "--json"], b"red circle\nblue square\n"));
    assert_eq!((named.len(), &named), (2, &piped));
    assert_eq!(rows(run_with_input(&["embed", "text", "-m", "pico", "red circle", "-", "--json"], b"blue square\n")), named);
    let raw = rows(run(&["embed", "text", "-m", "pico", "red circle", "--raw", "--json"]));
    let (raw, unit) = (&raw[0]["embedding"], &named[0]["embedding"]);
    let length = raw.as_array().unwrap().iter().map(|v| v.as_f64().unwrap().powi(2)).sum::<f64>().sqrt();
    assert!((length - 1.0).abs() > 1e-2, "raw is not of unit length");
    assert!((raw[5].as_f64().unwrap() / length - unit[5].as_f64().unwrap()).abs() < 1e-6);
    let no_text = ["embed", "text", "-q", "-m", "tests/golden/hf_vision_only", "--json", "a red circle"];
    run(&no_text).fails(2, &["this model has no text tower"]);
}

#[test]
fn one_bad_picture_leaves_the_others_written() {
    let folder = scratch("one-bad");
    std::fs::write(folder.join("text.png"), "this is no picture").unwrap();
    std::fs::write(folder.join("zero.jpg"), "").unwrap();
    let (bad, zero, out) = (folder.join("text.png"), folder.join("zero.jpg"), folder.join("e.npy"));
    let said =
        run(&["embed", "image", "-q", "-m", "pico", SAMPLES[0].0, text(&bad), "nowhere.png", text(&zero), SAMPLES[1].0, "-o", text(&out)]);
    assert_eq!(said.code, 1);
    assert_eq!(read_npy(&std::fs::read(&out).unwrap()).0, "(2, 128,)");
    let lines: Vec<&str> = said.err.lines().filter(|l| l.starts_with("clip-wgpu: ")).collect();
    assert_eq!(lines.len(), 3, "{}", said.err);
    assert!(
        lines[1].ends_with("text.png: expected a picture (PNG, JPEG, WebP, GIF, BMP, TIFF or ICO), found something else"),
        "{}",
        lines[1]
    );
    assert!(lines[0].starts_with("clip-wgpu: nowhere.png: No such file"), "{}", lines[0]); // before the model is loaded
    assert!(lines[2].ends_with("zero.jpg: expected a picture, found an empty file"), "{}", lines[2]);
    let said = run(&["classify", "-q", "-m", "pico", SAMPLES[0].0, text(&bad), "-l", "blue square", "-l", "red ring", "--json"]);
    let document = said.json_whatever_the_code();
    assert_eq!(
        (said.code, document["images"].as_array().unwrap().len(), document["failed"][0]["input"].as_str()),
        (1, 1, Some(text(&bad)))
    );
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing_behind() {
    let folder = scratch("unwritable");
    let out = folder.join("no-such-folder/e.npy");
    run(&["embed", "text", "-q", "-m", "pico", "a star", "-o", text(&out)]).fails(1, &["no-such-folder/e.npy: No such file"]);
    let kept = folder.join("kept.npy");
    std::fs::write(&kept, "before").unwrap();
    run(&["embed", "image", "-q", "-m", text(&folder), SAMPLES[0].0, "-o", text(&kept)]).fails(1, &["expected config.json"]);
    assert_eq!(std::fs::read(&kept).unwrap(), b"before");
}

#[test]
fn compare_takes_pictures_and_texts_on_either_side() {
    let cosine = |a: &str, b: &str| run(&["compare", "-q", "-m", "pico", a, b]).out.trim().parse::<f32>().unwrap();
    assert!(cosine(SAMPLES[1].0, "a green star") > cosine(SAMPLES[1].0, "a red circle"));
    assert_eq!(cosine("a green star", SAMPLES[1].0), cosine(SAMPLES[1].0, "a green star"));
    assert_eq!(cosine(SAMPLES[1].0, SAMPLES[1].0), 1.0);
    assert_eq!(cosine("text:star.png", "text:star.png"), 1.0, "a text although it looks like a file's name");
}

#[test]
fn tokenize_prints_ids_pieces_and_what_is_cut() {
    let said = run(&["tokenize", "a photo of a dog", "--json"]).json();
    let first = &said["texts"][0];
    assert_eq!(first["ids"], serde_json::json!([49406, 320, 1125, 539, 320, 1929, 49407]));
    assert_eq!(
        (&first["pieces"][5], &first["used"], &first["limit"], &first["truncated"]),
        (&"dog</w>".into(), &7.into(), &77.into(), &false.into())
    );
    let long = "dog ".repeat(90);
    let said = run(&["tokenize", &long]);
    assert!(said.code == 0 && said.out.contains("92/77 tokens, truncated"), "{}", said.out);
    run(&["tokenize", &long, "--strict"]).fails(1, &["has 92 tokens, but the model takes 77"]);
}

#[test]
fn a_label_that_is_cut_is_named() {
    let long = format!("red {}", "very ".repeat(40));
    let said = run(&["classify", "-m", "pico", SAMPLES[3].0, "-l", &long, "-l", "blue square"]);
    assert!(said.code == 0 && said.err.contains("tokens, but the model takes 32: its end is cut off"), "{}", said.err);
    assert_eq!(run(&["classify", "-m", "pico", SAMPLES[3].0, "-l", &long, "--strict"]).code, 1);
    assert_eq!(run(&["embed", "text", "-m", "pico", &long, "--strict"]).code, 1);
}

#[test]
fn preprocess_writes_the_tensor_of_the_library() {
    let file = scratch("preprocess").join("p.npy");
    let said = run(&["preprocess", "-m", "pico", SAMPLES[1].0, "-o", text(&file)]);
    assert_eq!((said.code, said.out.split(':').nth(1)), (0, Some(" 3 × 64 × 64 from 240 × 240 (Shortest, Bicubic)\n")));
    let (shape, data) = read_npy(&std::fs::read(&file).unwrap());
    let image = clip_wgpu::Image::open(root().join(SAMPLES[1].0)).unwrap();
    assert_eq!((shape.as_str(), data), ("(3, 64, 64,)", clip_wgpu::Preprocess::openai(64).pixels(&image)));
    run(&["preprocess", SAMPLES[1].0, "-o", "p.png"]).fails(2, &["p.png: expected a name that ends in .npy"]);
}

#[test]
fn model_info_and_verify() {
    let info = run(&["model", "info", "pico", "--json"]).json();
    let vision = &info["towers"][0];
    assert_eq!((&vision["parameters"], &vision["dispatches"], &vision["slots"]), (&2_845_440.into(), &48.into(), &4.into()));
    assert!(vision["lower_bound_bytes"].as_u64() <= vision["activation_bytes"].as_u64());
    run(&["model", "verify", "pico", "--device", "cpu"]).fails(2, &["compares a GPU with the CPU"]);
    if adapter() {
        let gpu = run(&["model", "info", "pico", "--json", "--device", "gpu"]).json();
        assert_eq!((&gpu["pipelines"], &gpu["towers"][0]["weight_bytes"]), (&10.into(), &5_734_656.into()));
        for model in ["pico", "tests/golden/hf_gelu", "tests/golden/open_clip_quick"] {
            let said = run(&["model", "verify", model, "--json", "--device", "gpu"]).json();
            assert!(said["ok"] == true && said["layers"].as_array().unwrap().len() > 30, "{said}");
        }
    }
}

/// A driver that is at work in a thread while the process ends crashed one run in fifteen, where others ran beside it.
#[test]
fn the_gpu_is_let_go_before_the_process_ends() {
    if !adapter() {
        return;
    }
    let runs = || (0..10).for_each(|_| assert_eq!(run(&["embed", "text", "-q", "-m", "pico", "star", "--device", "gpu"]).code, 0));
    std::thread::scope(|threads| (0..4).for_each(|_| drop(threads.spawn(runs))));
}

#[test]
fn bench_has_a_line_per_tower_and_batch() {
    let said = run(&["bench", "-m", "pico", "--seconds", "0.05", "--json"]).json();
    let lines: Vec<(String, u64)> =
        said["lines"].as_array().unwrap().iter().map(|l| (l["tower"].as_str().unwrap().into(), l["batch"].as_u64().unwrap())).collect();
    assert_eq!(lines, ["image", "text"].iter().flat_map(|t| [1, 8, 32].map(|b| (t.to_string(), b))).collect::<Vec<_>>());
    for line in said["lines"].as_array().unwrap() {
        assert!(line["p10_ms"].as_f64() <= line["median_ms"].as_f64() && line["median_ms"].as_f64() <= line["p90_ms"].as_f64());
    }
    assert!(said["load_ms"].as_f64() > Some(0.0));
}

#[test]
fn every_command_has_examples() {
    for command in [
        &["--help"][..],
        &["classify", "--help"],
        &["embed", "--help"],
        &["embed", "image", "--help"],
        &["embed", "text", "--help"],
        &["compare", "--help"],
        &["tokenize", "--help"],
        &["preprocess", "--help"],
        &["model", "--help"],
        &["model", "info", "--help"],
        &["model", "verify", "--help"],
        &["device", "--help"],
        &["bench", "--help"],
    ] {
        let said = finish(std::process::Command::new(env!("CARGO_BIN_EXE_clip-wgpu")).args(command), b"");
        assert!(
            said.code == 0 && said.out.contains("Examples:") && said.out.contains("--model <NAME|DIR|FILE>"),
            "{command:?}: {}",
            said.out
        );
    }
}

/// `--layer`, `--pooled` and `--parts` against what PyTorch made of the same model, in the shapes that transformers gives.
#[test]
fn what_the_image_tower_makes_on_its_way_is_written() {
    let folder = scratch("layers");
    let picture = "assets/samples/tiger.jpg";
    let written = |option: &[&str], shape: &[u64]| {
        let file = folder.join("values.jsonl");
        let said =
            run(&with(&[&["embed", "image", "-m", "tests/golden/hf_quick", picture, "--json", "-o", file.to_str().unwrap()], option]))
                .json();
        assert_eq!(said["written"]["shape"], serde_json::json!(shape), "{option:?}");
        let line: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        line["embedding"].clone()
    };
    let tokens = written(&["--layer", "2"], &[10, 36]);
    assert_eq!((tokens.as_array().unwrap().len(), tokens[9].as_array().unwrap().len()), (10, 36));
    assert_ne!(tokens, written(&["--layer", "1"], &[10, 36]));
    assert_ne!(tokens, written(&["--layer", "0"], &[10, 36]));
    assert_eq!(written(&["--pooled"], &[36]).as_array().unwrap().len(), 36);
    assert_eq!(written(&["--parts"], &[9, 27]).as_array().unwrap().len(), 9);
    assert_eq!(written(&[], &[27]).as_array().unwrap().len(), 27);
    run(&["embed", "image", "-m", "tests/golden/hf_quick", "-q", picture, "--layer", "3"])
        .fails(2, &["expected a layer from 0 to 2, found 3"]);
}
