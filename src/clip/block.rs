use super::config::Tower;
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

    /// act(x · Wᵀ + b) (+ r)
    fn linear(&mut self, name: &str, x: Value, (w, b): (Scope, Scope), n: usize, act: Act, residual: Option<Value>) -> Result<Value> {
        let width = self.graph.desc(x).width;
        let (w, b) = (self.graph.weight(w.name(), n, width), self.graph.weight(b.name(), 1, n));
        let op = Linear { act, residual: residual.is_some() };
        self.graph.push(format!("{}.{name}", self.tower), op, &[x, w, b, residual.unwrap_or(b)])
    }

    /// x · Wᵀ, without a bias: [rows, embed]
    pub fn projection(&mut self, x: Value, w: &Scope, embed: usize) -> Result<Value> {
        self.linear("proj", x, (w.clone(), Scope::root().at(ZEROS)), embed, Act::None, None)
    }

    /// x + attn(ln_1(x)), then x + mlp(ln_2(x)): one residual attention block of either tower.
    pub fn block(&mut self, i: usize, x: Value, lengths: Value, w: &Scope, c: &Tower, causal: bool) -> Result<Value> {
        let name = |part: &str| format!("block.{i}.{part}");
        let pair = |path: &Scope| (path.at("weight"), path.at("bias"));
        let attn = w.at("attn");
        let in_proj = (attn.at("in_proj_weight"), attn.at("in_proj_bias"));
        let attention = Attention { heads: c.heads, head: c.width / c.heads, causal };

        let h = self.layer_norm(&name("ln_1"), x, &w.at("ln_1"), c.eps)?; // [batch, tokens, width]
        let h = self.linear(&name("qkv"), h, in_proj, 3 * c.width, Act::None, None)?; // [batch, tokens, 3·width]
        let h = self.graph.push(format!("{}.{}", self.tower, name("attn")), attention, &[h, h, lengths])?; // [batch, tokens, width]
        let x = self.linear(&name("attn_out"), h, pair(&attn.at("out_proj")), c.width, Act::None, Some(x))?; // [batch, tokens, width]
        let h = self.layer_norm(&name("ln_2"), x, &w.at("ln_2"), c.eps)?; // [batch, tokens, width]
        let h = self.linear(&name("mlp_fc"), h, pair(&w.at("mlp.c_fc")), c.hidden, c.act, None)?; // [batch, tokens, hidden]
        self.linear(&name("out"), h, pair(&w.at("mlp.c_proj")), c.width, Act::None, Some(x)) // [batch, tokens, width]
    }
}

/// The weight that no checkpoint has: the bias of a projection without one.
pub const ZEROS: &str = "zeros";
