//! Labels with their embeddings as a file, so that they are encoded once.

use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize};
use sha2::{Digest, Sha256};

use super::encode::Embeddings;
use super::model::Clip;
use crate::error::{Error, Result};
use crate::weights::Compute;

/// Labels, their embeddings, and what made them.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedLabels {
    pub labels: Vec<String>,
    /// The prompts whose embeddings were averaged; none: the labels as they are.
    pub templates: Vec<String>,
    /// One row per label, of unit length.
    pub rows: Embeddings,
    /// What the model was called.
    pub model: String,
    /// [`Clip::fingerprint`] of it.
    pub fingerprint: String,
}

const ROWS: &str = "label_embeddings";

impl SavedLabels {
    /// As a safetensors file: `label_embeddings` `[labels, embed]` f32, the rest as its metadata.
    ///
    /// # Errors
    /// [`Error::Shape`] where there are not as many rows as labels.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let (rows, width) = (self.rows.rows, self.rows.width);
        let misfit = |message: String| Error::Shape { op: "saved labels", message };
        if rows != self.labels.len() {
            return Err(misfit(format!("expected a row for each of {} labels, found {rows}", self.labels.len())));
        }
        let view =
            TensorView::new(Dtype::F32, vec![rows, width], bytemuck::cast_slice(&self.rows.data)).map_err(|e| misfit(e.to_string()))?;
        let list = |of: &[String]| serde_json::Value::from(of).to_string();
        let metadata = HashMap::from([
            ("labels".to_string(), list(&self.labels)),
            ("templates".into(), list(&self.templates)),
            ("model".into(), self.model.clone()),
            ("fingerprint".into(), self.fingerprint.clone()),
        ]);
        serialize([(ROWS, view)], Some(metadata)).map_err(|e| misfit(e.to_string()))
    }

    /// Reads what [`SavedLabels::to_bytes`] made.
    ///
    /// # Errors
    /// [`Error::Argument`] for bytes that are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let read = || -> Option<Self> {
            let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
            let metadata = header.metadata().as_ref()?;
            let list = |name: &str| serde_json::from_str::<Vec<String>>(metadata.get(name)?).ok();
            let file = SafeTensors::deserialize(bytes).ok()?;
            let tensor = file.tensor(ROWS).ok().filter(|t| t.dtype() == Dtype::F32 && t.shape().len() == 2)?;
            let data = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let rows = Embeddings { rows: tensor.shape()[0], width: tensor.shape()[1], data };
            let (labels, templates) = (list("labels")?, list("templates")?);
            let text = |name: &str| metadata.get(name).cloned();
            (labels.len() == rows.rows).then_some(Self {
                labels,
                templates,
                rows,
                model: text("model")?,
                fingerprint: text("fingerprint")?,
            })
        };
        read().ok_or_else(|| Error::Argument("expected labels that clip-wgpu has saved, found something else".into()))
    }
}

/// Bytes of each tensor that are looked at.
const LOOKED_AT: usize = 64;

impl Clip {
    /// A hash that tells models apart whose embeddings differ: SHA-256 of the text tower's configuration and of the name, type,
    /// shape and first values of every tensor. Training changes all of them, so not all of a file needs to be read.
    ///
    /// # Errors
    /// What reading the checkpoint says.
    pub async fn fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}", self.config.text));
        if self.options.compute != Compute::F32 {
            hash.update(format!("{:?}", self.options.compute));
        }
        for (name, tensor) in &self.checkpoint().tensors {
            hash.update(format!("{name} {:?} {:?}", tensor.dtype, tensor.shape));
            if matches!(tensor.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                let values = self.checkpoint().read(name, 0..tensor.count().min(LOOKED_AT)).await?;
                hash.update(bytemuck::cast_slice(&values));
            }
        }
        Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Labels and their [`Clip::label_rows`], to be written to a file; `name` is what the model is called.
    ///
    /// # Errors
    /// As [`Clip::fingerprint`].
    pub async fn saved_labels(&self, name: &str, labels: Vec<String>, templates: Vec<String>, rows: Embeddings) -> Result<SavedLabels> {
        Ok(SavedLabels { labels, templates, rows, model: name.into(), fingerprint: self.fingerprint().await? })
    }

    /// A classifier over labels that this model has saved.
    ///
    /// # Errors
    /// [`Error::Argument`] where another model has; else as [`Clip::classifier_of`].
    pub async fn classifier_saved(&self, saved: SavedLabels) -> Result<super::Classifier> {
        if self.fingerprint().await? != saved.fingerprint {
            return Err(Error::Argument(format!("its labels were encoded by another model (`{}`): encode them again", saved.model)));
        }
        self.classifier_of(&saved.labels, saved.rows).await
    }
}
