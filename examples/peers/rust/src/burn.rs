//! burn: CLIP in its tensor operations, as transformers' modeling_clip.py has it; burn fuses and tunes them.

use std::collections::HashMap;

use burn::tensor::activation::sigmoid;
use burn::tensor::module::{attention, conv2d, embedding, layer_norm, linear};
use burn::tensor::ops::{AttentionModuleOptions, ConvOptions};
use burn::tensor::{Device, DeviceKind, Int, Tensor, TensorData};

use crate::checkpoint::{Checkpoint, tensor, transposed};
use crate::{Engine, Input, Result};

pub struct Burn {
    device: Device,
    vectors: HashMap<String, Tensor<1>>,
    matrices: HashMap<String, Tensor<2>>,
    patches: Tensor<4>,
    side: usize,
    patch: usize,
    layers: [usize; 2],
    heads: [usize; 2],
}

impl Burn {
    pub fn new(kind: &str, model: &Checkpoint) -> Self {
        let device = match kind {
            // In WGSL: the SPIR-V that it makes itself (`vulkan`) brings Mesa 22.3.6's lavapipe to a fault.
            "wgpu" => Device::wgpu(DeviceKind::DefaultDevice),
            _ => Device::flex(),
        };
        let (tensors, c) = (model.tensors(), &model.config);
        let (mut vectors, mut matrices, mut patches) = (HashMap::new(), HashMap::new(), None);
        for name in tensors.names().into_iter().filter(|n| !n.ends_with("position_ids")) {
            let (shape, values) = tensor(&tensors, name);
            match shape[..] {
                [] => {}
                [_] => drop(vectors.insert(name.to_string(), Tensor::from_data(TensorData::new(values, shape), &device))),
                // Tables are looked up by rows; a linear layer has [in, out].
                [..] if name.ends_with("embedding.weight") && shape.len() == 2 => {
                    matrices.insert(name.to_string(), Tensor::from_data(TensorData::new(values, shape), &device));
                }
                [out, into] => {
                    let data = TensorData::new(transposed(&values, [out, into]), [into, out]);
                    matrices.insert(name.to_string(), Tensor::from_data(data, &device));
                }
                _ => patches = Some(Tensor::from_data(TensorData::new(values, shape), &device)),
            }
        }
        let (v, t) = (&c.vision_config, &c.text_config);
        Self {
            vectors,
            matrices,
            patches: patches.expect("a patch embedding"),
            side: v.image_size,
            patch: v.patch_size,
            layers: [v.num_hidden_layers, t.num_hidden_layers],
            heads: [v.num_attention_heads, t.num_attention_heads],
            device,
        }
    }

    fn vector(&self, name: &str) -> Tensor<1> {
        self.vectors[name].clone()
    }

    fn matrix(&self, name: &str) -> Tensor<2> {
        self.matrices[name].clone()
    }

    fn linear(&self, x: Tensor<3>, name: &str) -> Tensor<3> {
        linear(x, self.matrix(&format!("{name}.weight")), Some(self.vector(&format!("{name}.bias"))))
    }

    fn norm<const D: usize>(&self, x: Tensor<D>, name: &str) -> Tensor<D> {
        layer_norm(x, self.vector(&format!("{name}.weight")), Some(self.vector(&format!("{name}.bias"))), 1e-5)
    }

    /// `[batch, tokens, width]` through every block.
    fn encoder(&self, mut x: Tensor<3>, tower: &str, layers: usize, heads: usize, is_causal: bool) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        for layer in 0..layers {
            let name = format!("{tower}.encoder.layers.{layer}");
            let h = self.norm(x.clone(), &format!("{name}.layer_norm1"));
            let split = |what: &str| {
                let y = self.linear(h.clone(), &format!("{name}.self_attn.{what}"));
                y.reshape([batch, tokens, heads, width / heads]).swap_dims(1, 2)
            };
            let options = AttentionModuleOptions { is_causal, ..Default::default() };
            let y = attention(split("q_proj"), split("k_proj"), split("v_proj"), None, None, options);
            let y = y.swap_dims(1, 2).reshape([batch, tokens, width]);
            x = x + self.linear(y, &format!("{name}.self_attn.out_proj"));
            let h = self.linear(self.norm(x.clone(), &format!("{name}.layer_norm2")), &format!("{name}.mlp.fc1"));
            let h = h.clone() * sigmoid(h * 1.702);
            x = x + self.linear(h, &format!("{name}.mlp.fc2"));
        }
        x
    }

    fn image(&self, pixels: &[f32], batch: usize) -> Tensor<2> {
        let data = TensorData::new(pixels.to_vec(), [batch, 3, self.side, self.side]);
        let step = [self.patch; 2];
        let x = conv2d(Tensor::from_data(data, &self.device), self.patches.clone(), None, ConvOptions::new(step, [0, 0], [1, 1], 1));
        let [_, width, down, across] = x.dims();
        let x = x.reshape([batch, width, down * across]).swap_dims(1, 2);
        let class: Tensor<3> = self.vector("vision_model.embeddings.class_embedding").reshape([1, 1, width]);
        let x = Tensor::cat(vec![class.expand([batch, 1, width]), x], 1);
        let x = x + self.matrix("vision_model.embeddings.position_embedding.weight").unsqueeze();
        let x = self.norm(x, "vision_model.pre_layrnorm");
        let x = self.encoder(x, "vision_model", self.layers[0], self.heads[0], false);
        let class = x.slice([0..batch, 0..1]).reshape([batch, width]);
        self.norm(class, "vision_model.post_layernorm").matmul(self.matrix("visual_projection.weight"))
    }

    /// The pooled row is the one of the greatest id.
    fn text(&self, ids: &[u32], batch: usize) -> Tensor<2> {
        let tokens = ids.len() / batch;
        let ends = ids.chunks(tokens).enumerate().map(|(row, ids)| {
            let end = (0..tokens).rev().max_by_key(|i| ids[*i]).expect("a text");
            (row * tokens + end) as i32
        });
        let ends = Tensor::<1, Int>::from_data(TensorData::from(&ends.collect::<Vec<_>>()[..]), &self.device);
        let ids = TensorData::new(ids.iter().map(|i| *i as i32).collect(), [batch, tokens]);
        let x = embedding(self.matrix("text_model.embeddings.token_embedding.weight"), Tensor::<2, Int>::from_data(ids, &self.device));
        let x = x + self.matrix("text_model.embeddings.position_embedding.weight").slice([0..tokens]).unsqueeze();
        let x = self.encoder(x, "text_model", self.layers[1], self.heads[1], true);
        let [_, _, width] = x.dims();
        let x = self.norm(x.reshape([batch * tokens, width]).select(0, ends), "text_model.final_layer_norm");
        x.matmul(self.matrix("text_projection.weight"))
    }
}

impl Engine for Burn {
    fn embed(&mut self, input: &Input, count: usize) -> Result<Vec<f32>> {
        let y = match input {
            Input::Pixels(pixels) => self.image(pixels, count),
            Input::Ids(ids) => self.text(ids, count),
        };
        y.into_data().try_to_vec::<f32>().map_err(|e| format!("{e:?}").into())
    }
}
