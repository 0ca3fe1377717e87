//! Hugging Face's `config.json` and `model.safetensors`.

use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde::Deserialize;

use crate::Result;

#[derive(Deserialize)]
pub struct Config {
    pub projection_dim: usize,
    pub vision_config: Vision,
    pub text_config: Text,
}

#[derive(Deserialize)]
pub struct Vision {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub image_size: usize,
    pub patch_size: usize,
    pub hidden_act: String,
}

#[derive(Deserialize)]
pub struct Text {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub max_position_embeddings: usize,
    pub vocab_size: usize,
    pub hidden_act: String,
}

pub struct Checkpoint {
    pub config: Config,
    bytes: Vec<u8>,
}

/// A tensor's values, in f32.
pub fn values(tensor: &TensorView<'_>) -> Vec<f32> {
    tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

impl Checkpoint {
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
        for act in [&config.vision_config.hidden_act, &config.text_config.hidden_act] {
            if act != "quick_gelu" {
                return Err(format!("hidden_act: expected quick_gelu, which is all that candle has, found {act}").into());
            }
        }
        Ok(Self { config, bytes: std::fs::read(folder.join("model.safetensors"))? })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("a safetensors file")
    }
}

/// A tensor's shape and its values in f32.
pub fn tensor(tensors: &SafeTensors<'_>, name: &str) -> (Vec<usize>, Vec<f32>) {
    let view = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    (view.shape().to_vec(), values(&view))
}

/// `[out, in]` as `[in, out]`.
pub fn transposed(w: &[f32], [out, into]: [usize; 2]) -> Vec<f32> {
    (0..into * out).map(|i| w[i % out * into + i / out]).collect()
}
