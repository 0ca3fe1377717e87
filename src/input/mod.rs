//! What goes into the towers: pictures as pixels, texts as token ids.

mod exif;
mod icon;
mod image;
mod lab;
mod mojibake;
mod preprocess;
pub(crate) mod resize;
mod text;
mod tiff;

pub use self::image::{Image, MAX_PIXELS};
pub use preprocess::{Filter, Preprocess, ResizeMode};
pub use text::{Tokenizer, Tokens};
