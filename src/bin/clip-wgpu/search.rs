pub mod gallery;
pub mod query;
pub mod rows;
mod since;

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use clip_wgpu::nearest::Hit;
use clip_wgpu::{Clip, Error, Result};
use serde_json::json;

use self::gallery::Entry;
use self::query::{Part, Query, mixed};
use self::rows::Rows;
use crate::Outcome;
use crate::context::{Globals, number};
use crate::everyday::{self, Everyday};
use crate::index::{Db, absolute};
use crate::output::{Failed, complain, file_name, path_of, say, say_for_xargs, say_json};
use crate::store::{Model, Stamp, Store};

/// Search an index of pictures by words, by a picture, or by a mix of them
///
/// Words that stand together are one description. What is a file, or is named like a picture, is a picture; `text:` or `image:` before
/// it says which. `+` and `-` between blanks mix several, and `0.5*` before one weighs it; a picture and words beside it weigh alike.
/// One description in words that fits no picture better than everyday things do finds nothing.
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu search a dog on a beach at sunset
  clip-wgpu search photo.jpg + at night - people --top 20 --gallery
  clip-wgpu search red car --threshold 0.2 --since 30d --null | xargs -0 cp -t red-cars/
  clip-wgpu search --repl")]
pub struct Search {
    /// Words, pictures, or both with + and - between them
    #[arg(required_unless_present = "repl", value_name = "QUERY")]
    query: Vec<String>,
    #[command(flatten)]
    db: Db,
    /// The most pictures to list
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// The least score, a cosine. Default: any, but a description in words that fits not even the nearest picture finds nothing
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = number)]
    threshold: Option<f32>,
    /// Only pictures in this folder
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
    /// Only files changed since a day (2026-01-31), or not longer ago than this (7d, 2 weeks, 3 months)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Show what is found as a page of thumbnails: in the browser, or written to FILE (--gallery=FILE)
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    gallery: Option<Option<PathBuf>>,
    /// Read queries from standard input, a line each, with the model kept loaded
    #[arg(long, conflicts_with = "query")]
    repl: bool,
    /// Print paths only, each ended by a NUL, for `xargs -0`
    #[arg(long, conflicts_with = "json")]
    null: bool,
}

/// What queries are run on.
struct Engine<'a> {
    g: &'a Globals,
    clip: Clip,
    model: Model,
    index: PathBuf,
    rows: Rows,
    everyday: Option<Everyday>,
}

/// What a query finds.
pub struct Answer {
    /// None where not even the nearest fits.
    pub hits: Vec<Hit>,
    /// The nearest and how it fits, for one description in words.
    pub nearest: Option<(Hit, f32)>,
}

/// The `top` pictures nearest to a query. Without a `threshold` one description in words is judged: where it fits no
/// picture, nothing is found.
///
/// # Errors
/// As [`mixed`].
pub fn answer(rows: &Rows, everyday: Option<&Everyday>, parts: &[Part], top: usize, threshold: Option<f32>) -> Result<Answer> {
    let mut hits = rows.best(&mixed(parts, |part| rows.spread(part))?, top, threshold)?;
    let words = matches!(parts, [part] if !part.is_picture && part.weight > 0.0);
    let fit = |hit: &Hit| everyday.filter(|_| words).map(|e| (*hit, e.on(&rows.embedding(hit.row)).fit(hit.score)));
    let nearest = hits.first().and_then(fit);
    if threshold.is_none() && nearest.is_some_and(|(_, fit)| fit < everyday::LEAST) {
        hits.clear();
    }
    Ok(Answer { hits, nearest })
}

