//! Films, and what else `ffmpeg` opens, as raw frames through a pipe. A full pipe holds it back.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::{Source, Stop};
use crate::frame::Frame;

/// More than any model sees: longer sides are scaled down by ffmpeg, which also turns what a phone has filmed.
const LONGEST: u32 = 1280;

pub struct Film {
    child: Child,
    out: BufReader<ChildStdout>,
    /// Size of the frame that comes next: its header has been read.
    size: Option<(u32, u32)>,
}

impl Film {
    pub fn of_file(path: &Path) -> Result<Self, Stop> {
        Self::start(&["-re"], &path.display().to_string())
    }

    pub fn of_screen() -> Result<Self, Stop> {
        match std::env::consts::OS {
            "macos" => Self::start(&["-f", "avfoundation"], "Capture screen 0"),
            "windows" => Self::start(&["-f", "gdigrab"], "desktop"),
            _ => Self::start(&["-f", "x11grab"], &std::env::var("DISPLAY").unwrap_or(":0".into())),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub fn of_camera(which: &str) -> Result<Self, Stop> {
        let which = if which == "camera" { "0" } else { which };
        match std::env::consts::OS {
            "macos" => Self::start(&["-f", "avfoundation", "-framerate", "30"], which),
            _ => Self::start(&["-f", "dshow"], &format!("video={which}")),
        }
    }

    fn start(before: &[&str], input: &str) -> Result<Self, Stop> {
        let gone = |message: String| Stop::Gone(format!("{input}: {message}"));
        let scale = format!("scale=w='min(iw,{LONGEST})':h='min(ih,{LONGEST})':force_original_aspect_ratio=decrease");
        let mut child = Command::new("ffmpeg")
            .args(["-nostdin", "-loglevel", "error"])
            .args(before)
            .args(["-i", input, "-an", "-vf", &scale, "-f", "image2pipe", "-c:v", "pam", "-pix_fmt", "rgba", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| gone(format!("is read by `ffmpeg`, which cannot be started: {e}")))?;
        let (Some(out), Some(mut errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(gone("ffmpeg has no pipes".into()));
        };
        // What it complains of, read as it comes: a full pipe would stop it.
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            let _ = errors.read_to_string(&mut said); // up to where it is text
            said
        });
        let mut film = Self { child, out: BufReader::with_capacity(1 << 20, out), size: None };
        film.size = film.header();
        if film.size.is_some() {
            return Ok(film);
        }
        drop(film);
        let said = said.join().unwrap_or_default();
        Err(gone(said.lines().next_back().unwrap_or("ffmpeg finds no film in it").into()))
    }

    /// Reads the PAM header of the next frame: its size, or `None` at the end.
    fn header(&mut self) -> Option<(u32, u32)> {
        let (mut width, mut height, mut line) = (None, None, String::new());
        while line != "ENDHDR\n" {
            line.clear();
            if (&mut self.out).take(256).read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.split_once(' ') {
                Some(("WIDTH", value)) => width = value.trim().parse().ok(),
                Some(("HEIGHT", value)) => height = value.trim().parse().ok(),
                _ => {}
            }
        }
        Some((width?, height?))
    }
}

impl Source for Film {
    fn next(&mut self) -> Result<Frame, Stop> {
        let (width, height) = self.size.ok_or(Stop::Over)?;
        let mut rgba = vec![0; 4 * width as usize * height as usize];
        self.out.read_exact(&mut rgba).map_err(|_| Stop::Over)?;
        self.size = self.header();
        Ok(Frame { width, height, rgba, name: None })
    }
}

impl Drop for Film {
    fn drop(&mut self) {
        let _ = self.child.kill(); // or it has ended
        let _ = self.child.wait();
    }
}
