use super::config::{Block, Projection, TowerConfig};
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::ops::{Act, Attention, LayerNorm, Linear};

/// The weights below one path of the model: `at("visual").at("proj")`.
#[derive(Clone, Debug)]
pub struct Scope(String);

impl Scope {
    pub fn root() -> Self {
        Self(String::new())
    }

    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        Self(if self.0.is_empty() { name.to_string() } else { format!("{}.{name}", self.0) })
    }

    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A layer's weight and, where it has one, its bias.
pub type Weights = (Scope, Option<Scope>);

/// What the towers write the graph with: names follow OpenAI's `clip/model.py`.
pub struct Builder<'a> {
    pub graph: &'a mut Graph,
    /// `vision` or `text`: the first word of each value's name.
    pub tower: &'static str,
}

impl Builder<'_> {
    pub fn layer_norm(&mut self, name: &str, x: Value, w: &Scope, eps: f32) -> Result<Value> {
        let width = self.graph.desc(x).width;
        let (g, b) = (self.graph.weight(w.at("weight").name(), 1, width), self.graph.weight(w.at("bias").name(), 1, width));
        self.graph.push(format!("{}.{name}", self.tower), LayerNorm { eps }, &[x, g, b])
    }

    /// act(x · Wᵀ (+ b)) (+ r), with the weights of these names.
    pub fn linear(&mut self, name: &str, x: Value, (w, b): Weights, n: usize, act: Act, residual: Option<Value>) -> Result<Value> {
        let width = self.graph.desc(x).width;
        let w = self.graph.weight(w.name(), n, width);
        let b = b.map(|b| self.graph.weight(b.name(), 1, n));
        let op = Linear { act, bias: b.is_some(), residual: residual.is_some() };
        let inputs: Vec<Value> = [Some(x), Some(w), b, residual].into_iter().flatten().collect();
        self.graph.push(format!("{}.{name}", self.tower), op, &inputs)
    }

    /// Into the joint space: [rows, embed]
    pub fn projection(&mut self, x: Value, w: &Scope, embed: usize, kind: Projection) -> Result<Value> {
        match kind {
            Projection::None => Ok(x),
            Projection::Matrix => self.linear("proj", x, (w.clone(), None), embed, Act::None, None),
            Projection::Linear => self.linear("proj", x, pair(w), embed, Act::None, None),
        }
    }

    /// x + attn(ln_1(x)), then x + mlp(ln_2(x)): one residual attention block of either tower.
    pub fn block(&mut self, i: usize, x: Value, lengths: Option<Value>, w: &Scope, c: &TowerConfig, causal: bool) -> Result<Value> {
        let name = |part: &str| format!("block.{i}.{part}");
        let Block { heads, hidden } = c.blocks[i];
        let (attn, inner) = (w.at("attn"), heads * c.head);
        let mut x = x;
        if heads > 0 {
            let in_proj = (attn.at("in_proj_weight"), Some(attn.at("in_proj_bias")));
            let attention = Attention { heads, head: c.head, causal };
            let h = self.layer_norm(&name("ln_1"), x, &w.at("ln_1"), c.eps)?; // [batch, tokens, width]
            let h = self.linear(&name("qkv"), h, in_proj, 3 * inner, Act::None, None)?; // [batch, tokens, 3·heads·head]
            let h = self.graph.push(format!("{}.{}", self.tower, name("attn")), attention, &[&[h, h], lengths.as_slice()].concat())?; // [batch, tokens, heads·head]
            let last = if hidden > 0 { "attn_out" } else { "out" };
            x = self.linear(&name(last), h, pair(&attn.at("out_proj")), c.width, Act::None, Some(x))?; // [batch, tokens, width]
        }
        if hidden > 0 {
            let h = self.layer_norm(&name("ln_2"), x, &w.at("ln_2"), c.eps)?; // [batch, tokens, width]
            let h = self.linear(&name("mlp_fc"), h, pair(&w.at("mlp.c_fc")), hidden, c.act, None)?; // [batch, tokens, hidden]
            x = self.linear(&name("out"), h, pair(&w.at("mlp.c_proj")), c.width, Act::None, Some(x))?; // [batch, tokens, width]
        }
        Ok(x)
    }

    /// A learned query attends over the tokens, and an MLP follows: SigLIP's MAP head (`SiglipMultiheadAttentionPoolingHead`
    /// of `modeling_siglip.py`; timm's `AttentionPoolLatent`). [batch, width]
    pub fn attention_pool(&mut self, x: Value, w: &Scope, c: &TowerConfig, head: Block) -> Result<Value> {
        let attention = Attention { heads: head.heads, head: c.width / head.heads, causal: false };
        let probe = self.graph.weight(w.at("probe").name(), 1, c.width);
        let q = self.linear("pool.q", probe, pair(&w.at("q")), c.width, Act::None, None)?; // [1, width]
        let kv = self.linear("pool.kv", x, pair(&w.at("kv")), 2 * c.width, Act::None, None)?; // [batch, tokens, 2·width]
        let h = self.graph.push(format!("{}.pool.attn", self.tower), attention, &[q, kv])?; // [batch, width]
        let x = self.linear("pool.attn_out", h, pair(&w.at("out_proj")), c.width, Act::None, None)?; // [batch, width]
        let h = self.layer_norm("pool.ln", x, &w.at("ln"), c.eps)?; // [batch, width]
        let h = self.linear("pool.mlp_fc", h, pair(&w.at("mlp.c_fc")), head.hidden, c.act, None)?; // [batch, hidden]
        self.linear("pool", h, pair(&w.at("mlp.c_proj")), c.width, Act::None, Some(x)) // [batch, width]
    }
}

/// A layer's weight and bias.
fn pair(path: &Scope) -> Weights {
    (path.at("weight"), Some(path.at("bias")))
}
