//! Pictures as the pixels that a vision tower was trained on.

use serde_json::Value;

use super::Image;
use super::resize::{Passes, Window};
use crate::error::{Error, Result};

/// How a picture is brought to the tower's square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeMode {
    /// The shorter side becomes the size; the middle is kept.
    Shortest,
    /// Both sides become the size.
    Squash,
    /// The longer side becomes the size; the rest is filled.
    Longest,
}

/// PIL's resampling filters, antialiased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    Bilinear,
    Bicubic,
}

/// A checkpoint's recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Side of the result, in pixels.
    pub size: usize,
    /// What the shorter side is resized to before the crop; `size` but for few.
    pub resize: usize,
    pub mode: ResizeMode,
    pub filter: Filter,
    pub mean: [f32; 3],
    pub std: [f32; 3],
    /// What `Longest` fills with, per channel, 0 to 255.
    pub fill: [u8; 3],
}

/// A picture's passes, and where in the square what they make stands; the rest is filled.
pub(crate) struct Placed {
    pub passes: Passes,
    pub left: usize,
    pub top: usize,
}

const OPENAI_MEAN: [f32; 3] = [0.48145466, 0.4578275, 0.40821073];
const OPENAI_STD: [f32; 3] = [0.26862954, 0.26130258, 0.27577711];

impl Preprocess {
    /// OpenAI's recipe, which most checkpoints share.
    pub fn openai(size: usize) -> Self {
        Self { size, resize: size, mode: ResizeMode::Shortest, filter: Filter::Bicubic, mean: OPENAI_MEAN, std: OPENAI_STD, fill: [0; 3] }
    }

    /// SigLIP's recipe.
    pub fn siglip(size: usize) -> Self {
        Self { mode: ResizeMode::Squash, mean: [0.5; 3], std: [0.5; 3], ..Self::openai(size) }
    }

    /// The same recipe for a square of another side.
    pub fn with_size(&self, size: usize) -> Self {
        Self { size, resize: self.resize * size / self.size, ..self.clone() }
    }

    /// Reads Hugging Face's `preprocessor_config.json` of a `CLIPImageProcessor` or `SiglipImageProcessor`; what it leaves out is as their
    /// classes have it.
    ///
    /// # Errors
    /// [`Error::Config`] that names the field, what was expected and what was found.
    pub fn from_hf(json: &str, file: &str) -> Result<Self> {
        let config: Value =
            serde_json::from_str(json).map_err(|e| Error::Config { file: file.into(), message: format!("is no JSON: {e}") })?;
        let f = Fields { file, config: &config };
        for key in ["do_resize", "do_normalize", "do_rescale", "do_convert_rgb"] {
            f.always(key)?;
        }
        if let Some(scale) = config.get("rescale_factor").and_then(Value::as_f64).filter(|s| (s * 255.0 - 1.0).abs() > 1e-6) {
            return f.error("rescale_factor", "1/255", &scale.into());
        }
        // Only CLIP's processor crops, to 224 where nothing else is said (`CLIPImageProcessor.__init__`).
        let kind = config.get("image_processor_type").or(config.get("feature_extractor_type")).and_then(Value::as_str).unwrap_or("");
        let is_siglip = kind.starts_with("Siglip");
        let crops = config.get("do_center_crop").and_then(Value::as_bool).unwrap_or(!is_siglip);
        let given = |key: &str| config.get(key).filter(|v| !v.is_null());
        let number = |v: &Value, key: &str| v.get(key).and_then(Value::as_u64);
        let (resize, square) = match given("size") {
            None => (224, is_siglip),
            Some(v) => match (v.as_u64(), number(v, "shortest_edge"), number(v, "height")) {
                (Some(n), ..) | (_, Some(n), _) => (n as usize, false),
                (.., Some(n)) if number(v, "width") == Some(n) => (n as usize, true),
                _ => return f.error("size", "a number, {shortest_edge} or equal {height, width}", v),
            },
        };
        let size = match given("crop_size").filter(|_| crops) {
            None if crops && !square => 224,
            None => resize,
            Some(v) => match v.as_u64().or_else(|| number(v, "height").filter(|h| number(v, "width") == Some(*h))) {
                Some(n) => n as usize,
                None => return f.error("crop_size", "a number or equal {height, width}", v),
            },
        };
        if size == 0 || resize == 0 || size.max(resize) > 1 << 14 {
            return f.error("size", "sides of 1 to 16384 pixels", given("size").unwrap_or(&Value::Null));
        }
        let filter = match given("resample").map(|v| (v, v.as_u64())) {
            None | Some((_, Some(3))) => Filter::Bicubic,
            Some((_, Some(2))) => Filter::Bilinear,
            Some((v, _)) => return f.error("resample", "2 (bilinear) or 3 (bicubic)", v),
        };
        let mode = if square { ResizeMode::Squash } else { ResizeMode::Shortest };
        if !crops && !square {
            return f.error("do_center_crop", "true, or a size of equal {height, width}", &Value::Bool(false));
        }
        let (mean, std) = if is_siglip { ([0.5; 3], [0.5; 3]) } else { (OPENAI_MEAN, OPENAI_STD) };
        Ok(Self { size, resize, mode, filter, mean: f.channels("image_mean", mean)?, std: f.channels("image_std", std)?, fill: [0; 3] })
    }

