//! Ctrl-C, for work that can be stopped between two steps.

use std::sync::atomic::{AtomicBool, Ordering};

use clip_wgpu::{Error, Result};

static WATCHED: AtomicBool = AtomicBool::new(false);
static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on the first Ctrl-C only asks to stop; the second ends the program as ever.
pub fn watch(said: &'static str) -> Result<()> {
    if WATCHED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let asked = move || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(STATUS.into());
        }
        crate::output::complain(said);
    };
    ctrlc::set_handler(asked).map_err(|e| Error::Argument(format!("Ctrl-C cannot be watched for: {e}")))
}

/// Whether it was asked to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// What shells expect of a program that Ctrl-C ended.
pub const STATUS: u8 = 130;
