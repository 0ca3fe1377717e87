//! Picture files as upright RGB.

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, metadata::Orientation};

use super::tiff::TiffDecoder;
use super::{exif, icon};
use crate::error::{Error, Result};

/// The most pixels that are decoded: more is refused before anything is allocated.
pub const MAX_PIXELS: u64 = 256 << 20;

/// The most bytes of what a PNG has beside its pixels, such as a colour profile: more is left out, or refused.
const MOST_BESIDE: u64 = 64 << 20;

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
        let damaged = |e| refused(format, e);
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(16 * MAX_PIXELS);
        decoder.set_limits(limits).map_err(damaged)?;
        // TIFF has it in a directory of its own.
        let exif = exif::of_file(bytes, format).or_else(|| decoder.exif_metadata().ok().flatten());
        let xmp =
            |decoder: &mut Box<dyn ImageDecoder + '_>| decoder.xmp_metadata().ok().flatten().and_then(|xmp| exif::orientation_in_xmp(&xmp));
        let orientation = exif.and_then(|exif| exif::orientation(&exif)).or_else(|| xmp(&mut decoder));
        let orientation = orientation.unwrap_or_else(|| decoder.orientation().unwrap_or(Orientation::NoTransforms));
        let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
        if format == ImageFormat::Jpeg && (!has_end(bytes) || ends_in_grey(&picture)) && !is_sound(bytes) {
            let how = if has_end(bytes) { "its data is broken, and stops" } else { "it is cut short: its data ends" };
            return Err(Error::Image(format!("a damaged picture: {how} before the picture does")));
        }
        if format == ImageFormat::Gif {
            fill_screen(bytes, &mut picture);
        }
        picture.apply_orientation(orientation);
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Ok(Self { width, height, rgb: into_rgb8(picture) })
    }

    /// The format that the first bytes of a picture file say, where it is one that is read.
    pub fn format(start: &[u8]) -> Option<ImageFormat> {
        guessed(start).filter(ImageFormat::reading_enabled)
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

/// The format that the first bytes say. Two letters are no proof: notes on BM25 begin with a bitmap's, and a list of pages with a pixmap's.
fn guessed(start: &[u8]) -> Option<ImageFormat> {
    match (image::guess_format(start).ok(), start) {
        (Some(ImageFormat::Bmp), [_, _, _, _, _, _, 0, 0, 0, 0, _, _, _, _, 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0, ..]) => {
            Some(ImageFormat::Bmp)
        }
        (Some(ImageFormat::Pnm), [b'P', b'1'..=b'6', b' ' | b'\t' | b'\r' | b'\n', b'0'..=b'9' | b'#' | b' ' | b'\n', ..]) => {
            Some(ImageFormat::Pnm)
        }
        (Some(ImageFormat::Bmp | ImageFormat::Pnm), _) => None,
        (None, [b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..]) => Some(ImageFormat::Tiff), // of more than 4 GB, or made as if
        (guessed, _) => guessed,
    }
}

/// What a decoder says of a picture that it does not read.
fn refused(format: ImageFormat, error: image::ImageError) -> Error {
    Error::Image(match error {
        image::ImageError::Unsupported(e) => format!("{format:?} pictures of this kind are not supported: {e}"),
        e => format!("a damaged picture: {e}"),
    })
}

/// The file of the picture that is shown: of an icon, the one that Pillow chooses.
fn shown(bytes: &[u8]) -> Cow<'_, [u8]> {
    match guessed(bytes) {
        Some(ImageFormat::Ico) => icon::largest(bytes).unwrap_or(Cow::Borrowed(bytes)),
        _ => Cow::Borrowed(bytes),
    }
}

/// The decoder of a picture file, within the limits that are promised.
fn decoder(bytes: &[u8]) -> Result<(Box<dyn ImageDecoder + '_>, ImageFormat)> {
    if bytes.is_empty() {
        return Err(Error::Image("expected a picture, found an empty file".into()));
    }
    let Some(format) = guessed(bytes).filter(ImageFormat::reading_enabled) else { return Err(Error::Image(what_else(bytes).into())) };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.no_limits(); // our own, below, says what was found
    if format == ImageFormat::Png {
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(MOST_BESIDE); // which it unpacks with the header
        reader.limits(limits);
    }
    let decoder: Box<dyn ImageDecoder> = match reader.into_decoder() {
        Ok(decoder) => Box::new(decoder),
        Err(image::ImageError::Unsupported(e)) => match TiffDecoder::new(bytes).filter(|_| format == ImageFormat::Tiff) {
            Some(decoder) => Box::new(decoder),
            None => return Err(refused(format, image::ImageError::Unsupported(e))),
        },
        Err(e) => return Err(refused(format, e)),
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
        Some(b"jP  \r\n\x87\n") => "a JPEG 2000 picture, which is not read: convert it to JPEG or PNG",
        _ if bytes.trim_ascii_start().starts_with(b"<") => {
            "a text in XML or HTML, which may be an SVG drawing or an error page: neither is read"
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

/// Whether all of a JPEG's coded data can be decoded. The decoder fills what it cannot with grey; Pillow refuses a file that is cut short
/// (`image file is truncated`) and shows other colours behind broken data. A file that lacks no more than its end marker is whole.
fn is_sound(bytes: &[u8]) -> bool {
    use zune_jpeg::zune_core::bytestream::ZCursor;
    use zune_jpeg::zune_core::options::DecoderOptions;
    let strict = DecoderOptions::default().set_strict_mode(true).set_max_width(1 << 16).set_max_height(1 << 16);
    zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), strict).decode().is_ok()
}

/// Whether the last row is what the decoder fills in.
fn ends_in_grey(picture: &DynamicImage) -> bool {
    let (bytes, rows) = (picture.as_bytes(), picture.height().max(1) as usize);
    bytes[bytes.len() - bytes.len() / rows..].iter().all(|v| *v == 128)
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
