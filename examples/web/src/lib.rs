//! The engine for JavaScript: a thin skin over [`clip_wgpu`], which a worker drives (`worker.js`).
//!
//! Calls come one after another: the worker has a queue. Nothing is borrowed over an `await` but by `&self`.

mod frame;
mod source;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use clip_wgpu::clip::config::TextPool;
use clip_wgpu::clip::{Classifier, Folder, ModelFiles, PromptCache, registry};
use clip_wgpu::gpu;
use clip_wgpu::graph::{Data, Size};
use clip_wgpu::weights::load::StoredAs;
use clip_wgpu::weights::source::Source;
use clip_wgpu::weights::{Compute, Format};
use clip_wgpu::{Clip, Device, Error, Executor, Image, Options, Score};
use js_sys::{Function, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;

use source::JsSource;

/// Whose the GPU is, which wgpu does not hand on (gfx-rs/wgpu#8819).
fn vendor(gpu: &gpu::Gpu) -> Option<String> {
    let device: &JsValue = gpu.device.as_webgpu()?.as_ref();
    let info = Reflect::get(device, &"adapterInfo".into()).ok()?;
    Reflect::get(&info, &"vendor".into()).ok()?.as_string()
}

#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// A loaded model.
#[wasm_bindgen]
pub struct Engine {
    clip: Clip,
    prompts: RefCell<PromptCache>,
    classifier: RefCell<Option<Rc<Classifier>>>,
    encoded: Cell<u32>,
    frames: frame::Frames,
    notes: Vec<String>,
}

#[wasm_bindgen]
impl Engine {
    /// Loads the model of `files`: objects with `name`, `size` and `read(start, end)`, a promise of an ArrayBuffer. `options` has
    /// `device` (auto, webgpu, wasm), `dtype` (auto, f32, f16, bf16), `compute` (f32, f16), `batch`; `progress` is called with
    /// bytes done and in all.
    pub async fn load(name: String, files: Vec<JsValue>, options: JsValue, progress: Function) -> Result<Engine, JsValue> {
        let sources = files.into_iter().map(JsSource::new).collect::<Result<Vec<_>, _>>()?;
        let named = sources.into_iter().map(|s| (s.name().to_string(), Box::new(s) as Box<dyn Source>));
        let known = registry::of_repo(name.trim_start_matches("hf-hub:"));
        let mut files = ModelFiles::of_folder(Folder::new(name, named)).await.map_err(thrown)?;
        let notes = known.map(|known| known.correct(&mut files.config, &mut files.preprocess)).unwrap_or_default();
        let told = move |done: u64, all: u64| drop(progress.call2(&JsValue::NULL, &(done as f64).into(), &(all as f64).into()));
        let options = Options {
            device: device(&text(&options, "device"))?,
            stored: stored(&text(&options, "dtype"))?,
            compute: compute(&text(&options, "compute"))?,
            batch: Reflect::get(&options, &"batch".into())?.as_f64().map_or(8, |n| n as usize),
            progress: Some(Arc::new(told)),
            ..Options::default()
        };
        let mut executor = open(&options.device).await.map_err(thrown)?;
        if let Executor::Gpu(gpu) = &mut executor {
            gpu.caps.many_registers = vendor(gpu).is_some_and(|vendor| ["nvidia", "amd"].contains(&vendor.as_str()));
        }
        if options.compute == Compute::F16 && matches!(executor, Executor::Host) {
            let why = "f16 arithmetic is WebGPU's, but the model would run on the processor: leave `compute` out";
            return Err(thrown(Error::Argument(why.into())));
        }
        let clip = Clip::load_on(&executor, files, &options, &[]).await.map_err(thrown)?;
        Ok(Engine {
            clip,
            prompts: RefCell::default(),
            classifier: RefCell::default(),
            encoded: Cell::new(0),
            frames: frame::Frames::default(),
            notes,
        })
    }

    /// Has the device compile what one picture and one text need: a browser does so at the first use.
    pub async fn compile(&self) -> Result<(), JsValue> {
        if matches!(self.clip.executor, Executor::Host) {
            return Ok(());
        }
        if self.clip.vision().is_ok() {
            self.clip.encode_pixels(&vec![0.0; 3 * self.size() * self.size()]).await.map_err(thrown)?;
        }
        if let Ok(text) = self.clip.config.text() {
            // An id that every model has, and that ends a text: a model need not have its tokenizer with it.
            let end = if let TextPool::Eos(eos) = text.pool { eos } else { 0 };
            self.clip.encode_ids(&[vec![end]]).await.map_err(thrown)?;
        }
        Ok(())
    }

    /// What it runs on, as `auto` decided.
    #[wasm_bindgen(getter)]
    pub fn device(&self) -> String {
        match &self.clip.executor {
            Executor::Gpu(_) => "webgpu".into(),
            Executor::Host => "wasm".into(),
        }
    }

    /// Where the model's files were wrong, and what was done about it.
    #[wasm_bindgen(getter)]
    pub fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// The longest side of a frame that the device's textures hold, in pixels.
    #[wasm_bindgen(getter)]
    pub fn most_side(&self) -> u32 {
        match &self.clip.executor {
            Executor::Gpu(gpu) => gpu.device.limits().max_texture_dimension_2d,
            Executor::Host => 0,
        }
    }

    /// Side of the pictures that the model sees, in pixels.
    #[wasm_bindgen(getter)]
    pub fn size(&self) -> usize {
        self.clip.preprocess.size
    }

    /// Width of an embedding.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> usize {
        self.clip.config.embed
    }

    /// Bytes of the weights where they are used.
    #[wasm_bindgen(getter)]
    pub fn weight_bytes(&self) -> f64 {
        let towers = [self.clip.vision(), self.clip.text()];
        towers.into_iter().flatten().map(|t| t.runner.weight_bytes()).sum::<u64>() as f64
    }

    /// The score that the model was trained for: softmax or sigmoid.
    #[wasm_bindgen(getter)]
    pub fn score(&self) -> String {
        match self.clip.score() {
            Score::Sigmoid => "sigmoid".into(),
            _ => "softmax".into(),
        }
    }

    /// Prompts that were encoded since the model was loaded.
    #[wasm_bindgen(getter)]
    pub fn encoded_prompts(&self) -> u32 {
        self.encoded.get()
    }

    /// Unit embeddings of pictures: the bytes of files, or `{data, width, height}` of straight RGBA, as ImageData has.
    pub async fn encode_images(&self, pictures: Vec<JsValue>) -> Result<Vec<f32>, JsValue> {
        let images = images(&pictures)?;
        Ok(self.clip.encode_images(&images).await.map_err(thrown)?.data)
    }

    /// What the image tower reads of pictures.
    pub fn pixels(&self, pictures: Vec<JsValue>) -> Result<Vec<f32>, JsValue> {
        Ok(self.clip.pixels(&images(&pictures)?))
    }

    /// Unit embeddings of texts.
    pub async fn encode_texts(&self, texts: Vec<String>) -> Result<Vec<f32>, JsValue> {
        Ok(self.clip.encode_texts(&texts).await.map_err(thrown)?.data)
    }

    /// Unit embeddings of pictures that are preprocessed already: `[n, 3, size, size]`.
    pub async fn encode_pixels(&self, pixels: Vec<f32>) -> Result<Vec<f32>, JsValue> {
        Ok(self.clip.encode_pixels(&pixels).await.map_err(thrown)?.data)
    }

    /// Unit embeddings of texts that are token ids already: `[n, width]`, from start to end of text.
    pub async fn encode_ids(&self, ids: Vec<u32>, width: usize) -> Result<Vec<f32>, JsValue> {
        let texts: Vec<Vec<u32>> = ids.chunks(width.max(1)).map(<[u32]>::to_vec).collect();
        Ok(self.clip.encode_ids(&texts).await.map_err(thrown)?.data)
    }

    /// Sets the labels that pictures are scored against; only prompts that are new are encoded. No template means the labels as
    /// they are.
    pub async fn set_labels(&self, labels: Vec<String>, templates: Vec<String>) -> Result<(), JsValue> {
        let mut prompts = self.prompts.take();
        let made = self.clip.classifier_with(&mut prompts, &labels, &templates).await;
        self.encoded.set(prompts.encoded as u32);
        self.prompts.replace(prompts);
        self.classifier.replace(Some(Rc::new(made.map_err(thrown)?)));
        Ok(())
    }

    /// Scores of pictures against the labels: `[pictures, labels]`, by softmax, sigmoid or cosine.
    pub async fn classify(&self, pictures: Vec<JsValue>, score: String) -> Result<Vec<f32>, JsValue> {
        self.classifier()?.classify(&self.clip, &images(&pictures)?, score_of(&score)?).await.map_err(thrown)
    }

    /// The same of one frame that the browser can copy to a texture: a VideoFrame, an ImageBitmap, a canvas. It goes to the GPU
    /// and is resized there; only the scores come back.
    pub async fn classify_frame(&self, frame: JsValue, width: u32, height: u32, score: String) -> Result<Vec<f32>, JsValue> {
        let texture = self.frame(&frame, width, height)?;
        self.classifier()?.classify_frame(&self.clip, &texture, score_of(&score)?).await.map_err(thrown)
    }

    /// Unit embedding of one frame.
    pub async fn encode_frame(&self, frame: JsValue, width: u32, height: u32) -> Result<Vec<f32>, JsValue> {
        let texture = self.frame(&frame, width, height)?;
        Ok(self.clip.encode_frame(&texture).await.map_err(thrown)?.data)
    }

    /// What the image tower reads of one frame.
    pub async fn frame_pixels(&self, frame: JsValue, width: u32, height: u32) -> Result<Vec<f32>, JsValue> {
        let texture = self.frame(&frame, width, height)?;
        self.clip.frame_pixels(&texture).await.map_err(thrown)
    }

    /// Where the time of one picture goes, from the device's timestamps: `op ms` lines.
    pub async fn profile(&self) -> Result<String, JsValue> {
        let (tower, c) = (self.clip.vision().map_err(thrown)?, self.clip.config.vision().map_err(thrown)?);
        let pixels = vec![0.5; 3 * c.size.pow(2)];
        let size = Size { batch: 1, tokens: c.tokens() };
        let timings = tower.runner.profile(&[(tower.ends.input, Data::F32(&pixels))], size).await.map_err(thrown)?;
        Ok(timings.iter().map(|t| format!("{} {:.2}\n", t.op, t.ms)).collect())
    }

    /// Loses the device, as a driver's reset would: for tests.
    pub fn lose_device(&self) {
        if let Executor::Gpu(gpu) = &self.clip.executor {
            gpu.device.destroy();
        }
    }

    fn frame(&self, frame: &JsValue, width: u32, height: u32) -> Result<wgpu::Texture, JsValue> {
        match &self.clip.executor {
            Executor::Gpu(gpu) => self.frames.copy(gpu, frame, width, height),
            Executor::Host => Err(thrown(Error::Argument("frames go to a GPU, but the CPU executor runs: take its pixels".into()))),
        }
    }

    fn classifier(&self) -> Result<Rc<Classifier>, JsValue> {
        let none = || thrown(Error::Argument("expected labels to be set before pictures are scored".into()));
        self.classifier.borrow().clone().ok_or_else(none)
    }
}

