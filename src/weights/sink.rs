//! Where a weight's rows go as they are read: to the device, or to the host's memory.

use super::Format;
use super::Grain;
use crate::device::Executor;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::{Desc, DeviceWeight, Operand};
#[cfg(feature = "host")]
use crate::host::{HostWeight, IntegerPanels};

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
        rows: Vec<f32>,
        width: usize,
        format: Format,
        operand: Operand,
        /// Of a matrix that is multiplied with; `None` for f32.
        grain: Option<Grain>,
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
    /// [`Error::TooLarge`]; [`Error::Device`] where the device is out of memory.
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
            Executor::Host => Ok(Sink::Host { rows: vec![0.0; desc.rows(NO_RUN) * desc.width], width: desc.width, format, operand, grain }),
        }
    }

    /// Writes `values` (`[n, width]`) from row `first` on.
    ///
    /// # Errors
    /// [`Error::DeviceLost`]
    pub async fn write(&mut self, first: usize, values: &[f32]) -> Result<()> {
        match self {
            Sink::Gpu { gpu, weight } => {
                let ((), refusals) = gpu.scoped(|| weight.write(gpu, first, values));
                refusals.check(gpu, "the upload of weights").await?;
                // A round trip costs more than what small weights leave in staging memory.
                if values.len() > 1 << 18 { flush(gpu).await } else { Ok(()) }
            }
            #[cfg(feature = "host")]
            Sink::Host { rows, width, format, .. } => {
                rows[first * *width..][..values.len()].copy_from_slice(&format.round(values));
                Ok(())
            }
        }
    }

    pub fn finish(self) -> Filled {
        match self {
            Sink::Gpu { weight, .. } => Filled::Gpu(weight),
            #[cfg(feature = "host")]
            Sink::Host { rows, width, format, operand, grain } => Filled::Host(match operand {
                Operand::Rows | Operand::Texture => HostWeight::Plain(rows),
                Operand::Weight => match grain {
                    Some(grain) => HostWeight::Integers(IntegerPanels::new(grain, &rows, width)),
                    None => HostWeight::packed(&rows, width),
                },
                Operand::Table => HostWeight::table(format, &rows, width),
            }),
        }
    }
}

/// Submits what was written and waits for it, so that no second copy of the checkpoint gathers in staging memory.
async fn flush(gpu: &Gpu) -> Result<()> {
    gpu.queue.submit([]);
    gpu.done("while weights were written").await
}
