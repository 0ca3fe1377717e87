//! candle, on the processor: its own CLIP from candle-transformers.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::clip::text_model::{Activation, ClipTextConfig};
use candle_transformers::models::clip::vision_model::ClipVisionConfig;
use candle_transformers::models::clip::{ClipConfig, ClipModel};

use crate::checkpoint::Checkpoint;
use crate::{Engine, Input, Result};

pub struct Candle {
    net: ClipModel,
    side: usize,
}

impl Candle {
    pub fn new(model: &Checkpoint) -> Result<Self> {
        let (c, v, t) = (&model.config, &model.config.vision_config, &model.config.text_config);
        let config = ClipConfig {
            text_config: ClipTextConfig {
                vocab_size: t.vocab_size,
                embed_dim: t.hidden_size,
                activation: Activation::QuickGelu,
                intermediate_size: t.intermediate_size,
                max_position_embeddings: t.max_position_embeddings,
                pad_with: None,
                num_hidden_layers: t.num_hidden_layers,
                num_attention_heads: t.num_attention_heads,
                projection_dim: c.projection_dim,
            },
            vision_config: ClipVisionConfig {
                embed_dim: v.hidden_size,
                activation: Activation::QuickGelu,
                intermediate_size: v.intermediate_size,
                num_hidden_layers: v.num_hidden_layers,
                num_attention_heads: v.num_attention_heads,
                projection_dim: c.projection_dim,
                num_channels: 3,
                image_size: v.image_size,
                patch_size: v.patch_size,
            },
            logit_scale_init_value: 2.6592,
            image_size: v.image_size,
        };
        let weights = VarBuilder::from_buffered_safetensors(model.bytes().to_vec(), DType::F32, &Device::Cpu)?;
        Ok(Self { net: ClipModel::new(weights, &config)?, side: v.image_size })
    }
}

impl Engine for Candle {
    fn embed(&mut self, input: &Input, count: usize) -> Result<Vec<f32>> {
        let y = match input {
            Input::Pixels(pixels) => {
                self.net.get_image_features(&Tensor::from_slice(pixels, (count, 3, self.side, self.side), &Device::Cpu)?)?
            }
            Input::Ids(ids) => self.net.get_text_features(&Tensor::from_slice(ids, (count, ids.len() / count), &Device::Cpu)?)?,
        };
        Ok(y.flatten_all()?.to_vec1()?)
    }
}