/// The browser's collector does not see the GPU's memory: the device goes with the model.
impl Drop for Engine {
    fn drop(&mut self) {
        self.lose_device();
    }
}

/// Which of a repository's files a model needs; none where it has no weights that are read.
#[wasm_bindgen]
pub fn wanted_files(names: Vec<String>) -> Vec<String> {
    clip_wgpu::clip::wanted_files(&names).unwrap_or_default()
}

/// The device that is asked for; `auto` takes a hardware adapter, else the CPU executor.
async fn open(device: &Device) -> clip_wgpu::Result<Executor> {
    if *device != Device::Cpu && gpu::adapters().await.is_empty() && *device != Device::Auto {
        return Err(Error::Device("this browser has no WebGPU: take the device `wasm`".into()));
    }
    device.open().await
}

fn device(name: &str) -> Result<Device, JsValue> {
    match name {
        "" | "auto" => Ok(Device::Auto),
        "webgpu" | "gpu" => Ok(Device::Gpu(None)),
        "wasm" | "cpu" => Ok(Device::Cpu),
        other => Err(thrown(Error::Argument(format!("expected a device auto, webgpu or wasm, found `{other}`")))),
    }
}

fn stored(name: &str) -> Result<StoredAs, JsValue> {
    match name {
        "" | "auto" => Ok(StoredAs::Auto),
        "f32" | "fp32" => Ok(StoredAs::As(Format::F32)),
        "f16" | "fp16" => Ok(StoredAs::As(Format::F16)),
        "bf16" => Ok(StoredAs::As(Format::Bf16)),
        other => Err(thrown(Error::Argument(format!("expected a dtype auto, f32, f16 or bf16, found `{other}`")))),
    }
}

