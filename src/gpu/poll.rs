//! Who calls the device's callbacks.

#[cfg(not(target_arch = "wasm32"))]
use std::{
    sync::atomic::{AtomicBool, Ordering},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Who polls a device.
#[derive(Debug)]
pub enum Polling {
    /// A thread of our own, which ends with the last [`Gpu`](super::Gpu) of the device.
    #[cfg(not(target_arch = "wasm32"))]
    Thread(PollThread),
    /// The application that the device belongs to, or the browser.
    Elsewhere,
}

impl Polling {
    /// A thread of our own; in the browser, which polls by itself, none.
    #[cfg_attr(target_arch = "wasm32", expect(unused_variables))]
    pub fn of_our_own(device: &wgpu::Device) -> Self {
        #[cfg(not(target_arch = "wasm32"))]
        return Polling::Thread(PollThread::new(device.clone()));
        #[cfg(target_arch = "wasm32")]
        Polling::Elsewhere
    }

    /// The application polls: `device.poll(PollType::Poll)` once a frame will do.
    pub fn by_the_application(_: &wgpu::Device) -> Self {
        Polling::Elsewhere
    }

    /// Asks for the callbacks of what has been submitted.
    pub(super) fn wake(&self) {
        #[cfg(not(target_arch = "wasm32"))]
        if let Polling::Thread(thread) = self {
            thread.wake();
        }
    }
}

/// How long the thread sleeps between two looks: a sixteenth of the time that it has waited, within these. A wait inside wgpu would
/// hold its locks, for which whoever presents or destroys a buffer waits; and one with a timeout panics where another thread
/// submits meanwhile (wgpu-core 30.0.1, an assertion of `Device::maintain`).
#[cfg(not(target_arch = "wasm32"))]
const PAUSE: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(1)];

/// A thread that polls the device after each [`PollThread::wake`] until all that was submitted is done.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
pub struct PollThread {
    wake: Option<mpsc::Sender<()>>,
    /// Set with the last [`Gpu`](super::Gpu): a queue that is gone is never empty.
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[cfg(not(target_arch = "wasm32"))]
impl PollThread {
    fn new(device: wgpu::Device) -> Self {
        let (wake, receiver) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let poll = move || {
            while receiver.recv().is_ok() {
                let begun = Instant::now();
                // An error is a lost device: whoever waits sees its map fail.
                while !stopped.load(Ordering::Relaxed)
                    && matches!(device.poll(wgpu::PollType::Poll), Ok(status) if !status.is_queue_empty())
                {
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
