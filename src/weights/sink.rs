//! Where a weight's rows go as they are read: to the device, or to the host's memory.

use super::Format;
use super::Grain;
use crate::device::Executor;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::{Desc, DeviceWeight, Operand};
#[cfg(feature = "host")]
use crate::host::HostWeight;

/// A weight's rows are the same in every run.
#[cfg(feature = "host")]
const NO_RUN: crate::graph::Size = crate::graph::Size { batch: 0, tokens: 0 };

/// A weight that is being filled, in runs of rows.
pub enum Sink<'a> {
    Gpu {
        gpu: &'a Gpu,
        weight: DeviceWeight,
    },
    #[cfg(feature = "host")]
    Host {
        weight: HostWeight,
        width: usize,
        format: Format,
    },
}

/// A weight where it is used.
pub enum Filled {
    Gpu(DeviceWeight),
    #[cfg(feature = "host")]
    Host(HostWeight),
}

impl<'a> Sink<'a> {
    /// Room for the weight `desc`, zeros so far.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge); [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub async fn new(
        executor: &'a Executor,
        desc: &Desc,
        format: Format,
        operand: Operand,
        #[cfg_attr(not(feature = "host"), allow(unused_variables))] grain: Option<Grain>,
    ) -> Result<Self> {
        match executor {
            Executor::Gpu(gpu) => {
                let (weight, refusals) = gpu.scoped(|| DeviceWeight::new(gpu, desc, format, operand == Operand::Table));
                refusals.check(gpu, &format!("the weight `{}`", desc.name)).await?;
                Ok(Sink::Gpu { gpu, weight: weight? })
            }
            #[cfg(feature = "host")]
            Executor::Host => {
                let weight = HostWeight::zeros(operand, format, grain, desc.rows(NO_RUN), desc.width);
                Ok(Sink::Host { weight, width: desc.width, format })
            }
        }
    }

    /// Values to write at a time: 8 MiB for a device, which each write waits for, and in a browser, where each read goes through
    /// JavaScript; else what stays in a second-level cache while it is read, checked and packed.
    pub fn piece(&self) -> usize {
        match self {
            #[cfg(all(feature = "host", not(target_arch = "wasm32")))]
            Sink::Host { .. } => 64 << 10,
            _ => 2 << 20,
        }
    }

    /// Writes `values` (`[n, width]`) from row `first` on.
    ///
    /// # Errors
    /// [`Error::DeviceLost`](crate::Error::DeviceLost)
    pub async fn write(&mut self, first: usize, values: &[f32]) -> Result<()> {
        match self {
            Sink::Gpu { gpu, weight } => {
                let ((), refusals) = gpu.scoped(|| weight.write(gpu, first, values));
                refusals.check(gpu, "the upload of weights").await?;
                // A round trip costs more than what small weights leave in staging memory.
                if values.len() > 1 << 18 { flush(gpu).await } else { Ok(()) }
            }
            #[cfg(feature = "host")]
            Sink::Host { weight, width, format } => {
                weight.write(first, &format.round(values), *width);
                Ok(())
            }
        }
    }

    pub fn finish(self) -> Filled {
        match self {
            Sink::Gpu { weight, .. } => Filled::Gpu(weight),
            #[cfg(feature = "host")]
            Sink::Host { weight, .. } => Filled::Host(weight),
        }
    }
}

/// Submits what was written and waits for it, so that no second copy of the checkpoint gathers in staging memory.
async fn flush(gpu: &Gpu) -> Result<()> {
    gpu.queue.submit([]);
    gpu.done("while weights were written").await
}
