//! Who calls the device's callbacks.

#[cfg(not(target_arch = "wasm32"))]
use std::{sync::mpsc, thread::JoinHandle, time::Duration};

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

/// How long a wait may hold wgpu's locks: whoever presents, or destroys a buffer, waits for them.
#[cfg(not(target_arch = "wasm32"))]
const HOLD: Duration = Duration::from_millis(2);

/// A thread that polls the device after each [`PollThread::wake`] until all that was submitted is done.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
pub struct PollThread {
    wake: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[cfg(not(target_arch = "wasm32"))]
impl PollThread {
    fn new(device: wgpu::Device) -> Self {
        let (wake, receiver) = mpsc::channel();
        let poll = move || {
            while receiver.recv().is_ok() {
                // Only a wait that ran out leaves work behind: any other error is a lost device, and whoever waits sees its
                // map fail.
                let wait = || device.poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(HOLD) });
                while matches!(wait(), Err(wgpu::PollError::Timeout)) {
                    std::thread::yield_now();
                }
            }
        };
        let thread = std::thread::Builder::new().name("clip-wgpu poll".into()).spawn(poll).expect("a thread can be started");
        Self { wake: Some(wake), thread: Some(thread) }
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
        drop(self.wake.take());
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != std::thread::current().id()) {
            let _ = thread.join(); // it does not panic
        }
    }
}