impl Search {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        // What is wrong with a query is said before a model is loaded.
        let query = (!self.repl).then(|| Query::of(&self.query)).transpose()?;
        let since = self.since.as_deref().map(since::moment).transpose()?;
        let folder = self.path.as_deref().map(absolute).transpose()?;
        let index = self.db.path()?;
        let store = Store::open(&index)?;
        if store.model()?.is_none() {
            return Err(Error::Argument(format!("{}: no pictures yet; add some with clip-wgpu index FOLDER", index.display())));
        }
        let g = &g.for_index(&store)?;
        let clip = g.load()?;
        let model = g.model_of(&clip)?;
        store.expect_model(&model)?;
        let wanted = |path: &str, stamp: Stamp| {
            folder.as_ref().is_none_or(|folder| path_of(path).starts_with(folder)) && since.is_none_or(|since| stamp.modified_ns >= since)
        };
        let rows = Rows::read(&store, &clip, wanted)?;
        if let Some(folder) = folder.filter(|_| rows.paths.is_empty()) {
            g.warn(&format!("{}: the index has no such picture in this folder", file_name(&folder)));
        }
        let everyday = Everyday::of(&clip, &store)?;
        let engine = Engine { g, clip, model, index, rows, everyday };
        match query {
            Some(query) => self.answer(&engine, &query, &self.query.join(" ")).map(|()| Outcome::Done),
            None => Ok(Outcome::of(&self.answer_lines(&engine)?)),
        }
    }

    /// Answers each line of standard input; what is wrong with one is said, and the next is read.
    fn answer_lines(&self, engine: &Engine<'_>) -> Result<Vec<Failed>> {
        let mut failed = Vec::new();
        let stdin = std::io::stdin();
        let prompted = stdin.is_terminal();
        if prompted {
            complain(&format!("{} pictures; a query a line, Ctrl-D ends", engine.rows.paths.len()));
        }
        let prompt = || {
            if prompted {
                let _ = write!(std::io::stderr(), "> ");
            }
        };
        prompt();
        for line in stdin.lock().lines() {
            let line = line.map_err(Error::io("standard input"))?;
            let words: Vec<String> = line.split_whitespace().map(String::from).collect();
            if !words.is_empty()
                && let Err(error) = Query::of(&words).and_then(|query| self.answer(engine, &query, line.trim()))
            {
                let error = error.to_string();
                complain(&error);
                if engine.g.json {
                    say(&json!({"query": line.trim(), "error": error}).to_string())?; // a line for a line
                }
                failed.push(Failed { input: line, error });
            }
            prompt();
        }
        Ok(failed)
    }

    fn answer(&self, engine: &Engine<'_>, query: &Query, words: &str) -> Result<()> {
        let Engine { g, clip, model, index, rows, everyday } = engine;
        let Answer { hits, nearest } = answer(rows, everyday.as_ref(), &query.embed(g, clip)?, self.top as usize, self.threshold)?;
        let path = |hit: &Hit| rows.paths[hit.row].as_str();
        if let Some((nearest, _)) = nearest.filter(|_| hits.is_empty()) {
            g.warn(&format!("no picture fits `{words}`; the nearest scores {:.4} (--threshold -1 lists it)", nearest.score));
        }
        if let Some(page) = &self.gallery {
            let entries: Vec<Entry<'_>> = hits.iter().map(|hit| Entry { score: hit.score, path: path(hit) }).collect();
            let at = page.clone().map_or_else(gallery::somewhere, Ok)?;
            gallery::write(&at, words, &entries)?;
            if page.is_none() {
                let seen = open::that_detached(&at);
                seen.map_err(|e| {
                    Error::Argument(format!("{}: no browser could be opened ({e}); it is a page of thumbnails", at.display()))
                })?;
            }
        }
        if self.null {
            hits.iter().try_for_each(|hit| say_for_xargs(&path_of(path(hit))))
        } else if g.json {
            let hits: Vec<_> = hits.iter().map(|hit| json!({"path": path(hit), "score": hit.score})).collect();
            let nearest = nearest.map(|(hit, fit)| json!({"path": path(&hit), "score": hit.score, "fit": fit}));
            let document = json!({"index": file_name(index), "model": model.name, "query": query.json(), "hits": hits, "nearest": nearest});
            if self.repl { say(&document.to_string()) } else { say_json(&document) } // a line for a line
        } else if hits.is_empty() {
            say("nothing found")
        } else {
            hits.iter().try_for_each(|hit| say(&format!("{:.4}  {}", hit.score, path(hit))))
        }
    }
}
