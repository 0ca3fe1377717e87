//! The window without a window system: its widgets are found by name and clicked, its device is a real one.
#![allow(clippy::unwrap_used)] // a test that fails may panic

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use clip_wgpu::Device;
use eframe::egui::{DroppedFile, Event, Key};
use eframe::egui_wgpu::WgpuSetup;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use egui_kittest::wgpu::WgpuTestRenderer;

use crate::app::{Kept, Viewer};
use crate::arguments::Arguments;
use crate::device;
use crate::engine::{Engine, State};

const LIMIT: Duration = Duration::from_secs(60);

/// The viewer in a frame of 1100 × 720 pixels, on the first GPU or software driver; and what outlives its window.
fn viewer(arguments: &[&str]) -> (Harness<'static, Viewer>, Arc<Mutex<Kept>>) {
    let arguments = Arguments::parse_from([&["viewer", "--model", "pico"], arguments].concat());
    let opened = device::open(&Device::Gpu(None)).unwrap();
    let set = arguments.label_set().unwrap();
    let kept = Arc::new(Mutex::new(Kept { arguments, set, recording: None, again: false, note: None, over: None }));
    let (state, executor, gpu) = (kept.clone(), opened.executor, opened.gpu);
    let harness = Harness::builder()
        .with_size([1100.0, 720.0])
        .renderer(WgpuTestRenderer::from_setup(WgpuSetup::Existing(opened.setup)))
        .build_eframe(move |context| {
            let engine = Engine::start(Some(executor), || {});
            Viewer::new(&context.egui_ctx, context.wgpu_render_state.clone(), engine, gpu, opened.names, state)
        });
    (harness, kept)
}

