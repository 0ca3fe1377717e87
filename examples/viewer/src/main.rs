//! Live zero-shot labels: a camera's picture, and beside it the labels that you type, scored on the same GPU that draws the window.
//!
//!     cargo run --release -p clip-wgpu-viewer -- --source assets/samples

mod app;
mod arguments;
mod capture;
mod device;
mod engine;
mod frame;
mod headless;
mod heat;
mod labels;
mod look;
mod model;
mod record;
mod runs;
mod score;
mod source;
#[cfg(test)]
mod tests;
mod think;

use std::process::ExitCode;

use arguments::Arguments;
use clap::Parser;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let set = match arguments.label_set() {
        Ok(set) => set,
        Err(message) => return fail(&message),
    };
    let run = if arguments.headless { headless::run(&arguments, set) } else { app::run(arguments, set) };
    run.map_or_else(|message| fail(&message), |()| ExitCode::SUCCESS)
}

fn fail(message: &str) -> ExitCode {
    eprintln!("viewer: {message}");
    ExitCode::FAILURE
}
