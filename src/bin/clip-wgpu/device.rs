use clap::Args;
use clip_wgpu::peak::Peak;
use clip_wgpu::{Executor, Result, gpu};
use serde_json::{Value, json};

use crate::Outcome;
use crate::context::Globals;
use crate::output::{say, say_json};

/// The adapters of this machine, what each can do, and which one `auto` takes
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu device
  clip-wgpu device --json
  clip-wgpu device --bench
  clip-wgpu embed text -m pico 'a star' --device gpu:0")]
pub struct Device {
    /// Measure what each can do at most, two seconds each
    #[arg(long)]
    bench: bool,
}

impl Device {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        let adapters = pollster::block_on(gpu::adapters());
        let auto = adapters.iter().position(|a| a.get_info().device_type != wgpu::DeviceType::Cpu);
        let mut documents: Vec<Value> = adapters.iter().enumerate().map(|(i, adapter)| describe(i, adapter, auto == Some(i))).collect();
        let mut cpu = json!({"name": Executor::Host.name(), "auto": auto.is_none()});
        if self.bench {
            for (document, adapter) in documents.iter_mut().zip(&adapters) {
                let executor = Executor::Gpu(pollster::block_on(gpu::Gpu::open(adapter))?);
                document["peak"] = peak_json(&pollster::block_on(executor.peak())?);
            }
            cpu["peak"] = peak_json(&pollster::block_on(Executor::Host.peak())?);
        }
        if g.json {
            say_json(&json!({"adapters": documents, "cpu": cpu}))?;
            return Ok(Outcome::Done);
        }
        for d in &documents {
            let taken = if d["auto"] == true { "  ← auto" } else { "" };
            say(&format!("gpu:{}  {}{taken}", d["index"], text(&d["name"])))?;
            say(&format!("       {} through {}, driver {}", text(&d["type"]), text(&d["backend"]), text(&d["driver"])))?;
            say(&format!(
                "       bindings of {} MiB, buffers of {} MiB; f16 arithmetic {}, cooperative matrices {}, subgroups {}, timestamps {}",
                d["binding_mib"],
                d["buffer_mib"],
                yes(&d["f16"]),
                d["cooperative_matrix"].as_u64().map_or("no".into(), |side| format!("{side} × {side}")),
                if d["subgroups"] == true { format!("of {} or more", d["subgroup_min_size"]) } else { "no".into() },
                yes(&d["timestamps"])
            ))?;
            say_peak(d)?;
        }
        say(&format!("cpu    {}{}", text(&cpu["name"]), if auto.is_none() { "  ← auto" } else { "" }))?;
        say_peak(&cpu)?;
        Ok(Outcome::Done)
    }
}

pub fn peak_json(peak: &Peak) -> Value {
    json!({"gflops": peak.gflops, "gbytes_per_second": peak.gbytes_per_second})
}

fn say_peak(document: &Value) -> Result<()> {
    match document["peak"]["gflops"].as_f64().zip(document["peak"]["gbytes_per_second"].as_f64()) {
        Some((gflops, gbytes)) => say(&format!("       at most {gflops:.0} GFLOP/s in f32, {gbytes:.1} GB/s")),
        None => Ok(()),
    }
}

fn describe(index: usize, adapter: &wgpu::Adapter, auto: bool) -> Value {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    json!({
        "index": index, "name": info.name, "backend": info.backend.to_string(), "type": format!("{:?}", info.device_type),
        "driver": format!("{} {}", info.driver, info.driver_info).trim(), "auto": auto,
        "binding_mib": limits.max_storage_buffer_binding_size >> 20, "buffer_mib": limits.max_buffer_size >> 20,
        "f16": features.contains(wgpu::Features::SHADER_F16),
        "cooperative_matrix": gpu::CooperativeMatrix::of(adapter).map(|m| m.side), "subgroups": features.contains(wgpu::Features::SUBGROUP),
        "subgroup_min_size": info.subgroup_min_size,
        "timestamps": features.contains(wgpu::Features::TIMESTAMP_QUERY),
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn yes(value: &Value) -> &str {
    if value == true { "yes" } else { "no" }
}
