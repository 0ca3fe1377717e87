//! What is submitted together, and how large a batch that allows.

use super::kernel::Kernel;
use super::{Desc, Graph, Kind, Node, Origin, Size};
use crate::error::{Error, Result};
use crate::gpu::{Caps, Format, Gpu};

/// Submissions of a run that a GPU is given: a batch of fewer items keeps it as busy, and drivers hold memory for each until it is done.
const MOST_SUBMISSIONS: usize = 256;

/// The largest batch, up to `wanted`, whose every value fits the device's bindings and buffers, and whose run is not too many submissions.
///
/// # Errors
/// [`Error::TooLarge`] where one item does not fit.
pub fn fitting_batch(gpu: &Gpu, graph: &Graph, wanted: usize, tokens: usize) -> Result<usize> {
    let limit = gpu.caps.max_binding_bytes.min(gpu.caps.max_buffer_bytes);
    let largest = |batch| {
        let needs = |desc: &Desc, origin: &Origin| match origin {
            Origin::Weight => 0,
            Origin::Input if desc.kind == Kind::Texel => 0,
            Origin::Input => desc.bytes(Size { batch, tokens }),
            Origin::Node => desc.slot_bytes(Size { batch, tokens }),
        };
        let values = graph.values.iter().zip(&graph.origins).map(|(desc, origin)| (needs(desc, origin), desc));
        values.max_by_key(|(bytes, _)| *bytes)
    };
    let mut batch = wanted.max(1);
    while let Some((bytes, desc)) = largest(batch).filter(|(bytes, _)| *bytes > limit) {
        if batch == 1 {
            return Err(Error::TooLarge { what: format!("`{}` of one item", desc.name), bytes, limit });
        }
        batch = (batch / 2).max(1);
    }
    while batch > 1 && !gpu.caps.software && submissions(graph, Size { batch, tokens }, &gpu.caps).len() > MOST_SUBMISSIONS {
        batch /= 2;
    }
    Ok(batch)
}

/// What each submission of a run computes: one dispatch, or those that are submitted together.
pub fn submissions(graph: &Graph, size: Size, caps: &Caps) -> Vec<u64> {
    let lower = |node: &Node| graph.with_call(node, size, |_| Some(Format::F32), |call| node.op.lower(call, caps));
    let kernels: Vec<Kernel> = graph.nodes.iter().flat_map(lower).collect();
    let budget = caps.submission_flops();
    let costs: Vec<u64> = kernels.iter().flat_map(|k| k.cuts(budget).into_iter().map(|cut| k.flops_of(cut)).collect::<Vec<_>>()).collect();
    batches(&costs, budget).into_iter().map(|range| costs[range].iter().sum()).collect()
}

/// Ranges of dispatches that are submitted together: no more than `budget` in each, unless one alone is above it.
pub(super) fn batches(costs: &[u64], budget: u64) -> Vec<std::ops::Range<usize>> {
    let (mut ranges, mut at) = (Vec::new(), 0);
    while at < costs.len() {
        let (first, mut sum) = (at, 0);
        while at < costs.len() && (at == first || sum + costs[at] <= budget) {
            sum += costs[at];
            at += 1;
        }
        ranges.push(first..at);
    }
    ranges
}
