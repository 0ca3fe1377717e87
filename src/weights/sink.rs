//! Where a weight's rows go as they are read: to the device, or to the host's memory.

use super::{DeviceWeight, Format};
use crate::device::Executor;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Desc, Rows};
use crate::host::HostWeight;

/// How the ops read a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Whole, as f32: gains, biases, positions.
    Plain,
    /// As the right side of a product.
    Product,
    /// Row by row.
    Table,
}

/// A weight that is being filled, in runs of rows.
pub enum Sink<'a> {
    Gpu { gpu: &'a Gpu, weight: DeviceWeight },
    Host { rows: Vec<f32>, width: usize, format: Format, usage: Use },
}

/// A weight where it is used.
pub enum Filled {
    Gpu(DeviceWeight),
    Host(HostWeight),
}

impl<'a> Sink<'a> {
    /// Room for the weight `desc`, zeros so far.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Device`] where the device is out of memory.
    pub async fn new(executor: &'a Executor, desc: &Desc, format: Format, usage: Use) -> Result<Self> {
        let Rows::Fixed(rows) = desc.rows else { unreachable!("weights have fixed rows") };
        match executor {
            Executor::Gpu(gpu) => {
                let (weight, error) = {
                    let memory = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
                    (DeviceWeight::new(gpu, desc, format, usage == Use::Table), memory.pop())
                };
                match error.await {
                    None => Ok(Sink::Gpu { gpu, weight: weight? }),
                    Some(error) => Err(Error::Device(format!("no memory for weight `{}`: {error}", desc.name))),
                }
            }
            Executor::Host => Ok(Sink::Host { rows: vec![0.0; rows * desc.width], width: desc.width, format, usage }),
        }
    }

    /// Writes `values` (`[n, width]`) from row `first` on.
    ///
    /// # Errors
    /// [`Error::DeviceLost`]
    pub async fn write(&mut self, first: usize, values: &[f32]) -> Result<()> {
        match self {
            Sink::Gpu { gpu, weight } => {
                weight.write(gpu, first, values);
                // A round trip costs more than what small weights leave in staging memory.
                if values.len() > 1 << 18 { flush(gpu).await } else { Ok(()) }
            }
            Sink::Host { rows, width, format, .. } => {
                rows[first * *width..][..values.len()].copy_from_slice(&format.round(values));
                Ok(())
            }
        }
    }

    pub fn finish(self) -> Filled {
        match self {
            Sink::Gpu { weight, .. } => Filled::Gpu(weight),
            Sink::Host { rows, width, format, usage } => Filled::Host(match usage {
                Use::Plain => HostWeight::Plain(rows),
                Use::Product => HostWeight::packed(&rows, width),
                Use::Table => HostWeight::table(format, &rows, width),
            }),
        }
    }
}

/// Submits what was written and waits for it, so that no second copy of the checkpoint gathers in staging memory.
async fn flush(gpu: &Gpu) -> Result<()> {
    let (sender, receiver) = futures::channel::oneshot::channel();
    gpu.queue.submit([]);
    gpu.queue.on_submitted_work_done(move || sender.send(()).unwrap_or(()));
    gpu.wake();
    receiver.await.map_err(|_| Error::DeviceLost("while weights were written".into()))
}
