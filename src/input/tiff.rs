//! TIFF pictures that `image` refuses and Pillow reads: palettes of 1, 2, 4 or 8 bits, grey in numbers of 32 bits, and CIE L*a*b*.

use std::borrow::Cow;
use std::io::Cursor;

use image::error::{DecodingError, ImageFormatHint};
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageResult};
use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::Tag;
use tiff::{TiffError, TiffResult};

use super::lab::LabToRgb;

const PHOTOMETRIC: u16 = 262;
const BLACK_IS_ZERO: u16 = 1;
const RGB: u16 = 2;
const PALETTE: u16 = 3;
const LAB: u16 = 8;

/// A decoder of such a picture, to RGB.
pub struct TiffDecoder<'a> {
    inner: Decoder<Cursor<Cow<'a, [u8]>>>,
    size: (u32, u32),
    bits: u8,
    kind: Kind,
}

enum Kind {
    Grey,
    /// All reds, then all greens, then all blues.
    Palette(Vec<u16>),
    Lab,
}

impl<'a> TiffDecoder<'a> {
    /// `None` where it is of another kind.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut inner = Decoder::new(Cursor::new(Cow::Borrowed(bytes))).ok()?;
        // tiff 0.11 names palettes and L*a*b*, and refuses them. Their numbers are stored as those of other kinds are.
        let mut again = |bytes: Option<Vec<u8>>| {
            inner = Decoder::new(Cursor::new(Cow::Owned(bytes?))).ok()?;
            Some(())
        };
        let kind = match Decoder::new(Cursor::new(bytes)).ok()?.find_tag_unsigned(Tag::PhotometricInterpretation).ok()?? {
            PALETTE => {
                let palette = Decoder::new(Cursor::new(bytes)).ok()?.get_tag_u16_vec(Tag::ColorMap).ok()?;
                again(stored_as(bytes, BLACK_IS_ZERO))?;
                Kind::Palette(palette)
            }
            LAB => {
                again(stored_as(bytes, RGB))?;
                Kind::Lab
            }
            BLACK_IS_ZERO => Kind::Grey,
            _ => return None,
        };
        let (bits, known) = match (inner.colortype().ok()?, &kind) {
            (tiff::ColorType::Gray(bits), Kind::Palette(palette)) => (bits, matches!(bits, 1 | 2 | 4 | 8) && palette.len() == 3 << bits),
            (tiff::ColorType::Gray(bits), Kind::Grey) => (bits, bits == 32),
            (tiff::ColorType::RGB(bits), Kind::Lab) => (bits, bits == 8),
            _ => return None,
        };
        let size = inner.dimensions().ok()?;
        known.then_some(Self { inner, size, bits, kind })
    }

    fn read(self, rgb: &mut [u8]) -> TiffResult<()> {
        let Self { inner, size, bits, kind } = self;
        let mut inner = inner.with_limits(tiff::decoder::Limits::unlimited()); // the picture's size is within ours
        let mut grey = |values: &mut dyn Iterator<Item = u8>| {
            rgb.chunks_exact_mut(3).zip(values).for_each(|(pixel, value)| pixel.fill(value));
        };
        match (inner.read_image()?, kind) {
            (DecodingResult::U8(packed), Kind::Palette(palette)) => {
                let row = (size.0 as usize * usize::from(bits)).div_ceil(8);
                let colours = palette.len() / 3;
                let rows = rgb.chunks_exact_mut(3 * size.0 as usize).zip(packed.chunks_exact(row));
                for (x, pixel, packed) in
                    rows.flat_map(|(rgb, packed)| rgb.chunks_exact_mut(3).enumerate().map(move |(x, p)| (x, p, packed)))
                {
                    let bit = x * usize::from(bits);
                    let colour = usize::from(packed[bit / 8] >> (8 - usize::from(bits) - bit % 8)) & (colours - 1);
                    (0..3).for_each(|channel| pixel[channel] = (palette[channel * colours + colour] >> 8) as u8);
                }
            }
            (DecodingResult::U8(values), Kind::Lab) => {
                let table = LabToRgb::new();
                let pixels = rgb.chunks_exact_mut(3).zip(values.chunks_exact(3));
                pixels.for_each(|(pixel, lab)| pixel.copy_from_slice(&table.rgb([lab[0], lab[1], lab[2]])));
            }
            // Pillow's steps to "L": cut off, and without the fraction (`Convert.c`, `f2l`, `i2l`).
            (DecodingResult::F32(values), Kind::Grey) => grey(&mut values.iter().map(|v| *v as u8)),
            (DecodingResult::U32(values), Kind::Grey) => grey(&mut values.iter().map(|v| (*v).min(255) as u8)),
            (DecodingResult::I32(values), Kind::Grey) => grey(&mut values.iter().map(|v| (*v).clamp(0, 255) as u8)),
            _ => return Err(TiffError::UnsupportedError(tiff::TiffUnsupportedError::UnknownInterpretation)),
        }
        Ok(())
    }
}

impl ImageDecoder for TiffDecoder<'_> {
    fn dimensions(&self) -> (u32, u32) {
        self.size
    }

    fn color_type(&self) -> ColorType {
        ColorType::Rgb8
    }

    fn orientation(&mut self) -> ImageResult<Orientation> {
        let value = self.inner.find_tag_unsigned(Tag::Orientation).ok().flatten();
        Ok(value.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms))
    }

    fn read_image(self, rgb: &mut [u8]) -> ImageResult<()> {
        self.read(rgb).map_err(|e| ImageError::Decoding(DecodingError::new(ImageFormatHint::Exact(ImageFormat::Tiff), e)))
    }

    fn read_image_boxed(self: Box<Self>, rgb: &mut [u8]) -> ImageResult<()> {
        (*self).read_image(rgb)
    }
}

/// The file with its first directory's kind of picture replaced. `None` for a BigTIFF.
fn stored_as(bytes: &[u8], kind: u16) -> Option<Vec<u8>> {
    let little = bytes.starts_with(b"II*\0");
    if !little && !bytes.starts_with(b"MM\0*") {
        return None;
    }
    let u16_at = |at: usize| {
        let two = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    };
    let four = bytes.get(4..8)?.try_into().ok()?;
    let directory = if little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) } as usize;
    let entry = (0..usize::from(u16_at(directory)?)).map(|i| directory + 2 + 12 * i).find(|at| u16_at(*at) == Some(PHOTOMETRIC))?;
    let mut changed = bytes.to_vec();
    let value = if little { kind.to_le_bytes() } else { kind.to_be_bytes() };
    changed.get_mut(entry + 8..entry + 10)?.copy_from_slice(&value); // a SHORT stands first in its four bytes
    Some(changed)
}
