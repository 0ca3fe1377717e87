use super::block::{Builder, Scope};
use super::config::{Config, VisionPool};
use crate::error::Result;
use crate::graph::{Graph, Kind, Rows, Value};
use crate::ops::{Mean, Normalize, PatchEmbed, Pool, PooledRow};

/// The inputs and the result of a tower's graph.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// `pixels` `[batch, 3, size, size]` f32, or `ids` `[batch, tokens]` u32.
    pub input: Value,
    /// Tokens of each item that attention sees, `[batch]` u32, where items differ.
    pub lengths: Option<Value>,
    /// The row of each item that is pooled, `[batch]` u32, where items differ.
    pub pooled_at: Option<Value>,
    /// `[batch, embed]`, as the projection makes it.
    pub projected: Value,
    /// The same of unit length.
    pub embedding: Value,
}

/// `VisionTransformer` of `clip/model.py`, and what later families made of it.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) where the model has no image tower.
pub fn vision(c: &Config) -> Result<(Graph, Ends)> {
    let mut graph = Graph::default();
    let v = c.vision()?;
    let (t, w) = (&v.tower, Scope::root().at("visual"));
    let embed = PatchEmbed { size: v.size, patch: v.patch, class: v.class };
    let pixels = graph.input("pixels", Rows::Items, 3 * embed.size * embed.size, Kind::F32);
    let conv = graph.weight(w.at("conv1.weight").name(), t.width, 3 * embed.patch * embed.patch);
    let added = if v.class { w.at("class_embedding") } else { w.at("conv1.bias") };
    let added = graph.weight(added.name(), 1, t.width);
    let positions = graph.weight(w.at("positional_embedding").name(), embed.tokens(), t.width);

    let mut x = graph.push("vision.patch_embed", embed, &[pixels, conv, added, positions])?; // [batch, tokens, width]
    let mut b = Builder { graph: &mut graph, tower: "vision" };
    if v.ln_pre {
        x = b.layer_norm("ln_pre", x, &w.at("ln_pre"), t.eps)?; // [batch, tokens, width]
    }
    for i in 0..t.blocks.len() {
        x = b.block(i, x, None, &w.at("transformer.resblocks").at(i), t, false)?; // [batch, tokens, width]
    }
    let norm_first = v.norm_first && v.pool != VisionPool::Class; // for a class token it is the same, on one row
    if norm_first {
        x = b.layer_norm("ln_post", x, &w.at("ln_post"), t.eps)?; // [batch, tokens, width]
    }
    x = match v.pool {
        VisionPool::Class => b.graph.push("vision.pool", Pool { row: PooledRow::Always(0) }, &[x])?, // [batch, width]
        VisionPool::Mean => b.graph.push("vision.pool", Mean { skip: v.class as usize }, &[x])?,     // [batch, width]
        VisionPool::Attention(head) => b.attention_pool(x, &w.at("attn_pool"), t, head)?,            // [batch, width]
    };
    if !norm_first {
        x = b.layer_norm("ln_post", x, &w.at("ln_post"), t.eps)?; // [batch, width]
    }
    let projected = b.projection(x, &w.at("proj"), c.embed, v.projection)?; // [batch, embed]
    let embedding = b.graph.push("vision.embedding", Normalize, &[projected])?; // [batch, embed]
    Ok((graph, Ends { input: pixels, lengths: None, pooled_at: None, projected, embedding }))
}
