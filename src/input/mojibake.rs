//! Texts that were decoded with the wrong character set or escaped as HTML, mended as open_clip and OpenAI's CLIP mend them before
//! they cut a text into pieces: their `basic_clean`, which is ftfy's `fix_text` and Python's `html.unescape` twice. A port of ftfy
//! 6.3.1 (by Robyn Speer and others, Apache License 2.0), whose names it keeps.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use regex::{Captures, Regex, bytes};
use serde::Deserialize;
use tokenizers::normalizers::unicode::{NFC, NFKC};
use tokenizers::{NormalizedString, Normalizer};

/// What `scripts/reference/mojibake.py` writes.
#[derive(Deserialize)]
struct Tables {
    bad: String,
    clues: String,
    not_before_clues: String,
    altered: String,
    lossy: String,
    ligatures: HashMap<char, String>,
    /// Name, and what bytes 0x80 to 0xFF and 0x1A are.
    encodings: Vec<(String, String)>,
}

struct Mender {
    bad: Regex,
    clues: Regex,
    not_before_clues: Regex,
    altered: bytes::Regex,
    lossy: bytes::Regex,
    html: Regex,
    html_of_ftfy: Regex,
    terminal: Regex,
    ligatures: HashMap<char, String>,
    encodings: Vec<Encoding>,
}

static MENDER: LazyLock<Mender> = LazyLock::new(|| {
    let tables: Tables = serde_json::from_str(include_str!("../../assets/mojibake.json")).expect("the built-in tables are whole");
    let text = |pattern: &str| Regex::new(pattern).expect("the built-in patterns are well formed");
    let bytes = |pattern: &str| bytes::RegexBuilder::new(pattern).unicode(false).build().expect("the built-in patterns are well formed");
    Mender {
        bad: text(&tables.bad),
        clues: text(&tables.clues),
        not_before_clues: text(&tables.not_before_clues),
        altered: bytes(&tables.altered),
        lossy: bytes(&tables.lossy),
        html: text(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\x0C <&#;]{1,32};?)"),
        html_of_ftfy: text("&#?[0-9A-Za-z]{1,24};"),
        terminal: text(r"\x1B\[[\p{Nd};]*[a-zA-Z]"),
        ligatures: tables.ligatures,
        encodings: tables.encodings.into_iter().map(|(name, chars)| Encoding::new(name, &chars)).collect(),
    }
});

/// A character set of one byte each, ASCII and 128 others.
struct Encoding {
    name: String,
    bytes: HashMap<char, u8>,
}

impl Encoding {
    fn new(name: String, chars: &str) -> Self {
        Self { name, bytes: chars.chars().zip((0x80..=0xFF).chain([0x1A])).collect() }
    }

    /// The bytes of `text`, unless it has a character of no byte.
    fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let byte = |c: char| if c.is_ascii() && c != '\x1A' { Some(c as u8) } else { self.bytes.get(&c).copied() };
        text.chars().map(byte).collect()
    }
}

/// `basic_clean` of open_clip's `tokenizer.py` and of OpenAI's `simple_tokenizer.py`, without the stripping.
pub fn mend(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'&') {
        return text.into();
    }
    unescape(&unescape(&fix_text(text))).into_owned().into()
}

/// `ftfy.fix_text`.
fn fix_text(text: &str) -> String {
    let mut html = true;
    let segment = |segment: &str| {
        html &= !segment.contains('<');
        fix_segment(segment, html)
    };
    text.split_inclusive('\n').map(segment).collect()
}

fn fix_segment(text: &str, html: bool) -> String {
    let mut text = text.to_string();
    loop {
        let mut fixed = if html { unescape_html(&text).into_owned() } else { text.clone() };
        fixed = fix_encoding(&fixed);
        fixed = fixed.chars().map(fix_c1_control).collect();
        fixed = fixed.chars().fold(String::new(), push_fixed);
        fixed = ["\r\n", "\r", "\u{2028}", "\u{2029}", "\u{85}"].iter().fold(fixed, |fixed, end| fixed.replace(end, "\n"));
        fixed = MENDER.terminal.replace_all(&fixed, "").into_owned();
        fixed.retain(|c| !is_control(c));
        fixed = normalized(&NFC, fixed);
        if fixed == text {
            return fixed;
        }
        text = fixed;
    }
}

