//! What other Rust engines take for a CLIP checkpoint of Hugging Face's: `native.py` calls it as it calls our own command.
//!
//!     clip-peers ENGINE FOLDER INPUT.safetensors embed OUTPUT.safetensors
//!     clip-peers ENGINE FOLDER INPUT.safetensors time BATCHES SECONDS
//!
//! The input holds `pixels` f32 `[n, 3, side, side]` or `ids` i32 `[n, tokens]`; `embed` writes `embedding` f32 `[n, width]`,
//! `time` prints the median milliseconds of each batch as JSON.

mod burn;
mod candle;
mod checkpoint;
mod meganeura;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use checkpoint::Checkpoint;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The inputs of some items.
pub enum Input {
    Pixels(Vec<f32>),
    Ids(Vec<u32>),
}

pub trait Engine {
    /// The embeddings of `count` items, one after the other.
    fn embed(&mut self, input: &Input, count: usize) -> Result<Vec<f32>>;
}

fn engine(name: &str, model: Checkpoint, image: bool) -> Result<Box<dyn Engine>> {
    Ok(match name {
        "candle" => Box::new(candle::Candle::new(&model)?),
        "burn-wgpu" | "burn-flex" => Box::new(burn::Burn::new(&name[5..], &model)),
        "meganeura" => Box::new(meganeura::Meganeura::new(&model, image)),
        _ => return Err(format!("engine: expected candle, burn-wgpu, burn-flex or meganeura, found `{name}`").into()),
    })
}

/// The first items of the input.
fn first(input: &Input, shape: &[usize], count: usize) -> Input {
    let each: usize = shape[1..].iter().product();
    match input {
        Input::Pixels(all) => Input::Pixels(all[..count * each].to_vec()),
        Input::Ids(all) => Input::Ids(all[..count * each].to_vec()),
    }
}

/// Median milliseconds of whole calls, after one that is not counted.
fn median(mut call: impl FnMut() -> Result<()>, seconds: f64) -> Result<f64> {
    call()?;
    let (begun, mut times) = (Instant::now(), Vec::new());
    while times.is_empty() || begun.elapsed() < Duration::from_secs_f64(seconds) {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder, input, what, rest @ ..] = &args[..] else { return Err("usage: see the head of src/main.rs".into()) };
    let bytes = std::fs::read(input)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let (input, shape) = match (file.tensor("pixels"), file.tensor("ids")) {
        (Ok(pixels), _) => (Input::Pixels(checkpoint::values(&pixels)), pixels.shape().to_vec()),
        (_, Ok(ids)) => {
            (Input::Ids(ids.data().chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()), ids.shape().to_vec())
        }
        _ => return Err("the input has neither `pixels` nor `ids`".into()),
    };
    let mut engine = engine(name, Checkpoint::open(folder)?, matches!(input, Input::Pixels(_)))?;
    match (what.as_str(), rest) {
        ("embed", [output]) => {
            let y = engine.embed(&input, shape[0])?;
            let bytes: Vec<u8> = y.iter().flat_map(|v| v.to_le_bytes()).collect();
            let view = TensorView::new(Dtype::F32, vec![shape[0], y.len() / shape[0]], &bytes)?;
            safetensors::serialize_to_file([("embedding", view)], None, output.as_ref())?;
        }
        ("time", [batches, seconds]) => {
            let mut times = BTreeMap::new();
            for batch in batches.split(',') {
                let count: usize = batch.parse()?;
                let input = first(&input, &shape, count);
                times.insert(batch, median(|| engine.embed(&input, count).map(drop), seconds.parse()?)?);
            }
            println!("{}", serde_json::to_string(&times)?);
        }
        _ => return Err("usage: see the head of src/main.rs".into()),
    }
    Ok(())
}
