//! Which buffer holds which value, and when: pure arithmetic, no GPU.

use super::{Graph, Size, Value};

/// The slot of each value that a node makes, and the bytes of each slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub slot_of: Vec<Option<usize>>,
    pub slot_bytes: Vec<u64>,
    /// The largest sum of bytes alive at one step: no plan can do with less.
    pub lower_bound_bytes: u64,
}

/// The steps in which a value is alive: from the one that makes it to the last that reads it, both included.
#[derive(Clone, Copy, Debug)]
struct Life {
    value: usize,
    first: usize,
    last: usize,
}

/// Gives every node's output a slot such that no two values of one slot are alive at once.
///
/// A life includes both its ends, so an output never shares a slot with an input of its own node. WebGPU asks for exactly
/// that: a buffer may not be both read and written by one dispatch, even in ranges that do not touch. `kept` values (outputs
/// of the graph) live to the end. Greatest value first, into the first slot free for its whole life (Pisarchyk & Lee, 2020,
/// arXiv 2001.03288).
pub fn plan(graph: &Graph, kept: &[Value], capacity: Size) -> Plan {
    let bytes: Vec<u64> = graph.values.iter().map(|d| d.slot_bytes(capacity)).collect();
    let mut lives = lives(graph, kept);
    let alive_at = |step| lives.iter().filter(|l| l.first <= step && step <= l.last).map(|l| bytes[l.value]).sum();
    let lower_bound_bytes = (0..graph.nodes.len()).map(alive_at).max().unwrap_or(0);

    lives.sort_by_key(|l| (std::cmp::Reverse(bytes[l.value]), l.first));
    let mut slots: Vec<Vec<Life>> = Vec::new();
    let mut slot_of = vec![None; graph.values.len()];
    for life in &lives {
        let free = slots.iter().position(|busy| busy.iter().all(|b| life.last < b.first || b.last < life.first));
        let at = free.unwrap_or_else(|| {
            slots.push(Vec::new());
            slots.len() - 1
        });
        slots[at].push(*life);
        slot_of[life.value] = Some(at);
    }
    let slot_bytes = slots.iter().map(|s| s.iter().map(|l| bytes[l.value]).max().unwrap_or(0)).collect();
    Plan { slot_of, slot_bytes, lower_bound_bytes }
}

fn lives(graph: &Graph, kept: &[Value]) -> Vec<Life> {
    let life = |(at, node): (usize, &super::Node)| {
        let read = graph.nodes.iter().rposition(|n| n.inputs.contains(&node.output));
        let last = if kept.contains(&node.output) { graph.nodes.len() } else { read.unwrap_or(at) };
        Life { value: node.output.0, first: at, last }
    };
    graph.nodes.iter().enumerate().map(life).collect()
}
