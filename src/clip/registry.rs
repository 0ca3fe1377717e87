//! open_clip's names: which repository a model and tag is, its activation and its preprocessing
//! (`scripts/reference/registry.py` makes the table from open_clip's own).

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

use super::Config;
use super::config::Layout;
use crate::input::Preprocess;
use crate::ops::Act;

/// What is read where no model is named: 72.8 % on ImageNet for the work of a ViT-B/32, the best of its cost.
pub const DEFAULT: &str = "ViT-B-32-256/datacomp_s34b_b86k";

/// An architecture of open_clip.
#[derive(Debug, Deserialize)]
pub struct Architecture {
    pub parameters: u64,
    /// As `model_cfg` of `open_clip_config.json`.
    pub config: Value,
}

/// A set of weights that open_clip knows.
#[derive(Debug, Deserialize)]
pub struct Pretrained {
    /// open_clip's name of the architecture, such as `ViT-B-32`.
    pub name: String,
    pub tag: String,
    pub repo: String,
    /// Whether it was trained with QuickGELU, whatever its configuration says.
    pub quick_gelu: bool,
    /// Published zero-shot accuracy on ImageNet, in per cent.
    pub top1: Option<f64>,
    /// As its model card names it, such as `mit`; `cc-by-nc-4.0` and `apple-amlr` forbid commercial use.
    pub licence: String,
    /// Of the preprocessing, as `preprocess_cfg` of `open_clip_config.json`.
    #[serde(flatten)]
    pub preprocess: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Table {
    architectures: BTreeMap<String, Architecture>,
    pretrained: Vec<Pretrained>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| serde_json::from_str(include_str!("../../assets/open_clip.json")).expect("the table is whole"))
}

/// The architecture of this name.
pub fn architecture(name: &str) -> Option<&'static Architecture> {
    table().architectures.get(name)
}

/// All sets of weights, those of one architecture together.
pub fn pretrained() -> &'static [Pretrained] {
    &table().pretrained
}

/// The weights of a repository.
pub fn of_repo(repo: &str) -> Option<&'static Pretrained> {
    pretrained().iter().find(|p| p.repo == repo)
}

/// The weights of this name and tag, or of OpenAI's name.
pub fn of_name(name: &str) -> Option<&'static Pretrained> {
    let (model, tag) = openai(name).unwrap_or(name).split_once('/')?;
    pretrained().iter().find(|p| p.name == model && p.tag == tag)
}

/// OpenAI's own names (`clip/clip.py`) and open_clip's.
const OPENAI: [(&str, &str); 4] = [
    ("ViT-B/32", "ViT-B-32/openai"),
    ("ViT-B/16", "ViT-B-16/openai"),
    ("ViT-L/14", "ViT-L-14/openai"),
    ("ViT-L/14@336px", "ViT-L-14-336/openai"),
];

/// What many people name that open_clip's table does not.
const ON_THE_HUB: [&str; 8] = [
    "openai/clip-vit-base-patch32",
    "openai/clip-vit-base-patch16",
    "openai/clip-vit-large-patch14",
    "openai/clip-vit-large-patch14-336",
    "google/siglip-base-patch16-224",
    "google/siglip-so400m-patch14-384",
    "google/siglip2-base-patch16-224",
    "google/siglip2-so400m-patch14-384",
];

/// OpenAI's own name as open_clip's.
pub fn openai(name: &str) -> Option<&'static str> {
    OPENAI.iter().find(|(own, _)| *own == name).map(|(_, known)| *known)
}

/// The known name that is most like `name`, where one is like enough for a slip of the keys and `name` is none itself.
pub fn nearest(name: &str) -> Option<String> {
    let tagged = pretrained().iter().map(|p| format!("{}/{}", p.name, p.tag));
    let repos = pretrained().iter().map(|p| p.repo.clone());
    let plain = OPENAI.iter().map(|(own, _)| *own).chain(ON_THE_HUB).chain(["pico"]).map(str::to_string);
    let like = |known: &String| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase());
    let scored = tagged.chain(repos).chain(plain).map(|known| (like(&known), known)).filter(|(like, _)| *like >= 0.75);
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known).filter(|known| known != name)
}

/// `; did you mean …?`, where there is such a name.
pub(crate) fn did_you_mean(name: &str) -> String {
    nearest(name).map_or_else(String::new, |known| format!("; did you mean {known}?"))
}

impl Pretrained {
    /// Side of the architecture's pictures, of which a repository may have weights for several.
    pub fn image_size(&self) -> Option<usize> {
        architecture(&self.name)?.config["vision_cfg"]["image_size"].as_u64()?.try_into().ok()
    }

    /// Sets the activation and the preprocessing that the weights were trained with, and says what its files had otherwise.
    pub fn correct(&self, config: &mut Config, preprocess: &mut Preprocess) -> Vec<String> {
        let mut notes = Vec::new();
        if config.layout != Layout::Timm {
            let trained = if self.quick_gelu { Act::QuickGelu } else { Act::Gelu };
            let towers = [config.vision.as_mut().map(|v| &mut v.tower), config.text.as_mut().map(|t| &mut t.tower)];
            for tower in towers.into_iter().flatten().filter(|t| matches!(t.act, Act::Gelu | Act::QuickGelu) && t.act != trained) {
                notes
                    .push(format!("{}: its files say {:?}, but it was trained with {trained:?} (open_clip's table)", self.repo, tower.act));
                tower.act = trained;
            }
        }
        let recipe = Value::Object(self.preprocess.clone().into_iter().collect());
        match Preprocess::from_open_clip(&recipe, preprocess.size, "open_clip's table") {
            Ok(trained) if trained != *preprocess => {
                notes.push(format!("{}: preprocessing is open_clip's for these weights, not that of its files", self.repo));
                *preprocess = trained;
            }
            _ => {}
        }
        notes.dedup();
        notes
    }
}
