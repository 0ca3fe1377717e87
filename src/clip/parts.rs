//! What each patch of a picture gives to the picture's embedding.

use std::sync::{Arc, PoisonError};

use super::block::{Builder, Scope};
use super::config::{Config, Projection, VisionPool};
use super::encode::Embeddings;
use super::model::Clip;
use super::tower::{Runner, Tower};
use super::vision::{Ends, vision};
use crate::error::{Error, Result};
use crate::graph::{Data, Graph, Size, Value};
use crate::input::Image;
use crate::ops::{Act, AttentionParts, LayerNormParts};

/// [`vision`], which it begins with, node by node, and the value `[batch, tokens, embed]` of what each token gives to the
/// projection of its picture: what it brings into the class token through the attention of every block (Gandelsman et al. 2024,
/// arXiv 2310.05916), into the pooling head's query, or into the mean. Biases, the class token's own way through the MLPs and the
/// pooling head's MLP belong to no patch. A patch's own row of the last block would say less: there, attention has mixed the
/// patches.
///
/// # Errors
/// [`Error::Argument`] where the model has no image tower, or one that attends nowhere.
pub fn parts(c: &Config) -> Result<(Graph, Ends, Value)> {
    let (mut graph, ends) = vision(c)?;
    let v = c.vision()?;
    let (t, w) = (&v.tower, Scope::root().at("visual"));
    let known = |graph: &Graph, name: &str| graph.named(&[&format!("vision.{name}")]).map(|found| found[0]);
    let row = known(&graph, "pool")?; // [batch, width]
    let tower = graph.nodes.len();
    let mut b = Builder { graph: &mut graph, tower: "parts" };
    let mut x = match v.pool {
        VisionPool::Class => {
            let mut sum = None;
            for (i, block) in t.blocks.iter().enumerate().filter(|(_, block)| block.heads > 0) {
                let (qkv, op) = (known(b.graph, &format!("block.{i}.qkv"))?, AttentionParts { heads: block.heads, head: t.head });
                let h = b.graph.push(format!("parts.block.{i}.attn"), op, &[qkv, qkv])?; // [batch, tokens, heads·head]
                let out = w.at("transformer.resblocks").at(i).at("attn.out_proj.weight");
                sum = Some(b.linear(&format!("block.{i}.attn_out"), h, (out, None), t.width, Act::None, sum)?); // [batch, tokens, width]
            }
            sum.ok_or_else(|| Error::Argument("no block of the image tower attends: patches give nothing".into()))?
        }
        VisionPool::Mean if v.norm_first => known(b.graph, "ln_post")?, // [batch, tokens, width]
        VisionPool::Mean => known(b.graph, &format!("block.{}.out", t.blocks.len() - 1))?, // [batch, tokens, width]
        VisionPool::Attention(head) => {
            let (q, kv) = (known(b.graph, "pool.q")?, known(b.graph, "pool.kv")?);
            let op = AttentionParts { heads: head.heads, head: t.width / head.heads };
            let h = b.graph.push("parts.pool.attn", op, &[q, kv])?; // [batch, tokens, width]
            b.linear("pool.attn_out", h, (w.at("attn_pool.out_proj.weight"), None), t.width, Act::None, None)? // [batch, tokens, width]
        }
    };
    if !v.norm_first || v.pool == VisionPool::Class {
        let gain = b.graph.weight(w.at("ln_post.weight").name(), 1, t.width);
        x = b.graph.push("parts.ln_post", LayerNormParts { eps: t.eps }, &[x, row, gain])?; // [batch, tokens, width]
    }
    let proj = match v.projection {
        Projection::None => {
            graph.hoist(tower);
            return Ok((graph, ends, x));
        }
        Projection::Matrix => w.at("proj"),
        Projection::Linear => w.at("proj.weight"),
    };
    let parts = b.linear("proj", x, (proj, None), c.embed, Act::None, None)?; // [batch, tokens, embed]
    graph.hoist(tower); // or each block's queries, keys and values lie there to the end
    Ok((graph, ends, parts))
}

