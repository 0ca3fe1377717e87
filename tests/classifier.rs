//! Classifiers and the models that they are of, and runs that read what others leave on the device.
#![allow(clippy::unwrap_used)] // a test that fails may panic

mod common;

use std::path::Path;

use clip_wgpu::blocking::{Clip, find};
use clip_wgpu::{Embeddings, Error, Executor, Image, Options, Score};

const LABELS: [&str; 3] = ["red circle", "blue square", "a tiger"];

fn executors() -> Vec<Executor> {
    common::gpu().map(Executor::Gpu).into_iter().chain([Executor::Host]).collect()
}

fn pico(executor: &Executor, options: &Options) -> Clip {
    Clip::load_on(executor, find("pico").unwrap(), options, &[]).unwrap()
}

fn sample(name: &str) -> Image {
    Image::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/samples").join(name)).unwrap()
}

#[test]
fn a_classifier_is_of_the_model_that_made_it_as_it_was_loaded() {
    for executor in executors() {
        let (mut clip, other) = (pico(&executor, &Options::default()), pico(&executor, &Options::default()));
        let classifier = clip.classifier(&LABELS, &["a {}"]).unwrap();
        let picture = [sample("red-circle.png")];
        let refused = |clip: &Clip| match classifier.classify(clip, &picture, Score::Cosine) {
            Err(Error::Argument(message)) => assert!(message.contains("make it anew"), "{message}"),
            found => panic!("{found:?}"),
        };
        refused(&other);
        let before = classifier.classify(&clip, &picture, Score::Cosine).unwrap();
        clip.restore(&executor).unwrap();
        refused(&clip);
        let again = clip.classifier(&LABELS, &["a {}"]).unwrap();
        assert_eq!(again.classify(&clip, &picture, Score::Cosine).unwrap(), before);
    }
}

/// `normalize: false` is for embeddings: a cosine stays one.
#[test]
fn pictures_are_scored_by_their_cosine_whatever_embeddings_are() {
    let picture = [sample("tiger.jpg")];
    for executor in executors() {
        let clips = [true, false].map(|normalize| pico(&executor, &Options { normalize, ..Options::default() }));
        let length = |clip: &Clip| clip.encode_images(&picture).unwrap().data.iter().map(|v| v * v).sum::<f32>().sqrt();
        assert!((length(&clips[0]) - 1.0).abs() < 1e-5 && (length(&clips[1]) - 1.0).abs() > 1e-2);
        for templates in [&["{}"][..], &["a {}", "a photo of a {}"]] {
            let [unit, raw] = [0, 1].map(|i| {
                let classifier = clips[i].classifier(&LABELS, templates).unwrap();
                classifier.classify(&clips[i], &picture, Score::Cosine).unwrap()
            });
            assert!(unit.iter().zip(&raw).all(|(a, b)| (a - b).abs() < 1e-5), "{unit:?} {raw:?}");
        }
    }
}

/// What makes a frame's pixels is refused: the tower's run, which is not, must not answer with the frame of before.
#[test]
fn a_frame_that_cannot_be_read_is_an_error_and_no_earlier_frame() {
    let Some(gpu) = common::gpu() else { return };
    let clip = pico(&Executor::Gpu(gpu.clone()), &Options::default());
    let classifier = clip.classifier(&LABELS, &["a {}"]).unwrap();
    let frame = || common::texture(&gpu, (40, 30), wgpu::TextureFormat::Rgba8Unorm, &[99; 4 * 40 * 30]);
    let good = frame();
    let expected = clip.encode_frame(&good).unwrap();
    let gone = frame();
    gone.destroy();
    assert!(matches!(clip.encode_frame(&gone), Err(Error::Device(_))));
    assert!(matches!(classifier.classify_frame(&clip, &gone, Score::Cosine), Err(Error::Device(_))));
    assert_eq!(clip.encode_frame(&good).unwrap(), expected, "and the next is right");
}

#[test]
fn nothing_against_something_is_nothing() {
    for executor in executors() {
        let clip = pico(&executor, &Options::default());
        let (image, text) = (clip.encode_images(&[sample("tiger.jpg")]).unwrap(), clip.encode_texts(&["a tiger"]).unwrap());
        let none = Embeddings { rows: 0, width: 0, data: Vec::new() };
        assert_eq!((clip.logits(&image, &none).unwrap(), clip.logits(&none, &text).unwrap()), (vec![], vec![]));
        assert!(clip.classifier(&LABELS, &["a {}"]).unwrap().scores(&none, Score::Softmax).unwrap().is_empty());
        let short = Embeddings { rows: 1, width: text.width, data: vec![0.5] };
        assert!(matches!(clip.classifier_of(&["x"], short), Err(Error::Shape { .. })));
    }
}

#[test]
fn embeddings_that_were_kept_are_whole_rows_or_refused() {
    let shape = |found: Result<Vec<f32>, Error>, part: &str| match found {
        Err(Error::Shape { message, .. }) => assert!(message.contains(part), "{message}"),
        found => panic!("{found:?}"),
    };
    assert!(Embeddings::new(0, vec![]).is_err() && Embeddings::new(3, vec![0.0; 7]).is_err());
    assert_eq!(Embeddings::new(3, vec![0.0; 6]).unwrap().rows, 2);
    for executor in executors() {
        let clip = pico(&executor, &Options::default());
        let made = clip.encode_texts(&LABELS).unwrap();
        let kept = Embeddings::new(made.width, made.data.clone()).unwrap();
        assert_eq!(clip.logits(&made, &kept).unwrap(), clip.logits(&made, &made).unwrap());
        let narrow = Embeddings::new(made.width - 1, vec![0.0; made.width - 1]).unwrap();
        let more = Embeddings { rows: 1, ..made.clone() };
        let classifier = clip.classifier(&LABELS, &["{}"]).unwrap();
        for (wrong, part) in [(&narrow, "found 1 × "), (&more, "found 1 × ")] {
            shape(clip.logits(&made, wrong), part);
            shape(clip.logits(wrong, &made), part);
            shape(classifier.scores(wrong, Score::Cosine), part);
        }
        let scores = classifier.scores(&made, Score::Cosine).unwrap();
        let best: Vec<&str> = scores.chunks(classifier.labels().len()).map(|row| classifier.ranked(row)[0].0).collect();
        assert_eq!(best, LABELS, "of each its own");
        let debug = format!("{clip:?} {classifier:?} {:?}", Options::default());
        assert!(debug.contains("Clip { name: \"pico\"") && debug.contains("red circle") && debug.contains("batch: 32"), "{debug}");
    }
}
