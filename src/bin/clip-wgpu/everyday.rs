//! Whether a picture fits words, or is only the nearest that there is.
//!
//! A cosine says little by itself: what is high differs from model to model and from picture to picture. So the words are compared
//! with what everyday things score on the same picture, as test normalisation does in speaker verification (Auckenthaler et al.
//! 2000, "Score normalization for text-independent speaker verification systems", section 2.2).

use base64::prelude::{BASE64_STANDARD, Engine};
use clip_wgpu::{Clip, Result};

use crate::store::{Store, hash_of};

/// Everyday things, a line each.
const THINGS: &str = include_str!("../../../assets/search/everyday.txt");

/// The least fit of a picture that is found. On the model in the box (`scripts/reference/recall.py`) 626 of 632 descriptions of what is
/// there fit; among pictures of a tenth of these things 60 of 64 that are there, and 143 of 568 that are not.
pub const LEAST: f32 = 2.4;

/// Embeddings of everyday things.
pub struct Everyday {
    width: usize,
    /// `[things, width]`, unit rows
    rows: Vec<f32>,
}

impl Everyday {
    /// Those of the index's model, encoded once and kept in the index; `None` for a model without a text tower.
    pub fn of(clip: &Clip, store: &Store) -> Result<Option<Self>> {
        let width = clip.config.embed;
        if clip.text().is_err() {
            return Ok(None);
        }
        let list: String = hash_of(THINGS.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        let kept = store.note("everyday")?.and_then(|note| BASE64_STANDARD.decode(note.strip_prefix(&list)?.strip_prefix(' ')?).ok());
        if let Some(bytes) = kept.filter(|bytes| bytes.len() == 4 * width * THINGS.lines().count()) {
            return Ok(Some(Self { width, rows: bytemuck::pod_collect_to_vec(&bytes) }));
        }
        let made = Self::new(clip)?;
        // An index that cannot be written is searched all the same.
        let _ = store.set_note("everyday", &format!("{list} {}", BASE64_STANDARD.encode(bytemuck::cast_slice::<f32, u8>(&made.rows))));
        Ok(Some(made))
    }

    pub fn new(clip: &Clip) -> Result<Self> {
        let things: Vec<&str> = THINGS.lines().collect();
        Ok(Self { width: clip.config.embed, rows: pollster::block_on(clip.encode_texts(&things))?.data })
    }

    /// What everyday things score on a picture.
    pub fn on(&self, picture: &[f32]) -> Usual {
        let of_things: Vec<f64> =
            self.rows.chunks(self.width).map(|row| row.iter().zip(picture).map(|(a, b)| f64::from(a * b)).sum()).collect();
        let count = of_things.len() as f64;
        let mean = of_things.iter().sum::<f64>() / count;
        let variance = of_things.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Usual { mean, deviation: variance.sqrt().max(1e-6) }
    }
}

/// The scores of everyday things on one picture.
pub struct Usual {
    mean: f64,
    deviation: f64,
}

impl Usual {
    /// By how many standard deviations a score is above the mean.
    pub fn fit(&self, score: f32) -> f32 {
        ((f64::from(score) - self.mean) / self.deviation) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_told_apart_and_fits_are_counted_in_deviations() {
        let things: std::collections::HashSet<&str> = THINGS.lines().collect();
        assert_eq!(things.len(), THINGS.lines().count());
        assert!(things.iter().all(|thing| !thing.trim().is_empty()));
        let everyday = Everyday { width: 2, rows: vec![0.6, 0.8, 0.8, 0.6, 1.0, 0.0] }; // 0.6, 0.8 and 1 on the picture: deviation 0.2
        let usual = everyday.on(&[1.0, 0.0]);
        assert!((usual.fit(1.2) - 2.0).abs() < 1e-5 && usual.fit(0.8).abs() < 1e-5);
    }
}
