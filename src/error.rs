//! The one error type: which thing, what was expected, what was found.

use std::fmt;
use std::path::PathBuf;

/// What went wrong. Every message names the thing at fault, what was expected of it and what was found.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    Io { path: PathBuf, source: std::io::Error },
    /// Bytes that are no picture, or one that cannot be used.
    Image(String),
    /// A text that cannot be tokenised as asked.
    Text(String),
    /// A path or name that is no model.
    Model { name: String, message: String },
    /// A configuration file that says something unusable.
    Config { file: String, message: String },
    /// A checkpoint whose tensors are not what its configuration asks for: all of them, at once.
    Weights { file: String, problems: Vec<String> },
    /// Operands that do not fit an op.
    Shape { op: &'static str, message: String },
    /// A shader that the compiler refused.
    Shader { file: String, line: u32, message: String },
    /// No device as asked for, or a device that refused.
    Device(String),
    /// The device was lost: a driver reset, an unplugged adapter.
    DeviceLost(String),
    /// Something that the device's limits or memory cannot hold.
    TooLarge { what: String, bytes: u64, limit: u64 },
    /// The device's memory, or the host's, does not hold this.
    OutOfMemory(String),
    /// A NaN or an infinity: which rows of what (embeddings, pixels).
    NonFinite { what: &'static str, rows: Vec<usize> },
    /// An argument that cannot be used: no labels, a repeated label.
    Argument(String),
}

/// Of a checkpoint's problems: where all are wrong it is another model's, and the first ones show it.
const MOST_SAID: usize = 20;

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Io`] for `path`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Error::Image(message) | Error::Text(message) | Error::Device(message) | Error::Argument(message) => f.write_str(message),
            Error::Model { name, message } => write!(f, "model `{name}`: {message}"),
            Error::Config { file, message } => write!(f, "{file}: {message}"),
            Error::Weights { file, problems } if problems.len() == 1 => write!(f, "{file}: {}", problems[0]),
            Error::Weights { file, problems } => {
                write!(f, "{file}: {} problems", problems.len())?;
                problems.iter().take(MOST_SAID).try_for_each(|p| write!(f, "\n  {p}"))?;
                if problems.len() > MOST_SAID { write!(f, "\n  and {} more", problems.len() - MOST_SAID) } else { Ok(()) }
            }
            Error::Shape { op, message } => write!(f, "{op}: {message}"),
            Error::Shader { file, line, message } => write!(f, "{file}:{line}: {message}"),
            Error::DeviceLost(message) => write!(f, "the device was lost: {message}"),
            Error::TooLarge { what, bytes, limit } => {
                write!(f, "{what} needs {bytes} bytes, but the device's limit is {limit}: the device cpu has none")
            }
            Error::OutOfMemory(what) => write!(f, "there is no memory left for {what}: take a smaller batch, weights in f16, or the CPU"),
            Error::NonFinite { what, rows } => {
                let rows = rows.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
                write!(f, "the {what} of row {rows} are not finite: a damaged weight or input, or a value too large for the arithmetic")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
