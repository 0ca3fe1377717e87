//! Who calls the device's callbacks.

use std::sync::Arc;
#[cfg(not(target_arch = "wasm32"))]
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::lost::Lost;

/// Who polls a device, and what is told when it is lost.
#[derive(Debug, Default)]
pub struct Polling {
    pub(super) lost: Arc<Lost>,
    /// Ends with the last [`Gpu`](super::Gpu) of the device. Without one the application that the device belongs to polls, or the
    /// browser.
    #[cfg(not(target_arch = "wasm32"))]
    thread: Option<PollThread>,
}

impl Polling {
    /// A thread of our own; in the browser, which polls by itself, none.
    #[cfg_attr(target_arch = "wasm32", expect(unused_variables))]
    pub fn of_our_own(device: &wgpu::Device) -> Self {
        let lost = Arc::<Lost>::default();
        Self {
            #[cfg(not(target_arch = "wasm32"))]
            thread: Some(PollThread::new(device.clone(), lost.clone())),
            lost,
        }
    }

    /// The application polls: `device.poll(PollType::Poll)` once a frame will do.
    pub fn by_the_application(_: &wgpu::Device) -> Self {
        Self::default()
    }

    /// Asks for the callbacks of what has been submitted.
    pub(super) fn wake(&self) {
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(thread) = &self.thread {
            thread.wake();
        }
    }
}

/// How long the thread sleeps between two looks: a sixteenth of the time since the last [`PollThread::wake`], within these. A wait inside wgpu would
/// hold its locks, for which whoever presents or destroys a buffer waits; and one with a timeout panics where another thread
/// submits meanwhile (wgpu-core 30.0.1, an assertion of `Device::maintain`).
#[cfg(not(target_arch = "wasm32"))]
const PAUSE: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(1)];

/// A thread that polls the device after each [`PollThread::wake`] until all that was submitted is done.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
struct PollThread {
    wake: Option<mpsc::Sender<()>>,
    /// Set with the last [`Gpu`](super::Gpu): a queue that is gone is never empty.
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[cfg(not(target_arch = "wasm32"))]
impl PollThread {
    fn new(device: wgpu::Device, lost: Arc<Lost>) -> Self {
        let (wake, receiver) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let poll_once = move || device.poll(wgpu::PollType::Poll);
        let poll = move || {
            while receiver.recv().is_ok() {
                let mut begun = Instant::now();
                while !stopped.load(Ordering::Relaxed) && !is_done_or_lost(&poll_once, &lost) {
                    if receiver.try_iter().count() > 0 {
                        begun = Instant::now(); // more was submitted: the queue may never be empty
                    }
                    std::thread::sleep((begun.elapsed() / 16).clamp(PAUSE[0], PAUSE[1]));
                }
            }
        };
        let thread = std::thread::Builder::new().name("clip-wgpu poll".into()).spawn(poll).expect("a thread can be started");
        Self { wake: Some(wake), stop, thread: Some(thread) }
    }

    fn wake(&self) {
        if let Some(wake) = &self.wake {
            let _ = wake.send(()); // the thread lives as long as this
        }
    }
}

/// Whether there is nothing left to wait for. Of a lost device wgpu makes a panic (`handle_error_fatal` of wgpu 30).
#[cfg(not(target_arch = "wasm32"))]
fn is_done_or_lost(poll_once: impl Fn() -> Result<wgpu::PollStatus, wgpu::PollError>, lost: &Lost) -> bool {
    match catch_unwind(AssertUnwindSafe(poll_once)) {
        Ok(Ok(status)) => status.is_queue_empty(),
        _ => {
            lost.tell();
            true
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Drop for PollThread {
    /// Waits for the thread: a driver that is still at work in it while the process ends can crash.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.wake.take());
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != std::thread::current().id()) {
            let _ = thread.join(); // it does not panic
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_that_panics_or_fails_is_a_device_that_is_lost() {
        let lost = Lost::default();
        assert!(is_done_or_lost(|| Ok(wgpu::PollStatus::QueueEmpty), &lost) && !is_done_or_lost(|| Ok(wgpu::PollStatus::Poll), &lost));
        assert!(!lost.is());
        assert!(is_done_or_lost(|| panic!("the device is lost"), &lost) && lost.is());
        let other = Lost::default();
        assert!(is_done_or_lost(|| Err(wgpu::PollError::Timeout), &other) && other.is());
    }
}
