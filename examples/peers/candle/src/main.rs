//! candle's CLIP ViT-B/32 on the CPU: `peer-candle MODEL.safetensors PIXELS IDS BATCHES SECONDS`, where PIXELS is
//! `[n, 3, 224, 224]` f32 and IDS `[m, 77]` u32, raw. Prints milliseconds by tower and batch, and the embeddings of all of both.

use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::clip::{ClipConfig, ClipModel};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, pixels, ids, batches, seconds] = &arguments[..] else { anyhow::bail!("use: MODEL PIXELS IDS BATCHES SECONDS") };
    let weights = std::fs::read(model)?;
    let builder = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
    let net = ClipModel::new(builder, &ClipConfig::vit_base_patch32())?;
    let words = |path: &str| -> Result<Vec<[u8; 4]>> {
        Ok(std::fs::read(path).with_context(|| path.to_string())?.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]).collect())
    };
    let pixels: Vec<f32> = words(pixels)?.into_iter().map(f32::from_le_bytes).collect();
    let ids: Vec<u32> = words(ids)?.into_iter().map(u32::from_le_bytes).collect();
    let pixels = Tensor::from_vec(pixels.clone(), (pixels.len() / (3 * 224 * 224), 3, 224, 224), &Device::Cpu)?;
    let ids = Tensor::from_vec(ids.clone(), (ids.len() / 77, 77), &Device::Cpu)?;
    let seconds: f64 = seconds.parse()?;
    let mut lines = Vec::new();
    for batch in batches.split(',').map(str::parse::<usize>) {
        let batch = batch?;
        for tower in ["image", "text"] {
            let whole = if tower == "image" { &pixels } else { &ids };
            let some = Tensor::cat(&vec![whole.narrow(0, 0, 1)?; batch], 0)?;
            let run = || if tower == "image" { net.get_image_features(&some) } else { net.get_text_features(&some) };
            run()?;
            let (begun, mut times) = (Instant::now(), Vec::new());
            while times.len() < 3 || begun.elapsed().as_secs_f64() < seconds {
                let start = Instant::now();
                run()?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            lines.push(serde_json::json!({"tower": tower, "batch": batch, "median_ms": times[times.len() / 2]}));
        }
    }
    let rows = |t: Tensor| t.to_vec2::<f32>();
    println!("{}", serde_json::json!({"lines": lines, "image": rows(net.get_image_features(&pixels)?)?, "text": rows(net.get_text_features(&ids)?)?}));
    Ok(())
}
