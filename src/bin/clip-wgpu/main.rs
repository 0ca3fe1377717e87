//! The `clip-wgpu` command: one file per subcommand.

mod archives;
mod bench;
mod classify;
mod compare;
mod context;
mod device;
#[cfg(feature = "index")]
mod duplicates;
mod embed;
mod eval;
#[cfg(feature = "index")]
mod everyday;
mod files;
mod home;
#[cfg(feature = "index")]
mod index;
mod inputs;
mod interrupt;
mod labels;
mod model;
mod output;
#[cfg(feature = "index")]
mod patterns;
#[cfg(feature = "index")]
mod place;
mod preprocess;
#[cfg_attr(not(feature = "hub"), path = "no_hub.rs")]
mod pull;
#[cfg(feature = "index")]
mod search;
#[cfg(feature = "serve")]
mod serve;
mod side;
#[cfg(feature = "index")]
mod sort;
mod spent;
#[cfg(feature = "index")]
mod store;
#[cfg(feature = "index")]
mod tag;
mod texts;
mod tokenize;
mod walk;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clip_wgpu::Error;

use context::Globals;

/// CLIP on any GPU: embeds pictures and texts, and labels pictures zero-shot, offline.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  clip-wgpu classify -m pico assets/samples/red-circle.png -l 'red circle' -l 'blue square'
  clip-wgpu embed image -m ~/models/clip-vit-base-patch32 ~/Pictures -o pictures.npy
  clip-wgpu compare -m pico assets/samples/green-star.jpg 'a green star'

Exit status: 0 all done; 1 something failed (named on stderr, the rest done); 2 wrong usage;\n130 stopped by Ctrl-C.";

#[derive(Subcommand)]
enum Command {
    Classify(classify::Classify),
    #[command(subcommand)]
    Embed(embed::Embed),
    Eval(eval::Eval),
    #[cfg(feature = "index")]
    Index(index::Index),
    #[cfg(feature = "index")]
    Search(search::Search),
    #[cfg(feature = "index")]
    Duplicates(duplicates::Duplicates),
    #[cfg(feature = "index")]
    Tag(tag::Tag),
    #[cfg(feature = "index")]
    Sort(sort::Sort),
    #[cfg(feature = "serve")]
    Serve(serve::Serve),
    Compare(compare::Compare),
    Tokenize(tokenize::Tokenize),
    Preprocess(preprocess::Preprocess),
    #[command(subcommand)]
    Model(model::Model),
    Device(device::Device),
    Bench(bench::Bench),
}

/// How a command ended that did not break off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Some inputs failed; each was named on stderr.
    SomeFailed,
    /// Ctrl-C stopped it; what was done stays.
    Interrupted,
}

impl Outcome {
    /// Of work that named what `failed`.
    pub fn of(failed: &[output::Failed]) -> Self {
        match failed {
            _ if interrupt::asked() => Outcome::Interrupted,
            [] => Outcome::Done,
            _ => Outcome::SomeFailed,
        }
    }
}

/// Mesa complains on stderr, whatever is asked, where there is no folder for run-time files.
fn quieten_drivers() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: nothing else runs yet: this is the first thing that the program does.
        #[allow(unsafe_code)] // the library has no other way to say it
        unsafe {
            std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir());
        }
    }
}

fn main() -> ExitCode {
    quieten_drivers();
    let cli = Cli::parse();
    let g = &cli.globals;
    let outcome = match cli.command {
        Command::Classify(c) => c.run(g),
        Command::Embed(c) => c.run(g),
        Command::Eval(c) => c.run(g),
        #[cfg(feature = "index")]
        Command::Index(c) => c.run(g),
        #[cfg(feature = "index")]
        Command::Search(c) => c.run(g),
        #[cfg(feature = "index")]
        Command::Duplicates(c) => c.run(g),
        #[cfg(feature = "index")]
        Command::Tag(c) => c.run(g),
        #[cfg(feature = "index")]
        Command::Sort(c) => c.run(g),
        #[cfg(feature = "serve")]
        Command::Serve(c) => c.run(g),
        Command::Compare(c) => c.run(g),
        Command::Tokenize(c) => c.run(g),
        Command::Preprocess(c) => c.run(g),
        Command::Model(c) => c.run(g),
        Command::Device(c) => c.run(g),
        Command::Bench(c) => c.run(g),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::SomeFailed) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(interrupt::STATUS),
        Err(error) => {
            output::complain(&error.to_string());
            ExitCode::from(if matches!(error, Error::Argument(_)) { 2 } else { 1 })
        }
    }
}