/// `fix_latin_ligatures`, `fix_character_width` and `uncurl_quotes`, of which none makes work for one before it.
fn push_fixed(mut fixed: String, c: char) -> String {
    match c {
        '\u{2BC}' | '\u{2018}'..='\u{201B}' => fixed.push('\''),
        '\u{201C}'..='\u{201F}' => fixed.push('"'),
        '\u{3000}' => fixed.push(' '),
        '\u{FF01}'..='\u{FFEF}' => fixed += &normalized(&NFKC, c.to_string()),
        c => match MENDER.ligatures.get(&c) {
            Some(letters) => fixed += &letters.replace('\u{2BC}', "'"),
            None => fixed.push(c),
        },
    }
    fixed
}

fn normalized(form: &impl Normalizer, text: String) -> String {
    if text.is_ascii() {
        return text;
    }
    let mut text = NormalizedString::from(text);
    form.normalize(&mut text).expect("a Unicode form refuses nothing");
    text.get().to_string()
}

/// `remove_control_chars`.
fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\x08' | '\x0B' | '\x0E'..='\x1F' | '\x7F' | '\u{206A}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFC}')
}

/// C1 control characters are what Windows has at their bytes.
fn fix_c1_control(c: char) -> char {
    match c {
        '\u{80}'..='\u{9F}' => windows_1252(c as u8).unwrap_or(c),
        c => c,
    }
}

/// What a byte from 0x80 to 0x9F is there, where it is anything.
fn windows_1252(byte: u8) -> Option<char> {
    const CHARS: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8D}Ž\u{8F}\u{90}‘’“”•–—˜™š›œ\u{9D}žŸ";
    CHARS.chars().nth(usize::from(byte).checked_sub(0x80)?).filter(|c| !c.is_control())
}

/// `ftfy.fix_encoding`.
fn fix_encoding(text: &str) -> String {
    let mut text = text.to_string();
    loop {
        match fix_encoding_one_step(&text) {
            Some(fixed) if fixed != text => text = fixed,
            _ => return text,
        }
    }
}

fn fix_encoding_one_step(text: &str) -> Option<String> {
    if text.is_ascii() || !MENDER.bad.is_match(text) {
        return None;
    }
    let decoded = MENDER.encodings.iter().find_map(|encoding| decode(encoding, encoding.encode(text)?));
    if decoded.is_some() {
        return decoded;
    }
    let mended = decode_inconsistent_utf8(text);
    if mended != text {
        return Some(mended);
    }
    // Latin-1 whose control characters must have been Windows'.
    let is_latin_1 = text.chars().all(|c| c <= '\u{FF}');
    let of_windows = |c: char| if matches!(c, '\u{80}'..='\u{9F}') { windows_1252(c as u8) } else { Some(c) };
    match text.chars().map(of_windows).collect::<Option<String>>().filter(|fixed| is_latin_1 && fixed != text) {
        Some(fixed) => Some(fixed),
        None => Some(text.chars().map(fix_c1_control).collect()),
    }
}

/// Bytes that were read in `encoding`, as the UTF-8 that they were, if they were any.
fn decode(encoding: &Encoding, mut bytes: Vec<u8>) -> Option<String> {
    if encoding.name != "macroman" && MENDER.altered.is_match(&bytes) {
        bytes = restore_byte_a0(&bytes);
    }
    if encoding.name.starts_with("sloppy") {
        bytes = MENDER.lossy.replace_all(&bytes, "\u{FFFD}".as_bytes()).into_owned();
    }
    String::from_utf8(decode_variants(bytes)).ok()
}

/// Blanks that were no-break spaces inside a character; "Ã " alone is "à " unless a word of Portuguese goes on there.
fn restore_byte_a0(bytes: &[u8]) -> Vec<u8> {
    let mut words = Vec::with_capacity(bytes.len());
    for (i, byte) in bytes.iter().enumerate() {
        words.push(*byte);
        let goes_on = || [&b" "[..], b"quele", b"quela", b"quilo", b"s "].iter().any(|word| bytes[i + 2..].starts_with(word));
        if bytes[i..].starts_with(b"\xC3 ") && !goes_on() {
            words.push(0xA0);
        }
    }
    let restored = |found: &bytes::Captures| found[0].iter().map(|b| if *b == b' ' { 0xA0 } else { *b }).collect::<Vec<u8>>();
    MENDER.altered.replace_all(&words, restored).into_owned()
}

