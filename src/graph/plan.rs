//! Which buffer holds which value, and when: pure arithmetic, no GPU.

use super::{Graph, Size, Value};

/// The slot of each value that a node makes, and the bytes of each slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub slot_of: Vec<Option<usize>>,
    /// The slots of each node's scratch memory.
    pub scratch_of: Vec<Vec<usize>>,
    pub slot_bytes: Vec<u64>,
    /// The largest sum of bytes alive at one step: no plan can do with less.
    pub lower_bound_bytes: u64,
}

/// The steps in which memory is in use: from the one that makes it to the last that reads it, both included.
#[derive(Clone, Copy, Debug)]
struct Life {
    owner: Owner,
    bytes: u64,
    first: usize,
    last: usize,
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Value(usize),
    /// Scratch memory of the node `first`, by number.
    Scratch(usize),
}

/// Gives every node's outputs, and the `scratch` bytes of each node, a slot such that no two of one slot are alive at once.
///
/// A life includes both its ends, so an output never shares a slot with an input of its own node. WebGPU asks for exactly
/// that: a buffer may not be both read and written by one dispatch, even in ranges that do not touch. `kept` values (outputs
/// of the graph) live to the end. Greatest first, into the first slot free for its whole life (Pisarchyk & Lee, 2020,
/// arXiv 2001.03288).
pub fn plan(graph: &Graph, kept: &[Value], capacity: Size, scratch: &[Vec<u64>]) -> Plan {
    let mut lives = lives(graph, kept, capacity, scratch);
    let alive_at = |step| lives.iter().filter(|l| l.first <= step && step <= l.last).map(|l| l.bytes).sum();
    let lower_bound_bytes = (0..graph.nodes.len()).map(alive_at).max().unwrap_or(0);

    lives.sort_by_key(|l| (std::cmp::Reverse(l.bytes), l.first));
    let mut slots: Vec<Vec<Life>> = Vec::new();
    let mut slot_of = vec![None; graph.values.len()];
    let mut scratch_of: Vec<Vec<usize>> = scratch.iter().map(|bytes| vec![0; bytes.len()]).collect();
    for life in &lives {
        let free = slots.iter().position(|busy| busy.iter().all(|b| life.last < b.first || b.last < life.first));
        let at = free.unwrap_or_else(|| {
            slots.push(Vec::new());
            slots.len() - 1
        });
        slots[at].push(*life);
        match life.owner {
            Owner::Value(value) => slot_of[value] = Some(at),
            Owner::Scratch(i) => scratch_of[life.first][i] = at,
        }
    }
    let slot_bytes = slots.iter().map(|s| s.iter().map(|l| l.bytes).max().unwrap_or(0)).collect();
    Plan { slot_of, scratch_of, slot_bytes, lower_bound_bytes }
}

fn lives(graph: &Graph, kept: &[Value], capacity: Size, scratch: &[Vec<u64>]) -> Vec<Life> {
    let mut lives = Vec::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        for output in &node.outputs {
            let read = graph.nodes.iter().rposition(|n| n.inputs.contains(output));
            let last = if kept.contains(output) { graph.nodes.len() } else { read.unwrap_or(at) };
            let bytes = graph.desc(*output).slot_bytes(capacity);
            lives.push(Life { owner: Owner::Value(output.0), bytes, first: at, last });
        }
        let own = scratch.get(at).into_iter().flatten().enumerate();
        lives.extend(own.map(|(i, &bytes)| Life { owner: Owner::Scratch(i), bytes, first: at, last: at }));
    }
    lives
}
