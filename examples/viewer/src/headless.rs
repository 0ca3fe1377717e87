//! The same without a window: frames in, a line for each out.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clip_wgpu::Executor;
use clip_wgpu::blocking::open;
use serde_json::json;

use crate::arguments::Arguments;
use crate::frame::{Shown, Textures};
use crate::labels::LabelSet;
use crate::model::Model;
use crate::record::Recording;
use crate::score::Smooth;
use crate::source::{self, Stop};

/// Says on stderr how far loading is, where a person sees it: what takes longer than a second, at most ten times in each.
fn progress() -> impl Fn(&str, u64, u64) + Send + Sync + Clone {
    let (begun, said) = (Instant::now(), Arc::new(Mutex::new(Instant::now())));
    move |doing, done, all| {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if std::io::stderr().is_terminal() && begun.elapsed() > Duration::from_secs(1) && said.elapsed() > Duration::from_millis(100) {
            *said = Instant::now();
            eprint!("\rviewer: {doing}, {:.0} of {:.0} MB", done as f64 / 1e6, all as f64 / 1e6);
        }
    }
}

/// Scores the next frames and prints each; then, on stderr, where the time went.
///
/// # Errors
/// A sentence for the user.
pub fn run(arguments: &Arguments, set: LabelSet) -> Result<(), String> {
    let executor = open(&arguments.device).map_err(|e| e.to_string())?;
    let mut model = Model::load(&arguments.model, &executor, progress()).map_err(|e| e.to_string())?;
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K"); // over what it said of loading
    }
    model.look_for(&set).map_err(|e| e.to_string())?;
    let names: Vec<String> = set.names().map(String::from).collect();
    let mut recording = arguments.record.as_deref().map(Recording::start).transpose()?;
    let mut textures = match &executor {
        Executor::Gpu(gpu) => Some(Textures::new(gpu)),
        _ => None,
    };
    let gone = |stop: Stop| match stop {
        Stop::Over => "the source is over".to_string(),
        Stop::Gone(why) => why,
    };
    let mut source = source::open(&arguments.source, arguments.every()).map_err(gone)?;
    let (mut smooth, mut last, mut out) = (Smooth::default(), Instant::now(), std::io::stdout().lock());
    let (mut capture, mut score, mut shown) = (Vec::new(), Vec::new(), None);
    for number in 0..arguments.frames {
        let begun = Instant::now();
        let frame = match source.next() {
            Ok(frame) => frame,
            Err(Stop::Over) => break,
            Err(stop) => return Err(gone(stop)),
        };
        let texture = textures.as_mut().and_then(|t| t.upload(&frame));
        let now = Shown { frame: Arc::new(frame), texture, number, capture: begun.elapsed() };
        let Some(scored) = model.scored(&now).map_err(|e| e.to_string())? else { return Err("expected a label, found none".into()) };
        smooth.take(&scored.scores, std::mem::replace(&mut last, Instant::now()).elapsed(), arguments.smoothing());
        let leader = crate::score::best(&scored.scores).map_or("", |i| &names[i]);
        let place = arguments.located.as_ref().and_then(|label| names.iter().position(|name| name == label));
        let heat = place.map(|label| model.located(&now, label)).transpose().map_err(|e| e.to_string())?.flatten();
        let line = match arguments.json {
            true => {
                let scores: serde_json::Map<String, serde_json::Value> =
                    names.iter().cloned().zip(scored.scores.iter().map(|s| json!(s))).collect();
                let leads = smooth.leader.map(|i| &names[i]);
                let ms = |time: Duration| (time.as_secs_f64() * 1e5).round() / 100.0;
                let mut line = json!({ "frame": number, "name": now.frame.name, "label": leader, "leads": leads, "scores": scores,
                        "capture_ms": ms(now.capture), "score_ms": ms(scored.took) });
                if let Some(heat) = heat {
                    line["where"] = heat.values.chunks(heat.grid).map(|row| json!(row)).collect();
                }
                line.to_string()
            }
            false => {
                let best = scored.scores.iter().copied().fold(f32::MIN, f32::max);
                format!("{}\t{leader}\t{best:.3}", now.frame.name.clone().unwrap_or(number.to_string()))
            }
        };
        if let Some(recording) = &mut recording {
            recording.write(number, &names, &scored.scores)?;
        }
        if writeln!(out, "{line}").is_err() {
            return Ok(()); // whoever read it has gone
        }
        capture.push(now.capture);
        score.push(scored.took);
        shown = Some(now);
    }
    let Some(shown) = shown else { return Ok(()) };
    let [prepare, encode, scores] = model.budget(&shown, 9).map_err(|e| e.to_string())?;
    let middle = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let (capture, score) = (middle(&mut capture), middle(&mut score));
    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    eprintln!(
        "{}, {}: capture {}, then {} a frame: preprocess {}, encode {}, score {}; {} prompts encoded",
        model.name,
        executor.name(),
        ms(capture),
        ms(score),
        ms(prepare),
        ms(encode),
        ms(scores),
        model.encoded()
    );
    Ok(())
}