/// UTF-8 of what is nearly that (`utf-8-variants`): Java's zero in two bytes, and surrogates of three bytes each.
fn decode_variants(bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.contains(&0xED) && !bytes.contains(&0xC0) {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = &bytes[..];
    while let [first, after @ ..] = rest {
        match *rest {
            [0xC0, 0x80, ..] => {
                out.push(0);
                rest = &rest[2..];
            }
            [0xED, a @ 0xA0..=0xAF, b @ 0x80..=0xBF, 0xED, c @ 0xB0..=0xBF, d @ 0x80..=0xBF, ..] => {
                let [a, b, c, d] = [a & 0x0F, b & 0x3F, c & 0x0F, d & 0x3F].map(u32::from);
                let c = char::from_u32((a << 16 | b << 10 | c << 6 | d) + 0x10000).expect("20 bits above the first plane");
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[6..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// Pieces that look like mojibake inside a text that as a whole is none.
fn decode_inconsistent_utf8(text: &str) -> String {
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = MENDER.clues.find_at(text, at) {
        let before = text[..found.start()].char_indices().next_back().map_or("", |(i, _)| &text[i..found.start()]);
        if MENDER.not_before_clues.is_match(before) {
            at = found.start() + text[found.start()..].chars().next().map_or(1, char::len_utf8);
            continue;
        }
        out += &text[copied..found.start()];
        let piece = found.as_str();
        match piece.len() < text.len() && MENDER.bad.is_match(piece) {
            true => out += &fix_encoding(piece),
            false => out += piece,
        }
        (copied, at) = (found.end(), found.end());
    }
    out + &text[copied..]
}

/// `ftfy.fixes.unescape_html`: what ends in a semicolon, and Latin letters whose names are in capitals.
fn unescape_html(text: &str) -> Cow<'_, str> {
    MENDER.html_of_ftfy.replace_all(text, |found: &Captures| {
        let escaped = &found[0];
        let name = &escaped[1..escaped.len() - 1];
        if name.starts_with('#') {
            return Some(unescape(escaped)).filter(|text| !text.contains(';')).map_or(escaped.into(), Cow::into_owned);
        }
        if let Some(text) = entity(escaped) {
            return text;
        }
        let small = escaped.to_lowercase();
        match name.chars().any(char::is_lowercase) || unescape(escaped) != escaped {
            true => escaped.into(),
            false => entity(&small).map_or(escaped.into(), |text| text.to_uppercase()),
        }
    })
}

/// What `&name;` stands for as a whole, if anything.
fn entity(escaped: &str) -> Option<String> {
    let text = htmlize::unescape(escaped);
    (text != escaped && (!text.ends_with(';') || escaped == "&semi;")).then(|| text.into_owned())
}

/// Python's `html.unescape`.
fn unescape(text: &str) -> Cow<'_, str> {
    MENDER.html.replace_all(text, |found: &Captures| {
        let escaped = &found[0];
        match escaped[1..].strip_prefix('#') {
            Some(number) => numeric(number.trim_end_matches(';')),
            None => htmlize::unescape(escaped).into_owned(),
        }
    })
}

/// What `&#number;` stands for: nothing, where HTML has no such character.
fn numeric(number: &str) -> String {
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    match code.unwrap_or(u32::MAX) {
        0 => "\u{FFFD}".into(),
        code @ 0x80..=0x9F => windows_1252(code as u8).unwrap_or(char::from(code as u8)).to_string(),
        0x01..=0x08 | 0x0B | 0x0E..=0x1F | 0x7F | 0xFDD0..=0xFDEF => String::new(),
        code if code & 0xFFFE == 0xFFFE && code <= 0x10FFFF => String::new(),
        code => char::from_u32(code).unwrap_or('\u{FFFD}').to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scripts/reference/tokens.py` wrote what open_clip makes of each.
    #[test]
    fn odd_texts_are_mended_as_ftfy_mends_them() {
        let cases: Vec<(String, String)> = serde_json::from_str(include_str!("../../tests/input/mended.json")).expect("the file is whole");
        assert!(cases.len() > 400);
        let wrong: Vec<_> = cases.iter().filter(|(text, mended)| mend(text).trim() != mended).collect();
        let said: Vec<_> =
            wrong.iter().take(9).map(|(text, mended)| format!("{text:?}: expected {mended:?}, found {:?}", mend(text))).collect();
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), said.join("\n"));
    }
}
