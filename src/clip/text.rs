use super::block::{Builder, Scope};
use super::config::{Config, TextPool};
use super::vision::Ends;
use crate::error::Result;
use crate::graph::{Graph, Kind, Rows};
use crate::ops::{Normalize, Pool, PooledRow, TokenEmbed};

/// `CLIP.encode_text` of `clip/model.py`. The pooled row is taken before the last norm, which works row by row.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) where the model has no text tower.
pub fn text(c: &Config) -> Result<(Graph, Ends)> {
    let mut graph = Graph::default();
    let text = c.text()?;
    let (t, w) = (&text.tower, Scope::root());
    let ids = graph.input("ids", Rows::Tokens, 1, Kind::U32);
    // Where padding counts, all texts have all their context's rows.
    let lengths = (!text.sees_padding()).then(|| graph.input("text.lengths", Rows::Items, 1, Kind::U32));
    let row = match text.pool {
        TextPool::First => PooledRow::Always(0),
        TextPool::Last => PooledRow::Always(text.context - 1),
        TextPool::Argmax | TextPool::Eos(_) => PooledRow::Given,
    };
    let eot = (row == PooledRow::Given).then(|| graph.input("eot", Rows::Items, 1, Kind::U32));
    let table = graph.weight(w.at("token_embedding.weight").name(), text.vocabulary, t.width);
    let positions = graph.weight(w.at("positional_embedding").name(), text.context, t.width);

    let mut x = graph.push("text.token_embed", TokenEmbed, &[ids, table, positions])?; // [batch, tokens, width]
    let mut b = Builder { graph: &mut graph, tower: "text" };
    for i in 0..t.blocks.len() {
        x = b.block(i, x, lengths, &w.at("transformer.resblocks").at(i), t, text.causal)?; // [batch, tokens, width]
    }
    let x = b.graph.push("text.pool", Pool { row }, &[&[x], eot.as_slice()].concat())?; // [batch, width]
    let x = b.layer_norm("ln_final", x, &w.at("ln_final"), t.eps)?; // [batch, width]
    let projected = b.projection(x, &w.at("text_projection"), c.embed, text.projection)?; // [batch, embed]
    let embedding = b.graph.push("text.embedding", Normalize, &[projected])?; // [batch, embed]
    Ok((graph, Ends { input: ids, lengths, pooled_at: eot, projected, embedding }))
}
