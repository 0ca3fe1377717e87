//! A picture's orientation, as its EXIF or XMP data says, where Pillow looks for it (`Image.getexif`).

use std::io::Read;

use image::ImageFormat;
use image::metadata::Orientation;

/// The tag of the orientation.
const ORIENTATION: u32 = 0x0112;

/// The orientation in a block of EXIF data (a TIFF header and its first directory), a SHORT or, as some programs write it, a
/// LONG, where it says one.
pub fn orientation(exif: &[u8]) -> Option<Orientation> {
    value_of(exif).and_then(|v| Orientation::from_exif(u8::try_from(v).ok()?))
}

fn value_of(exif: &[u8]) -> Option<u32> {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match exif.get(..4)? {
        b"II\x2a\0" => true,
        b"MM\0\x2a" => false,
        _ => return None,
    };
    let number = |at: usize, bytes: usize| -> Option<u32> {
        let field = exif.get(at..at.checked_add(bytes)?)?;
        let fold = |n: u32, b: &u8| n << 8 | u32::from(*b);
        Some(if little { field.iter().rev().fold(0, fold) } else { field.iter().fold(0, fold) })
    };
    let directory = number(4, 4)? as usize;
    let entries = number(directory, 2)? as usize;
    let entry = (0..entries).map(|i| directory + 2 + 12 * i).find(|at| number(*at, 2) == Some(ORIENTATION))?;
    match (number(entry + 2, 2)?, number(entry + 4, 4)?) {
        (3, 1) => number(entry + 8, 2),
        (4, 1) => number(entry + 8, 4),
        _ => None,
    }
}

/// The EXIF data of a file where the decoders do not look: of a JPEG, in several segments; of a PNG, behind its pixels or in a text.
pub fn of_file(bytes: &[u8], format: ImageFormat) -> Option<Vec<u8>> {
    match format {
        ImageFormat::Jpeg => of_jpeg(bytes),
        ImageFormat::Png => of_png(bytes),
        _ => None,
    }
}

/// The payloads of its segments one after another: one takes 64 KB.
fn of_jpeg(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut exif, mut at) = (Vec::new(), 2);
    while let Some(&[0xff, kind, high, low]) = bytes.get(at..at + 4) {
        let next = at + 2 + usize::from(u16::from_be_bytes([high, low]));
        if kind == 0xda {
            break; // its pixels begin
        }
        if let Some(part) = bytes.get(at + 4..next).filter(|_| kind == 0xe1).and_then(|s| s.strip_prefix(b"Exif\0\0")) {
            exif.extend_from_slice(part);
        }
        at = next;
    }
    Some(exif).filter(|exif| !exif.is_empty())
}

fn of_png(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut at, mut text) = (8, None);
    while let Some(head) = bytes.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let data = bytes.get(at + 8..at.checked_add(8)?.checked_add(length)?)?;
        match &head[4..] {
            b"eXIf" => return Some(data.to_vec()),
            b"tEXt" => text = text.or_else(|| data.strip_prefix(RAW_PROFILE).map(<[u8]>::to_vec)),
            b"zTXt" => text = text.or_else(|| data.strip_prefix(RAW_PROFILE)?.strip_prefix(b"\0").map(inflated)),
            _ => {}
        }
        at += 12 + length;
    }
    of_hex(&text?)
}

/// ImageMagick's name of it, before PNG had a chunk for it.
const RAW_PROFILE: &[u8] = b"Raw profile type exif\0";

fn inflated(data: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let _ = flate2::read::ZlibDecoder::new(data).take(1 << 20).read_to_end(&mut text); // what there is of a damaged one
    text
}

/// A newline, a name, a length, and lines of hexadecimal digits.
fn of_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.split(|b| *b == b'\n').skip(3).flatten().copied().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks_exact(2).map(byte).collect()
}

/// The orientation in XMP: `tiff:Orientation="6"`, or `<tiff:Orientation>6`.
pub fn orientation_in_xmp(xmp: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = xmp.windows(NAME.len()).position(|w| w == NAME)? + NAME.len();
    let digit = xmp[at..].strip_prefix(b"=\"").or_else(|| xmp[at..].strip_prefix(b">"))?.first()?;
    Orientation::from_exif(digit.checked_sub(b'0')?)
}
