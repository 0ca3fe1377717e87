//! Where frames come from.

#[cfg(target_os = "linux")]
mod camera;
mod pictures;
mod video;

use std::path::Path;
use std::time::Duration;

use crate::frame::Frame;

/// What gives frames. `next` may wait for one, but not for ever.
pub trait Source: Send {
    /// # Errors
    /// [`Stop`], after which the source is opened anew or is over.
    fn next(&mut self) -> Result<Frame, Stop>;
}

/// Why there is no frame.
#[derive(Debug, PartialEq)]
pub enum Stop {
    /// A film's last frame was given.
    Over,
    /// Unplugged, unreadable, gone: a sentence that says so. It may come back.
    Gone(String),
}

/// Opens what `what` names: `camera`, a camera's name or device (/dev/video0), `screen`, a folder of pictures, a picture, or a film, which `ffmpeg`
/// reads. Pictures change every `every`.
///
/// # Errors
/// [`Stop::Gone`], saying what was expected.
pub fn open(what: &str, every: Duration) -> Result<Box<dyn Source>, Stop> {
    if what == "camera" || what.starts_with("camera:") || what.starts_with("/dev/v") {
        return camera(what.strip_prefix("camera:").unwrap_or(what));
    }
    if what == "screen" {
        return Ok(Box::new(video::Film::of_screen()?));
    }
    let path = Path::new(what);
    if path.is_dir() || pictures::is_picture(path) {
        return Ok(Box::new(pictures::Pictures::new(path, every)));
    }
    #[cfg(target_os = "linux")]
    if !path.exists() && camera::is_named(what) {
        return camera(what);
    }
    if !path.exists() {
        return Err(Stop::Gone(format!("{what}: no such file; a source is `camera`, `screen`, a folder, a picture or a film")));
    }
    Ok(Box::new(video::Film::of_file(path)?))
}

#[cfg(target_os = "linux")]
fn camera(which: &str) -> Result<Box<dyn Source>, Stop> {
    Ok(Box::new(camera::Camera::open(which)?))
}

/// Through `ffmpeg`, which knows the cameras of macOS and Windows.
#[cfg(not(target_os = "linux"))]
fn camera(which: &str) -> Result<Box<dyn Source>, Stop> {
    Ok(Box::new(video::Film::of_camera(which)?))
}
