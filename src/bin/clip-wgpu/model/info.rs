use clip_wgpu::clip::Tower;
use clip_wgpu::clip::config::Block;
use clip_wgpu::graph::submissions::submissions;
use clip_wgpu::graph::{Size, plan};
use clip_wgpu::{Executor, Result};
use serde_json::{Value, json};

use crate::Outcome;
use crate::context::Globals;
use crate::output::{say, say_json};

/// What a model is made of, and what it takes on the device.
pub fn info(g: &Globals, name: &str) -> Result<Outcome> {
    let executor = g.executor()?;
    let files = g.find(name)?;
    let clip = g.load_on(&executor, files, g.options(), &[])?;
    let c = &clip.config;
    let pipelines = match &executor {
        Executor::Gpu(gpu) => gpu.pipelines(),
        Executor::Host => 0,
    };
    let greatest = |t: &Tower, tokens: usize| match &executor {
        Executor::Gpu(gpu) => {
            let all = submissions(&t.graph, Size { batch: t.runner.capacity().batch, tokens }, &gpu.caps);
            all.into_iter().max().unwrap_or(0) as f64 / 1e9
        }
        Executor::Host => 0.0,
    };
    let budget = match &executor {
        Executor::Gpu(gpu) => gpu.caps.submission_flops() as f64 / 1e9,
        Executor::Host => 0.0,
    };
    let vision = c.vision.as_ref().map(|v| Ok(("vision", clip.vision()?, &v.tower, v.tokens()))).transpose()?;
    let text = c.text.as_ref().map(|t| Ok(("text", clip.text()?, &t.tower, t.context))).transpose()?;
    let documents: Vec<_> = [vision, text].iter().flatten().map(|(tower, t, shape, tokens)| {
        let sizes = |of: fn(&Block) -> usize| sizes(shape.blocks.iter().map(of));
        let (one, many) = (plan::plan(&t.graph, &[t.output], Size { batch: 1, tokens: *tokens }, &[]), t.runner.plan());
        json!({
            "tower": tower, "width": shape.width, "layers": shape.blocks.len(), "heads": sizes(|b| b.heads), "hidden": sizes(|b| b.hidden), "activation": format!("{:?}", shape.act), "tokens": tokens,
            "parameters": t.parameters(), "weight_bytes": t.runner.weight_bytes(), "dispatches": t.runner.dispatches(), "slots": many.slot_bytes.len(),
            "batch": t.runner.capacity().batch, "activation_bytes": many.slot_bytes.iter().sum::<u64>(), "lower_bound_bytes": many.lower_bound_bytes,
            "activation_bytes_of_one": one.slot_bytes.iter().sum::<u64>(), "lower_bound_bytes_of_one": one.lower_bound_bytes,
            "greatest_submission_gflop": greatest(t, *tokens), "gflop_of_one": t.graph.flops(Size { batch: 1, tokens: *tokens }) as f64 / 1e9,
        })
    }).collect();
    if g.json {
        say_json(
            &json!({"model": name, "layout": format!("{:?}", c.layout), "embed": c.embed, "image_size": c.vision.as_ref().map(|v| v.size), "patch": c.vision.as_ref().map(|v| v.patch),
            "vocabulary": c.text.as_ref().map(|t| t.vocabulary), "context": c.text.as_ref().map(|t| t.context), "logit_scale": clip.logit_scale.exp(), "device": executor.name(), "pipelines": pipelines, "submission_budget_gflop": budget, "towers": documents}),
        )?;
        return Ok(Outcome::Done);
    }
    let pictures = c.vision.as_ref().map(|v| format!("{0} × {0} pixels in patches of {1}, ", v.size, v.patch)).unwrap_or_default();
    let texts = c.text.as_ref().map(|t| format!("{} tokens of {} words, ", t.context, t.vocabulary)).unwrap_or_default();
    let scale = clip.logit_scale.exp();
    say(&format!("{name}: {:?} layout, {pictures}{texts}joint space {}, logit scale {scale:.2}", c.layout, c.embed))?;
    say(&format!("on {}: {pipelines} pipelines", executor.name()))?;
    for d in &documents {
        let text = |key: &str| d[key].as_str().unwrap_or_default();
        say(&format!(
            "{}: {} layers of {} in {} heads, MLP {}, {}, {} tokens",
            text("tower"),
            d["layers"],
            d["width"],
            plain(&d["heads"]),
            plain(&d["hidden"]),
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
        if budget > 0.0 {
            let greatest = d["greatest_submission_gflop"].as_f64().unwrap_or_default();
            say(&format!("  greatest submission {greatest:.2} GFLOP at batch {} (at most {budget:.2})", d["batch"]))?;
        }
    }
    Ok(Outcome::Done)
}

/// One number where all blocks have the same, else all of them.
fn sizes(of: impl Iterator<Item = usize>) -> Value {
    let all: Vec<usize> = of.collect();
    if all.windows(2).all(|w| w[0] == w[1]) { json!(all.first()) } else { json!(all) }
}

/// A number, or several with `/` between.
fn plain(sizes: &Value) -> String {
    match sizes {
        Value::Array(all) => all.iter().map(Value::to_string).collect::<Vec<_>>().join("/"),
        one => one.to_string(),
    }
}
