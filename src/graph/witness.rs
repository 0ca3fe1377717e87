//! Whether all of a run was done. A driver may give a command buffer up, and wgpu counts it as done: Metal's that failed
//! (gfx-rs/wgpu#9545), Direct3D's of a device that was removed meanwhile. What is read then is what lay there before. So each submission ends
//! with the run's number, and who reads the results looks for it.

use std::sync::atomic::{AtomicU32, Ordering};

use super::pending::ReadBack;
use super::session::storage;
use crate::error::{Error, Result};
use crate::gpu::Gpu;

/// Where a session's runs leave their numbers.
pub(super) struct Witness {
    run: AtomicU32,
    /// The number of the run that was handed over last.
    number: wgpu::Buffer,
    /// The number that each submission left.
    left: wgpu::Buffer,
}

/// Submissions that have a place of their own; of more, the last share one.
const MOST: usize = 1024;

impl Witness {
    pub fn new(gpu: &Gpu) -> Self {
        Self { run: AtomicU32::new(0), number: storage(gpu, "run", 4), left: storage(gpu, "runs", Self::BYTES) }
    }

    /// Of what a run leaves.
    pub const BYTES: u64 = 4 * MOST as u64;

    /// The number of a run that begins: what is submitted next writes it.
    pub fn begin(&self, gpu: &Gpu) -> u32 {
        let run = self.run.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        gpu.queue.write_buffer(&self.number, 0, &run.to_ne_bytes());
        run
    }

    /// The last that the submission of this number does.
    pub fn leave(&self, encoder: &mut wgpu::CommandEncoder, submission: usize) {
        encoder.copy_buffer_to_buffer(&self.number, 0, &self.left, 4 * submission.min(MOST - 1) as u64, 4);
    }

    /// Copies what the submissions left, which are so many.
    pub fn read(&self, encoder: &mut wgpu::CommandEncoder, to: &wgpu::Buffer, submissions: usize) {
        encoder.copy_buffer_to_buffer(&self.left, 0, to, 0, 4 * submissions.min(MOST) as u64);
    }
}

/// What the submissions of a run left, on its way to the host.
pub(super) struct Left {
    pub run: u32,
    pub submissions: usize,
    pub read: ReadBack,
}

impl Left {
    /// # Errors
    /// [`Error::DeviceLost`] where one of them was not done.
    pub async fn check(self) -> Result<()> {
        let left: Vec<u32> = self.read.whole().await?;
        match left.iter().take(self.submissions).all(|run| *run == self.run) {
            true => Ok(()),
            false => Err(Error::DeviceLost("the driver gave up a part of a run".into())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that fails may panic
mod tests {
    use super::*;

    #[test]
    fn a_submission_that_was_not_done_is_noticed() {
        pollster::block_on(async {
            let adapters = crate::gpu::instance(wgpu::Backends::NOOP).enumerate_adapters(wgpu::Backends::NOOP).await;
            let gpu = Gpu::open(&adapters[0]).await.unwrap();
            let witness = Witness::new(&gpu);
            let run = |done: &[usize], submissions: usize| {
                let run = witness.begin(&gpu);
                let mut encoder = gpu.device.create_command_encoder(&Default::default());
                done.iter().for_each(|&at| witness.leave(&mut encoder, at));
                let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                let to = gpu.device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: Witness::BYTES,
                    usage,
                    mapped_at_creation: false,
                });
                witness.read(&mut encoder, &to, submissions);
                gpu.queue.submit([encoder.finish()]);
                let read = ReadBack::new(&gpu, to, Default::default(), (0, 0, 1));
                gpu.wake();
                pollster::block_on(Left { run, submissions, read }.check())
            };
            assert!(run(&[0, 1, 2], 3).is_ok() && run(&[0, 1], 2).is_ok());
            for done in [&[0, 2][..], &[1, 2], &[0, 1], &[]] {
                assert!(matches!(run(done, 3), Err(Error::DeviceLost(_))), "{done:?}");
            }
            let all: Vec<usize> = (0..MOST + 9).collect();
            assert!(run(&all, all.len()).is_ok() && run(&all[1..], all.len()).is_err());
        });
    }
}
