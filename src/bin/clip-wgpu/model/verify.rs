use clip_wgpu::clip::{ModelFiles, Tower};
use clip_wgpu::graph::{self, Data, Origin, Size};
use clip_wgpu::weights::Compute;
use clip_wgpu::{Clip, Device, Error, Executor, Options, Result};
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::output::{say, say_json};

/// The most that a value may differ, in its standard deviations: embeddings as the golden tests bound them; values on the
/// way there may have outliers hundreds of times their neighbours.
const EMBEDDING_BOUND: f64 = 2e-4;
const LAYER_BOUND: f64 = 1e-3;

/// The GPU's numbers against the CPU's, value by value.
pub fn verify(g: &Globals, name: &str) -> Result<Outcome> {
    let device = match &g.device {
        Device::Cpu => return Err(Error::Argument("model verify compares a GPU with the CPU: expected --device gpu, found cpu".into())),
        Device::Auto => Device::Gpu(None), // software adapters too: the shaders are what is checked
        device => device.clone(),
    };
    if g.compute != Compute::F32 {
        return Err(Error::Argument(format!("model verify compares what both compute in f32: expected no --compute {}", g.compute)));
    }
    let names = made_values(&g.find(name)?)?;
    let keep: Vec<&str> = names.iter().map(String::as_str).collect();
    let load = |executor: &Executor| g.load_on(executor, g.find(name)?, Options { batch: 2, ..g.options() }, &keep);
    let gpu = load(&g.forced(pollster::block_on(device.open())?)?)?;
    let host = load(&Executor::Host)?;

    let bar = g.bar(4, "running  {bar:30} {pos}/{len} {elapsed}");
    let mut rows = Vec::new();
    for tower in ["vision.", "text."].into_iter().filter(|tower| names.iter().any(|n| n.starts_with(tower))) {
        let names: Vec<&str> = names.iter().map(String::as_str).filter(|n| n.starts_with(tower)).collect();
        let [got, want] = [&gpu, &host].map(|clip| {
            bar.inc(1);
            values(clip, &names)
        });
        rows.extend(names.into_iter().zip(got?.iter().zip(&want?)).map(|(name, (got, want))| (name, deviation(got, want))));
    }
    bar.finish_and_clear();
    let bound = |name: &str| if name.ends_with(".embedding") { EMBEDDING_BOUND } else { LAYER_BOUND };
    let failed: Vec<_> = rows.iter().filter(|(name, d)| d.is_nan() || *d > bound(name)).collect();
    let worst = rows.iter().max_by(|a, b| (a.1 / bound(a.0)).total_cmp(&(b.1 / bound(b.0))));
    if g.json {
        let layers: Vec<_> =
            rows.iter().map(|(name, d)| json!({"value": name, "deviation": d, "bound": bound(name), "ok": *d <= bound(name)})).collect();
        say_json(
            &json!({"model": name, "device": gpu.executor.name(), "against": host.executor.name(), "ok": failed.is_empty(), "worst": worst.map(|w| w.0), "layers": layers}),
        )?;
    } else {
        for (value, d) in &rows {
            say(&format!("{} {d:.1e}  {value}", if *d <= bound(value) { "ok    " } else { "FAILED" }))?;
        }
        let worst = worst
            .map_or(String::new(), |(value, d)| format!("; worst `{value}`, {d:.1e} standard deviations off (bound {:.0e})", bound(value)));
        say(&format!(
            "{} against {}: {} of {} values agree{worst}",
            gpu.executor.name(),
            host.executor.name(),
            rows.len() - failed.len(),
            rows.len()
        ))?;
    }
    Ok(if failed.is_empty() { Outcome::Done } else { Outcome::SomeFailed })
}

/// The names of what the towers' nodes make, in order.
fn made_values(files: &ModelFiles) -> Result<Vec<String>> {
    let c = &files.config;
    let vision = c.vision.as_ref().map(|_| clip_wgpu::clip::vision(c)).transpose()?;
    let text = c.text.as_ref().map(|_| clip_wgpu::clip::text(c)).transpose()?;
    let made = |(g, _): (graph::Graph, _)| {
        (0..g.values.len()).filter(|&i| g.origins[i] == Origin::Node).map(|i| g.values[i].name.clone()).collect::<Vec<_>>()
    };
    Ok([vision, text].into_iter().flatten().flat_map(made).collect())
}

/// Values of one tower, run over seeded inputs: two pictures of noise, two texts of different lengths.
fn values(clip: &Clip, names: &[&str]) -> Result<Vec<Vec<f32>>> {
    let mut noise = Noise(1);
    let run = |tower: &Tower, input: Data<'_>, pooled_at: [u32; 2], lengths: [u32; 2], size| {
        let values: Vec<graph::Value> = names.iter().map(|n| tower.graph.find(n).expect("the names are of this graph")).collect();
        let ends = &tower.ends;
        let rest = [(ends.lengths, &lengths), (ends.pooled_at, &pooled_at)];
        let rest = rest.into_iter().filter_map(|(value, data)| Some((value?, Data::U32(data))));
        let inputs: Vec<_> = [(ends.input, input)].into_iter().chain(rest).collect();
        pollster::block_on(tower.runner.run_and_read(&inputs, size, &values))
    };
    if names.iter().all(|n| n.starts_with("vision.")) {
        let v = clip.config.vision()?;
        let pixels: Vec<f32> = (0..2 * 3 * v.size.pow(2)).map(|_| noise.next() * 2.0 - 1.0).collect();
        let size = Size { batch: 2, tokens: v.tokens() };
        return run(clip.vision()?, Data::F32(&pixels), [0, 0], [size.tokens as u32; 2], size);
    }
    // Whole rows on purpose: the pooled rows are then the last token of one text, and one in the middle of the other.
    let t = clip.config.text()?;
    let ids: Vec<u32> = (0..2 * t.context).map(|_| (noise.next() * (t.vocabulary - 1) as f32) as u32).collect();
    let (whole, half) = (t.context as u32, (t.context as u32).div_ceil(2));
    run(clip.text()?, Data::U32(&ids), [whole - 1, half - 1], [whole, half], Size { batch: 2, tokens: t.context })
}

/// The same numbers on every machine (a 64-bit LCG), 0 to 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// The greatest difference, in standard deviations of `want`.
fn deviation(got: &[f32], want: &[f32]) -> f64 {
    let mean = want.iter().map(|&v| v as f64).sum::<f64>() / want.len() as f64;
    let sigma = (want.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / want.len() as f64).sqrt();
    got.iter().zip(want).map(|(g, w)| (*g as f64 - *w as f64).abs()).fold(0.0, |a, b| if b.is_nan() { b } else { a.max(b) })
        / sigma.max(1e-30)
}