    /// Reads `preprocess_cfg` of `open_clip_config.json` (`open_clip/transform.py`: `PreprocessCfg`).
    ///
    /// # Errors
    /// [`Error::Config`] that names the field, what was expected and what was found.
    pub fn from_open_clip(config: &Value, image_size: usize, file: &str) -> Result<Self> {
        let f = Fields { file, config };
        let text = |key: &str| config.get(key).filter(|v| !v.is_null());
        let side = |v: &Value| v.as_u64().or_else(|| v.as_array().and_then(|a| a.first()).and_then(Value::as_u64));
        if let Some(size) = text("size").filter(|v| side(v) != Some(image_size as u64)) {
            return f.error("size", &format!("{image_size}, the tower's"), size);
        }
        let mode = match text("resize_mode").map(|v| (v, v.as_str())) {
            None | Some((_, Some("shortest"))) => ResizeMode::Shortest,
            Some((_, Some("squash"))) => ResizeMode::Squash,
            Some((_, Some("longest"))) => ResizeMode::Longest,
            Some((v, _)) => return f.error("resize_mode", "shortest, squash or longest", v),
        };
        let filter = match text("interpolation").map(|v| (v, v.as_str())) {
            None | Some((_, Some("bicubic"))) => Filter::Bicubic,
            Some((_, Some("bilinear"))) => Filter::Bilinear,
            Some((v, _)) => return f.error("interpolation", "bicubic or bilinear", v),
        };
        let level = |v: &Value| v.as_u64().and_then(|n| u8::try_from(n).ok());
        let fill = match text("fill_color") {
            None => Some([0; 3]),
            Some(Value::Array(all)) => all.iter().map(level).collect::<Option<Vec<u8>>>().and_then(|all| all.try_into().ok()),
            Some(one) => level(one).map(|one| [one; 3]),
        };
        let Some(fill) = fill else {
            return f.error("fill_color", "a number of 0 to 255, or three", text("fill_color").unwrap_or(&Value::Null));
        };
        Ok(Self {
            size: image_size,
            resize: image_size,
            mode,
            filter,
            mean: f.channels("mean", OPENAI_MEAN)?,
            std: f.channels("std", OPENAI_STD)?,
            fill,
        })
    }

    /// The pixels of `image`: `[3, size, size]`, (value / 255 − mean) / std.
    pub fn pixels(&self, image: &Image) -> Vec<f32> {
        let square = self.square(image);
        let mut pixels = Vec::with_capacity(3 * self.size * self.size);
        for c in 0..3 {
            pixels.extend(square.iter().skip(c).step_by(3).map(|&v| self.pixel(c, v)));
        }
        pixels
    }

    /// What the tower reads for an 8-bit value of channel `c`.
    pub(crate) fn pixel(&self, c: usize, level: u8) -> f32 {
        (level as f32 / 255.0 - self.mean[c]) / self.std[c]
    }

    /// The picture resized and cropped: `[size, size, 3]` bytes, those of PIL.
    pub fn square(&self, image: &Image) -> Vec<u8> {
        let Placed { passes, left, top } = self.placed(image.width(), image.height());
        let (columns, rows) = (passes.across.len(), passes.down.len());
        let middle = passes.run(image.rgb8(), image.width());
        if (columns, rows) == (self.size, self.size) {
            return middle;
        }
        let mut out = self.fill.repeat(self.size * self.size);
        for (y, line) in middle.chunks(3 * columns).enumerate() {
            out[3 * ((top + y) * self.size + left)..][..line.len()].copy_from_slice(line);
        }
        out
    }

    /// How a picture of `w` × `h` pixels is brought to the square, and where in it.
    pub(crate) fn placed(&self, w: usize, h: usize) -> Placed {
        let (short, long) = (w.min(h), w.max(h));
        let scaled = |n: usize| -> usize {
            match self.mode {
                ResizeMode::Squash => self.resize,
                ResizeMode::Shortest if n == short => self.resize,
                ResizeMode::Shortest => (self.resize * long / short).max(1), // torchvision: int(size · long / short)
                ResizeMode::Longest if n == long => self.resize,
                ResizeMode::Longest => ((self.resize as f64 * short as f64 / long as f64).round_ties_even() as usize).max(1),
            }
        };
        let (w2, h2) = (scaled(w), scaled(h));
        let ((left, columns), (top, rows)) = (self.middle(w2), self.middle(h2));
        Placed { passes: Passes::new((w, h), (w2, h2), &Window { columns, rows }, self.filter), left, top }
    }

    /// Of `n` pixels, those in the middle `size`, and how many are filled in before them. What is cut off rounds halves to even,
    /// what is filled in rounds down (torchvision's `center_crop`, which OpenAI, open_clip and transformers' default processor
    /// use).
    fn middle(&self, n: usize) -> (usize, std::ops::Range<usize>) {
        match n.checked_sub(self.size) {
            Some(more) => {
                let first = (more as f64 / 2.0).round_ties_even() as usize;
                (0, first..first + self.size)
            }
            None => ((self.size - n) / 2, 0..n),
        }
    }
}

struct Fields<'a> {
    file: &'a str,
    config: &'a Value,
}

impl Fields<'_> {
    fn error<T>(&self, key: &str, expected: &str, found: &Value) -> Result<T> {
        Err(Error::Config { file: self.file.into(), message: format!("`{key}`: expected {expected}, found {found}") })
    }

    /// A step that is never left out.
    fn always(&self, key: &str) -> Result<()> {
        match self.config.get(key) {
            Some(Value::Bool(true) | Value::Null) | None => Ok(()),
            Some(v) => self.error(key, "true", v),
        }
    }

    fn channels(&self, key: &str, default: [f32; 3]) -> Result<[f32; 3]> {
        match self.config.get(key).filter(|v| !v.is_null()) {
            None => Ok(default),
            Some(v) => {
                let numbers: Vec<f32> = v.as_array().into_iter().flatten().filter_map(Value::as_f64).map(|n| n as f32).collect();
                numbers.try_into().or_else(|_| self.error(key, "three numbers", v))
            }
        }
    }
}
