//! A run that was handed over, and its results to come.

use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;

use super::witness::Left;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::send::BoxFuture;

/// Buffers for reading results back that no run is using.
pub(super) type ReadBacks = Arc<Mutex<Vec<wgpu::Buffer>>>;

/// A run's results, on their way. Dropped, it gives its buffers to the next run.
pub struct Pending(State);

enum State {
    /// Made when the run was handed over.
    #[cfg(feature = "host")]
    Ready(Vec<Vec<f32>>),
    Device {
        gpu: Gpu,
        refused: BoxFuture<'static, Option<wgpu::Error>>,
        /// Of this run, and of those whose results it reads.
        left: Vec<Left>,
        reads: Vec<ReadBack>,
    },
}

/// A value that is being copied to the host.
pub(super) struct ReadBack {
    gpu: Gpu,
    buffer: wgpu::Buffer,
    home: ReadBacks,
    mapped: oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
    rows: usize,
    width: usize,
    stride: usize,
}

impl ReadBack {
    /// Maps `buffer`, which a submitted copy fills, and gives it to `home` in the end.
    pub(super) fn new(gpu: &Gpu, buffer: wgpu::Buffer, home: ReadBacks, (rows, width, stride): (usize, usize, usize)) -> Self {
        let (sender, mapped) = oneshot::channel();
        buffer.slice(..).map_async(wgpu::MapMode::Read, move |result| drop(sender.send(result)));
        Self { gpu: gpu.clone(), buffer, home, mapped, rows, width, stride }
    }

    async fn mapped(&mut self) -> Result<wgpu::BufferView> {
        let lost = || Error::DeviceLost("before a result could be read".into());
        self.gpu.lost().or(&mut self.mapped).await.and_then(|mapped| mapped.ok()).ok_or_else(lost)?;
        self.buffer.slice(..).get_mapped_range().map_err(|e| Error::Device(e.to_string()))
    }

    /// All of it, as numbers of this type. It is no result: nobody counts it as one.
    pub(super) async fn whole<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(mut self) -> Result<Vec<T>> {
        Ok(bytemuck::pod_collect_to_vec(&self.mapped().await?[..]))
    }

    /// `[rows, width]`, without padding.
    async fn values(mut self) -> Result<Vec<f32>> {
        let mapped = self.mapped().await?;
        let padded: &[f32] = bytemuck::cast_slice(&mapped);
        let values: Vec<f32> = padded.chunks(self.stride).take(self.rows).flat_map(|row| &row[..self.width]).copied().collect();
        self.gpu.count_read(4 * values.len() as u64);
        Ok(values)
    }
}

impl Drop for ReadBack {
    fn drop(&mut self) {
        // What is still to come is called off. Where the mapping failed there is nothing to unmap, which is no error of ours.
        drop(self.gpu.scoped(|| self.buffer.unmap()));
        self.home.lock().unwrap_or_else(PoisonError::into_inner).push(self.buffer.clone());
    }
}

impl Pending {
    /// Results that are there already.
    #[cfg(feature = "host")]
    pub(crate) fn ready(values: Vec<Vec<f32>>) -> Self {
        Self(State::Ready(values))
    }

    pub(super) fn new(gpu: Gpu, refused: BoxFuture<'static, Option<wgpu::Error>>, left: Left, reads: Vec<ReadBack>) -> Self {
        Self(State::Device { gpu, refused, left: vec![left], reads })
    }

    /// This run, which reads what `before` leaves on the device: what was refused or given up of either is said.
    pub(crate) fn after(self, before: Pending) -> Self {
        match (self.0, before.0) {
            (State::Device { gpu, refused, left, reads }, State::Device { refused: earlier, left: mut all, .. }) => {
                all.extend(left);
                let refused = Box::pin(async {
                    match earlier.await {
                        None => refused.await,
                        error => error,
                    }
                });
                Self(State::Device { gpu, refused, left: all, reads })
            }
            #[cfg(feature = "host")]
            (state, _) => Self(state),
        }
    }

    /// Waits for the values that were asked for, in that order: each `[rows, width]`.
    ///
    /// # Errors
    /// What the device refused, in the run or since: [`Error::Device`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub async fn values(self) -> Result<Vec<Vec<f32>>> {
        match self.0 {
            #[cfg(feature = "host")]
            State::Ready(values) => Ok(values),
            State::Device { gpu, refused, left, reads } => {
                if let Some(error) = refused.await {
                    return Err(gpu.refusal("a run", &error));
                }
                for run in left {
                    run.check().await?;
                }
                let mut values = Vec::with_capacity(reads.len());
                for read in reads {
                    values.push(read.values().await?);
                }
                Ok(values)
            }
        }
    }
}
