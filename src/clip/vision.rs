use super::block::{Builder, Scope};
use super::config::Config;
use crate::error::Result;
use crate::graph::{Graph, Kind, Rows, Value};
use crate::ops::{Normalize, PatchEmbed, Pool};

/// The inputs and the result of a tower's graph.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// `pixels` `[batch, 3, size, size]` f32, or `ids` `[batch, tokens]` u32.
    pub input: Value,
    /// Tokens of each item that attention sees, `[batch]` u32.
    pub lengths: Value,
    /// The row of each item that is pooled, `[batch]` u32.
    pub pooled_at: Value,
    /// `[batch, embed]`, as the projection makes it.
    pub projected: Value,
    /// The same of unit length.
    pub embedding: Value,
}

/// `VisionTransformer` of `clip/model.py`.
pub fn vision(c: &Config) -> Result<(Graph, Ends)> {
    let mut graph = Graph::default();
    let (t, w) = (&c.vision.tower, Scope::root().at("visual"));
    let embed = PatchEmbed { size: c.vision.size, patch: c.vision.patch };
    let pixels = graph.input("pixels", Rows::Items, 3 * embed.size * embed.size, Kind::F32);
    let lengths = graph.input("vision.lengths", Rows::Items, 1, Kind::U32);
    let class = graph.input("vision.class", Rows::Items, 1, Kind::U32);
    let conv = graph.weight(w.at("conv1.weight").name(), t.width, 3 * embed.patch * embed.patch);
    let class_token = graph.weight(w.at("class_embedding").name(), 1, t.width);
    let positions = graph.weight(w.at("positional_embedding").name(), embed.tokens(), t.width);

    let x = graph.push("vision.patch_embed", embed, &[pixels, conv, class_token, positions])?; // [batch, 1 + patches, width]
    let mut b = Builder { graph: &mut graph, tower: "vision" };
    let mut x = b.layer_norm("ln_pre", x, &w.at("ln_pre"), t.eps)?; // [batch, 1 + patches, width]
    for i in 0..t.layers {
        x = b.block(i, x, lengths, &w.at("transformer.resblocks").at(i), t, false)?; // [batch, 1 + patches, width]
    }
    let x = b.graph.push("vision.pool", Pool, &[x, class])?; // [batch, width]
    let x = b.layer_norm("ln_post", x, &w.at("ln_post"), t.eps)?; // [batch, width]
    let projected = b.projection(x, &w.at("proj"), c.embed)?; // [batch, embed]
    let embedding = b.graph.push("vision.embedding", Normalize, &[projected])?; // [batch, embed]
    Ok((graph, Ends { input: pixels, lengths, pooled_at: class, projected, embedding }))
}
