//! What the towers make on their way, under the names that transformers gives it.

use super::config::{Block, Config, VisionPool};
use super::model::Clip;
use crate::error::{Error, Result};
use crate::graph::{Data, Rows};

impl Config {
    /// The name of the value that is `hidden_states[blocks]` of transformers' image tower: each token `[tokens, width]` after so
    /// many blocks, the class token first.
    ///
    /// # Errors
    /// [`Error::Argument`] for more blocks than there are.
    pub fn hidden_state(&self, blocks: usize) -> Result<String> {
        let v = self.vision()?;
        let first = if v.ln_pre { "vision.ln_pre" } else { "vision.patch_embed" };
        after(&v.tower.blocks, blocks, "vision", first)
    }

    /// The same of the text tower: each token after so many blocks.
    ///
    /// # Errors
    /// [`Error::Argument`] for more blocks than there are.
    pub fn text_hidden_state(&self, blocks: usize) -> Result<String> {
        after(&self.text()?.tower.blocks, blocks, "text", "text.token_embed")
    }

    /// The name of the value that is `pooler_output` of transformers' image tower: `[width]`.
    ///
    /// # Errors
    /// [`Error::Argument`] where the model has no image tower.
    pub fn pooled(&self) -> Result<String> {
        let v = self.vision()?;
        Ok(if v.norm_first && v.pool != VisionPool::Class { "vision.pool".into() } else { "vision.ln_post".into() })
    }
}

/// The name of the value that is `pooler_output` of transformers' text tower: `[width]`.
pub const TEXT_POOLED: &str = "text.ln_final";

/// The name of what a tower has after so many blocks; `first` is what they begin with.
fn after(all: &[Block], blocks: usize, tower: &str, first: &str) -> Result<String> {
    if blocks > all.len() {
        return Err(Error::Argument(format!("expected a layer from 0 to {}, found {blocks}", all.len())));
    }
    let last = all[..blocks].iter().rposition(|b| b.heads > 0 || b.hidden > 0); // a pruned block makes nothing
    Ok(last.map_or(first.into(), |i| format!("{tower}.block.{i}.out")))
}

impl Clip {
    /// The shape of a value of one picture: `[tokens, width]` or `[width]`.
    ///
    /// # Errors
    /// [`Error::Argument`] where the image tower has no value of this name.
    pub fn value_shape(&self, name: &str) -> Result<Vec<usize>> {
        let tower = self.vision()?;
        let desc = tower.graph.desc(tower.graph.named(&[name])?[0]);
        let rows = desc.rows.per_item(self.one_picture()?);
        Ok(if desc.rows.are_of_items() { vec![rows, desc.width] } else { vec![desc.width] })
    }

    /// A value of the image tower that was kept when the model was loaded ([`Clip::load_on`]), for each picture: `pixels` is
    /// `[n, 3, size, size]`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a value that was not kept; else as [`Clip::encode_pixels`].
    pub async fn value_of_pixels(&self, name: &str, pixels: &[f32]) -> Result<Vec<f32>> {
        let tower = self.vision()?;
        let (value, mut rows) = (tower.graph.named(&[name])?[0], Vec::new());
        for part in pixels.chunks(3 * self.config.vision()?.size.pow(2) * tower.runner.capacity().batch) {
            let inputs = [(tower.ends.input, Data::F32(part))];
            rows.extend(tower.runner.run_and_read(&inputs, self.pixels_size(part)?, &[value]).await?.remove(0));
        }
        Ok(rows)
    }

    /// A value of the text tower that was kept when the model was loaded, for each text: `[tokens, width]` from start to end of text,
    /// or `[width]`. Where padding counts, the tokens are those of the whole context.
    ///
    /// # Errors
    /// [`Error::Argument`] for a value that was not kept; else as [`Clip::encode_ids`].
    pub async fn value_of_ids(&self, name: &str, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let tower = self.text()?;
        let (value, mut rows) = (tower.graph.named(&[name])?[0], Vec::new());
        let desc = tower.graph.desc(value);
        for part in texts.chunks(tower.runner.capacity().batch) {
            let (inputs, size) = self.text_inputs(part)?;
            let found = tower.runner.run_and_read(&inputs.of(&tower.ends), size, &[value]).await?.remove(0);
            let own = |length: &u32| if desc.rows == Rows::Tokens { *length as usize * desc.width } else { desc.width };
            let each = found.chunks(desc.rows.per_item(size) * desc.width).zip(&inputs.lengths);
            rows.extend(each.map(|(row, length)| row[..own(length)].to_vec()));
        }
        Ok(rows)
    }
}
