//! A page of thumbnails.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};
use clip_wgpu::{Error, Result};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageBuffer, Rgb};
use rayon::prelude::*;

use crate::inputs;
use crate::output::path_of;

/// The longer side of a thumbnail, in pixels.
const SIDE: u32 = 320;

/// What is shown of a picture.
pub struct Entry<'a> {
    pub score: f32,
    pub path: &'a str,
}

/// Writes the page; pictures are in it, so that it can be sent to others and shows formats that browsers do not read.
pub fn write(page: &Path, title: &str, entries: &[Entry<'_>]) -> Result<()> {
    let figures: String = entries.par_iter().map(figure).collect();
    let title = escaped(title);
    let count = match entries.len() {
        0 => "nothing found".to_string(),
        n => format!("{n} found"),
    };
    let html = format!(
        "<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content='width=device-width'>
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif }}
body {{ margin: 24px }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 16px }}
figure {{ margin: 0 }}
img {{ width: 100%; height: 180px; object-fit: contain; background: #8881; border-radius: 6px }}
figcaption {{ overflow: hidden; text-overflow: ellipsis; white-space: nowrap }}
</style>
<h1>{title}</h1>
<p>{count}</p>
<main>
{figures}</main>
"
    );
    crate::files::write_whole(page, html.as_bytes())
}

fn figure(entry: &Entry<'_>) -> String {
    let file = path_of(entry.path);
    let (path, name) = (escaped(entry.path), file.file_name().map(|n| n.to_string_lossy()).unwrap_or_default());
    let picture = match thumbnail(&file) {
        Ok(jpeg) => format!("<img alt='' src='data:image/jpeg;base64,{}'>", BASE64_STANDARD.encode(jpeg)),
        Err(error) => format!("<p>{}</p>", escaped(&error.to_string())),
    };
    let link = url(&file);
    format!(
        "<figure title='{path}'><a href='{link}'>{picture}</a><figcaption>{:.3} {}</figcaption></figure>\n",
        entry.score,
        escaped(&name)
    )
}

/// A small JPEG of a picture, turned upright.
pub fn thumbnail(path: &Path) -> Result<Vec<u8>> {
    let picture = inputs::open(path)?;
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    let rgb = ImageBuffer::<Rgb<u8>, &[u8]>::from_raw(width, height, picture.rgb8()).expect("three bytes to a pixel");
    let longer = width.max(height).max(1);
    let side = |side: u32| (u64::from(side) * u64::from(SIDE.min(longer)) / u64::from(longer)).max(1) as u32;
    let small = image::imageops::thumbnail(&rgb, side(width), side(height));
    let mut jpeg = Cursor::new(Vec::new());
    small.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, 80)).map_err(|e| Error::Image(e.to_string()))?;
    Ok(jpeg.into_inner())
}

fn escaped(text: &str) -> String {
    htmlize::escape_attribute(text).replace('\'', "&#39;")
}

/// A file's address.
fn url(path: &Path) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~/:".contains(&b);
    let of = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    let bytes = path.as_os_str().as_encoded_bytes().iter().map(|b| if cfg!(windows) && *b == b'\\' { b'/' } else { *b });
    let path: String = bytes.map(of).collect();
    format!("file://{}{path}", if path.starts_with('/') { "" } else { "/" })
}

/// A page for results that are shown at once, in a new file that others on this machine cannot read.
pub fn somewhere() -> Result<PathBuf> {
    let folder = std::env::temp_dir();
    let page = tempfile::Builder::new().prefix("clip-wgpu-search-").suffix(".html").tempfile_in(&folder).map_err(Error::io(folder))?;
    let (_, path) = page.keep().map_err(|e| Error::io(e.file.path())(e.error))?;
    Ok(path)
}
