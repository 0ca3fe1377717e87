//! What a model's name means: the one in the box, a folder, a weight file or a repository.

use std::path::Path;
#[cfg(not(target_arch = "wasm32"))]
use std::path::PathBuf;

use super::files::{PICO, fail};
use super::registry::{self, Pretrained};
use super::weight_files::WEIGHTS;
use crate::error::Result;

/// The repository on the Hub that a name stands for, or `None` for a model that is here: `pico`, a folder or a file.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) for a name of neither kind.
pub fn repository(name: &str) -> Result<Option<String>> {
    Ok(match named(name)? {
        Named::Repo(repo) => Some(repo),
        _ => None,
    })
}

/// What open_clip's names begin with where they are of architectures that are not run (`model_configs`).
const NOT_RUN: [(&str, &str); 15] = [
    ("RN50", "is a ResNet"),
    ("RN101", "is a ResNet"),
    ("EVA01-", "is an EVA"),
    ("EVA02-", "is an EVA"),
    ("coca_", "is a CoCa"),
    ("convnext_", "has a ConvNeXt for pictures"),
    ("swin_", "has a Swin for pictures"),
    ("ViTamin-", "has a ViTamin for pictures"),
    ("PE-Core-", "is a Perception Encoder"),
    ("MobileCLIP-", "has a convolutional net for pictures"),
    ("MobileCLIP2-", "has a convolutional net for pictures"),
    ("roberta-", "has a RoBERTa for texts"),
    ("xlm-roberta-", "has a RoBERTa for texts"),
    ("mt5-", "has an mT5 for texts"),
    ("nllb-clip-", "has an NLLB for texts"),
];

/// What a model's name means.
pub(super) enum Named {
    Pico,
    #[cfg(not(target_arch = "wasm32"))]
    Folder(PathBuf),
    /// A weight file, and the architecture that was named with it.
    #[cfg(not(target_arch = "wasm32"))]
    File(PathBuf, Option<String>),
    Repo(String),
}

pub(super) fn named(name: &str) -> Result<Named> {
    if name == PICO {
        return Ok(Named::Pico); // a folder of that name is ./pico
    }
    let path = Path::new(name);
    #[cfg(not(target_arch = "wasm32"))]
    if let Some(here) = on_disk(name, path)? {
        return Ok(here);
    }
    let known = registry::openai(name).unwrap_or(name);
    if let Some((model, rest)) = known.split_once('/')
        && registry::architecture(model).is_some()
    {
        let tags: Vec<&Pretrained> = registry::pretrained().iter().filter(|p| p.name == model).collect();
        return match tags.iter().find(|p| p.tag == rest) {
            Some(found) => Ok(Named::Repo(found.repo.clone())),
            #[cfg(not(target_arch = "wasm32"))]
            None if Path::new(rest).is_file() => Ok(Named::File(rest.into(), Some(model.into()))),
            None => {
                let message = format!("{model} has no weights of that tag, and there is no such file: its tags are {}", tag_list(&tags));
                fail(name, &(message + &registry::did_you_mean(name)))
            }
        };
    }
    if registry::architecture(name).is_some() {
        let tags: Vec<&Pretrained> = registry::pretrained().iter().filter(|p| p.name == name).collect();
        return fail(name, &format!("expected a tag after it ({name}/TAG): {}", tag_list(&tags)));
    }
    if let Some((_, kind)) = NOT_RUN.iter().find(|(prefix, _)| known.starts_with(prefix)) {
        return fail(name, &format!("open_clip's {} {kind}, which is not run", known.split('/').next().unwrap_or(known)));
    }
    let repo = name.strip_prefix("hf-hub:").unwrap_or(name);
    let part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    match repo.split_once('/') {
        Some((owner, model)) if part(owner) && part(model) && !is_weights(path) => Ok(Named::Repo(repo.into())),
        _ => {
            let message = "no such folder or file (a model is `pico`, a folder, a weight file, a name on the Hub such as \
                 openai/clip-vit-base-patch32, or open_clip's such as ViT-B-32/laion2b_s34b_b79k; clip-wgpu model list shows some)";
            fail(name, &(message.to_string() + &registry::did_you_mean(name)))
        }
    }
}

/// A folder or a weight file that is there.
#[cfg(not(target_arch = "wasm32"))]
fn on_disk(name: &str, path: &Path) -> Result<Option<Named>> {
    if path.is_dir() {
        return Ok(Some(Named::Folder(path.into())));
    }
    match path.is_file() {
        true if is_weights(path) => Ok(Some(Named::File(path.into(), None))),
        true => fail(name, "expected a model's folder or its .safetensors, .pt, .pth or .bin file, found another kind of file"),
        false => Ok(None),
    }
}

pub(super) fn is_weights(path: &Path) -> bool {
    path.extension().is_some_and(|e| WEIGHTS.iter().any(|w| e == *w))
}

fn tag_list(tags: &[&Pretrained]) -> String {
    tags.iter().map(|p| p.tag.as_str()).collect::<Vec<_>>().join(", ")
}
