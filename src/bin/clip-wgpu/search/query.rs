//! `red car + 0.5*photo.jpg - night`: what is searched for.

use std::path::Path;

use clip_wgpu::{Clip, Error, Result};
use serde_json::{Value, json};

use crate::context::Globals;
use crate::side::Side;

/// A part of a query.
struct Term {
    weight: f32,
    text: String,
    side: Side,
}

/// A query whose pictures were found.
pub struct Query(Vec<Term>);

impl Query {
    /// # Errors
    /// [`Error::Argument`] for a sign with nothing beside it, and a picture that is not there.
    pub fn of(words: &[String]) -> Result<Self> {
        let term = |(weight, text): (f32, String)| {
            // The name of a folder that is here may well be what is looked for in it.
            let is_word = !text.contains(['/', '\\', '.']) && Path::new(&text).is_dir();
            let side = if is_word { Side::Text(text.clone()) } else { Side::of(&text)? };
            Ok(Term { weight, text, side })
        };
        terms(words)?.into_iter().map(term).collect::<Result<_>>().map(Query)
    }

    /// The terms' embeddings.
    pub fn embed(&self, g: &Globals, clip: &Clip) -> Result<Vec<Part>> {
        let part = |term: &Term| {
            let is_picture = matches!(term.side, Side::Image(_));
            Ok(Part { weight: term.weight, is_picture, embedding: term.side.embed(g, clip, false)? })
        };
        self.0.iter().map(part).collect()
    }

    pub fn json(&self) -> Value {
        self.0.iter().map(|t| json!({"weight": t.weight, "query": t.text})).collect()
    }
}

/// A term that was encoded.
pub struct Part {
    pub weight: f32,
    pub is_picture: bool,
    /// Of unit length.
    pub embedding: Vec<f32>,
}

/// What is scored: the weighed sum of the parts, of unit length.
///
/// Pictures are much nearer to pictures than to words (Liang et al. 2022, "Mind the gap"), so that a picture would drown the words
/// beside it: where a query has both, each part's scores are brought to the same `spread` over the index first.
///
/// # Errors
/// [`Error::Argument`] where they add up to nothing.
pub fn mixed(parts: &[Part], spread: impl Fn(&[f32]) -> f32) -> Result<Vec<f32>> {
    let both = parts.iter().any(|p| p.is_picture) && parts.iter().any(|p| !p.is_picture);
    let mut sum = vec![0.0; parts.first().map_or(0, |p| p.embedding.len())];
    for part in parts {
        let spread = Some(&part.embedding).filter(|_| both).map(|row| spread(row)).filter(|s| *s > 1e-6).unwrap_or(1.0);
        sum.iter_mut().zip(&part.embedding).for_each(|(sum, v)| *sum += part.weight / spread * v);
    }
    let length = sum.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
    if !length.is_finite() || length < 1e-6 {
        return Err(Error::Argument("the parts of the query take each other away: nothing is left to search for".into()));
    }
    sum.iter_mut().for_each(|v| *v /= length);
    Ok(sum)
}

/// The weights and texts of a query.
fn terms(words: &[String]) -> Result<Vec<(f32, String)>> {
    let mut terms = Vec::new();
    let (mut sign, mut together) = (1.0, Vec::new());
    let mut end = |sign: f32, together: &mut Vec<&str>| {
        let text = std::mem::take(together).join(" ");
        if text.trim().is_empty() {
            return Err(Error::Argument("expected words or a picture on both sides of `+` and `-`, found nothing".into()));
        }
        let weighed = text.split_once('*').and_then(|(w, text)| Some((w.trim().parse::<f32>().ok().filter(|w| w.is_finite())?, text)));
        let (weight, text) = weighed.unwrap_or((1.0, &text));
        terms.push((sign * weight, text.trim().into()));
        Ok(())
    };
    let is_sum = |word: &String| word.split(' ').any(|w| w == "+" || w == "-") && word.contains(' ') && !Path::new(word).exists();
    let apart = |word: &String| if is_sum(word) { word.split(' ').map(String::from).collect() } else { vec![word.clone()] };
    let words: Vec<String> = words.iter().flat_map(apart).collect(); // in quotes, as shells want it for `0.5*night`
    for word in &words {
        match word.as_str() {
            "-" if words.len() == 1 => together.push("-"), // standard input
            operator @ ("+" | "-") => {
                end(sign, &mut together)?;
                sign = if operator == "-" { -1.0 } else { 1.0 };
            }
            word => together.push(word),
        }
    }
    end(sign, &mut together)?;
    Ok(terms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Vec<(f32, String)> {
        let words: Vec<String> = query.split(' ').map(String::from).collect();
        terms(&words).expect("a query")
    }

    #[test]
    fn a_picture_does_not_drown_the_words_beside_it() {
        let part = |is_picture, embedding: [f32; 2]| Part { weight: 1.0, is_picture, embedding: embedding.into() };
        let spread = |row: &[f32]| if row[0] > 0.5 { 0.1 } else { 0.02 }; // as CLIP's: the first axis stands for pictures
        let both = mixed(&[part(true, [1.0, 0.0]), part(false, [0.0, 1.0])], spread).expect("a query");
        assert!((both[0] * 0.1 - both[1] * 0.02).abs() < 1e-6, "each moves the scores as much: {both:?}");
        let words = mixed(&[part(false, [1.0, 0.0]), part(false, [0.0, 1.0])], spread).expect("a query");
        assert_eq!(words[0], words[1]);
        assert!(mixed(&[part(false, [1.0, 0.0]), Part { weight: -1.0, ..part(false, [1.0, 0.0]) }], spread).is_err());
    }

    #[test]
    fn words_stand_together_and_signs_part_them() {
        assert_eq!(of("a red car"), [(1.0, "a red car".into())]);
        assert_eq!(of("red car + 0.5*photo.jpg - night"), [(1.0, "red car".into()), (0.5, "photo.jpg".into()), (-1.0, "night".into())]);
        assert_eq!(of("-"), [(1.0, "-".into())]);
        assert!(terms(&["a".into(), "+".into()]).is_err());
    }
}