/// Draws until `seen` is true.
fn until(harness: &mut Harness<'static, Viewer>, what: &str, mut seen: impl FnMut(&mut Harness<'static, Viewer>) -> bool) {
    let begun = Instant::now();
    loop {
        harness.step();
        if seen(harness) {
            return;
        }
        let said = &harness.state().said;
        let why = (&said.state, &said.complaint, &said.names, &said.examples, &harness.state().note, said.frames);
        assert!(begun.elapsed() < LIMIT, "{what}: not after {LIMIT:?}; {why:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn running(harness: &mut Harness<'static, Viewer>) {
    until(harness, "the model is loaded and a frame scored", |h| h.state().said.frames > 0);
    harness.check_accessibility();
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/samples")
}

fn fresh(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("clip-wgpu-viewer-{name}"));
    let _ = std::fs::remove_dir_all(&folder); // of an earlier run
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Clicks the widget of this name, once the layout stands.
fn click(harness: &mut Harness<'static, Viewer>, name: &str) {
    harness.run_steps(4);
    harness.get_by_label_contains(name).click();
    harness.run_steps(4);
}

/// A picture of the window to look at, where `CLIP_WGPU_VIEWER_SHOTS` names a folder for them.
fn shot(harness: &mut Harness<'static, Viewer>, name: &str) {
    if let Some(folder) = std::env::var_os("CLIP_WGPU_VIEWER_SHOTS") {
        harness.run_steps(4);
        harness.render().unwrap().save(Path::new(&folder).join(format!("{name}.png"))).unwrap();
    }
}

fn typed_into(harness: &mut Harness<'static, Viewer>, hint: &str, text: &str) {
    harness.get_by(|node| node.placeholder() == Some(hint)).focus();
    harness.step();
    harness.get_by(|node| node.placeholder() == Some(hint)).type_text(text);
    harness.step();
}

#[test]
fn the_right_label_leads_on_each_picture_and_a_source_that_goes_comes_back() {
    let folder = fresh("source");
    let wanted = [("tiger.jpg", "tiger"), ("fish.jpg", "tropical fish"), ("red-circle.png", "red circle"), ("guitar.jpg", "guitar")];
    let put = || wanted.iter().for_each(|(file, _)| assert!(std::fs::copy(samples().join(file), folder.join(file)).is_ok()));
    put();
    let labels = wanted.iter().flat_map(|(_, label)| ["-l", label]);
    let source = ["--source", folder.to_str().unwrap(), "--every", "0.2", "--smoothing", "0"];
    let (mut harness, _) = viewer(&source.into_iter().chain(labels).collect::<Vec<_>>());
    running(&mut harness);
    let mut led = BTreeMap::new();
    until(&mut harness, "each picture was scored", |h| {
        let (viewer, (shown, _)) = (h.state(), h.state().capture.newest());
        if let Some(shown) = shown.filter(|s| s.number == viewer.said.number && viewer.said.frames > 0) {
            let name = Path::new(shown.frame.name.as_deref().unwrap()).file_name().unwrap().to_str().unwrap().to_string();
            led.insert(name, viewer.said.names[viewer.said.smooth.leader.unwrap()].clone());
        }
        led.len() == wanted.len()
    });
    assert_eq!(led, wanted.iter().map(|(file, label)| (file.to_string(), label.to_string())).collect());
    shot(&mut harness, "leads");

    wanted.iter().for_each(|(file, _)| std::fs::remove_file(folder.join(file)).unwrap());
    until(&mut harness, "the window says that the source is gone", |h| h.query_by_label_contains("looking again each second").is_some());
    shot(&mut harness, "gone");
    put();
    let before = harness.state().said.frames;
    until(&mut harness, "it goes on", |h| h.state().stopped.is_none() && h.state().said.frames > before);
    assert!(harness.query_by_label_contains("looking again").is_none());
}

#[test]
fn labels_are_added_taught_located_saved_and_recorded_by_hand() {
    let folder = fresh("labels");
    let picture = samples().join("tiger.jpg");
    let (mut harness, _) = viewer(&["--source", picture.to_str().unwrap(), "--every", "0.05", "-l", "fish", "-l", "guitar"]);
    running(&mut harness);
    assert_eq!(harness.state().said.encoded, 2);
    typed_into(&mut harness, "a label", "teapot");
    harness.key_press(Key::Enter);
    until(&mut harness, "the label is scored", |h| h.state().said.names == ["fish", "guitar", "teapot"] && h.state().said.raw.len() == 3);
    assert_eq!(harness.state().said.encoded, 3);

    typed_into(&mut harness, "a label", "my thing");
    harness.key_press(Key::F2);
    until(&mut harness, "the thing leads", |h| {
        let said = &h.state().said;
        said.smooth.leader.is_some_and(|i| said.names.get(i).is_some_and(|n| n == "my thing"))
    });
    assert_eq!(harness.state().said.encoded, 3, "nothing new was encoded");

    let file = folder.join("set.json");
    click(&mut harness, "How labels are scored");
    harness.state_mut().typed.file = file.display().to_string();
    click(&mut harness, "Save");
    until(&mut harness, "it is said that the set is saved", |h| h.query_by_label_contains("saved to").is_some());
    assert_eq!(crate::labels::LabelSet::load(&file).unwrap(), harness.state().set);
    shot(&mut harness, "scoring");

    let record = folder.join("scores.csv");
    harness.state_mut().typed.record = record.display().to_string();
    click(&mut harness, "Record to");
    until(&mut harness, "it records", |h| h.state().recording.is_some());
    let lines = |record: &Path| std::fs::read_to_string(record).unwrap_or_default().lines().count();
    until(&mut harness, "scores are recorded", |_| lines(&record) > 4);
    shot(&mut harness, "recording");
    click(&mut harness, "Stop recording");
    until(&mut harness, "recording is over", |h| h.state().recording.is_none());

    click(&mut harness, "More of my thing");
    click(&mut harness, "Where in the picture");
    until(&mut harness, "it is shown where the thing is", |h| {
        h.query_by_label_contains("speaks for `my thing`").is_some() && h.state().said.heat.is_some()
    });
    shot(&mut harness, "where");
    click(&mut harness, "Whole picture");
    until(&mut harness, "the whole picture is shown", |h| h.state().said.heat.is_none());
}

/// A file as a window system hands it over.
#[derive(Debug)]
struct Dropped(PathBuf);

impl DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }
    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|e| e.to_string())
    }
}

