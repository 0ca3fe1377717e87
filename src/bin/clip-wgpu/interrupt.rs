//! Ctrl-C, for work that can be stopped between two steps, and for files that are half written.

#[cfg(feature = "index")]
use std::ops::ControlFlow;
use std::path::PathBuf;
#[cfg(feature = "index")]
use std::sync::atomic::{AtomicBool, Ordering};

use clip_wgpu::{Error, Result};

use crate::output::complain;

/// What shells expect of a program that Ctrl-C ended.
pub const STATUS: u8 = 130;

#[cfg(feature = "index")]
static ASKED: AtomicBool = AtomicBool::new(false);

fn on(what: impl FnMut() + Send + 'static) -> Result<()> {
    ctrlc::set_handler(what).map_err(|e| Error::Argument(format!("Ctrl-C cannot be watched for: {e}")))
}

/// From now on the first Ctrl-C only asks to stop; the second ends the program as ever.
#[cfg(feature = "index")]
pub fn watch(said: &'static str) -> Result<()> {
    on(move || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(STATUS.into());
        }
        complain(said);
    })
}

/// Whether it was asked to stop.
#[cfg(feature = "index")]
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// What is to be done after a step.
#[cfg(feature = "index")]
pub fn flow() -> ControlFlow<()> {
    if asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// From now on Ctrl-C takes half-written files away as it ends the program.
pub fn take_away(files: Vec<PathBuf>) -> Result<()> {
    on(move || {
        files.iter().for_each(|file| drop(std::fs::remove_file(file))); // it may not be there yet, or any more
        complain("interrupted: nothing was written");
        std::process::exit(STATUS.into());
    })
}
