//! What a device reaches at most, measured: the yardstick of a profile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::device::Executor;
use crate::error::Result;
use crate::gpu::{Format, Gpu};
use crate::graph::{DeviceWeight, DeviceWeights, Graph, Session, Size};
use crate::ops;

/// Rates that nothing on a device passes in f32.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// 10⁹ floating-point operations per second in f32, a multiply-add counted as two.
    pub gflops: f64,
    /// 10⁹ bytes per second, read and written.
    pub gbytes_per_second: f64,
}

/// How long each of both is measured.
const TIME: Duration = Duration::from_millis(700);
/// What asking and waiting do not show in.
const LONG: Duration = Duration::from_millis(40);
/// Values of a row.
const WIDTH: usize = 4096;

impl Executor {
    /// Measures the device, in about two seconds. Of the host's processor it is what its library of products, and a copy, reach.
    ///
    /// # Errors
    /// What the device says.
    pub async fn peak(&self) -> Result<Peak> {
        match self {
            Executor::Gpu(gpu) => of_gpu(gpu).await,
            #[cfg(feature = "host")]
            Executor::Host => of_host(),
        }
    }
}

async fn of_gpu(gpu: &Gpu) -> Result<Peak> {
    let bytes: usize = if gpu.caps.software { 64 << 20 } else { 128 << 20 }; // both more than caches hold, and no more than one binding
    let copied = quickest(gpu, ops::Peak { loops: 0 }, bytes / (4 * WIDTH)).await?;
    let (loops, rows) = if gpu.caps.software { (64, 64) } else { (512, 2048) };
    let op = ops::Peak { loops };
    let flops = (ops::Peak::FLOPS * loops * rows * WIDTH / 4) as f64;
    let computed = quickest(gpu, op, rows).await?;
    Ok(Peak { gflops: flops / computed / 1e9, gbytes_per_second: (2 * bytes) as f64 / copied / 1e9 })
}

/// Seconds of the quickest of many runs of `op`, several to a wait where one is short: asking and waiting take up to a millisecond.
async fn quickest(gpu: &Gpu, op: ops::Peak, rows: usize) -> Result<f64> {
    let mut graph = Graph::default();
    let x = graph.weight("x", rows, WIDTH);
    let y = graph.push("y", op, &[x])?;
    let (weight, refusals) = gpu.scoped(|| DeviceWeight::new(gpu, graph.desc(x), Format::F32, false));
    refusals.check(gpu, "the peak's operands").await?;
    let size = Size { batch: rows, tokens: 1 };
    let session = Session::new(gpu, Arc::new(graph), Arc::new(DeviceWeights::from([(x, weight?)])), &[y], size).await?;
    let (mut best, mut runs, start) = (f64::INFINITY, 1, Instant::now());
    while best == f64::INFINITY || start.elapsed() < TIME {
        let before = Instant::now();
        let handed_over = (0..runs).map(|_| session.submit(&[], size, &[])).collect::<Result<Vec<_>>>()?;
        gpu.done("while it was measured").await?;
        let took = before.elapsed();
        for run in handed_over {
            run.values().await?;
        }
        best = best.min(took.as_secs_f64() / f64::from(runs));
        if took < LONG {
            runs *= 2;
        }
    }
    Ok(best)
}

#[cfg(feature = "host")]
fn of_host() -> Result<Peak> {
    use crate::gpu::Format;
    use crate::graph::{Data, Kind, Operand, Rows};
    use crate::host::{HostSession, HostWeight, HostWeights};
    use rayon::prelude::*;

    const SIDE: usize = 1024;
    let mut graph = Graph::default();
    let (x, w) = (graph.input("x", Rows::Items, SIDE, Kind::F32), graph.weight("w", SIDE, SIDE));
    let y = graph.push("y", ops::Linear { act: ops::Act::None, bias: false, residual: false }, &[x, w])?;
    let weights = HostWeights::from([(w, HostWeight::new(Operand::Weight, Format::F32, None, &vec![0.5; SIDE * SIDE], SIDE))]);
    let size = Size { batch: SIDE, tokens: 1 };
    let session = HostSession::new(Arc::new(graph), Arc::new(weights), &[y], size)?;
    let data = vec![0.25; SIDE * SIDE];
    let computed = quickest_of(|| session.run_and_read(&[(x, Data::F32(&data))], size, &[y]).map(drop))?;
    let from = vec![1u8; 64 << 20];
    let mut to = vec![0u8; from.len()];
    let copied = quickest_of(|| {
        to.par_chunks_mut(1 << 20).zip(from.par_chunks(1 << 20)).for_each(|(to, from)| to.copy_from_slice(from));
        Ok(())
    })?;
    Ok(Peak { gflops: 2.0 * (SIDE as f64).powi(3) / computed / 1e9, gbytes_per_second: 2.0 * from.len() as f64 / copied / 1e9 })
}

/// Seconds of the quickest of many calls.
#[cfg(feature = "host")]
fn quickest_of(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let (mut best, start) = (f64::INFINITY, Instant::now());
    while best == f64::INFINITY || start.elapsed() < TIME {
        let before = Instant::now();
        call()?;
        best = best.min(before.elapsed().as_secs_f64());
    }
    Ok(best)
}