fn compute(name: &str) -> Result<Compute, JsValue> {
    match name {
        "" | "f32" | "fp32" => Ok(Compute::F32),
        "f16" | "fp16" => Ok(Compute::F16),
        other => Err(thrown(Error::Argument(format!("expected a compute f32 or f16, found `{other}`")))),
    }
}

fn score_of(name: &str) -> Result<Score, JsValue> {
    match name {
        "softmax" => Ok(Score::Softmax),
        "sigmoid" => Ok(Score::Sigmoid),
        "cosine" => Ok(Score::Cosine),
        other => Err(thrown(Error::Argument(format!("expected a score softmax, sigmoid or cosine, found `{other}`")))),
    }
}

fn text(object: &JsValue, key: &str) -> String {
    Reflect::get(object, &key.into()).ok().and_then(|v| v.as_string()).unwrap_or_default()
}

/// Pictures; an error says by its `index` of which.
fn images(pictures: &[JsValue]) -> Result<Vec<Image>, JsValue> {
    let one = |(index, value): (usize, &JsValue)| {
        picture(value).inspect_err(|error| drop(Reflect::set(error, &"index".into(), &(index as f64).into())))
    };
    pictures.iter().enumerate().map(one).collect()
}

/// A file's bytes, decoded here (browsers' own decoders differ by up to a hundred levels), or RGBA as it is.
fn picture(value: &JsValue) -> Result<Image, JsValue> {
    if let Some(bytes) = value.dyn_ref::<Uint8Array>() {
        return Image::decode(&bytes.to_vec()).map_err(thrown);
    }
    let get = |key: &str| Reflect::get(value, &key.into());
    let (data, width, height) = (get("data")?, get("width")?.as_f64(), get("height")?.as_f64());
    let rgba = Uint8Array::new(&data).to_vec();
    let rgb = rgba.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
    Image::from_rgb8(width.unwrap_or(0.0) as usize, height.unwrap_or(0.0) as usize, rgb).map_err(thrown)
}

/// An error as JavaScript sees it: an Error with a `code`.
fn thrown(error: Error) -> JsValue {
    let code = match &error {
        Error::DeviceLost(_) => "device-lost",
        Error::Device(_) => "device",
        Error::TooLarge { .. } | Error::OutOfMemory(_) => "too-large",
        Error::Image(_) => "picture",
        Error::Argument(_) | Error::Text(_) => "argument",
        Error::Model { .. } | Error::Config { .. } | Error::Weights { .. } => "model",
        Error::Io { .. } => "read",
        _ => "internal",
    };
    let value = js_sys::Error::new(&error.to_string());
    let _ = Reflect::set(&value, &"code".into(), &code.into());
    value.into()
}
