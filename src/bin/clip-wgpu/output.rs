//! What the command prints: results on standard output, everything else on stderr.

use std::io::{self, Write};
use std::path::Path;
#[cfg(feature = "index")]
use std::path::PathBuf;

use clip_wgpu::{Error, Result};
use serde_json::{Value, json};

/// Prints text; a closed pipe (`| head`) ends the program quietly.
fn print(text: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(Error::io("standard output")),
    }
}

/// Prints a path, as it is, and a NUL, for `xargs -0`.
#[cfg(feature = "index")]
pub fn say_for_xargs(path: &Path) -> Result<()> {
    print(&[path.as_os_str().as_encoded_bytes(), b"\0"].concat())
}

/// Prints a line.
pub fn say(line: &str) -> Result<()> {
    print(format!("{line}\n").as_bytes())
}

/// Prints one JSON document.
pub fn say_json(value: &Value) -> Result<()> {
    say(&format!("{value:#}"))
}

/// Says what is wrong on stderr, where there is one: a run goes on without.
pub fn complain(message: &str) {
    let _ = writeln!(io::stderr().lock(), "clip-wgpu: {message}");
}

/// An input that failed, and why.
#[derive(Clone, Debug)]
pub struct Failed {
    pub input: String,
    pub error: String,
}

impl Failed {
    /// An input whose numbers are none, which is said.
    pub fn not_finite(input: &str) -> Self {
        let error = "its embedding is not finite: a value too large for the arithmetic".to_string();
        complain(&format!("{input}: {error}"));
        Self { input: input.into(), error }
    }
}

/// The inputs that failed, for `--json`.
pub fn failed_json(failed: &[Failed]) -> Value {
    failed.iter().map(|f| json!({"input": f.input, "error": f.error})).collect()
}

/// A path as text that finds it again: where it is no UTF-8, such bytes are `\xHH` and a backslash is `\\`.
pub fn file_name(path: &Path) -> String {
    match path.to_str() {
        Some(name) => name.into(),
        None => {
            let of_chunk = |chunk: std::str::Utf8Chunk| {
                let invalid: String = chunk.invalid().iter().map(|b| format!("\\x{b:02x}")).collect();
                chunk.valid().replace('\\', "\\\\") + &invalid
            };
            path.as_os_str().as_encoded_bytes().utf8_chunks().map(of_chunk).collect()
        }
    }
}

/// The path that [`file_name`] made a text of; where there is a file of the very name, it is that one.
#[cfg(feature = "index")]
pub fn path_of(name: &str) -> PathBuf {
    let plain = PathBuf::from(name);
    if cfg!(not(unix)) || !name.contains("\\x") || plain.exists() {
        return plain;
    }
    unescaped(name).filter(|path| file_name(path) == name).unwrap_or(plain)
}

#[cfg(all(feature = "index", unix))]
fn unescaped(name: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let (mut bytes, mut parts) = (Vec::new(), name.split('\\'));
    bytes.extend(parts.next()?.bytes());
    while let Some(part) = parts.next() {
        match part.strip_prefix('x') {
            Some(part) => {
                bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
                bytes.extend(part[2..].bytes());
            }
            None if part.is_empty() => {
                bytes.push(b'\\');
                bytes.extend(parts.next()?.bytes());
            }
            None => return None,
        }
    }
    Some(std::ffi::OsString::from_vec(bytes).into())
}

/// Names that are no Unicode are not written in bytes here.
#[cfg(all(feature = "index", not(unix)))]
fn unescaped(_: &str) -> Option<PathBuf> {
    None
}

/// A JSON document with one array of rows, each printed as soon as it is known: an interrupt keeps what was done.
pub struct Document {
    rows: usize,
}

impl Document {
    /// Prints the fields of `head` and opens the array `key`.
    pub fn begin(head: &Value, key: &str) -> Result<Self> {
        let fields = format!("{head:#}");
        let fields = fields.trim_end_matches('}').trim_end();
        let comma = if fields.ends_with('{') { "" } else { "," };
        print(format!("{fields}{comma}\n  \"{key}\": [").as_bytes())?;
        Ok(Self { rows: 0 })
    }

    pub fn row(&mut self, row: &Value) -> Result<()> {
        self.rows += 1;
        print(format!("{}\n    {row}", if self.rows > 1 { "," } else { "" }).as_bytes())
    }

    /// Closes the array and prints the fields of `tail`.
    pub fn end(self, tail: &Value) -> Result<()> {
        let fields = format!("{tail:#}");
        let fields = fields.trim_start_matches('{').trim_start_matches('\n');
        print(format!("{}],\n{fields}\n", if self.rows > 0 { "\n  " } else { "" }).as_bytes())
    }
}

/// Bytes in words.
#[cfg(feature = "hub")]
pub fn megabytes(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(all(test, feature = "index", unix))]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn names_in_no_unicode_are_found_again() {
        for name in [&b"a\xff.jpg"[..], b"\xe9t\xe9\\x41/b.jpg", b"\\\xff\\\\x", b"\\x4"] {
            let path = Path::new(OsStr::from_bytes(name));
            assert_eq!(path_of(&file_name(path)), path);
        }
    }
}
