use std::sync::Arc;

use super::vision::Ends;
use crate::device::Executor;
use crate::error::Result;
use crate::graph::plan::Plan;
use crate::graph::session::{Data, Session, fitting_batch};
use crate::graph::{Graph, Size, Value};
use crate::host::HostSession;
use crate::weights::DeviceWeights;
use crate::weights::load::Weights;

/// A graph with its weights, ready to run where its executor runs it.
pub enum Runner {
    Gpu { session: Session, weights: DeviceWeights },
    Host(HostSession),
}

impl Runner {
    /// `kept` values, the last of which is the output, can be read after a run. A device that cannot hold `capacity`'s batch
    /// gets a smaller one.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge), or what the device says.
    pub async fn new(executor: &Executor, graph: Arc<Graph>, weights: Weights, kept: &[Value], capacity: Size) -> Result<Self> {
        match (executor, weights) {
            (Executor::Gpu(gpu), Weights::Gpu(weights)) => {
                let batch = fitting_batch(gpu, &graph, capacity.batch, capacity.tokens)?;
                let session = Session::new(gpu, graph, &weights, kept, Size { batch, ..capacity }).await?;
                Ok(Runner::Gpu { session, weights })
            }
            (Executor::Host, Weights::Host(weights)) => Ok(Runner::Host(HostSession::new(graph, weights, kept, capacity))),
            _ => unreachable!("weights are loaded for their executor"),
        }
    }

    /// Runs the graph and reads the values `read`, which must be among the kept ones: each `[rows, width]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) where an input's length is not that of `size`, or what the device says.
    pub async fn run_and_read(&self, inputs: &[(Value, Data<'_>)], size: Size, read: &[Value]) -> Result<Vec<Vec<f32>>> {
        match self {
            Runner::Gpu { session, .. } => session.run_and_read(inputs, size, read).await,
            Runner::Host(session) => session.run_and_read(inputs, size, read),
        }
    }

    pub fn capacity(&self) -> Size {
        match self {
            Runner::Gpu { session, .. } => session.capacity(),
            Runner::Host(session) => session.capacity(),
        }
    }

    pub fn plan(&self) -> &Plan {
        match self {
            Runner::Gpu { session, .. } => session.plan(),
            Runner::Host(session) => session.plan(),
        }
    }

    /// Dispatches of one run; on the host, the ops that it calls.
    pub fn dispatches(&self) -> usize {
        match self {
            Runner::Gpu { session, .. } => session.dispatches(),
            Runner::Host(session) => session.ops(),
        }
    }

    /// Bytes of the weights where they are used.
    pub fn weight_bytes(&self) -> u64 {
        match self {
            Runner::Gpu { weights, .. } => weights.values().map(|w| w.bytes()).sum(),
            Runner::Host(session) => session.weights().values().map(|w| w.bytes()).sum(),
        }
    }
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
    /// Runs the tower and reads its embeddings `[batch, embed]`.
    ///
    /// # Errors
    /// As [`Runner::run_and_read`].
    pub async fn embed(&self, inputs: &[(Value, Data<'_>)], size: Size) -> Result<Vec<f32>> {
        Ok(self.runner.run_and_read(inputs, size, &[self.output]).await?.remove(0))
    }

    /// The values of the tower's weights, without the ones that no checkpoint has.
    pub fn parameters(&self) -> usize {
        let none = Size { batch: 0, tokens: 0 };
        self.graph.weights().filter(|(_, d)| d.name != super::ZEROS).map(|(_, d)| d.rows(none) * d.width).sum()
    }
}
