//! Whether a device is lost, and who wants to know.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use futures::channel::oneshot;
use futures::future::{Either, FutureExt, Shared, select};

/// Told once that a device is lost. Those who wait for its callbacks wait for this as well: of a device that is lost in the
/// middle of a run, wgpu calls none (wgpu-core 30.0.1, `Device::maintain` returns before).
#[derive(Debug)]
pub struct Lost {
    is: AtomicBool,
    tell: Mutex<Option<oneshot::Sender<()>>>,
    told: Shared<oneshot::Receiver<()>>,
}

impl Default for Lost {
    fn default() -> Self {
        let (tell, told) = oneshot::channel();
        Self { is: AtomicBool::new(false), tell: Mutex::new(Some(tell)), told: told.shared() }
    }
}

impl Lost {
    /// The device is lost.
    pub fn tell(&self) {
        self.is.store(true, Ordering::Relaxed);
        if let Some(tell) = self.tell.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = tell.send(()); // this keeps a receiver
        }
    }

    /// As far as is known.
    pub fn is(&self) -> bool {
        self.is.load(Ordering::Relaxed)
    }

    /// What `callback` brings; `None` where it is not called any more.
    pub async fn or<T>(&self, callback: &mut oneshot::Receiver<T>) -> Option<T> {
        match select(callback, self.told.clone()).await {
            Either::Left((called, _)) => called.ok(),
            Either::Right(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn whoever_waits_is_told() {
        let lost = Arc::new(Lost::default());
        let (called, mut callback) = oneshot::channel();
        assert!(called.send(7).is_ok() && pollster::block_on(lost.or(&mut callback)) == Some(7));
        let (_never_called, mut callback) = oneshot::channel::<()>();
        let waiting = std::thread::spawn({
            let lost = lost.clone();
            move || pollster::block_on(lost.or(&mut callback))
        });
        assert!(!lost.is());
        lost.tell();
        lost.tell(); // by the callback and by the poll thread
        assert!(lost.is() && matches!(waiting.join(), Ok(None)));
        let (_never_called, mut later) = oneshot::channel::<()>();
        assert_eq!(pollster::block_on(lost.or(&mut later)), None);
    }
}