impl Clip {
    /// What each patch gives to its picture's unit embedding, `[pictures · patches, embed]`: patches row after row from the top
    /// left of what the model sees. A row's product with a text's is that patch's part of their cosine, so it says where in the
    /// picture that text is: best beside the same of other texts.
    ///
    /// # Errors
    /// As [`Clip::encode_images`].
    pub async fn image_parts(&self, images: &[Image]) -> Result<Embeddings> {
        let (tower, mut rows) = (self.parts_tower().await?, Vec::new());
        for part in images.chunks(tower.runner.capacity().batch) {
            rows.extend(self.parts_of(&tower, &self.pixels(part)).await?);
        }
        self.embeddings(rows)
    }

    /// The same of preprocessed pictures: `pixels` is `[n, 3, size, size]`.
    ///
    /// # Errors
    /// As [`Clip::encode_pixels`].
    pub async fn pixel_parts(&self, pixels: &[f32]) -> Result<Embeddings> {
        let (tower, mut rows) = (self.parts_tower().await?, Vec::new());
        for part in pixels.chunks(3 * self.config.vision()?.size.pow(2) * tower.runner.capacity().batch) {
            rows.extend(self.parts_of(&tower, part).await?);
        }
        self.embeddings(rows)
    }

    /// Of pictures that run at once.
    async fn parts_of(&self, tower: &Tower, pixels: &[f32]) -> Result<Vec<f32>> {
        let inputs = [(tower.ends.input, Data::F32(pixels))];
        let read = [tower.output, tower.ends.projected];
        self.of_patches(tower.runner.run_and_read(&inputs, self.pixels_size(pixels)?, &read).await?)
    }

    /// The same of a texture of the model's device, as [`Clip::encode_frame`] takes it.
    ///
    /// # Errors
    /// As [`Clip::encode_frame`].
    pub async fn frame_parts(&self, texture: &wgpu::Texture) -> Result<Embeddings> {
        let (tower, size) = (self.parts_tower().await?, self.one_picture()?);
        let read = [tower.output, tower.ends.projected];
        let run = self.submit_frame(texture, |pixels| tower.runner.submit(&[(tower.ends.input, pixels)], size, &read)).await?;
        self.embeddings(self.of_patches(run.values().await?)?)
    }

    /// Patches on a side of what the model sees.
    ///
    /// # Errors
    /// [`Error::Argument`] where the model has no image tower.
    pub fn patch_grid(&self) -> Result<usize> {
        self.config.vision().map(|v| v.size / v.patch)
    }

    /// From what tokens give to projections, and these, to what patches give to unit embeddings.
    fn of_patches(&self, read: Vec<Vec<f32>>) -> Result<Vec<f32>> {
        let (v, embed) = (self.config.vision()?, self.config.embed);
        let patches = v.tokens() - v.class as usize;
        let pooled = if v.pool == VisionPool::Mean { patches } else { 1 };
        let items = read[0].chunks(v.tokens() * embed).zip(read[1].chunks(embed));
        let of_item = |(parts, projected): (&[f32], &[f32])| {
            let length = projected.iter().map(|&p| (p as f64).powi(2)).sum::<f64>().sqrt().max(1e-30) * pooled as f64;
            parts[v.class as usize * embed..].iter().map(|&p| (p as f64 / length) as f32).collect::<Vec<f32>>()
        };
        Ok(items.flat_map(of_item).collect())
    }

    /// Made when it is first asked for, over the weights of the image tower.
    async fn parts_tower(&self) -> Result<Arc<Tower>> {
        let known = self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(tower) = known {
            return Ok(tower);
        }
        let (graph, ends, output) = parts(&self.config)?;
        let (graph, vision) = (Arc::new(graph), &self.vision()?.runner);
        let capacity = Size { tokens: self.config.vision()?.tokens(), ..vision.capacity() };
        let kept = [output, ends.projected];
        let runner = Runner::new(&self.executor, graph.clone(), vision.weights(), &kept, capacity).await?;
        let tower = Arc::new(Tower { graph, ends, output, runner });
        *self.parts.lock().unwrap_or_else(PoisonError::into_inner) = Some(tower.clone());
        Ok(tower)
    }
}
