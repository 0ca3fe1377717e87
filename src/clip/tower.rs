use std::sync::Arc;

use super::vision::Ends;
use crate::device::Executor;
use crate::error::{Error, Result};
use crate::graph::plan::Plan;
#[cfg(not(target_arch = "wasm32"))]
use crate::graph::session::pipelines;
use crate::graph::submissions::fitting_batch;
use crate::graph::{Data, Graph, Pending, Session, Size, Target, Timing, Value};
#[cfg(feature = "host")]
use crate::host::HostSession;
use crate::weights::load::Weights;

/// A graph with its weights, ready to run where its executor runs it.
pub enum Runner {
    Gpu(Session),
    #[cfg(feature = "host")]
    Host(HostSession),
}

impl Runner {
    /// `kept` values can be read after a run. A device that cannot hold `capacity`'s batch gets half of it, and half again.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where one item does not fit, or what the device says.
    pub async fn new(executor: &Executor, graph: Arc<Graph>, weights: Weights, kept: &[Value], capacity: Size) -> Result<Self> {
        match (executor, weights) {
            (Executor::Gpu(gpu), Weights::Gpu(weights)) => {
                let mut batch = if capacity.batch == 0 { 0 } else { fitting_batch(gpu, &graph, capacity.batch, capacity.tokens)? };
                loop {
                    match Session::new(gpu, graph.clone(), weights.clone(), kept, Size { batch, ..capacity }).await {
                        Err(Error::OutOfMemory(_)) if batch > 1 => batch /= 2,
                        Err(Error::OutOfMemory(_)) => {
                            let bytes = crate::graph::plan::plan(&graph, kept, Size { batch: 1, ..capacity }, &[]).slot_bytes.iter().sum();
                            let what = "a run of one item, beside the weights,".into();
                            return Err(Error::TooLarge { what, bytes, limit: gpu.caps.session_bytes });
                        }
                        session => return session.map(Runner::Gpu),
                    }
                }
            }
            #[cfg(feature = "host")]
            (Executor::Host, Weights::Host(weights)) => HostSession::new(graph, weights, kept, capacity).map(Runner::Host),
            #[cfg(feature = "host")]
            _ => unreachable!("weights are loaded for their executor"),
        }
    }

