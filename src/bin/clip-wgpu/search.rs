use std::path::{Path, PathBuf};

use clap::Args;
use clip_wgpu::{Clip, Error, Result};
use half::f16;
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::index::{Db, absolute};
use crate::output::{file_name, say, say_for_xargs, say_json};
use crate::side::Side;
use crate::store::Store;

/// Search an index of pictures by words, by a picture, or by a mix of them
///
/// Words that stand together are one description. What is a file, or is named like a picture, is a picture; `text:` or `image:` before
/// it says which. `+` and `-` between blanks mix several, and `0.5*` before one weighs it.
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu search a dog on a beach at sunset
  clip-wgpu search photo.jpg + at night - people --top 20
  clip-wgpu search red car --threshold 0.2 --null | xargs -0 cp -t red-cars/")]
pub struct Search {
    #[arg(required = true, value_name = "QUERY")]
    query: Vec<String>,
    #[command(flatten)]
    db: Db,
    /// The most pictures to list
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// The least score, a cosine
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    threshold: Option<f32>,
    /// Only pictures in this folder
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
    /// Print paths only, each ended by a NUL, for `xargs -0`
    #[arg(long, conflicts_with = "json")]
    null: bool,
}

/// A part of a query.
struct Term {
    weight: f32,
    text: String,
}

/// `red car + 0.5*photo.jpg - night` as its terms.
fn terms(query: &[String]) -> Result<Vec<Term>> {
    let mut terms = Vec::new();
    let (mut sign, mut words) = (1.0, Vec::new());
    let mut end = |sign: f32, words: &mut Vec<&str>| {
        let text = std::mem::take(words).join(" ");
        if text.trim().is_empty() {
            return Err(Error::Argument("expected words or a picture on both sides of `+` and `-`, found nothing".into()));
        }
        let weighed = text.split_once('*').and_then(|(w, text)| Some((w.trim().parse::<f32>().ok().filter(|w| w.is_finite())?, text)));
        let (weight, text) = weighed.unwrap_or((1.0, &text));
        terms.push(Term { weight: sign * weight, text: text.trim().into() });
        Ok(())
    };
    for word in query {
        match word.as_str() {
            "-" if query.len() == 1 => words.push("-"), // standard input
            operator @ ("+" | "-") => {
                end(sign, &mut words)?;
                sign = if operator == "-" { -1.0 } else { 1.0 };
            }
            word => words.push(word),
        }
    }
    end(sign, &mut words)?;
    Ok(terms)
}

/// A picture that was found.
struct Hit {
    score: f32,
    path: String,
}

impl Search {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        let terms = terms(&self.query)?;
        let picture = |text: &str| if text == "-" { "image:-".into() } else { text.to_string() }; // standard input
        let sides = terms.iter().map(|term| Side::of(&picture(&term.text))).collect::<Result<Vec<_>>>()?;
        let folder = self.path.as_deref().map(absolute).transpose()?;
        let path = self.db.path()?;
        let store = Store::open(&path)?;
        if store.model()?.is_none() {
            return Err(Error::Argument(format!("{}: no pictures yet; add some with clip-wgpu index FOLDER", path.display())));
        }
        let g = &g.for_index(&store)?;
        let clip = g.load()?;
        let model = g.model_of(&clip)?;
        store.expect_model(&model)?;
        let query = mixed(g, &clip, &terms, &sides)?;
        let hits = self.best(&store, &query, folder.as_deref())?;
        if self.null {
            hits.iter().try_for_each(|hit| say_for_xargs(&hit.path))?;
        } else if g.json {
            let hits: Vec<_> = hits.iter().map(|hit| json!({"path": hit.path, "score": hit.score})).collect();
            let terms: Vec<_> = terms.iter().map(|t| json!({"weight": t.weight, "query": t.text})).collect();
            say_json(&json!({"index": file_name(&path), "model": model.name, "query": terms, "hits": hits}))?;
        } else if hits.is_empty() {
            say("nothing found")?;
        } else {
            hits.iter().try_for_each(|hit| say(&format!("{:.4}  {}", hit.score, hit.path)))?;
        }
        Ok(Outcome::Done)
    }

    /// The best of the index, exactly; the first by path where scores are equal.
    fn best(&self, store: &Store, query: &[f32], folder: Option<&Path>) -> Result<Vec<Hit>> {
        let (mut hits, top) = (Vec::<Hit>::new(), self.top as usize);
        let keep = |hits: &mut Vec<Hit>| {
            hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.path.cmp(&b.path)));
            hits.truncate(top);
        };
        store.each(query.len(), |path, embedding| {
            if folder.is_some_and(|folder| !Path::new(path).starts_with(folder)) {
                return;
            }
            let score = cosine(query, embedding);
            if self.threshold.is_none_or(|least| score >= least) {
                hits.push(Hit { score, path: path.into() });
            }
            if hits.len() >= 2 * top.max(512) {
                keep(&mut hits);
            }
        })?;
        keep(&mut hits);
        Ok(hits)
    }
}

fn cosine(query: &[f32], embedding: &[f16]) -> f32 {
    let dot: f64 = query.iter().zip(embedding).map(|(q, e)| f64::from(*q) * e.to_f64()).sum();
    dot as f32
}

/// The weighed sum of the terms' embeddings, of unit length.
fn mixed(g: &Globals, clip: &Clip, terms: &[Term], sides: &[Side]) -> Result<Vec<f32>> {
    let mut sum = vec![0.0; clip.config.embed];
    for (Term { weight, .. }, side) in terms.iter().zip(sides) {
        let row = side.embed(g, clip, false)?;
        sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += weight * v);
    }
    let length = sum.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
    if length < 1e-6 {
        return Err(Error::Argument("the parts of the query take each other away: nothing is left to search for".into()));
    }
    sum.iter_mut().for_each(|v| *v /= length);
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Vec<(f32, String)> {
        let words: Vec<String> = query.split(' ').map(String::from).collect();
        terms(&words).expect("a query").into_iter().map(|t| (t.weight, t.text)).collect()
    }

    #[test]
    fn words_stand_together_and_signs_part_them() {
        assert_eq!(of("a red car"), [(1.0, "a red car".into())]);
        assert_eq!(of("red car + 0.5*photo.jpg - night"), [(1.0, "red car".into()), (0.5, "photo.jpg".into()), (-1.0, "night".into())]);
        assert_eq!(of("-"), [(1.0, "-".into())]);
        assert!(terms(&["a".into(), "+".into()]).is_err());
    }
}
