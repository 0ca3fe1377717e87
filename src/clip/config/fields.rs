use std::sync::LazyLock;

use serde_json::Value;

use crate::error::{Error, Result};

/// A JSON object that says of which file it is when something is wrong with it.
pub struct Fields<'a> {
    pub file: &'a str,
    pub path: String,
    pub object: &'a Value,
}

impl<'a> Fields<'a> {
    pub fn new(file: &'a str, object: &'a Value) -> Self {
        Self { file, path: String::new(), object }
    }

    pub fn error<T>(&self, key: &str, expected: &str, found: &Value) -> Result<T> {
        Err(Error::Config { file: self.file.into(), message: format!("`{}{key}`: expected {expected}, found {found}", self.path) })
    }

    /// The value of `key`, unless it is null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|v| !v.is_null())
    }

    pub fn at(&self, key: &str) -> Result<Fields<'a>> {
        match self.object.get(key) {
            Some(object) if object.is_object() => Ok(Fields { file: self.file, path: format!("{}{key}.", self.path), object }),
            other => self.error(key, "an object", other.unwrap_or(&Value::Null)),
        }
    }

    /// As [`Fields::at`], with no fields where the key is absent or null: all of them then have their defaults.
    pub fn at_or_empty(&self, key: &str) -> Result<Fields<'a>> {
        static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(serde_json::Map::new()));
        match self.get(key) {
            None => Ok(Fields { file: self.file, path: format!("{}{key}.", self.path), object: &EMPTY }),
            Some(_) => self.at(key),
        }
    }

    /// A positive whole number, or `default` where the key is absent.
    pub fn count(&self, key: &str, default: Option<usize>) -> Result<usize> {
        match (self.get(key), default) {
            (None, Some(default)) => Ok(default),
            (found, _) => self.positive(key, found.unwrap_or(&Value::Null)),
        }
    }

    /// `value` as a positive whole number.
    pub fn positive(&self, key: &str, value: &Value) -> Result<usize> {
        match value.as_u64() {
            Some(n @ 1..=0x0fff_ffff) => Ok(n as usize),
            _ => self.error(key, "a positive whole number", value),
        }
    }

    pub fn number(&self, key: &str, default: f64) -> Result<f64> {
        self.get(key).map_or(Ok(default), |v| v.as_f64().map_or_else(|| self.error(key, "a number", v), Ok))
    }

    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        self.get(key).map_or(Ok(default), |v| v.as_bool().map_or_else(|| self.error(key, "true or false", v), Ok))
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.get(key).map(|v| v.as_str().map_or_else(|| self.error(key, "a text", v), Ok)).transpose()
    }

    /// A whole number that may be 0, or `default` where the key is absent.
    pub fn id(&self, key: &str, default: u32) -> Result<u32> {
        let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        self.get(key).map_or(Ok(default), |v| id(v).map_or_else(|| self.error(key, "a token's id", v), Ok))
    }

    /// An error for any key that is neither known nor without effect on inference.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        let without_effect = |k: &str, v: &Value| v.is_null() || DEFAULTS.iter().any(|(key, default)| k == *key && default() == *v);
        let unknown = self.object.as_object().into_iter().flatten().find(|(k, v)| !known.contains(&k.as_str()) && !without_effect(k, v));
        unknown.map_or(Ok(()), |(k, v)| self.error(k, "no such field (this architecture is not supported)", v))
    }
}

type Default = fn() -> Value;

/// Fields of open_clip's that choose another architecture, and the values that they have where they choose none
/// (`open_clip/model.py`).
const DEFAULTS: [(&str, Default); 19] = [
    ("attentional_pool", || Value::Bool(false)),
    ("attn_pooler_queries", || 256.into()),
    ("attn_pooler_heads", || 8.into()),
    ("qk_norm", || Value::Bool(false)),
    ("scaled_cosine_attn", || Value::Bool(false)),
    ("scale_heads", || Value::Bool(false)),
    ("scale_attn_inner", || Value::Bool(false)),
    ("scale_attn", || Value::Bool(false)),
    ("scale_fc", || Value::Bool(false)),
    ("timm_model_pretrained", || Value::Bool(false)),
    ("embed_cls", || Value::Bool(false)),
    ("hf_model_pretrained", || Value::Bool(true)),
    ("pos_embed_type", || "learnable".into()),
    ("timm_pool", || "avg".into()),
    ("timm_proj", || "linear".into()),
    ("hf_proj_type", || "mlp".into()),
    ("hf_pooler_type", || "mean_pooler".into()),
    ("block_type", || "default".into()),
    ("nonscalar_logit_scale", || Value::Bool(false)),
];

pub fn parse(json: &str, file: &str) -> Result<Value> {
    serde_json::from_str(json).map_err(|e| Error::Config { file: file.into(), message: format!("is no JSON: {e}") })
}
