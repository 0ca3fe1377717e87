//! Picture files as upright RGB.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits, metadata::Orientation};

use crate::error::{Error, Result};

/// The most pixels that are decoded: more is refused before anything is allocated.
pub const MAX_PIXELS: u64 = 256 << 20;

/// A decoded picture: 8-bit RGB, upright.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Image {
    /// Reads a picture file: PNG, JPEG, WebP, GIF (its first frame), BMP or TIFF, told by content and not by name.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Image`] as [`Image::decode`] with the path.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        Self::decode(&bytes).map_err(|e| match e {
            Error::Image(message) => Error::Image(format!("{}: {message}", path.display())),
            other => other,
        })
    }

    /// Decodes a picture, like PIL's `ImageOps.exif_transpose(Image.open(f)).convert("RGB")`: turned upright by its EXIF
    /// orientation, alpha left out, grey tripled. 16-bit channels keep their upper byte.
    ///
    /// # Errors
    /// [`Error::Image`] for bytes that are no picture, a damaged one, or one above [`MAX_PIXELS`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Error::Image("expected a picture, found an empty file".into()));
        }
        let mut reader = ImageReader::new(Cursor::new(bytes));
        reader.no_limits(); // our own, below, says what was found
        let reader = reader.with_guessed_format().map_err(|e| Error::Image(format!("cannot be read: {e}")))?;
        let damaged = |e: image::ImageError| Error::Image(format!("a damaged picture: {e}"));
        let Some(format) = reader.format() else {
            return Err(Error::Image("expected a picture (PNG, JPEG, WebP, GIF, BMP or TIFF), found something else".into()));
        };
        let mut decoder = reader.into_decoder().map_err(|e| match e {
            image::ImageError::Unsupported(_) => Error::Image(format!("{format:?} pictures of this kind are not supported: {e}")),
            e => damaged(e),
        })?;
        let (width, height) = decoder.dimensions();
        if width as u64 * height as u64 > MAX_PIXELS {
            return Err(Error::Image(format!("expected at most {} megapixels, found {width} × {height}", MAX_PIXELS >> 20)));
        }
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(16 * MAX_PIXELS);
        decoder.set_limits(limits).map_err(damaged)?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
        picture.apply_orientation(orientation);
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Ok(Self { width, height, rgb: into_rgb8(picture) })
    }

    /// A picture of `[height, width, 3]` bytes.
    ///
    /// # Errors
    /// [`Error::Image`] where the length is not 3 · width · height, or there are no pixels.
    pub fn from_rgb8(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self> {
        if rgb.is_empty() || rgb.len() != 3 * width * height {
            return Err(Error::Image(format!("expected 3 · {width} · {height} bytes, found {}", rgb.len())));
        }
        Ok(Self { width, height, rgb })
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    /// `[height, width, 3]`
    pub fn rgb8(&self) -> &[u8] {
        &self.rgb
    }
}

fn into_rgb8(picture: DynamicImage) -> Vec<u8> {
    let upper = |v: &u16| (v >> 8) as u8;
    match picture {
        DynamicImage::ImageLuma16(p) => p.as_raw().iter().flat_map(|v| [upper(v); 3]).collect(),
        DynamicImage::ImageLumaA16(p) => p.as_raw().chunks(2).flat_map(|v| [upper(&v[0]); 3]).collect(),
        DynamicImage::ImageRgb16(p) => p.as_raw().iter().map(upper).collect(),
        DynamicImage::ImageRgba16(p) => p.as_raw().chunks(4).flat_map(|v| [upper(&v[0]), upper(&v[1]), upper(&v[2])]).collect(),
        other => other.into_rgb8().into_raw(),
    }
}
