use std::time::Instant;

use clap::{Args, ValueEnum};
use clip_wgpu::graph::{Data, Size, Timing};
use clip_wgpu::peak::Peak;
use clip_wgpu::{Clip, Executor, Options, Result};
use serde_json::{Value, json};

use crate::Outcome;
use crate::context::Globals;
use crate::device::peak_json;
use crate::output::{say, say_json};
use clip_wgpu::clip::config::TextPool;

/// Time both towers: a line per tower and batch
///
/// Pictures are noise that is already preprocessed, texts fill the whole context unless --tokens is given. Each line has the
/// median, the 10th and the 90th percentile of whole calls, inputs and results included.
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu bench -m pico
  clip-wgpu bench -m pico --profile --batches 8
  clip-wgpu bench -m ~/models/clip-vit-base-patch32 --batches 1,16 --seconds 10 --device gpu --json")]
pub struct Bench {
    /// The batch sizes
    #[arg(long, value_delimiter = ',', default_value = "1,8,32", value_name = "N,N")]
    batches: Vec<u16>,
    /// Only this one of the two
    #[arg(long, value_enum)]
    tower: Option<TowerName>,
    /// How long each line is measured, at least three runs
    #[arg(long, default_value_t = 2.0, value_name = "S")]
    seconds: f64,
    /// Where a run's time goes, a row per op: from the device's timestamps, each dispatch in a pass of its own, or clocks on the CPU
    #[arg(long)]
    profile: bool,
    /// Tokens per text; the default is the model's context
    #[arg(long, value_name = "N")]
    tokens: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TowerName {
    Image,
    Text,
}

/// Milliseconds of each run, sorted.
struct Times(Vec<f64>);

impl Times {
    fn at(&self, share: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * share).round() as usize]
    }
}

