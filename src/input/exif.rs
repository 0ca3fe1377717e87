//! A picture's orientation, as its EXIF data says.

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
