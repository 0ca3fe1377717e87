use clap::Args;
use clip_wgpu::clip::registry::{self, Pretrained};
use clip_wgpu::clip::{PICO, repository};
use clip_wgpu::hub::Cached;
use clip_wgpu::{Error, Result};
use serde_json::json;

use crate::Outcome;
use crate::context::Globals;
use crate::output::{megabytes, say, say_json};

#[derive(Args)]
#[command(after_help = "Examples:
  clip-wgpu model list
  clip-wgpu model list --all --json")]
pub struct List {
    /// Also those without a published accuracy
    #[arg(long)]
    all: bool,
}

impl List {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        let cached = g.hub().cache.list();
        let bytes_of = |repo: &str| cached.iter().find(|c| c.repo == repo).map(|c| c.bytes);
        let mut known: Vec<&Pretrained> = Vec::new();
        for p in registry::pretrained().iter().filter(|p| self.all || p.top1.is_some() || bytes_of(&p.repo).is_some()) {
            // `-quickgelu` and plain names share their weights.
            if !known.iter().any(|k| k.repo == p.repo) {
                known.push(p);
            }
        }
        known.sort_by(|a, b| parameters(a).cmp(&parameters(b)).then(a.top1.unwrap_or(0.0).total_cmp(&b.top1.unwrap_or(0.0))));
        let others: Vec<&Cached> = cached.iter().filter(|c| known.iter().all(|p| p.repo != c.repo)).collect();
        if g.json {
            let models: Vec<_> = known
                .iter()
                .map(|p| json!({"name": name(p), "repo": p.repo, "parameters": parameters(p), "imagenet_top1": p.top1, "licence": p.licence, "cached_bytes": bytes_of(&p.repo)}))
                .collect();
            let others: Vec<_> = others.iter().map(|c| json!({"repo": c.repo, "cached_bytes": c.bytes})).collect();
            say_json(&json!({"default": registry::DEFAULT, "cache": g.hub().cache.folder, "models": models, "others_in_cache": others}))?;
            return Ok(Outcome::Done);
        }
        say(&format!("{:44} {:>7}  {:>8}  licence", "model", "params", "ImageNet"))?;
        say(&format!(
            "{PICO:44} {:>7}  {:>8}  {:17}  in the box: emoji and drawings of shapes, offline",
            "4 M",
            "",
            "apache-2.0" // assets/pico/README.md
        ))?;
        for p in known {
            let top1 = p.top1.map_or(String::new(), |t| format!("{t:.1} %"));
            let size = format!("{:.0} M", parameters(p) as f64 / 1e6);
            let here = bytes_of(&p.repo).map_or(String::new(), |bytes| format!("  in the cache ({})", megabytes(bytes)));
            let default = if name(p) == registry::DEFAULT { "  the default" } else { "" };
            say(format!("{:44} {size:>7}  {top1:>8}  {:17}{here}{default}", name(p), p.licence).trim_end())?;
        }
        others
            .iter()
            .try_for_each(|c| say(&format!("{:44} {:>7}  {:>8}  {:17}  in the cache ({})", c.repo, "", "", "", megabytes(c.bytes))))?;
        say(
            "Parameters, zero-shot ImageNet top-1 as published, licence of the weights (nc, amlr: research only). Any other repository with a CLIP or SigLIP in it goes by its name.",
        )?;
        Ok(Outcome::Done)
    }
}

fn name(p: &Pretrained) -> String {
    format!("{}/{}", p.name, p.tag)
}

fn parameters(p: &Pretrained) -> u64 {
    registry::architecture(&p.name).map_or(0, |a| a.parameters)
}

/// The repository that a name stands for.
fn repo_of(name: &str) -> Result<String> {
    let not_there = || Error::Argument(format!("`{name}`: expected a model's name on the Hub, found one that is here already"));
    repository(name)?.ok_or_else(not_there)
}

pub fn pull(g: &Globals, name: &str) -> Result<Outcome> {
    let repo = repo_of(name)?;
    let folder = g.pulling(|hub| hub.pull(&repo))?;
    match g.json {
        true => say_json(&json!({"model": name, "repo": repo, "folder": folder}))?,
        false => say(&folder.display().to_string())?,
    }
    Ok(Outcome::Done)
}

pub fn remove(g: &Globals, name: &str) -> Result<Outcome> {
    let repo = repo_of(name)?;
    let bytes = g.hub().cache.remove(&repo)?;
    match g.json {
        true => say_json(&json!({"model": name, "repo": repo, "freed_bytes": bytes}))?,
        false => say(&format!("{repo}: {} freed", megabytes(bytes)))?,
    }
    Ok(Outcome::Done)
}
