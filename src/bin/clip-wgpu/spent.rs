//! Where the time of a run over many pictures goes.

use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "index")]
use std::time::Duration;
use std::time::Instant;

/// A step of the work. The first run ahead of the model on all cores, the others one after the other.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "index"), allow(dead_code))] // a run that writes no index
pub enum Step {
    Read,
    Hash,
    Decode,
    Preprocess,
    /// For pictures that are not ready yet.
    Wait,
    Encode,
    Write,
}

/// Their names, in order.
const STEPS: [(Step, &str); 7] = [
    (Step::Read, "read"),
    (Step::Hash, "hash"),
    (Step::Decode, "decode"),
    (Step::Preprocess, "resize and normalise"),
    (Step::Wait, "wait for pictures"),
    (Step::Encode, "encode"),
    (Step::Write, "write the index"),
];
/// The first so many run on all cores.
#[cfg(feature = "index")]
const AHEAD: usize = 4;

/// The time of each step, summed over threads.
#[derive(Default)]
pub struct Spent([AtomicU64; STEPS.len()]);

impl Spent {
    /// What `f` makes, its time taken.
    pub fn on<T>(&self, step: Step, f: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let made = f();
        self.0[step as usize].fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        made
    }

    /// Lines of a table: each step's seconds, and its share of `wall`.
    #[cfg(feature = "index")]
    pub fn table(&self, wall: Duration, pictures: usize) -> Vec<String> {
        let wall = wall.as_secs_f64();
        let line = |(i, (step, name)): (usize, &(Step, &str))| {
            let of = if i < AHEAD { "summed over threads" } else { "of the run" };
            format!("  {name:<22} {:>8.2} s  {:>5.1} % {of}", self.seconds(*step), 100.0 * self.seconds(*step) / wall.max(1e-9))
        };
        let head = format!("{pictures} pictures in {wall:.2} s, {:.1} a second", pictures as f64 / wall.max(1e-9));
        std::iter::once(head).chain(STEPS.iter().enumerate().map(line)).collect()
    }

    /// Seconds by step.
    #[cfg(feature = "index")]
    pub fn json(&self) -> serde_json::Value {
        STEPS.iter().map(|(step, name)| (name.to_string(), self.seconds(*step).into())).collect::<serde_json::Map<_, _>>().into()
    }

    #[cfg(feature = "index")]
    fn seconds(&self, step: Step) -> f64 {
        self.0[step as usize].load(Ordering::Relaxed) as f64 / 1e9
    }
}
