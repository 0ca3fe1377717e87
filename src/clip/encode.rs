//! What a loaded model makes: embeddings of pictures and of texts, a batch made ready while others run.

use std::collections::VecDeque;

use rayon::prelude::*;

use super::config::{Text, TextPool};
use super::model::Clip;
use super::vision::Ends;
use crate::error::{Error, Result};
use crate::graph::{Data, Pending, Size, Value};
use crate::input::{Image, Tokens};

/// Rows in the joint space, of unit length unless [`Options::normalize`](crate::Options::normalize) is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    pub rows: usize,
    /// Width of the joint space.
    pub width: usize,
    /// `[rows, width]`
    pub data: Vec<f32>,
}

impl Embeddings {
    /// Rows of `width` values that were kept elsewhere.
    ///
    /// # Errors
    /// [`Error::Shape`] for a last row that is not whole.
    pub fn new(width: usize, data: Vec<f32>) -> Result<Self> {
        let rows = data.len().checked_div(width).unwrap_or(0);
        let made = Self { rows, width, data };
        made.check("embeddings", width).map(|()| made)
    }

    /// An error unless these are whole rows of `width`.
    pub(super) fn check(&self, op: &'static str, width: usize) -> Result<()> {
        if self.width != width || width == 0 || self.rows.checked_mul(width) != Some(self.data.len()) {
            let found = format!("{} × {} of {} values", self.rows, self.width, self.data.len());
            return Err(Error::Shape { op, message: format!("expected rows of {width}, found {found}") });
        }
        Ok(())
    }

    /// One row.
    ///
    /// # Panics
    /// Where there is none of that number.
    pub fn row(&self, at: usize) -> &[f32] {
        &self.data[at * self.width..][..self.width]
    }

    /// The rows with a NaN or an infinity in them.
    pub fn non_finite(&self) -> Vec<usize> {
        (0..self.rows).filter(|&row| self.row(row).iter().any(|v| !v.is_finite())).collect()
    }
}

impl Clip {
    /// Unit embeddings of pictures. The next batch is made ready while one runs.
    ///
    /// # Errors
    /// [`Error::NonFinite`], or what the device says.
    pub async fn encode_images(&self, images: &[Image]) -> Result<Embeddings> {
        let mut runs = Runs::default();
        for part in images.chunks(self.vision()?.runner.capacity().batch) {
            runs.push(self.submit_pixels(&self.pixels(part))?).await?;
        }
        self.embeddings(runs.finish().await?)
    }

    /// What the image tower reads of pictures: `[n, 3, size, size]`.
    pub fn pixels(&self, images: &[Image]) -> Vec<f32> {
        let recipe = &self.preprocess; // not all of the model goes to other threads
        let pixels: Vec<Vec<f32>> = images.par_iter().map(|image| recipe.pixels(image)).collect();
        pixels.concat()
    }

    /// Unit embeddings of preprocessed pictures: `pixels` is `[n, 3, size, size]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong length; [`Error::NonFinite`] for pixels and embeddings, or what the device says.
    pub async fn encode_pixels(&self, pixels: &[f32]) -> Result<Embeddings> {
        let each = 3 * self.config.vision()?.size.pow(2);
        let bad: Vec<usize> =
            pixels.chunks(each).enumerate().filter(|(_, p)| p.iter().any(|v| !v.is_finite())).map(|(row, _)| row).collect();
        if !bad.is_empty() {
            return Err(Error::NonFinite { what: "pixels", rows: bad });
        }
        let mut runs = Runs::default();
        for part in pixels.chunks(each * self.vision()?.runner.capacity().batch) {
            runs.push(self.submit_pixels(part)?).await?;
        }
        self.embeddings(runs.finish().await?)
    }

    fn submit_pixels(&self, pixels: &[f32]) -> Result<Pending> {
        let tower = self.vision()?;
        tower.embed(&[(tower.ends.input, Data::F32(pixels))], self.pixels_size(pixels)?)
    }

    /// The size of a run over one picture.
    pub(super) fn one_picture(&self) -> Result<Size> {
        Ok(Size { batch: 1, tokens: self.config.vision()?.tokens() })
    }

    /// The size of a run over these pixels.
    pub(super) fn pixels_size(&self, pixels: &[f32]) -> Result<Size> {
        let v = self.config.vision()?;
        Ok(Size { batch: pixels.len().div_ceil(3 * v.size.pow(2)), tokens: v.tokens() })
    }

