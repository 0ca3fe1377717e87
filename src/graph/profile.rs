//! Where a run's time goes.

use super::kernel::Kernel;
use super::session::lowered;
use super::{Data, Graph, Operand, Origin, Session, Size, Value};
use crate::error::{Error, Result};

/// The time of one node of a run.
#[derive(Clone, Debug)]
pub struct Timing {
    pub op: &'static str,
    /// The name of what it makes.
    pub value: String,
    pub ms: f64,
    /// Floating-point operations.
    pub flops: u64,
    /// None on the host.
    pub dispatches: usize,
    /// Bytes that it reads of weights and of the run's inputs, each once; of a table those of the rows that are looked up.
    pub given_bytes: u64,
    /// Bytes that it reads of what other nodes made, each once.
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// Bytes that its workgroups read and write, what several of them read counted each time: most comes from caches. The
    /// host's, which has no workgroups, are as above.
    pub asked_bytes: u64,
}

impl Timing {
    /// `kept` says how many bytes a weight takes.
    pub(crate) fn of(
        graph: &Graph,
        (node, ms): (usize, f64),
        size: Size,
        kept: impl Fn(Value) -> u64,
        (kernels, dispatches): (&[Kernel], usize),
    ) -> Self {
        let node = &graph.nodes[node];
        let written = node.outputs.iter().map(|v| graph.desc(*v).bytes(size)).sum();
        let rows = graph.desc(node.outputs[0]).rows(size);
        let bytes = |i: usize| match (graph.origins[node.inputs[i].0], node.op.operands()[i]) {
            (Origin::Weight, Operand::Table) => kept(node.inputs[i]) / graph.desc(node.inputs[i]).rows(size).max(1) as u64 * rows as u64,
            (Origin::Weight, _) => kept(node.inputs[i]),
            _ => graph.desc(node.inputs[i]).bytes(size),
        };
        let made = |i: &usize| graph.origins[node.inputs[*i].0] == Origin::Node;
        let once = |i: &usize| !node.inputs[..*i].contains(&node.inputs[*i]); // attention reads one value as two
        let (read, given): (Vec<usize>, Vec<usize>) = (0..node.inputs.len()).filter(once).partition(made);
        let [read, given] = [read, given].map(|inputs| inputs.into_iter().map(bytes).sum());
        let asked = |k: &Kernel| written + k.reads.iter().enumerate().map(|(i, times)| (times * bytes(i) as f64) as u64).sum::<u64>();
        Self {
            op: node.op.name(),
            value: graph.desc(node.outputs[0]).name.clone(),
            ms,
            flops: graph.with_call(node, size, |_| None, |call| node.op.flops(call)),
            dispatches,
            given_bytes: given,
            read_bytes: read,
            written_bytes: written,
            asked_bytes: if kernels.is_empty() { given + read + written } else { kernels.iter().map(asked).sum() },
        }
    }

    /// Bytes that it reads and writes, each once.
    pub fn bytes(&self) -> u64 {
        self.given_bytes + self.read_bytes + self.written_bytes
    }
}

impl Session {
    /// The time of each node of a run, from the device's timestamps around each dispatch.
    ///
    /// # Errors
    /// [`Error::Device`] where the device has none; else as [`Session::submit`].
    pub async fn profile(&self, inputs: &[(Value, Data<'_>)], size: Size) -> Result<Vec<Timing>> {
        if !self.gpu.caps.timestamps {
            return Err(Error::Device(format!("`{}` has no timestamps to measure with", self.gpu.info.name)));
        }
        super::session::check_run(&self.graph, inputs, size, self.capacity())?;
        let (read, refusals) = self.gpu.scoped(|| self.timed(inputs, size));
        self.gpu.wake();
        refusals.check(&self.gpu, "a timed run").await?;
        let (nodes, reads) = read?;
        let mut ticks = Vec::new();
        for read in reads {
            ticks.extend(read.whole::<u64>().await?);
        }
        let period = self.gpu.queue.get_timestamp_period() as f64; // ns
        let mut ms = vec![0.0; self.graph.nodes.len()];
        for (node, t) in nodes.iter().zip(ticks.chunks_exact(2)) {
            ms[*node] += t[1].saturating_sub(t[0]) as f64 * period / 1e6;
        }
        let kept = |value: Value| self.weights.get(&value).map_or(0, |w| w.bytes());
        let kernels = lowered(&self.gpu, &self.graph, &self.weights, size);
        let dispatches = |n: usize| nodes.iter().filter(|node| **node == n).count(); // large kernels are cut
        Ok((0..ms.len()).map(|n| Timing::of(&self.graph, (n, ms[n]), size, kept, (&kernels[n], dispatches(n)))).collect())
    }

    /// Submits a run whose every dispatch has a pass of its own, between two timestamps: the node of each, and its ticks.
    fn timed(&self, inputs: &[(Value, Data<'_>)], size: Size) -> Result<(Vec<usize>, Vec<super::pending::ReadBack>)> {
        let record = self.record(size, inputs)?;
        let mut encoder = self.encoder();
        inputs.iter().for_each(|(value, data)| self.write(&mut encoder, *value, *data, size));
        let mut reads = Vec::new();
        let all: Vec<usize> = (0..record.dispatches.len()).collect();
        for part in all.chunks(wgpu::QUERY_SET_MAX_QUERIES as usize / 2) {
            let count = 2 * part.len() as u32;
            let descriptor = wgpu::QuerySetDescriptor { label: Some("times"), ty: wgpu::QueryType::Timestamp, count };
            let times = self.gpu.device.create_query_set(&descriptor);
            for (i, &at) in part.iter().enumerate() {
                let (first, second) = (2 * i as u32, 2 * i as u32 + 1);
                let writes = wgpu::ComputePassTimestampWrites {
                    query_set: &times,
                    beginning_of_pass_write_index: Some(first),
                    end_of_pass_write_index: Some(second),
                };
                let mut pass =
                    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("timed"), timestamp_writes: Some(writes) });
                record.dispatch(at, &mut pass);
                drop(pass);
                self.gpu.queue.submit([std::mem::replace(&mut encoder, self.encoder()).finish()]);
            }
            let buffer = |usage| {
                let size = 8 * count as u64;
                self.gpu.device.create_buffer(&wgpu::BufferDescriptor { label: Some("times"), size, usage, mapped_at_creation: false })
            };
            let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
            let read = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
            encoder.resolve_query_set(&times, 0..count, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &read, 0, 8 * count as u64);
            self.gpu.queue.submit([std::mem::replace(&mut encoder, self.encoder()).finish()]);
            reads.push(super::pending::ReadBack::new(&self.gpu, read, Default::default(), (0, 0, 1)));
        }
        Ok((record.dispatches.iter().map(|d| d.node).collect(), reads))
    }
}
