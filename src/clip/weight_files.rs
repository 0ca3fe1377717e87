//! Which files of a folder or a repository a model is in.

use std::collections::BTreeSet;
#[cfg(not(target_arch = "wasm32"))]
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::folder::Folder;
#[cfg(feature = "hub")]
use super::registry;
use crate::error::{Error, Result};

/// How the names of weight files end.
pub(super) const WEIGHTS: [&str; 4] = ["safetensors", "pt", "pth", "bin"];

/// The weight files of a folder, and the configuration that goes with them: safetensors before pickles, and open_clip's before
/// Hugging Face's, whose place timm's repositories use for an image tower alone.
const PAIRS: [(&str, &str); 6] = [
    ("open_clip_config.json", "open_clip_model.safetensors"),
    ("config.json", "model.safetensors"),
    ("config.json", "model.safetensors.index.json"),
    ("open_clip_config.json", "open_clip_pytorch_model.bin"),
    ("config.json", "pytorch_model.bin"),
    ("config.json", "pytorch_model.bin.index.json"),
];

/// What else is read where it is there.
pub(crate) const BESIDE: [&str; 7] = [
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
];

pub(super) const EXPECTED: &str = "expected config.json with model.safetensors or pytorch_model.bin, or open_clip_config.json with \
     open_clip_model.safetensors or open_clip_pytorch_model.bin";

/// Which of a repository's files the model needs, or `None` where it has no weights that are read.
pub fn wanted_files(names: &[String]) -> Option<Vec<String>> {
    let has = |wanted: &str| names.iter().any(|n| n == wanted);
    let (config, weights) = PAIRS.iter().find(|(config, weights)| has(config) && has(weights))?;
    let parts = weights.strip_suffix(".index.json").and_then(|whole| whole.rsplit_once('.'));
    let is_shard = |name: &&String| {
        parts.is_some_and(|(stem, kind)| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('-') && rest.ends_with(kind)))
    };
    let shards = names.iter().filter(is_shard).cloned();
    let whole = [config, weights].into_iter().chain(BESIDE.iter().filter(|n| has(n))).map(|n| n.to_string());
    Some(whole.chain(shards).collect())
}

/// Whether a repository's files that are here have its weights, with what says which model's they are.
#[cfg(feature = "hub")]
pub(crate) fn has_weights(repo: &str, names: &[String]) -> bool {
    let is_known = || registry::of_repo(repo).is_some() && open_clip_weights(names.iter().map(String::as_str)).is_some();
    wanted_files(names).is_some() || is_known()
}

#[cfg(feature = "hub")]
pub(super) fn open_clip_weights<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<String> {
    names.find(|name| PAIRS.iter().any(|(config, weights)| *config == "open_clip_config.json" && weights == name)).map(str::to_string)
}

/// The weight files of a folder, where it has them with their configuration.
pub(super) async fn weights_of(folder: &Folder) -> Result<Option<Vec<String>>> {
    match PAIRS.iter().find(|(config, weights)| folder.has(config) && folder.has(weights)) {
        Some((_, index)) if index.ends_with(".index.json") => shards(folder, index).await.map(Some),
        Some((_, weights)) => Ok(Some(vec![weights.to_string()])),
        None => Ok(None),
    }
}

/// What a folder without a model has instead, and what to do about it.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn nearby(path: &Path, folder: &Folder) -> String {
    let take = |what: &str, there: PathBuf| format!("{what}: take -m {}", there.display());
    if path.join("snapshots").is_dir() {
        let commit = std::fs::read_to_string(path.join("refs/main")).unwrap_or_default();
        let first = || std::fs::read_dir(path.join("snapshots")).ok()?.flatten().next().map(|e| e.path());
        let there = Some(path.join("snapshots").join(commit.trim())).filter(|p| !commit.is_empty() && p.is_dir()).or_else(first);
        return match there {
            Some(there) => take("is the root of a model in the Hub's cache", there),
            None => "is the root of a model in the Hub's cache that has no snapshot: pull it again".into(),
        };
    }
    let inside = || {
        std::fs::read_dir(path)
            .ok()?
            .flatten()
            .map(|e| e.path())
            .find(|p| p.is_dir() && PAIRS.iter().any(|(c, w)| p.join(c).is_file() && p.join(w).is_file()))
    };
    if let Some(there) = inside() {
        let what =
            if folder.has("modules.json") { "is a sentence-transformers folder, with CLIP inside" } else { "has no model, but one inside" };
        return take(what, there);
    }
    let weights: Vec<&str> = folder.names().filter(|n| WEIGHTS.iter().any(|w| n.ends_with(&format!(".{w}")))).collect();
    let configs: Vec<&str> = ["config.json", "open_clip_config.json"].into_iter().filter(|n| folder.has(n)).collect();
    match (&weights[..], &configs[..]) {
        ([], []) => format!("{EXPECTED}; found neither weights nor a configuration"),
        ([], found) => format!("{EXPECTED}; found {} without weights: is the download complete?", found.join(" and ")),
        ([first, ..], []) => format!(
            "{EXPECTED}; found {} without a configuration: fetch it beside the weights, or name open_clip's architecture before the file \
             (-m ViT-B-32/{})",
            weights.join(", "),
            path.join(first).display()
        ),
        ([first, ..], found) => {
            let what = format!("{EXPECTED}; found {} with {}", found.join(" and "), weights.join(", "));
            take(&format!("{what}, under a name that says which variant it is"), path.join(first))
        }
    }
}

/// The files that an index names.
async fn shards(folder: &Folder, index: &str) -> Result<Vec<String>> {
    let (text, file) = folder.expect_text(index).await?;
    let fail = |message: String| Error::Config { file: file.clone(), message };
    let index: Value = serde_json::from_str(&text).map_err(|e| fail(format!("is no JSON: {e}")))?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or_else(|| fail("expected an object `weight_map`".into()))?;
    let names: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    match names.iter().find(|n| n.contains(['/', '\\'])) {
        Some(name) => Err(fail(format!("expected file names, found `{name}`"))),
        None => Ok(names.into_iter().map(str::to_string).collect()),
    }
}
