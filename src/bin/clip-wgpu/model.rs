use clap::{Args, Subcommand};
use clip_wgpu::clip::{ModelFiles, Tower};
use clip_wgpu::graph::session::Data;
use clip_wgpu::graph::{Origin, Size, Value, plan};
use clip_wgpu::{Clip, Device, Error, Executor, Options, Result};
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::output::{say, say_json};

/// Look into a model
#[derive(Subcommand)]
#[command(after_help = "Examples:
  clip-wgpu model info pico
  clip-wgpu model verify ~/models/clip-vit-base-patch32 --device gpu")]
pub enum Model {
    /// What a model is made of, and what it takes on the device
    Info(Named),
    /// Check the GPU's numbers against the CPU's, layer by layer
    Verify(Named),
}

#[derive(Args)]
pub struct Named {
    /// The model; -m does as well
    #[arg(value_name = "NAME|DIR")]
    name: Option<String>,
}

impl Model {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        let (Model::Info(named) | Model::Verify(named)) = &self;
        let name = named.name.as_deref().map_or_else(|| g.model(), Ok)?;
        match self {
            Model::Info(_) => info(g, name),
            Model::Verify(_) => verify(g, name),
        }
    }
}

fn info(g: &Globals, name: &str) -> Result<Outcome> {
    let executor = g.executor()?;
    let files = ModelFiles::find(name)?;
    let clip = g.load_on(&executor, files, g.options(), &[])?;
    let c = &clip.config;
    let pipelines = match &executor {
        Executor::Gpu(gpu) => gpu.pipelines(),
        Executor::Host => 0,
    };
    let towers = [("vision", &clip.vision, c.vision.tower, c.vision.tokens()), ("text", &clip.text, c.text.tower, c.text.context)];
    let documents: Vec<_> = towers.iter().map(|(tower, t, shape, tokens)| {
        let (one, many) = (plan::plan(&t.graph, &[t.output], Size { batch: 1, tokens: *tokens }), t.runner.plan());
        json!({
            "tower": tower, "width": shape.width, "layers": shape.layers, "heads": shape.heads, "hidden": shape.hidden, "activation": format!("{:?}", shape.act), "tokens": tokens,
            "parameters": t.parameters(), "weight_bytes": t.runner.weight_bytes(), "dispatches": t.runner.dispatches(), "slots": many.slot_bytes.len(),
            "batch": t.runner.capacity().batch, "activation_bytes": many.slot_bytes.iter().sum::<u64>(), "lower_bound_bytes": many.lower_bound_bytes,
            "activation_bytes_of_one": one.slot_bytes.iter().sum::<u64>(), "lower_bound_bytes_of_one": one.lower_bound_bytes,
            "gflop_of_one": t.graph.flops(Size { batch: 1, tokens: *tokens }) as f64 / 1e9,
        })
    }).collect();
    if g.json {
        say_json(
            &json!({"model": name, "layout": format!("{:?}", c.layout), "embed": c.embed, "image_size": c.vision.size, "patch": c.vision.patch, "vocabulary": c.text.vocabulary,
            "context": c.text.context, "logit_scale": clip.logit_scale.exp(), "device": executor.name(), "pipelines": pipelines, "towers": documents}),
        )?;
        return Ok(Outcome::Done);
    }
    say(&format!(
        "{name}: {:?} layout, {1} × {1} pixels in patches of {2}, {3} tokens of {4} words, joint space {5}, logit scale {6:.2}",
        c.layout,
        c.vision.size,
        c.vision.patch,
        c.text.context,
        c.text.vocabulary,
        c.embed,
        clip.logit_scale.exp()
    ))?;
    say(&format!("on {}: {pipelines} pipelines", executor.name()))?;
    for d in &documents {
        let text = |key: &str| d[key].as_str().unwrap_or_default();
        say(&format!(
            "{}: {} layers of {} in {} heads, MLP {}, {}, {} tokens",
            text("tower"),
            d["layers"],
            d["width"],
            d["heads"],
            d["hidden"],
            text("activation"),
            d["tokens"]
        ))?;
        say(&format!(
            "  {} parameters, {} weight bytes, {} dispatches, {:.2} GFLOP each",
            d["parameters"],
            d["weight_bytes"],
            d["dispatches"],
            d["gflop_of_one"].as_f64().unwrap_or_default()
        ))?;
        say(&format!(
            "  {} activation slots: {} bytes at batch 1 (lower bound {}), {} at batch {} (lower bound {})",
            d["slots"],
            d["activation_bytes_of_one"],
            d["lower_bound_bytes_of_one"],
            d["activation_bytes"],
            d["batch"],
            d["lower_bound_bytes"]
        ))?;
    }
    Ok(Outcome::Done)
}

