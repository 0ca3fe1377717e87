use std::sync::{Arc, Mutex, PoisonError};

use super::{HostWeights, Operand};
use crate::error::{Error, Result};
use crate::graph::plan::{Plan, plan};
use crate::graph::session::{Data, check_input};
use crate::graph::{Graph, Origin, Size, Value};
use crate::ops::Call;

/// A planned graph on the host.
pub struct HostSession {
    graph: Arc<Graph>,
    weights: HostWeights,
    plan: Plan,
    capacity: Size,
    /// Sets of slots that no run is using.
    free: Mutex<Vec<Vec<Vec<f32>>>>,
}

impl HostSession {
    /// `kept` values can be read after a run.
    pub fn new(graph: Arc<Graph>, weights: HostWeights, kept: &[Value], capacity: Size) -> Self {
        Self { plan: plan(&graph, kept, capacity), graph, weights, capacity, free: Mutex::default() }
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

    pub fn weights(&self) -> &HostWeights {
        &self.weights
    }

    /// Runs the graph and reads the values `read`, which must be among the kept ones: each `[rows, width]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where an input's length is not that of `size`.
    pub fn run_and_read(&self, inputs: &[(Value, Data<'_>)], size: Size, read: &[Value]) -> Result<Vec<Vec<f32>>> {
        if size.batch > self.capacity.batch || size.tokens > self.capacity.tokens {
            return Err(Error::Shape { op: "session", message: format!("{size:?} is above the capacity {:?}", self.capacity) });
        }
        inputs.iter().try_for_each(|(value, data)| check_input(self.graph.desc(*value), *data, size))?;
        let mut slots =
            self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_else(|| vec![Vec::new(); self.plan.slot_bytes.len()]);
        for node in &self.graph.nodes {
            // An output never shares a slot with its node's inputs, so it can be taken out while they are read.
            let at = self.slot(node.output);
            let mut y = std::mem::take(&mut slots[at]);
            let desc = self.graph.desc(node.output);
            y.resize(desc.rows(size) * desc.width, 0.0);
            let operands: Vec<Operand> = node.inputs.iter().map(|v| self.operand(*v, inputs, &slots, size)).collect();
            node.op.host(&operands, &Call { inputs: &self.graph.descs(&node.inputs), output: desc, size }, &mut y);
            slots[at] = y;
        }
        let values = read.iter().map(|v| self.rows_of(*v, &slots, size).to_vec()).collect();
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(slots);
        Ok(values)
    }

    fn slot(&self, value: Value) -> usize {
        self.plan.slot_of[value.0].expect("a node's value has a slot")
    }

    fn rows_of<'a>(&self, value: Value, slots: &'a [Vec<f32>], size: Size) -> &'a [f32] {
        let desc = self.graph.desc(value);
        &slots[self.slot(value)][..desc.rows(size) * desc.width]
    }

    fn operand<'a>(&'a self, value: Value, inputs: &[(Value, Data<'a>)], slots: &'a [Vec<f32>], size: Size) -> Operand<'a> {
        match self.graph.origins[value.0] {
            Origin::Weight => Operand::Weight(&self.weights[&value]),
            Origin::Node => Operand::F32(self.rows_of(value, slots, size)),
            Origin::Input => match inputs.iter().find(|(v, _)| *v == value) {
                Some((_, Data::F32(data))) => Operand::F32(data),
                Some((_, Data::U32(data))) => Operand::U32(data),
                None => unreachable!("every input is given"),
            },
        }
    }
}
