//! Files that JavaScript reads: of the browser's own store, dropped on the page, or fetched by ranges.

use std::ops::Range;

use clip_wgpu::weights::source::{BoxFuture, Source};
use clip_wgpu::{Error, Result};
use js_sys::{ArrayBuffer, Function, Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

/// An object with `name`, `size` and `read(start, end)`, a promise of an ArrayBuffer.
#[derive(Debug)]
pub struct JsSource {
    name: String,
    len: u64,
    object: JsValue,
    read: Function,
}

impl JsSource {
    pub fn new(object: JsValue) -> std::result::Result<Self, JsValue> {
        let get = |key: &str| Reflect::get(&object, &key.into());
        let (name, len) = (get("name")?.as_string().unwrap_or_default(), get("size")?.as_f64().unwrap_or(0.0) as u64);
        let read = get("read")?.dyn_into()?;
        Ok(Self { name, len, object, read })
    }

    async fn bytes(&self, range: Range<u64>) -> std::result::Result<Vec<u8>, JsValue> {
        let (start, end) = ((range.start as f64).into(), (range.end as f64).into());
        let promise: Promise = self.read.call2(&self.object, &start, &end)?.dyn_into()?;
        let buffer: ArrayBuffer = JsFuture::from(promise).await?.dyn_into()?;
        Ok(Uint8Array::new(&buffer).to_vec())
    }
}

impl Source for JsSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(async move {
            let wanted = (range.end - range.start) as usize;
            let bytes = self.bytes(range).await.map_err(|e| self.error(&message(&e)))?;
            match bytes.len() == wanted {
                true => Ok(bytes),
                false => Err(self.error(&format!("expected {wanted} bytes, found {}", bytes.len()))),
            }
        })
    }
}

impl JsSource {
    fn error(&self, message: &str) -> Error {
        Error::Io { path: self.name.clone().into(), source: std::io::Error::other(message) }
    }
}

fn message(error: &JsValue) -> String {
    error.dyn_ref::<js_sys::Error>().map_or_else(|| format!("{error:?}"), |e| String::from(e.message()))
}
