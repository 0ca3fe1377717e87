//! `red car + 0.5*photo.jpg - night`: what is searched for.

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
            let side = Side::of(if text == "-" { "image:-" } else { &text })?; // standard input
            Ok(Term { weight, text, side })
        };
        terms(words)?.into_iter().map(term).collect::<Result<_>>().map(Query)
    }

    /// The weighed sum of the terms' embeddings, of unit length.
    pub fn embed(&self, g: &Globals, clip: &Clip) -> Result<Vec<f32>> {
        let rows = self.0.iter().map(|term| Ok((term.weight, term.side.embed(g, clip, false)?)));
        mixed(&rows.collect::<Result<Vec<_>>>()?)
    }

    pub fn json(&self) -> Value {
        self.0.iter().map(|t| json!({"weight": t.weight, "query": t.text})).collect()
    }
}

/// The weighed sum of embeddings, of unit length.
///
/// # Errors
/// [`Error::Argument`] where they add up to nothing.
pub fn mixed(rows: &[(f32, Vec<f32>)]) -> Result<Vec<f32>> {
    let mut sum = vec![0.0; rows.first().map_or(0, |(_, row)| row.len())];
    for (weight, row) in rows {
        sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += weight * v);
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
    for word in words {
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
    fn words_stand_together_and_signs_part_them() {
        assert_eq!(of("a red car"), [(1.0, "a red car".into())]);
        assert_eq!(of("red car + 0.5*photo.jpg - night"), [(1.0, "red car".into()), (0.5, "photo.jpg".into()), (-1.0, "night".into())]);
        assert_eq!(of("-"), [(1.0, "-".into())]);
        assert!(terms(&["a".into(), "+".into()]).is_err());
    }
}
