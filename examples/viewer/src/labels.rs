//! What is looked for: labels, how they are prompted and scored, and things taught by example. One small JSON file.

use std::path::Path;

use clip_wgpu::Score;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LabelSet {
    pub labels: Vec<Label>,
    /// `{}` is where the label goes.
    pub template: String,
    /// None: what the model was trained for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<ScoreName>,
    /// Whether "none of these" stands among them.
    pub none_of_these: bool,
    /// Whole prompts of what is none of them; together they are one score.
    pub background: Vec<String>,
    /// The model that taught labels belong to: its embeddings mean nothing to another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taught_by: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    pub text: String,
    /// Scores below it are shown grey.
    #[serde(default)]
    pub threshold: f32,
    /// Of a thing taught by example: the mean embedding of the frames that show it, of unit length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prototype: Option<Vec<f32>>,
}

/// [`Score`], by name.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreName {
    #[default]
    Softmax,
    Sigmoid,
    Cosine,
}

impl From<Score> for ScoreName {
    fn from(score: Score) -> Self {
        match score {
            Score::Softmax => Self::Softmax,
            Score::Sigmoid => Self::Sigmoid,
            Score::Cosine => Self::Cosine,
        }
    }
}

/// The name of the backgrounds' score.
pub const NONE: &str = "none of these";

impl Default for LabelSet {
    fn default() -> Self {
        let texts = ["teapot", "green apple", "guitar", "tiger", "red circle"];
        Self {
            labels: texts.map(Label::new).into(),
            template: "a photo of a {}".into(),
            score: None,
            none_of_these: false,
            background: ["something else", "an empty background", "a blurry photo"].map(String::from).into(),
            taught_by: None,
        }
    }
}

impl Label {
    pub fn new(text: &str) -> Self {
        Self { text: text.trim().into(), ..Self::default() }
    }
}

impl LabelSet {
    /// A set of a JSON file, or of a text with a label in each line.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let text = text.trim_start_matches('\u{feff}');
        if text.trim_start().starts_with('{') {
            return serde_json::from_str(text).map_err(|e| format!("{}: no label set: {e}", path.display()));
        }
        let mut set = Self { labels: Vec::new(), ..Self::default() };
        set.add(text);
        match set.labels.is_empty() {
            true => Err(format!("{}: expected a label in each line, found none", path.display())),
            false => Ok(set),
        }
    }

    /// # Errors
    /// A sentence that names the file.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())?;
        // Whole or not at all.
        let beside = path.with_extension("part");
        std::fs::write(&beside, text + "\n").and_then(|()| std::fs::rename(&beside, path)).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Adds a label for each line that is new.
    pub fn add(&mut self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
            if !self.labels.iter().any(|l| l.text == line) {
                self.labels.push(Label::new(line));
            }
        }
    }

    /// Adds what was taught, or teaches it again. What another model was taught means nothing to this one: it is a text again.
    pub fn teach(&mut self, text: &str, prototype: Vec<f32>, model: &str) {
        if self.taught_by.as_deref() != Some(model) {
            self.labels.iter_mut().for_each(|label| label.prototype = None);
        }
        let label = Label { prototype: Some(prototype), ..Label::new(text) };
        match self.labels.iter_mut().find(|l| l.text == label.text) {
            Some(known) => known.prototype = label.prototype,
            None => self.labels.push(label),
        }
        self.taught_by = Some(model.into());
    }

    /// The names of the scores, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|l| l.text.as_str()).chain(self.none_of_these.then_some(NONE))
    }

    /// Prompts of backgrounds that are scored.
    pub fn backgrounds(&self) -> &[String] {
        if self.none_of_these { &self.background } else { &[] }
    }

    /// What keeps the set from being scored.
    pub fn complaint(&self) -> Option<String> {
        if !self.template.contains("{}") {
            return Some(format!("a prompt has {{}} where the label goes, `{}` has none", self.template));
        }
        (self.none_of_these && self.background.is_empty()).then(|| "none of these: expected a prompt for a background, found none".into())
    }
}

/// The mean of rows, of unit length.
pub fn prototype(rows: &[Vec<f32>]) -> Vec<f32> {
    let width = rows.first().map_or(0, Vec::len);
    let sum: Vec<f32> = (0..width).map(|i| rows.iter().map(|row| row[i]).sum()).collect();
    let length = sum.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-30);
    sum.iter().map(|v| v / length).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that fails may panic
    use super::*;

    #[test]
    fn a_set_is_read_as_it_was_written() {
        let folder = std::env::temp_dir().join("clip-wgpu-viewer-labels");
        std::fs::create_dir_all(&folder).unwrap();
        let mut set = LabelSet { none_of_these: true, score: Some(ScoreName::Sigmoid), ..LabelSet::default() };
        set.labels[1].threshold = 0.25;
        set.teach("my cup", vec![1.0, 0.0], "another model");
        set.teach("my mug", prototype(&[vec![0.5, 0.5], vec![0.3, 0.7]]), "pico");
        let taught: Vec<&str> = set.labels.iter().filter(|l| l.prototype.is_some()).map(|l| l.text.as_str()).collect();
        assert_eq!(taught, ["my mug"], "what another model was taught is a text");
        let file = folder.join("set.json");
        set.save(&file).unwrap();
        assert_eq!(LabelSet::load(&file).unwrap(), set, "to the last bit");
        std::fs::write(&file, "\u{feff}cat\r\n\r\n dog \ncat\n").unwrap();
        let texts: Vec<String> = LabelSet::load(&file).unwrap().names().map(String::from).collect();
        assert_eq!(texts, ["cat", "dog"]);
        std::fs::write(&file, "{\"label\": []}").unwrap();
        assert!(LabelSet::load(&file).unwrap_err().contains("set.json: no label set: unknown field `label`"));
    }
}
