//! meganeura: a tower in its graph, for one item, which is what its attention takes; a batch is run one after the other.

use meganeura::graph::{Graph, NodeId};
use meganeura::runtime::Session;
use meganeura::{SessionConfig, build};

use crate::checkpoint::{Checkpoint, tensor, transposed};
use crate::{Engine, Input, Result};

/// QuickGELU is x · σ(1.702 x), and meganeura has x · σ(x): the factor goes into the layers before and after it.
const QUICK: f32 = 1.702;

pub struct Meganeura {
    session: Session,
    side: usize,
    patch: usize,
    width: usize,
}

struct Tower<'g> {
    g: &'g mut Graph,
    name: &'static str,
    width: usize,
    inner: usize,
    heads: usize,
}

impl Tower<'_> {
    fn linear(&mut self, x: NodeId, name: &str, [into, out]: [usize; 2]) -> NodeId {
        let (w, b) = (self.g.parameter(&format!("{name}.weight"), &[into, out]), self.g.parameter(&format!("{name}.bias"), &[out]));
        let y = self.g.matmul(x, w);
        self.g.bias_add(y, b)
    }

    fn norm(&mut self, x: NodeId, name: &str) -> NodeId {
        let name = format!("{}.{name}", self.name);
        let (w, b) = (self.g.parameter(&format!("{name}.weight"), &[self.width]), self.g.parameter(&format!("{name}.bias"), &[self.width]));
        self.g.layer_norm(x, w, b, 1e-5)
    }

    fn block(&mut self, x: NodeId, layer: usize, causal: bool) -> NodeId {
        let (width, inner, heads) = (self.width, self.inner, self.heads as u32);
        let (each, short) = (width as u32 / heads, format!("encoder.layers.{layer}"));
        let name = format!("{}.{short}", self.name);
        let h = self.norm(x, &format!("{short}.layer_norm1"));
        let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(|p| self.linear(h, &format!("{name}.self_attn.{p}"), [width, width]));
        let y = match causal {
            true => self.g.causal_attention(q, k, v, heads, heads, each),
            false => self.g.full_attention(q, k, v, heads, heads, each),
        };
        let y = self.linear(y, &format!("{name}.self_attn.out_proj"), [width, width]);
        let x = self.g.add(x, y);
        let h = self.norm(x, &format!("{short}.layer_norm2"));
        let h = self.linear(h, &format!("{name}.mlp.fc1"), [width, inner]);
        let h = self.g.silu(h);
        let y = self.linear(h, &format!("{name}.mlp.fc2"), [inner, width]);
        self.g.add(x, y)
    }
}

impl Meganeura {
    pub fn new(model: &Checkpoint, image: bool) -> Self {
        let (c, tensors) = (&model.config, model.tensors());
        let (v, t) = (&c.vision_config, &c.text_config);
        let mut graph = Graph::new();
        let g = &mut graph;
        let projected = match image {
            true => {
                let (width, row) = (v.hidden_size, 3 * v.patch_size.pow(2));
                let tokens = 1 + (v.image_size / v.patch_size).pow(2);
                // The class token's row of patches is zeros; its embedding is added with its position.
                let patches = g.input("patches", &[tokens, row]);
                let w = g.parameter("vision_model.embeddings.patch_embedding.weight", &[row, width]);
                let places = g.parameter("vision_model.embeddings.position_embedding.weight", &[tokens, width]);
                let x = g.matmul(patches, w);
                let x = g.add(x, places);
                let mut tower = Tower { g, name: "vision_model", width, inner: v.intermediate_size, heads: v.num_attention_heads };
                let mut x = tower.norm(x, "pre_layrnorm");
                for layer in 0..v.num_hidden_layers {
                    x = tower.block(x, layer, false);
                }
                let row = tower.g.input_u32("row", &[1]);
                let x = tower.g.embedding(row, x);
                let x = tower.norm(x, "post_layernorm");
                let w = g.parameter("visual_projection.weight", &[width, c.projection_dim]);
                g.matmul(x, w)
            }
            false => {
                let (width, tokens) = (t.hidden_size, t.max_position_embeddings);
                let ids = g.input_u32("ids", &[tokens]);
                let table = g.parameter("text_model.embeddings.token_embedding.weight", &[t.vocab_size, width]);
                let places = g.parameter("text_model.embeddings.position_embedding.weight", &[tokens, width]);
                let x = g.embedding(ids, table);
                let mut x = g.add(x, places);
                let mut tower = Tower { g, name: "text_model", width, inner: t.intermediate_size, heads: t.num_attention_heads };
                for layer in 0..t.num_hidden_layers {
                    x = tower.block(x, layer, true);
                }
                let row = tower.g.input_u32("row", &[1]);
                let x = tower.g.embedding(row, x);
                let x = tower.norm(x, "final_layer_norm");
                let w = g.parameter("text_projection.weight", &[width, c.projection_dim]);
                g.matmul(x, w)
            }
        };
        graph.set_outputs(vec![projected]);
        let mut session = build(&graph, SessionConfig { tune: true, ..SessionConfig::inference_from_env() }).0;
        for (name, _) in session.plan().param_buffers.clone() {
            let (shape, mut values) = tensor(&tensors, &name);
            if name.ends_with("mlp.fc1.weight") || name.ends_with("mlp.fc1.bias") {
                values.iter_mut().for_each(|v| *v *= QUICK);
            } else if name.ends_with("mlp.fc2.weight") {
                values.iter_mut().for_each(|v| *v /= QUICK);
            } else if name == "vision_model.embeddings.position_embedding.weight" {
                let class = tensor(&tensors, "vision_model.embeddings.class_embedding").1;
                values.iter_mut().zip(class).for_each(|(v, c)| *v += c);
            }
            let table = name.ends_with("_embedding.weight") && shape.len() == 2;
            if shape.len() >= 2 && !table {
                values = transposed(&values, [shape[0], shape[1..].iter().product()]);
            }
            session.set_parameter(&name, &values);
        }
        Self { session, side: v.image_size, patch: v.patch_size, width: c.projection_dim }
    }

    /// A picture `[3, side, side]` as rows of patches, the first of them zeros.
    fn patches(&self, picture: &[f32]) -> Vec<f32> {
        let (side, patch) = (self.side, self.patch);
        let (across, mut rows) = (side / patch, vec![0.0; 3 * patch * patch]);
        for at in 0..across * across {
            for i in 0..3 * patch * patch {
                let (channel, y, x) = (i / (patch * patch), i / patch % patch, i % patch);
                rows.push(picture[(channel * side + at / across * patch + y) * side + at % across * patch + x]);
            }
        }
        rows
    }
}

impl Engine for Meganeura {
    fn embed(&mut self, input: &Input, count: usize) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for item in 0..count {
            match input {
                Input::Pixels(pixels) => {
                    let patches = self.patches(&pixels[item * pixels.len() / count..][..pixels.len() / count]);
                    self.session.set_input("patches", &patches);
                    self.session.set_input_u32("row", &[0]);
                }
                Input::Ids(ids) => {
                    let ids = &ids[item * ids.len() / count..][..ids.len() / count];
                    let end = (0..ids.len()).rev().max_by_key(|i| ids[*i]).expect("a text");
                    self.session.set_input_u32("ids", ids);
                    self.session.set_input_u32("row", &[end as u32]);
                }
            }
            self.session.step();
            self.session.wait();
            all.extend(self.session.read_output(self.width));
        }
        Ok(all)
    }
}