impl Bench {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        let name = g.model()?;
        let executor = g.executor()?;
        let batch = self.batches.iter().copied().max().unwrap_or(1).max(1) as usize;
        let start = Instant::now();
        let clip = g.load_on(&executor, g.find(&name)?, Options { batch, ..g.options() }, &[])?;
        let load_ms = ms(start);
        let (matrices, fault) = match &clip.executor {
            Executor::Gpu(gpu) if gpu.caps.f16 => (gpu.caps.matrices().map(|m| m.side), gpu.caps.cooperative_fault.clone()),
            _ => (None, None),
        };
        if let Some(fault) = &fault {
            g.warn(&format!("the cooperative matrices that the GPU offers are not taken: {fault}"));
        }
        if !g.json {
            let by = matrices.map_or(String::new(), |side| format!(" by cooperative matrices of {side} × {side}"));
            say(&format!("{name} on {}, {}{by}: loaded in {load_ms:.0} ms", executor.name(), g.compute))?;
        }
        let mut lines = Vec::new();
        let wanted = |tower| self.tower.is_none_or(|only| only == tower);
        let image = clip.config.vision.as_ref().filter(|_| wanted(TowerName::Image)).map(|_| "image");
        let text = clip.config.text.as_ref().filter(|_| wanted(TowerName::Text)).map(|_| "text");
        let mut profiles = Vec::new();
        let peak = self.profile.then(|| pollster::block_on(executor.peak())).transpose()?;
        if let Some(peak) = peak.filter(|_| !g.json) {
            say(&format!("at most {:.0} GFLOP/s in f32, {:.1} GB/s", peak.gflops, peak.gbytes_per_second))?;
        }
        for tower in image.into_iter().chain(text) {
            if let Some(peak) = &peak {
                for &batch in self.batches.iter().filter(|b| **b > 0) {
                    profiles.push(self.profiled(g, &clip, tower, batch as usize, peak)?);
                }
                continue;
            }
            let mut first_run = None;
            for &batch in self.batches.iter().filter(|b| **b > 0) {
                let mut call = self.call(&clip, tower, batch as usize)?;
                let start = Instant::now();
                call()?;
                let first_ms = *first_run.get_or_insert(ms(start));
                let times = self.measure(&mut call)?;
                let (median, p10, p90) = (times.at(0.5), times.at(0.1), times.at(0.9));
                let rate = 1000.0 * batch as f64 / median;
                if !g.json {
                    say(&format!(
                        "{tower:5}  batch {batch:>3}  {median:>9.2} ms  (p10 {p10:.2}, p90 {p90:.2}, {} runs)  {rate:>8.1} {tower}s/s  first run {first_ms:.0} ms",
                        times.0.len()
                    ))?;
                }
                lines.push(json!({"tower": tower, "batch": batch, "median_ms": median, "p10_ms": p10, "p90_ms": p90, "runs": times.0.len(), "per_second": rate, "first_run_ms": first_ms}));
            }
        }
        if g.json {
            let tokens = self.tokens.or(clip.config.text.as_ref().map(|t| t.context));
            say_json(
                &json!({"model": name, "device": executor.name(), "compute": g.compute.to_string(), "cooperative_matrix": matrices, "cooperative_fault": fault, "load_ms": load_ms, "text_tokens": tokens, "lines": lines, "profiles": profiles, "peak": peak.as_ref().map(peak_json)}),
            )?;
        }
        Ok(Outcome::Done)
    }

    /// Each op's share of one run, the second of two: the first compiles.
    fn profiled(&self, g: &Globals, clip: &Clip, tower: &str, batch: usize, peak: &Peak) -> Result<Value> {
        let timings = pollster::block_on(async {
            if tower == "image" {
                let tower = clip.vision()?;
                let batch = batch.min(tower.runner.capacity().batch);
                let (pixels, size) = (pixels(clip, batch)?, Size { batch, tokens: clip.config.vision()?.tokens() });
                let inputs = [(tower.ends.input, Data::F32(&pixels))];
                tower.runner.profile(&inputs, size).await?;
                return tower.runner.profile(&inputs, size).await;
            }
            let tower = clip.text()?;
            let ids = self.ids(clip, batch.min(tower.runner.capacity().batch))?;
            let (inputs, size) = clip.text_inputs(&ids)?;
            let inputs = inputs.of(&tower.ends);
            tower.runner.profile(&inputs, size).await?;
            tower.runner.profile(&inputs, size).await
        })?;
        let total_ms: f64 = timings.iter().map(|t| t.ms).sum();
        let mut rows: Vec<(&str, Vec<&Timing>)> = Vec::new();
        for t in &timings {
            match rows.iter_mut().find(|(op, _)| *op == t.op) {
                Some((_, all)) => all.push(t),
                None => rows.push((t.op, vec![t])),
            }
        }
        let mut documents: Vec<Value> = rows
            .iter()
            .map(|(op, all)| {
                let ms: f64 = all.iter().map(|t| t.ms).sum();
                let rate = |of: fn(&Timing) -> u64| all.iter().map(|t| of(t)).sum::<u64>() as f64 / 1e6 / ms.max(1e-9);
                let (gflops, gbytes) = (rate(|t| t.flops), rate(Timing::bytes));
                let of_peak = (gflops / peak.gflops).max(gbytes / peak.gbytes_per_second); // of the one that it is nearer to
                json!({"op": op, "calls": all.len(), "ms": ms, "gflops": gflops, "gbytes_per_second": gbytes, "of_peak": of_peak, "share": ms / total_ms.max(1e-9)})
            })
            .collect();
        documents.sort_by(|a, b| b["ms"].as_f64().unwrap_or(0.0).total_cmp(&a["ms"].as_f64().unwrap_or(0.0)));
        let traffic = Traffic::of(&timings);
        if !g.json {
            say(&format!("{tower}  batch {batch}  {total_ms:.2} ms in {} ops", timings.len()))?;
            say(&traffic.line())?;
            say("  op            calls        ms   GFLOP/s      GB/s   of the peak   share")?;
            for d in &documents {
                let number = |key: &str| d[key].as_f64().unwrap_or(0.0);
                say(&format!(
                    "  {:12} {:>6} {:>9.3} {:>9.1} {:>9.2} {:>11.1} % {:>5.1} %",
                    d["op"].as_str().unwrap_or(""),
                    d["calls"],
                    number("ms"),
                    number("gflops"),
                    number("gbytes_per_second"),
                    100.0 * number("of_peak"),
                    100.0 * number("share")
                ))?;
            }
        }
        Ok(
            json!({"tower": tower, "batch": batch, "ms": total_ms, "dispatches": traffic.dispatches, "bytes": traffic.bytes, "asked_bytes": traffic.asked, "least_bytes": traffic.least, "ops": documents}),
        )
    }

    /// One call of a tower.
    fn call<'a>(&self, clip: &'a Clip, tower: &str, batch: usize) -> Result<Box<dyn FnMut() -> Result<()> + 'a>> {
        if tower == "image" {
            let pixels = pixels(clip, batch)?;
            return Ok(Box::new(move || pollster::block_on(clip.encode_pixels(&pixels)).map(drop)));
        }
        let ids = self.ids(clip, batch)?;
        Ok(Box::new(move || pollster::block_on(clip.encode_ids(&ids)).map(drop)))
    }

    /// Texts of as many tokens as are asked for.
    fn ids(&self, clip: &Clip, batch: usize) -> Result<Vec<Vec<u32>>> {
        let c = clip.config.text()?;
        let end = match c.pool {
            TextPool::Eos(id) => id,
            _ => c.vocabulary as u32 - 1, // the greatest id is the end of text where one is looked for
        };
        let tokens = self.tokens.unwrap_or(c.context).clamp(2, c.context);
        let id = |b: usize, t: usize| ((b * 31 + t * 17) % (end as usize).clamp(1, c.vocabulary)) as u32;
        Ok((0..batch).map(|b| (1..tokens).map(|t| id(b, t)).chain([end]).collect()).collect())
    }

    fn measure(&self, call: &mut dyn FnMut() -> Result<()>) -> Result<Times> {
        let begun = Instant::now();
        let mut times = Vec::new();
        while times.len() < 3 || begun.elapsed().as_secs_f64() < self.seconds {
            let start = Instant::now();
            call()?;
            times.push(ms(start));
        }
        times.sort_by(f64::total_cmp);
        Ok(Times(times))
    }
}

