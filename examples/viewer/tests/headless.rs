//! The viewer without a window, from frames to scores.
#![allow(clippy::unwrap_used)] // a test that fails may panic

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clip_wgpu::blocking::Clip;
use clip_wgpu::{Device, Image, Options, Score};
use serde_json::Value;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/samples")
}

fn viewer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_viewer")).args(arguments).arg("--headless").env_remove("CLIP_WGPU_MODEL").output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a sample shows, as the model has learned to say it.
fn shown(file: &Path) -> String {
    match file.file_stem().unwrap().to_str().unwrap() {
        "fish" => "tropical fish".into(),
        "teapot-and-apple" => "teapot".into(),
        name => name.replace('-', " "),
    }
}

/// On both executors: the right label leads on each sample, and its scores are those of `classify`.
#[test]
fn samples_have_their_labels_and_the_scores_of_classify() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(samples()).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| Image::open(f).is_ok());
    files.sort();
    let labels: Vec<String> = files.iter().map(|f| shown(f)).collect();
    let clip = Clip::load("pico", &Options { device: Device::Cpu, ..Options::default() }).unwrap();
    let images: Vec<Image> = files.iter().map(|f| Image::open(f).unwrap()).collect();
    let classifier = clip.classifier(&labels, &["a photo of a {}"]).unwrap();
    let want = classifier.classify(&clip, &images, Score::Softmax).unwrap();
    for device in ["cpu", "gpu"] {
        let count = files.len().to_string();
        let mut arguments =
            vec!["--json", "--source", samples().to_str().unwrap().to_string().leak(), "--frames", &count, "--device", device];
        labels.iter().for_each(|label| arguments.extend(["-l", label]));
        let found = lines(&viewer(&arguments));
        assert_eq!(found.len(), files.len());
        for ((line, file), want) in found.iter().zip(&files).zip(want.chunks(labels.len())) {
            assert!(line["name"].as_str().unwrap().ends_with(file.file_name().unwrap().to_str().unwrap()));
            assert_eq!(line["label"], shown(file), "{device}");
            for (label, want) in labels.iter().zip(want) {
                let got = line["scores"][label].as_f64().unwrap();
                assert!((got - f64::from(*want)).abs() < 1e-4, "{device}, {}, {label}: {got}, classify says {want}", file.display());
            }
        }
    }
}

#[test]
fn a_film_is_read_through_ffmpeg() {
    let film = std::env::temp_dir().join("clip-wgpu-viewer.avi");
    let tiger = samples().join("tiger.jpg");
    let made = Command::new("ffmpeg")
        .args([
            "-loglevel",
            "error",
            "-y",
            "-loop",
            "1",
            "-i",
            tiger.to_str().unwrap(),
            "-t",
            "0.6",
            "-r",
            "10",
            "-c:v",
            "mjpeg",
            "-q:v",
            "2",
        ])
        .arg(&film)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("left out: no ffmpeg here");
        return;
    }
    let film = film.to_str().unwrap();
    let found = lines(&viewer(&["--json", "--source", film, "--frames", "50", "-l", "tiger", "-l", "guitar", "--device", "cpu"]));
    assert_eq!(found.len(), 6, "all frames, then the end");
    assert!(found.iter().all(|line| line["leads"] == "tiger"), "{found:?}");
}

#[test]
fn what_is_wrong_is_said() {
    for (arguments, parts) in [
        (&["--source", "no/such/place"][..], &["no/such/place: no such file; a source is `camera`"][..]),
        (&["--source", "assets", "--template", "a photo"], &["a prompt has {} where the label goes, `a photo` has none"]),
        (&["--labels", "no/labels.json"], &["no/labels.json: "]),
        (&["--source", "assets", "-m", "no/such/model.safetensors"], &["no/such/model.safetensors"]),
        (&["--source", "camera:no such camera"], &["camera"]),
    ] {
        let output = viewer(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.lines().any(|line| line.starts_with("viewer: ")), "{arguments:?}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{arguments:?}: {said}");
    }
}
