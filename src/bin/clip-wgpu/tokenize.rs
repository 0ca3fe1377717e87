use clap::Args;
use clip_wgpu::{Result, Tokenizer};
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::output::{Failed, complain, failed_json, say, say_json};
use crate::texts::{Line, Texts};

/// The ids and pieces of texts: by the model's tokenizer, or CLIP's own without a model
#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu tokenize 'a photo of a dog'
  clip-wgpu tokenize -m pico 'a red circle' --json")]
pub struct Tokenize {
    #[command(flatten)]
    texts: Texts,
    /// A text that is too long for the model is an error
    #[arg(long)]
    strict: bool,
}

impl Tokenize {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        let (tokenizer, context) = match g.files()? {
            Some(files) => (files.tokenizer, files.config.text()?.context),
            None => (Tokenizer::clip(), 77),
        };
        let mut documents = Vec::new();
        let mut failed = Vec::new();
        for Line { origin, text } in self.texts.all()? {
            let encoded = text.and_then(|text| {
                let tokens = tokenizer.encode(&text, context).map_err(|e| e.to_string())?;
                match tokens.truncated() && self.strict {
                    true => Err(format!("has {} tokens, but the model takes {context}", tokens.total)),
                    false => Ok((text, tokens)),
                }
            });
            let (text, tokens) = match encoded {
                Ok(encoded) => encoded,
                Err(error) => {
                    complain(&format!("{origin} {error}"));
                    failed.push(Failed { input: origin, error });
                    continue;
                }
            };
            let pieces = tokenizer.pieces(&tokens.ids);
            if g.json {
                documents.push(json!({"text": text, "ids": tokens.ids, "pieces": pieces, "used": tokens.total, "limit": context, "truncated": tokens.truncated()}));
                continue;
            }
            let cut = if tokens.truncated() { ", truncated" } else { "" };
            let both: Vec<String> = tokens.ids.iter().zip(&pieces).map(|(id, piece)| format!("{id} {piece}")).collect();
            say(&format!("{text}\n  {}/{context} tokens{cut}\n  {}", tokens.total, both.join("  ")))?;
        }
        if g.json {
            say_json(&json!({"model": g.model, "texts": documents, "failed": failed_json(&failed)}))?;
        }
        Ok(Outcome::of(&failed))
    }
}
