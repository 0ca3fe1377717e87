//! Picture files as upright RGB.

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits, metadata::Orientation};

use super::tiff::TiffDecoder;
use super::{exif, icon};
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
    /// Reads a picture file: PNG, JPEG, WebP, GIF (its first frame), BMP, TIFF or ICO (its largest), told by content and not by name.
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
        let bytes = &*shown(bytes);
        let (mut decoder, format) = decoder(bytes)?;
        let damaged = |e: image::ImageError| Error::Image(format!("a damaged picture: {e}"));
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(16 * MAX_PIXELS);
        decoder.set_limits(limits).map_err(damaged)?;
        // TIFF has it in a directory of its own.
        let exif = decoder.exif_metadata().ok().flatten().and_then(|exif| exif::orientation(&exif));
        let orientation = exif.unwrap_or_else(|| decoder.orientation().unwrap_or(Orientation::NoTransforms));
        let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
        if format == image::ImageFormat::Jpeg && is_cut_short(bytes) {
            return Err(Error::Image("a damaged picture: it is cut short: its data ends before the picture does".into()));
        }
        if format == image::ImageFormat::Gif {
            fill_screen(bytes, &mut picture);
        }
        picture.apply_orientation(orientation);
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Ok(Self { width, height, rgb: into_rgb8(picture) })
    }

    /// The format that the first bytes of a picture file say, where it is one that is read.
    pub fn format(start: &[u8]) -> Option<image::ImageFormat> {
        image::guess_format(start).ok().filter(image::ImageFormat::reading_enabled)
    }

    /// Width and height of a picture file, before it is turned upright.
    ///
    /// # Errors
    /// As [`Image::decode`], as far as the header tells.
    pub fn dimensions(bytes: &[u8]) -> Result<(u32, u32)> {
        decoder(&shown(bytes)).map(|(decoder, _)| decoder.dimensions())
    }

    /// A picture of `[height, width, 3]` bytes.
    ///
    /// # Errors
    /// [`Error::Image`] where the length is not 3 · width · height, or there are no pixels.
    pub fn from_rgb8(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self> {
        if rgb.is_empty() || width.checked_mul(height).and_then(|n| n.checked_mul(3)) != Some(rgb.len()) {
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

/// The file of the picture that is shown: of an icon, the one that Pillow chooses.
fn shown(bytes: &[u8]) -> Cow<'_, [u8]> {
    match image::guess_format(bytes) {
        Ok(image::ImageFormat::Ico) => icon::largest(bytes).unwrap_or(Cow::Borrowed(bytes)),
        _ => Cow::Borrowed(bytes),
    }
}

/// The decoder of a picture file, within the limits that are promised.
fn decoder(bytes: &[u8]) -> Result<(Box<dyn ImageDecoder + '_>, image::ImageFormat)> {
    if bytes.is_empty() {
        return Err(Error::Image("expected a picture, found an empty file".into()));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes));
    reader.no_limits(); // our own, below, says what was found
    let reader = reader.with_guessed_format().map_err(|e| Error::Image(format!("cannot be read: {e}")))?;
    let Some(format) = reader.format() else { return Err(Error::Image(what_else(bytes).into())) };
    let decoder: Box<dyn ImageDecoder> = match reader.into_decoder() {
        Ok(decoder) => Box::new(decoder),
        Err(image::ImageError::Unsupported(e)) => match TiffDecoder::new(bytes).filter(|_| format == image::ImageFormat::Tiff) {
            Some(decoder) => Box::new(decoder),
            None => return Err(Error::Image(format!("{format:?} pictures of this kind are not supported: {e}"))),
        },
        Err(e) => return Err(Error::Image(format!("a damaged picture: {e}"))),
    };
    let (width, height) = decoder.dimensions();
    if width as u64 * height as u64 > MAX_PIXELS {
        return Err(Error::Image(format!("expected at most {} megapixels, found {width} × {height}", MAX_PIXELS >> 20)));
    }
    if width == 0 || height == 0 {
        return Err(Error::Image(format!("expected a picture with pixels, found {width} × {height}")));
    }
    Ok((decoder, format))
}

/// What a file is that is no picture that is read.
fn what_else(bytes: &[u8]) -> &'static str {
    match bytes.get(4..12) {
        Some(kind) if kind.starts_with(b"ftypavi") => "an AVIF picture, which is not read: convert it to JPEG or PNG",
        Some(kind) if kind.starts_with(b"ftyphe") || kind.starts_with(b"ftypmif1") => {
            "a HEIC picture, which is not read: convert it to JPEG or PNG (phones can be set to save JPEG)"
        }
        _ if bytes.starts_with(b"\xff\x0a") || bytes.get(4..8) == Some(b"JXL ") => {
            "a JPEG XL picture, which is not read: convert it to JPEG or PNG"
        }
        _ => "expected a picture (PNG, JPEG, WebP, GIF, BMP, TIFF or ICO), found something else",
    }
}

/// Where the first frame of a GIF is smaller than its screen, the rest gets the colour that Pillow gives it: the transparent one
/// of the palette, else its first (`GifImagePlugin.py`, `load_prepare`).
fn fill_screen(bytes: &[u8], picture: &mut DynamicImage) {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::Indexed);
    let Ok(mut decoder) = options.read_info(bytes) else { return };
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let Ok(Some(frame)) = decoder.next_frame_info() else { return };
    let (columns, rows) = (
        u32::from(frame.left)..u32::from(frame.left) + u32::from(frame.width),
        u32::from(frame.top)..u32::from(frame.top) + u32::from(frame.height),
    );
    let at = 3 * usize::from(frame.transparent.unwrap_or(0));
    let palette = frame.palette.clone().or(global).unwrap_or_default();
    if let (DynamicImage::ImageRgba8(screen), Some(&[r, g, b])) = (picture, palette.get(at..at + 3)) {
        let outside = |x: &u32, y: &u32| !columns.contains(x) || !rows.contains(y);
        screen.enumerate_pixels_mut().filter(|(x, y, _)| outside(x, y)).for_each(|(_, _, pixel)| pixel.0 = [r, g, b, 255]);
    }
}

/// Whether a JPEG's coded data stops before its last scan does: the decoder fills the rest with grey, where Pillow refuses
/// (`image file is truncated`). A file that lacks no more than its end marker is whole.
fn is_cut_short(bytes: &[u8]) -> bool {
    use zune_jpeg::zune_core::bytestream::ZCursor;
    use zune_jpeg::zune_core::options::DecoderOptions;
    let strict = DecoderOptions::default().set_strict_mode(true).set_max_width(1 << 16).set_max_height(1 << 16);
    !has_end(bytes) && zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), strict).decode().is_err()
}

/// Whether a JPEG's own end marker is there: one inside a segment is a thumbnail's.
fn has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[mark, kind]) = bytes.get(at..at + 2) {
        match (mark, kind) {
            (0xff, 0xd9) => return true,
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2, // coded data, and markers without a segment
            (0xff, 0xff) => at += 1,
            (0xff, _) => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
            _ => at += 1, // coded data
        }
    }
    false
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