/// What a run moves, in bytes.
struct Traffic {
    dispatches: usize,
    /// Each operand of each op once.
    bytes: u64,
    /// What the workgroups ask for.
    asked: u64,
    /// The least that there is: weights and inputs once, and once each activation.
    least: u64,
}

impl Traffic {
    fn of(timings: &[Timing]) -> Self {
        let sum = |of: fn(&Timing) -> u64| timings.iter().map(of).sum();
        Self {
            dispatches: timings.iter().map(|t| t.dispatches).sum(),
            bytes: sum(Timing::bytes),
            asked: sum(|t| t.asked_bytes),
            least: sum(|t| t.given_bytes + t.written_bytes),
        }
    }

    fn line(&self) -> String {
        let [bytes, asked, least] = [self.bytes, self.asked, self.least].map(|b| b as f64 / 1e6);
        let least = format!("weights and each activation once: {least:.0} MB");
        match self.dispatches {
            0 => format!("  {bytes:.0} MB read and written; {least}"), // the host
            n => format!("  {n} dispatches: {bytes:.0} MB read and written ({asked:.0} MB by all workgroups); {least}"),
        }
    }
}

/// Pictures of noise, preprocessed.
fn pixels(clip: &Clip, batch: usize) -> Result<Vec<f32>> {
    let side = clip.config.vision()?.size;
    Ok((0..batch * 3 * side.pow(2)).map(|i| (i * 7919 % 1009) as f32 / 504.5 - 1.0).collect())
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
