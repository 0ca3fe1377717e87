//! Texts and labels from the command line and from files.

use std::path::{Path, PathBuf};

use clap::Args;
use clip_wgpu::{Clip, Error, Result};

use crate::context::Globals;
use crate::inputs::bytes_of;
use crate::output::{Failed, complain};

/// A line of text and where it stands.
pub struct Line {
    /// `captions.txt: line 3`, or the text itself where it was given as an argument.
    pub origin: String,
    /// Or why it is none.
    pub text: std::result::Result<String, String>,
}

impl Line {
    pub fn argument(text: &str) -> Self {
        Self { origin: format!("`{text}`"), text: Ok(text.into()) }
    }
}

/// The bytes of a file in UTF-8 with or without a byte order mark, or in UTF-16 with one, as UTF-8 without; and what errors call it.
pub fn utf8_of(path: &Path) -> Result<(Vec<u8>, String)> {
    let (bytes, name) = bytes_of(path)?;
    let bytes = match &bytes[..] {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => rest.to_vec(),
        _ => bytes,
    };
    Ok((bytes, name))
}

/// The lines of a file, blank ones too, ended by LF or CRLF.
pub fn lines(path: &Path) -> Result<Vec<Line>> {
    let (bytes, name) = utf8_of(path)?;
    let whole = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if whole.is_empty() && bytes.is_empty() {
        return Ok(Vec::new());
    }
    let line = |(at, line): (usize, &[u8])| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line).map(str::to_string);
        Line { origin: format!("{name}: line {}", at + 1), text: text.map_err(|_| "is not valid UTF-8: save the file as UTF-8".into()) }
    };
    Ok(whole.split(|&b| b == b'\n').enumerate().map(line).collect())
}

/// UTF-16 as UTF-8; what is not valid becomes U+FFFD.
fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Vec<u8> {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|b| unit([b[0], b[1]])).collect();
    String::from_utf16_lossy(&units).into_bytes()
}

/// Labels from arguments and a file of one per line, whose blank lines are left out and said.
pub fn labels(g: &Globals, arguments: &[String], file: Option<&Path>) -> Result<Vec<String>> {
    let mut labels = arguments.to_vec();
    let mut blank = 0;
    for line in file.map(lines).transpose()?.into_iter().flatten() {
        match line.text {
            Ok(text) if text.trim().is_empty() => blank += 1,
            Ok(text) => labels.push(text.trim().into()),
            Err(error) => return Err(Error::Text(format!("{} {error}", line.origin))),
        }
    }
    if blank > 0 {
        g.warn(&format!("left out {blank} blank lines of the labels"));
    }
    Ok(labels)
}

/// Texts from the command line and from a file of one per line (`-`: standard input).
#[derive(Args)]
pub struct Texts {
    /// The texts; `-` reads standard input, a text a line
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// A file with one text per line, a blank line being an empty text; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    texts_file: Option<PathBuf>,
}

impl Texts {
    pub fn all(&self) -> Result<Vec<Line>> {
        let from_input =
            self.texts.iter().filter(|text| *text == "-").count() + usize::from(self.texts_file.as_deref() == Some(Path::new("-")));
        if from_input > 1 {
            return Err(Error::Argument("expected to read standard input once, found `-` twice".into()));
        }
        let mut all = Vec::new();
        for text in &self.texts {
            match text.as_str() {
                "-" => all.extend(lines(Path::new("-"))?),
                text => all.push(Line::argument(text)),
            }
        }
        all.extend(self.texts_file.as_deref().map(lines).transpose()?.into_iter().flatten());
        match all.is_empty() {
            true => Err(Error::Argument("expected at least one text, or --texts-file with one per line; found none".into())),
            false => Ok(all),
        }
    }
}

/// Texts and their ids, in order, and those that have none.
#[derive(Default)]
pub struct Encoded {
    pub texts: Vec<String>,
    pub ids: Vec<Vec<u32>>,
    pub failed: Vec<Failed>,
}

/// The ids of `lines`: one that is no text is named and left out, as is one that is too long if `strict`; else it is cut, with a
/// warning.
pub fn tokenize(g: &Globals, clip: &Clip, lines: &[Line], strict: bool) -> Encoded {
    let mut encoded = Encoded::default();
    for Line { origin, text } in lines {
        let ids = text.clone().and_then(|text| {
            let tokens = clip.tokenize(&text).map_err(|e| e.to_string())?;
            if tokens.truncated() {
                let message = format!("has {} tokens, but the model takes {}", tokens.total, tokens.ids.len());
                if strict {
                    return Err(message);
                }
                g.warn(&format!("{origin} {message}: its end is cut off"));
            }
            encoded.texts.push(text);
            encoded.ids.push(tokens.ids);
            Ok(())
        });
        if let Err(error) = ids {
            complain(&if error.starts_with(origin.as_str()) { error.clone() } else { format!("{origin} {error}") });
            encoded.failed.push(Failed { input: origin.clone(), error });
        }
    }
    encoded
}

/// The ids of one text.
pub fn ids_of(g: &Globals, clip: &Clip, text: &str, strict: bool) -> Result<Vec<u32>> {
    let mut encoded = tokenize(g, clip, &[Line::argument(text)], strict);
    match encoded.failed.pop() {
        None => Ok(encoded.ids.remove(0)),
        Some(failed) => Err(Error::Text(format!("{} {}", failed.input, failed.error))),
    }
}