#[test]
fn a_dropped_file_is_watched_or_opened() {
    let picture = samples().join("tiger.jpg");
    let (mut harness, _) = viewer(&["--source", picture.to_str().unwrap(), "--every", "0.05", "-l", "tiger", "-l", "fish"]);
    running(&mut harness);
    let labels = fresh("dropped").join("labels.txt");
    std::fs::write(&labels, "guitar\nteapot\n").unwrap();
    for file in [samples().join("guitar.jpg"), labels] {
        harness.input_mut().dropped_files.push(Arc::new(Dropped(file)));
        harness.step();
    }
    until(&mut harness, "the picture that was dropped has the label that was dropped", |h| {
        let (shown, _) = h.state().capture.newest();
        let watched = shown.is_some_and(|s| s.frame.name.as_deref().is_some_and(|name| name.ends_with("guitar.jpg")));
        let said = &h.state().said;
        watched && said.names == ["guitar", "teapot"] && said.smooth.leader == Some(0)
    });
}

/// Whoever pauses and edits the labels sees the scores of the picture that stands there, and shading of the label that is named.
#[test]
fn a_paused_picture_is_scored_by_other_labels() {
    let picture = samples().join("tiger.jpg");
    let (mut harness, _) = viewer(&["--source", picture.to_str().unwrap(), "--every", "0.05", "-l", "fish", "-l", "guitar"]);
    running(&mut harness);
    click(&mut harness, "Pause");
    until(&mut harness, "it is paused", |h| h.state().said.state == State::Paused);
    // A list that is pasted is a label in each line.
    harness.get_by(|node| node.placeholder() == Some("a label")).focus();
    harness.step();
    harness.input_mut().events.push(Event::Paste("tiger\nred circle\n".into()));
    until(&mut harness, "the picture is scored anew", |h| {
        let said = &h.state().said;
        said.names == ["fish", "guitar", "tiger", "red circle"] && said.smooth.leader == Some(2) && said.raw.len() == 4
    });
    assert_eq!(harness.state().said.state, State::Paused);
    let at = |h: &Harness<'static, Viewer>| h.state().said.heat.as_ref().map(|heat| heat.label);
    for (label, place) in [("tiger", 2), ("fish", 0)] {
        harness.state_mut().locate(Some(label.into()));
        until(&mut harness, "it is located", |h| at(h) == Some(place));
    }
}

#[test]
fn what_fails_is_a_sentence_and_the_window_goes_on() {
    let picture = samples().join("tiger.jpg");
    let (mut harness, kept) = viewer(&["--source", picture.to_str().unwrap(), "--every", "0.05", "-l", "tiger", "-l", "fish"]);
    running(&mut harness);
    click(&mut harness, "frames a second");
    harness.state_mut().typed.model = "/no/such/model".into();
    click(&mut harness, "Load");
    until(&mut harness, "a model that is not there is named", |h| {
        h.query_by_label_contains("model `/no/such/model`: no such folder").is_some()
    });
    shot(&mut harness, "failed");
    harness.state_mut().typed.model = "pico".into();
    click(&mut harness, "Load");
    let before = harness.state().said.frames;
    until(&mut harness, "it goes on", |h| h.state().said.state == State::Running && h.state().said.frames > before);
    shot(&mut harness, "runs");

    harness.state().gpu.device.destroy();
    until(&mut harness, "the window asks to be opened again", |_| kept.lock().unwrap().again);
    assert!(kept.lock().unwrap().note.clone().unwrap().unwrap_err().contains("the device was lost"));
}