/// The most that a value may differ, in its standard deviations: embeddings as the golden tests bound them; values on the
/// way there may have outliers hundreds of times their neighbours.
const EMBEDDING_BOUND: f64 = 2e-4;
const LAYER_BOUND: f64 = 1e-3;

fn verify(g: &Globals, name: &str) -> Result<Outcome> {
    let device = match &g.device {
        Device::Cpu => return Err(Error::Argument("model verify compares a GPU with the CPU: expected --device gpu, found cpu".into())),
        Device::Auto => Device::Gpu(None), // software adapters too: the shaders are what is checked
        device => device.clone(),
    };
    let names = made_values(&ModelFiles::find(name)?)?;
    let keep: Vec<&str> = names.iter().map(String::as_str).collect();
    let load = |executor: &Executor| g.load_on(executor, ModelFiles::find(name)?, Options { batch: 2, ..g.options() }, &keep);
    let gpu = load(&pollster::block_on(device.open())?)?;
    let host = load(&Executor::Host)?;

    let bar = g.bar(4, "running  {bar:30} {pos}/{len} {elapsed}");
    let mut rows = Vec::new();
    for tower in ["vision.", "text."] {
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

/// The names of what both towers' nodes make, in order.
fn made_values(files: &ModelFiles) -> Result<Vec<String>> {
    let graphs = [clip_wgpu::clip::vision(&files.config)?.0, clip_wgpu::clip::text(&files.config)?.0];
    let made = |g: &clip_wgpu::graph::Graph| {
        (0..g.values.len()).filter(|&i| g.origins[i] == Origin::Node).map(|i| g.values[i].name.clone()).collect::<Vec<_>>()
    };
    Ok(graphs.iter().flat_map(made).collect())
}

/// Values of one tower, run over seeded inputs: two pictures of noise, two texts of different lengths.
fn values(clip: &Clip, names: &[&str]) -> Result<Vec<Vec<f32>>> {
    let c = &clip.config;
    let mut noise = Noise(1);
    let run = |tower: &Tower, inputs: &[(Value, Data<'_>)], size| {
        let values: Vec<Value> = names.iter().map(|n| tower.graph.find(n).expect("the names are of this graph")).collect();
        pollster::block_on(tower.runner.run_and_read(inputs, size, &values))
    };
    if names.iter().all(|n| n.starts_with("vision.")) {
        let pixels: Vec<f32> = (0..2 * 3 * c.vision.size.pow(2)).map(|_| noise.next() * 2.0 - 1.0).collect();
        let (size, ends) = (Size { batch: 2, tokens: c.vision.tokens() }, &clip.vision.ends);
        let lengths = [size.tokens as u32; 2];
        return run(
            &clip.vision,
            &[(ends.input, Data::F32(&pixels)), (ends.lengths, Data::U32(&lengths)), (ends.pooled_at, Data::U32(&[0, 0]))],
            size,
        );
    }
    // Whole rows on purpose: the pooled rows are then the last token of one text, and one in the middle of the other.
    let tokens = c.text.context;
    let ids: Vec<u32> = (0..2 * tokens).map(|_| (noise.next() * (c.text.vocabulary - 1) as f32) as u32).collect();
    let (lengths, eot) = ([tokens as u32, (tokens as u32).div_ceil(2)], [tokens as u32 - 1, (tokens as u32).div_ceil(2) - 1]);
    let ends = &clip.text.ends;
    run(
        &clip.text,
        &[(ends.input, Data::U32(&ids)), (ends.lengths, Data::U32(&lengths)), (ends.pooled_at, Data::U32(&eot))],
        Size { batch: 2, tokens },
    )
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