    /// The ids of a text. One above the context is cut, its end kept; [`Tokens::truncated`] says so.
    ///
    /// # Errors
    /// [`Error::Text`]
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        self.tokenizer.encode(text, self.config.text()?.context)
    }

    /// Unit embeddings of texts. One above the context is cut: [`Clip::tokenize`] tells.
    ///
    /// # Errors
    /// [`Error::Text`], [`Error::NonFinite`], or what the device says.
    pub async fn encode_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Embeddings> {
        let ids = texts.iter().map(|t| Ok(self.tokenize(t.as_ref())?.ids)).collect::<Result<Vec<_>>>()?;
        self.encode_ids(&ids).await
    }

    /// Unit embeddings of texts: each the ids from start to end of text, with or without padding. In a causal tower nothing
    /// behind the end counts: texts of like length are run together, cut at the longest of their batch. Elsewhere they are padded
    /// to the context.
    ///
    /// # Errors
    /// [`Error::Text`] for an empty text, one above the context or an id outside the vocabulary; [`Error::NonFinite`], or
    /// what the device says.
    pub async fn encode_ids(&self, texts: &[Vec<u32>]) -> Result<Embeddings> {
        let (tower, c) = (self.text()?, self.config.text()?);
        let lengths = texts.iter().map(|ids| pooled_at(c, ids)).collect::<Result<Vec<u32>>>()?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| lengths[i]); // texts of one length share a batch, which is as long as its longest
        let mut runs = Runs::default();
        for part in order.chunks(tower.runner.capacity().batch) {
            let (inputs, size) = self.text_inputs(&part.iter().map(|&i| texts[i].as_slice()).collect::<Vec<_>>())?;
            runs.push(tower.embed(&inputs.of(&tower.ends), size)?).await?;
        }
        let sorted = runs.finish().await?;
        let mut rows = vec![0.0; sorted.len()];
        for (row, &i) in sorted.chunks(self.config.embed).zip(&order) {
            rows[i * row.len()..][..row.len()].copy_from_slice(row);
        }
        self.embeddings(rows)
    }

    /// Ids, lengths and pooled rows of a batch, and its size.
    ///
    /// # Errors
    /// [`Error::Text`]
    pub fn text_inputs<T: AsRef<[u32]>>(&self, texts: &[T]) -> Result<(TextInputs, Size)> {
        let c = self.config.text()?;
        let pooled_at = texts.iter().map(|ids| pooled_at(c, ids.as_ref())).collect::<Result<Vec<u32>>>()?;
        let longest = pooled_at.iter().max().map_or(1, |&at| at as usize + 1);
        let tokens = if c.sees_padding() { c.context } else { longest };
        if c.sees_padding() && c.pad as usize >= c.vocabulary {
            let message =
                format!("expected a padding id below {} (the model's vocabulary), found {} in its tokenizer's files", c.vocabulary, c.pad);
            return Err(Error::Text(message));
        }
        let pad = if c.sees_padding() { c.pad } else { 0 }; // which is of no account
        let row = |ids: &T| (0..tokens).map(|t| ids.as_ref().get(t).copied().unwrap_or(pad)).collect::<Vec<u32>>();
        let length = |at: &u32| if c.sees_padding() { tokens as u32 } else { at + 1 };
        let lengths = pooled_at.iter().map(length).collect();
        Ok((TextInputs { ids: texts.iter().flat_map(row).collect(), lengths, pooled_at }, Size { batch: texts.len(), tokens }))
    }

    pub(super) fn embeddings(&self, data: Vec<f32>) -> Result<Embeddings> {
        let width = self.config.embed;
        let embeddings = Embeddings { rows: data.len() / width, width, data };
        match embeddings.non_finite() {
            rows if self.options.refuse_non_finite && !rows.is_empty() => Err(Error::NonFinite { what: "embeddings", rows }),
            _ => Ok(embeddings),
        }
    }
}

/// Runs that were handed over one after another: a few are on their way at once.
#[derive(Default)]
pub(super) struct Runs {
    pending: VecDeque<Pending>,
    data: Vec<f32>,
}

/// Enough that the device has work while the host makes the next ready.
const AHEAD: usize = 2;

impl Runs {
    pub(super) async fn push(&mut self, run: Pending) -> Result<()> {
        self.pending.push_back(run);
        while self.pending.len() > AHEAD {
            self.take().await?;
        }
        Ok(())
    }

    async fn take(&mut self) -> Result<()> {
        if let Some(run) = self.pending.pop_front() {
            self.data.extend(run.values().await?.remove(0));
        }
        Ok(())
    }

    /// What all of them made, one after another.
    pub(super) async fn finish(mut self) -> Result<Vec<f32>> {
        while !self.pending.is_empty() {
            self.take().await?;
        }
        Ok(self.data)
    }
}

/// The pooled row of a text.
fn pooled_at(c: &Text, ids: &[u32]) -> Result<u32> {
    if ids.is_empty() || ids.len() > c.context {
        return Err(Error::Text(format!("expected 1 to {} ids, found {}", c.context, ids.len())));
    }
    if let Some(id) = ids.iter().find(|&&id| id as usize >= c.vocabulary) {
        return Err(Error::Text(format!(
            "expected ids below {} (the model's vocabulary), found {id}: is its tokenizer.json missing?",
            c.vocabulary
        )));
    }
    let greatest = ids.iter().max();
    let at = match c.pool {
        TextPool::Argmax => ids.iter().position(|id| Some(id) == greatest),
        TextPool::Eos(eos) => ids.iter().position(|&id| id == eos),
        TextPool::First => Some(0),
        TextPool::Last => Some(c.context - 1),
    };
    at.map(|at| at as u32).ok_or_else(|| Error::Text(format!("expected an end of text ({:?}) among the ids", c.pool)))
}

/// What the text tower reads.
#[derive(Clone, Debug)]
pub struct TextInputs {
    pub ids: Vec<u32>,
    pub lengths: Vec<u32>,
    pub pooled_at: Vec<u32>,
}

impl TextInputs {
    /// As inputs of the tower with these ends: those that it has.
    pub fn of(&self, ends: &Ends) -> Vec<(Value, Data<'_>)> {
        let rest = [(ends.lengths, &self.lengths), (ends.pooled_at, &self.pooled_at)];
        let rest = rest.into_iter().filter_map(|(value, data)| Some((value?, Data::U32(data))));
        [(ends.input, Data::U32(&self.ids[..]))].into_iter().chain(rest).collect()
    }
}
