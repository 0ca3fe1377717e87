//! A thread that takes frames from a source and keeps the newest: whoever is slow misses some, and nobody waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clip_wgpu::gpu::Gpu;

use crate::frame::{Shown, Textures};
use crate::source::{self, Source, Stop};

/// A source that is gone is looked for this often.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Newest {
    shown: Option<Shown>,
    /// Why there is no new one.
    stopped: Option<String>,
}

#[derive(Default)]
struct Slot {
    newest: Mutex<Newest>,
    changed: Condvar,
    closed: AtomicBool,
    paused: AtomicBool,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, change: impl FnOnce(&mut Newest)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// The newest frame of a source.
#[derive(Clone)]
pub struct Capture(Arc<Slot>);

impl Capture {
    /// Starts to take frames of what `what` names; `told` is called after each, and whenever it stops.
    pub fn start(what: &str, every: Duration, gpu: Option<&Gpu>, told: impl Fn() + Send + 'static) -> Self {
        let slot = Arc::new(Slot::default());
        let (kept, what, textures) = (slot.clone(), what.to_string(), gpu.map(Textures::new));
        std::thread::spawn(move || run(&slot, &what, every, textures, &told));
        Self(kept)
    }

    /// The newest frame, and why no other comes, where none does.
    pub fn newest(&self) -> (Option<Shown>, Option<String>) {
        let newest = self.0.lock();
        (newest.shown.clone(), newest.stopped.clone())
    }

    /// Waits for a frame that came after number `seen`, up to `limit`.
    pub fn after(&self, seen: Option<u64>, limit: Duration) -> Option<Shown> {
        let is_new = |newest: &Newest| newest.shown.as_ref().is_some_and(|s| seen.is_none_or(|seen| s.number > seen));
        let (newest, _) =
            self.0.changed.wait_timeout_while(self.0.lock(), limit, |newest| !is_new(newest)).unwrap_or_else(PoisonError::into_inner);
        is_new(&newest).then(|| newest.shown.clone()).flatten()
    }

    pub fn pause(&self, paused: bool) {
        self.0.paused.store(paused, Ordering::Relaxed);
    }

    /// Ends the thread, after the frame that it waits for.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }
}

fn run(slot: &Slot, what: &str, every: Duration, mut textures: Option<Textures>, told: &dyn Fn()) {
    let mut number = 0;
    let mut source: Option<Box<dyn Source>> = None;
    while !slot.closed.load(Ordering::Relaxed) {
        if slot.paused.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(30));
            continue;
        }
        let begun = Instant::now();
        let next = match source.as_mut() {
            Some(source) => source.next(),
            None => source::open(what, every).and_then(|opened| source.insert(opened).next()),
        };
        match next {
            Ok(frame) => {
                let texture = textures.as_mut().and_then(|t| t.upload(&frame));
                let shown = Shown { frame: Arc::new(frame), texture, number, capture: begun.elapsed() };
                number += 1;
                slot.put(|newest| *newest = Newest { shown: Some(shown), stopped: None });
                told();
            }
            Err(stop) => {
                source = None;
                let over = stop == Stop::Over;
                let why = match stop {
                    Stop::Over => format!("{what}: the end; it begins again"),
                    Stop::Gone(why) => format!("{why} (looking again each second)"),
                };
                slot.put(|newest| newest.stopped = Some(why));
                told();
                if !over {
                    std::thread::sleep(AGAIN);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that fails may panic
    use std::path::Path;

    use super::*;

    #[test]
    fn a_source_that_goes_says_so_and_goes_on_when_it_is_back() {
        let folder = std::env::temp_dir().join("clip-wgpu-viewer-capture");
        let _ = std::fs::remove_dir_all(&folder); // of an earlier run
        let put = || {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/samples/tiger.jpg"), folder.join("a.jpg")).unwrap();
        };
        put();
        let capture = Capture::start(folder.to_str().unwrap(), Duration::from_millis(20), None, || {});
        let limit = Duration::from_secs(20);
        let first = capture.after(None, limit).unwrap();
        assert_eq!((first.frame.name.as_deref(), first.number), (folder.join("a.jpg").to_str(), 0));
        std::fs::remove_dir_all(&folder).unwrap();
        let begun = Instant::now();
        let why = loop {
            if let Some(why) = capture.newest().1 {
                break why;
            }
            assert!(begun.elapsed() < limit, "nothing is said");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(why.contains("clip-wgpu-viewer-capture"), "{why}");
        put();
        let last = capture.newest().0.unwrap().number;
        assert!(capture.after(Some(last), limit).is_some(), "it goes on");
        assert_eq!(capture.newest().1, None);
        capture.close();
    }
}