    /// Hands a run over, whose `read` values must be among the kept ones. The host's is done when this returns.
    ///
    /// # Errors
    /// [`Error::Shape`] where an input is missing or its length is not that of `size`, or what the device says.
    pub fn submit(&self, inputs: &[(Value, Data<'_>)], size: Size, read: &[Value]) -> Result<Pending> {
        match self {
            Runner::Gpu(session) => {
                let results: Vec<_> = read.iter().map(|v| (*v, Target::Host)).collect();
                session.submit(inputs, size, &results)
            }
            #[cfg(feature = "host")]
            Runner::Host(session) => session.run_and_read(inputs, size, read).map(Pending::ready),
        }
    }

    /// Runs the graph and reads the values `read`: each `[rows, width]`.
    ///
    /// # Errors
    /// As [`Runner::submit`] and [`Pending::values`].
    pub async fn run_and_read(&self, inputs: &[(Value, Data<'_>)], size: Size, read: &[Value]) -> Result<Vec<Vec<f32>>> {
        self.submit(inputs, size, read)?.values().await
    }

    /// The time of each node of a run.
    ///
    /// # Errors
    /// As [`Session::profile`].
    pub async fn profile(&self, inputs: &[(Value, Data<'_>)], size: Size) -> Result<Vec<Timing>> {
        match self {
            Runner::Gpu(session) => session.profile(inputs, size).await,
            #[cfg(all(feature = "host", not(target_arch = "wasm32")))]
            Runner::Host(session) => session.profile(inputs, size),
            #[cfg(all(feature = "host", target_arch = "wasm32"))]
            Runner::Host(_) => Err(Error::Device("the CPU executor has no clock in the browser".into())),
        }
    }

    pub fn capacity(&self) -> Size {
        match self {
            Runner::Gpu(session) => session.capacity(),
            #[cfg(feature = "host")]
            Runner::Host(session) => session.capacity(),
        }
    }

    pub fn plan(&self) -> &Plan {
        match self {
            Runner::Gpu(session) => session.plan(),
            #[cfg(feature = "host")]
            Runner::Host(session) => session.plan(),
        }
    }

    /// Dispatches of one run of the whole capacity; on the host, the ops that it calls.
    pub fn dispatches(&self) -> usize {
        match self {
            Runner::Gpu(session) => session.dispatches(),
            #[cfg(feature = "host")]
            Runner::Host(session) => session.ops(),
        }
    }

    /// The weights, which other sessions may read too.
    pub fn weights(&self) -> Weights {
        match self {
            Runner::Gpu(session) => Weights::Gpu(session.weights().clone()),
            #[cfg(feature = "host")]
            Runner::Host(session) => Weights::Host(session.weights().clone()),
        }
    }

    /// Bytes of the weights where they are used.
    pub fn weight_bytes(&self) -> u64 {
        match self {
            Runner::Gpu(session) => session.weights().values().map(|w| w.bytes()).sum(),
            #[cfg(feature = "host")]
            Runner::Host(session) => session.weights().values().map(|w| w.bytes()).sum(),
        }
    }
}

/// A tower whose weights are where they run, and whose kernels may still be compiling.
pub(super) struct Compiling {
    pub graph: Arc<Graph>,
    pub ends: Ends,
    pub weights: Weights,
    pub capacity: Size,
    pub compiled: Ahead,
}

/// Work on another thread, whose result others will find done.
#[derive(Default)]
pub(super) struct Ahead(#[cfg(not(target_arch = "wasm32"))] Option<std::thread::JoinHandle<()>>);

impl Ahead {
    pub fn wait(self) {
        #[cfg(not(target_arch = "wasm32"))]
        let _ = self.0.map(std::thread::JoinHandle::join); // who needs the result will meet its error
    }
}

/// Compiles the kernels of a graph on a thread of its own, where there are threads.
#[cfg_attr(target_arch = "wasm32", allow(unused_variables))] // the browser compiles when a session asks
#[cfg_attr(not(feature = "host"), allow(irrefutable_let_patterns))] // there is one kind of executor
pub(super) fn compile_ahead(executor: &Executor, graph: &Arc<Graph>, weights: &Weights, capacity: Size) -> Ahead {
    #[cfg(not(target_arch = "wasm32"))]
    if let (Executor::Gpu(gpu), Weights::Gpu(weights)) = (executor, weights) {
        let (gpu, graph, weights) = (gpu.clone(), graph.clone(), weights.clone());
        let compile = move || drop(pollster::block_on(pipelines(&gpu, &graph, &weights, capacity)));
        return Ahead(std::thread::Builder::new().name("compile".into()).spawn(compile).ok());
    }
    Ahead::default()
}

/// One tower, loaded.
pub struct Tower {
    pub graph: Arc<Graph>,
    pub ends: Ends,
    /// What [`Tower::embed`] reads: the embedding, or the projection before it has unit length.
    pub output: Value,
    pub runner: Runner,
}

impl Tower {
    /// Hands a run over, whose result is the embeddings `[batch, embed]`.
    ///
    /// # Errors
    /// As [`Runner::submit`].
    pub fn embed(&self, inputs: &[(Value, Data<'_>)], size: Size) -> Result<Pending> {
        self.runner.submit(inputs, size, &[self.output])
    }

    /// The values of the tower's weights.
    pub fn parameters(&self) -> u64 {
        let none = Size { batch: 0, tokens: 0 };
        self.graph.weights().map(|(_, d)| d.rows(none) as u64 * d.width as u64).sum()
    }
}
