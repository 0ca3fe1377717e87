//! What a device refuses, as an `Err`.

use super::Gpu;
use crate::error::{Error, Result};
use crate::send::BoxFuture;

/// What went wrong while a scope was open; to be awaited when it is closed.
pub(crate) struct Refusals([BoxFuture<'static, Option<wgpu::Error>>; 3]);

impl Gpu {
    /// Runs `f` under scopes for every kind of error that a device reports. Scopes belong to their thread: nothing is awaited
    /// in `f`.
    pub(crate) fn scoped<T>(&self, f: impl FnOnce() -> T) -> (T, Refusals) {
        let invalid = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let made = f();
        (made, Refusals([Box::pin(memory.pop()), Box::pin(internal.pop()), Box::pin(invalid.pop())]))
    }

    /// An error if the device is lost, as far as is known.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost().is()
    }

    /// What a device's error means, where `what` is what it was asked for.
    pub(crate) fn refusal(&self, what: &str, error: &wgpu::Error) -> Error {
        let message = error.to_string();
        match error {
            // Out of memory for what wgpu itself needs loses the device. An application's has no callback of ours: its errors say it.
            _ if self.is_lost() || message.contains("is lost") => Error::DeviceLost(what.into()),
            wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory(what.into()),
            _ => Error::Device(format!("{what}: {message}")),
        }
    }
}

impl Refusals {
    /// The first error, if there was any.
    pub(crate) async fn first(self) -> Option<wgpu::Error> {
        let mut first = None;
        for scope in self.0 {
            first = first.or(scope.await);
        }
        first
    }

    /// The first error as an `Err`, where `what` is what the device was asked for.
    pub(crate) async fn check(self, gpu: &Gpu, what: &str) -> Result<()> {
        match self.first().await {
            None => Ok(()),
            Some(error) => Err(gpu.refusal(what, &error)),
        }
    }
}
