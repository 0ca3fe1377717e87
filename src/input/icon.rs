//! The picture of an icon file that Pillow shows: `IcoImagePlugin.py`, `IcoFile`.

use std::borrow::Cow;

const HEADER: usize = 6;
const ENTRY: usize = 16;

/// The largest picture, and of equally large ones that with the fewest colours, as a file of its own: a PNG as it is, because
/// `image` takes none without alpha inside an icon; anything else as an icon of one picture. `None` where the directory or the
/// picture is damaged.
pub fn largest(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let count = usize::from(u16_at(4)?);
    let entries = bytes.get(HEADER..HEADER + ENTRY * count)?.chunks_exact(ENTRY);
    let (at, entry) = entries.enumerate().min_by_key(|(_, entry)| {
        let side = |byte: u8| if byte == 0 { 256 } else { u32::from(byte) };
        let depth = match (u16::from_le_bytes([entry[6], entry[7]]), entry[2]) {
            (0, 0) => 256,
            (0, colours) => u32::from(colours).next_power_of_two().ilog2(),
            (bits, _) => u32::from(bits),
        };
        (std::cmp::Reverse(side(entry[0]) * side(entry[1])), depth)
    })?;
    let at = HEADER + ENTRY * at;
    let (length, offset) = (u32_at(at + 8)?, u32_at(at + 12)?);
    let picture = bytes.get(offset..offset.checked_add(length)?)?;
    if picture.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some(Cow::Borrowed(picture));
    }
    let mut icon = [&[0, 0, 1, 0, 1, 0], &entry[..ENTRY - 4]].concat();
    icon.extend(((HEADER + ENTRY) as u32).to_le_bytes());
    icon.extend(picture);
    Some(Cow::Owned(icon))
}
