use std::sync::{Arc, Mutex, PoisonError};
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

use super::{HostWeights, Operand, host_op};
use crate::error::{Error, Result};
#[cfg(not(target_arch = "wasm32"))]
use crate::graph::Timing;
use crate::graph::plan::{Plan, plan};
use crate::graph::session::{Data, check_kept, check_run};
use crate::graph::{Graph, Origin, Size, Value};

/// A planned graph on the host.
pub struct HostSession {
    graph: Arc<Graph>,
    weights: Arc<HostWeights>,
    plan: Plan,
    capacity: Size,
    kept: Vec<Value>,
    /// Sets of slots that no run is using.
    free: Mutex<Vec<Slots>>,
}

type Slots = Vec<Vec<f32>>;

impl HostSession {
    /// `kept` values can be read after a run.
    ///
    /// # Errors
    /// [`Error::Argument`] for a capacity of nothing; [`Error::Device`] for an op that the host does not have.
    pub fn new(graph: Arc<Graph>, weights: Arc<HostWeights>, kept: &[Value], capacity: Size) -> Result<Self> {
        if capacity.batch == 0 || capacity.tokens == 0 {
            return Err(Error::Argument(format!("expected a session for at least one item, found {capacity:?}")));
        }
        graph.nodes.iter().try_for_each(|node| host_op(&*node.op).map(drop))?;
        Ok(Self { plan: plan(&graph, kept, capacity, &[]), graph, weights, capacity, kept: kept.into(), free: Mutex::default() })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn capacity(&self) -> Size {
        self.capacity
    }

    /// Ops of one run.
    pub fn ops(&self) -> usize {
        self.graph.nodes.len()
    }

    pub fn weights(&self) -> &Arc<HostWeights> {
        &self.weights
    }

    /// Runs the graph and reads the values `read`, which must be among the kept ones: each `[rows, width]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where an input is missing or its length is not that of `size`; [`Error::Argument`] for a value that was
    /// not kept.
    pub fn run_and_read(&self, inputs: &[(Value, Data<'_>)], size: Size, read: &[Value]) -> Result<Vec<Vec<f32>>> {
        check_kept(&self.graph, &self.kept, read.iter().copied())?;
        let slots = self.run(inputs, size, |_, _| {})?;
        let values = read.iter().map(|v| self.rows_of(*v, &slots, size).to_vec()).collect();
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(slots);
        Ok(values)
    }

    /// The time of each op of a run. Browsers have no such clock.
    ///
    /// # Errors
    /// As [`HostSession::run_and_read`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn profile(&self, inputs: &[(Value, Data<'_>)], size: Size) -> Result<Vec<Timing>> {
        let mut timings = Vec::new();
        let mut start = Instant::now();
        let slots = self.run(inputs, size, |node, graph| {
            let ms = start.elapsed().as_secs_f64() * 1e3;
            timings.push(Timing::of(graph, (node, ms), size, |value| self.weights[&value].bytes(), (&[], 0)));
            start = Instant::now();
        })?;
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(slots);
        Ok(timings)
    }

    /// Runs all nodes; `done` is told of each.
    fn run<'a>(&self, inputs: &[(Value, Data<'a>)], size: Size, done: impl FnMut(usize, &Graph) + Send) -> Result<Slots> {
        check_run(&self.graph, inputs, size, self.capacity)?;
        let operand = |data: Data<'a>, value| match data {
            Data::F32(data) => Ok((value, Operand::F32(data))),
            Data::U32(data) => Ok((value, Operand::U32(data))),
            Data::Buffer(_) | Data::Texture(_) => {
                Err(Error::Argument(format!("input `{}` is on a device, but the host runs", self.graph.desc(value).name)))
            }
        };
        let inputs = inputs.iter().map(|(value, data)| operand(*data, *value)).collect::<Result<Vec<_>>>()?;
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let slots = free.unwrap_or_else(|| vec![Vec::new(); self.plan.slot_bytes.len()]);
        // On a thread of the pool: from elsewhere each op would have to wake it and to be woken.
        rayon::scope(|_| self.run_nodes(&inputs, size, slots, done))
    }

    fn run_nodes(
        &self,
        inputs: &[(Value, Operand<'_>)],
        size: Size,
        mut slots: Slots,
        mut done: impl FnMut(usize, &Graph),
    ) -> Result<Slots> {
        for (at, node) in self.graph.nodes.iter().enumerate() {
            // An output never shares a slot with its node's inputs, so it can be taken out while they are read.
            let output = node.outputs[0];
            let slot = self.slot(output);
            let mut y = std::mem::take(&mut slots[slot]);
            let desc = self.graph.desc(output);
            y.resize(desc.rows(size) * desc.width, 0.0);
            let operands: Vec<Operand> = node.inputs.iter().map(|v| self.operand(*v, inputs, &slots, size)).collect();
            let op = host_op(&*node.op)?;
            self.graph.with_call(node, size, |_| None, |call| op.run(&operands, call, &mut y));
            slots[slot] = y;
            done(at, &self.graph);
        }
        Ok(slots)
    }

    fn slot(&self, value: Value) -> usize {
        self.plan.slot_of[value.0].expect("a node's value has a slot")
    }

    fn rows_of<'a>(&self, value: Value, slots: &'a [Vec<f32>], size: Size) -> &'a [f32] {
        let desc = self.graph.desc(value);
        &slots[self.slot(value)][..desc.rows(size) * desc.width]
    }

    fn operand<'a>(&'a self, value: Value, inputs: &[(Value, Operand<'a>)], slots: &'a [Vec<f32>], size: Size) -> Operand<'a> {
        match self.graph.origins[value.0] {
            Origin::Weight => Operand::Weight(&self.weights[&value]),
            Origin::Node => Operand::F32(self.rows_of(value, slots, size)),
            Origin::Input => inputs.iter().find(|(v, _)| *v == value).expect("every input was checked").1,
        }
    }
}
