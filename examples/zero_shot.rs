//! Labels pictures zero-shot: `cargo run --release --example zero_shot -- pico assets/samples/red-circle.png`

use clip_wgpu::blocking::Clip;
use clip_wgpu::{Image, Options, Score};

fn main() -> clip_wgpu::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let clip = Clip::load(&arguments.next().unwrap_or("pico".into()), &Options::default())?;
    let labels = ["red circle", "blue square", "green star", "yellow heart", "purple triangle"];
    let classifier = clip.classifier(&labels, &["a photo of a {}", "a drawing of a {}"])?;
    for path in arguments {
        let image = clip.encode_images(&[Image::open(&path)?])?;
        let scores = classifier.scores(&image, Score::Softmax)?;
        let (label, share) = classifier.ranked(&scores)[0];
        println!("{path}: {label} ({:.1} %)", 100.0 * share);
    }
    Ok(())
}
