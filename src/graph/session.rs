//! A graph on a GPU: its buffers, pipelines and bind groups, all made once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use super::kernel::{Bind, Dims, Kernel};
use super::pending::{Pending, ReadBack, ReadBacks};
use super::plan::{Plan, plan};
use super::{Desc, DeviceWeights, Graph, Kind, Operand, Origin, Size, Value};
use crate::error::{Error, Result};
use crate::gpu::{Caps, DIMS_BYTES, DIMS_STRIDE, Format, Gpu, OP_DIMS_AT, OP_DIMS_BYTES, PipelineKey};

/// A planned graph on a device. A run creates nothing: it writes inputs, encodes recorded dispatches, submits and maps.
pub struct Session {
    pub(super) gpu: Gpu,
    pub(super) graph: Arc<Graph>,
    weights: Arc<DeviceWeights>,
    plan: Plan,
    capacity: Size,
    kept: Vec<Value>,
    slots: Vec<wgpu::Buffer>,
    /// Of inputs and of what nodes make.
    buffers: Vec<Option<wgpu::Buffer>>,
    pipelines: HashMap<PipelineKey, wgpu::ComputePipeline>,
    /// Held while a run is submitted, so that runs do not mix.
    record: Mutex<Record>,
    read_backs: ReadBacks,
}

/// The dispatches of a run of one size.
pub(super) struct Record {
    size: Size,
    pub(super) dispatches: Vec<Dispatch>,
    dims: wgpu::Buffer,
    pub(super) dims_group: wgpu::BindGroup,
    /// Bind groups by node, kernel and piece of the table, with what they bind.
    groups: HashMap<(usize, usize, usize), (Vec<Bind>, wgpu::BindGroup)>,
}

#[derive(Clone)]
pub(super) struct Dispatch {
    pub(super) node: usize,
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) operands: wgpu::BindGroup,
    dims: Dims,
    op_dims: [u32; 8],
    pub(super) grid: [u32; 3],
    flops: u64,
}

/// The data of one input.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Rows of the input's width.
    F32(&'a [f32]),
    U32(&'a [u32]),
    /// Rows on the device, padded as [`Desc::stride`] says: what [`Target::Buffer`] is given.
    Buffer(&'a wgpu::Buffer),
}

/// Where a result goes.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// To the host, with [`Pending::values`].
    Host,
    /// Into a buffer of the device (usage COPY_DST), whose rows are padded as [`Desc::stride`] says.
    Buffer(&'a wgpu::Buffer),
}

fn session_error<T>(message: String) -> Result<T> {
    Err(Error::Shape { op: "session", message })
}

/// An error unless `inputs` has data for every input of the graph, of its type and size, and the run fits.
pub(crate) fn check_run(graph: &Graph, inputs: &[(Value, Data<'_>)], size: Size, capacity: Size) -> Result<()> {
    if size.batch == 0 || size.batch > capacity.batch || size.tokens > capacity.tokens {
        return session_error(format!("expected a run of 1 item up to {capacity:?}, found {size:?}"));
    }
    for (i, desc) in graph.values.iter().enumerate().filter(|(i, _)| graph.origins[*i] == Origin::Input) {
        let Some((_, data)) = inputs.iter().find(|(v, _)| v.0 == i) else {
            return session_error(format!("input `{}` is missing", desc.name));
        };
        check_input(desc, *data, size)?;
    }
    match inputs.iter().find(|(v, _)| graph.origins.get(v.0) != Some(&Origin::Input)) {
        Some((v, _)) => session_error(format!("value {} is no input", v.0)),
        None => Ok(()),
    }
}

fn check_input(desc: &Desc, data: Data<'_>, size: Size) -> Result<()> {
    let (kind, found) = match data {
        Data::F32(d) => (Kind::F32, d.len()),
        Data::U32(d) => (Kind::U32, d.len()),
        Data::Buffer(buffer) if buffer.size() >= desc.bytes(size) => return Ok(()),
        Data::Buffer(buffer) => {
            return session_error(format!(
                "input `{}`: expected a buffer of {} bytes, found {}",
                desc.name,
                desc.bytes(size),
                buffer.size()
            ));
        }
    };
    if kind == desc.kind && found == desc.rows(size) * desc.width {
        return Ok(());
    }
    session_error(format!(
        "input `{}`: expected {} × {} values of {:?}, found {found} of {kind:?}",
        desc.name,
        desc.rows(size),
        desc.width,
        desc.kind
    ))
}

/// An error unless every value of `read` is one of `kept`.
pub(crate) fn check_kept(graph: &Graph, kept: &[Value], mut read: impl Iterator<Item = Value>) -> Result<()> {
    match read.find(|v| !kept.contains(v)) {
        None => Ok(()),
        Some(v) => {
            let name = graph.values.get(v.0).map_or("?", |d| &d.name);
            Err(Error::Argument(format!("value `{name}` cannot be read: it was not kept when the session was made")))
        }
    }
}

/// The largest batch, up to `wanted`, whose every value fits the device's bindings and buffers.
///
/// # Errors
/// [`Error::TooLarge`] where one item does not fit.
pub fn fitting_batch(gpu: &Gpu, graph: &Graph, wanted: usize, tokens: usize) -> Result<usize> {
    let limit = gpu.caps.max_binding_bytes.min(gpu.caps.max_buffer_bytes);
    let largest = |batch| {
        let needs = |desc: &Desc, origin: &Origin| match origin {
            Origin::Weight => 0,
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
    Ok(batch)
}

/// The kernels of every node, in order.
fn lowered(gpu: &Gpu, graph: &Graph, weights: &DeviceWeights, size: Size) -> Vec<Vec<Kernel>> {
    let format = |value: Value| weights.get(&value).map(|w| w.format);
    graph.nodes.iter().map(|node| graph.with_call(node, size, format, |call| node.op.lower(call, &gpu.caps))).collect()
}

/// The scratch bytes of one node's kernels, by number.
fn scratch_bytes(kernels: &[Kernel]) -> Vec<u64> {
    let mut found: Vec<u64> = Vec::new();
    for bind in kernels.iter().flat_map(|k| &k.binds) {
        if let Bind::Scratch { at, bytes, .. } = *bind {
            found.resize(found.len().max(at + 1), 0);
            found[at] = found[at].max(bytes);
        }
    }
    found
}

/// The cost of the greatest submission of a run: what one dispatch, or those that are submitted together, compute.
pub fn greatest_submission(graph: &Graph, size: Size, caps: &Caps) -> u64 {
    let lower = |node: &super::Node| graph.with_call(node, size, |_| Some(Format::F32), |call| node.op.lower(call, caps));
    let kernels: Vec<Kernel> = graph.nodes.iter().flat_map(lower).collect();
    let budget = caps.submission_flops();
    let costs: Vec<u64> = kernels.iter().flat_map(|k| k.cuts(budget).into_iter().map(|cut| k.flops_of(cut)).collect::<Vec<_>>()).collect();
    batches(&costs, budget).into_iter().map(|range| costs[range].iter().sum()).max().unwrap_or(0)
}

/// Ranges of dispatches that are submitted together: no more than `budget` in each, unless one alone is above it.
fn batches(costs: &[u64], budget: u64) -> Vec<std::ops::Range<usize>> {
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

impl Session {
    /// Plans `graph` and makes all its objects. `kept` values can be read after a run.
    ///
    /// # Errors
    /// [`Error::Argument`] for a capacity of nothing; [`Error::Shader`], [`Error::OutOfMemory`], [`Error::Device`] where the
    /// device refuses.
    pub async fn new(gpu: &Gpu, graph: Arc<Graph>, weights: Arc<DeviceWeights>, kept: &[Value], capacity: Size) -> Result<Self> {
        if capacity.batch == 0 || capacity.tokens == 0 {
            return Err(Error::Argument(format!("expected a session for at least one item, found {capacity:?}")));
        }
        // Which kernel is taken may depend on the rows: the least and the most of them take all that there are.
        let mut pipelines = HashMap::new();
        for size in [Size { batch: 1, tokens: 1 }, capacity] {
            for kernel in lowered(gpu, &graph, &weights, size).iter().flatten() {
                let key = kernel.key();
                if let Entry::Vacant(place) = pipelines.entry(key) {
                    let pipeline = gpu.pipeline(kernel.label, place.key()).await?;
                    place.insert(pipeline);
                }
            }
        }
        let (session, refusals) = gpu.scoped(|| Self::build(gpu, graph, weights, kept, capacity, pipelines));
        refusals.check(gpu, "the buffers of a session").await?;
        session
    }

    fn build(
        gpu: &Gpu,
        graph: Arc<Graph>,
        weights: Arc<DeviceWeights>,
        kept: &[Value],
        capacity: Size,
        pipelines: HashMap<PipelineKey, wgpu::ComputePipeline>,
    ) -> Result<Self> {
        let kernels = lowered(gpu, &graph, &weights, capacity);
        let scratch: Vec<Vec<u64>> = kernels.iter().map(|kernels| scratch_bytes(kernels)).collect();
        let plan = plan(&graph, kept, capacity, &scratch);
        if plan.slot_bytes.iter().sum::<u64>() > gpu.caps.session_bytes {
            return Err(Error::OutOfMemory("the buffers of a session".into()));
        }
        let slots: Vec<_> = plan.slot_bytes.iter().enumerate().map(|(i, &bytes)| storage(gpu, &format!("slot {i}"), bytes)).collect();
        let buffer = |(i, origin): (usize, &Origin)| match origin {
            Origin::Input => Some(storage(gpu, &graph.values[i].name, graph.values[i].bytes(capacity))),
            Origin::Node => plan.slot_of[i].map(|s| slots[s].clone()),
            Origin::Weight => None,
        };
        let buffers: Vec<_> = graph.origins.iter().enumerate().map(buffer).collect();
        let (dims, dims_group) = dims_buffer(gpu, graph.nodes.len());
        let record = Record { size: Size { batch: 0, tokens: 0 }, dispatches: Vec::new(), dims, dims_group, groups: HashMap::new() };
        let session = Self {
            gpu: gpu.clone(),
            graph,
            weights,
            plan,
            capacity,
            kept: kept.into(),
            slots,
            buffers,
            pipelines,
            record: Mutex::new(record),
            read_backs: Arc::default(),
        };
        drop(session.record(capacity)?);
        Ok(session)
    }

    /// Dispatches of one run of the session's capacity.
    pub fn dispatches(&self) -> usize {
        let kernels = lowered(&self.gpu, &self.graph, &self.weights, self.capacity);
        let pieces = |(node, kernels): (usize, &Vec<Kernel>)| {
            let budget = self.gpu.caps.submission_flops();
            kernels.iter().map(|k| k.cuts(budget).len() * self.pieces(node, k)).sum::<usize>()
        };
        kernels.iter().enumerate().map(pieces).sum()
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn capacity(&self) -> Size {
        self.capacity
    }

    pub fn weights(&self) -> &Arc<DeviceWeights> {
        &self.weights
    }

    /// Hands a run over: writes the inputs, submits the dispatches and asks for the `results`, which must be among the kept
    /// values. Several runs may be on their way; they are done in order.
    ///
    /// # Errors
    /// [`Error::Shape`] where an input is missing or its length is not that of `size`; [`Error::Argument`] for a value that was
    /// not kept.
    pub fn submit(&self, inputs: &[(Value, Data<'_>)], size: Size, results: &[(Value, Target<'_>)]) -> Result<Pending> {
        check_run(&self.graph, inputs, size, self.capacity)?;
        check_kept(&self.graph, &self.kept, results.iter().map(|(v, _)| *v))?;
        let (reads, refusals) = self.gpu.scoped(|| self.hand_over(inputs, size, results));
        self.gpu.wake();
        Ok(Pending::new(self.gpu.clone(), Box::pin(refusals.first()), reads?))
    }

    /// Runs the graph and reads the values `read`, which must be among the kept ones: each `[rows, width]`, without padding.
    ///
    /// # Errors
    /// As [`Session::submit`] and [`Pending::values`].
    pub async fn run_and_read(&self, inputs: &[(Value, Data<'_>)], size: Size, read: &[Value]) -> Result<Vec<Vec<f32>>> {
        let results: Vec<_> = read.iter().map(|v| (*v, Target::Host)).collect();
        self.submit(inputs, size, &results)?.values().await
    }

    fn hand_over(&self, inputs: &[(Value, Data<'_>)], size: Size, results: &[(Value, Target<'_>)]) -> Result<Vec<ReadBack>> {
        let record = self.record(size)?;
        let mut encoder = self.encoder();
        inputs.iter().for_each(|(value, data)| self.write(&mut encoder, *value, *data, size));
        let costs: Vec<u64> = record.dispatches.iter().map(|d| d.flops).collect();
        for range in batches(&costs, self.gpu.caps.submission_flops()) {
            self.encode(&mut encoder, range, &record);
            self.gpu.queue.submit([std::mem::replace(&mut encoder, self.encoder()).finish()]);
        }
        let mut reads = Vec::new();
        for (value, target) in results {
            let (desc, from) = (self.graph.desc(*value), self.buffer(*value));
            match target {
                Target::Buffer(to) => encoder.copy_buffer_to_buffer(from, 0, to, 0, desc.bytes(size)),
                Target::Host => {
                    let to = self.read_back(desc.bytes(self.capacity));
                    encoder.copy_buffer_to_buffer(from, 0, &to, 0, desc.bytes(size));
                    reads.push((to, (desc.rows(size), desc.width, desc.stride())));
                }
            }
        }
        self.gpu.queue.submit([encoder.finish()]);
        Ok(reads.into_iter().map(|(to, shape)| ReadBack::new(&self.gpu, to, self.read_backs.clone(), shape)).collect())
    }

    pub(super) fn encoder(&self) -> wgpu::CommandEncoder {
        self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("run") })
    }

    /// A buffer for reading back: one of an earlier run, where there is one.
    fn read_back(&self, bytes: u64) -> wgpu::Buffer {
        let mut free = self.read_backs.lock().unwrap_or_else(PoisonError::into_inner);
        match free.iter().position(|b| b.size() == bytes) {
            Some(at) => free.swap_remove(at),
            None => self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read back"),
                size: bytes,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }),
        }
    }

    /// The dispatches of a run of this size, with their dims written.
    pub(super) fn record(&self, size: Size) -> Result<std::sync::MutexGuard<'_, Record>> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        if record.size == size {
            return Ok(record);
        }
        let mut dispatches = Vec::new();
        for (node, kernels) in lowered(&self.gpu, &self.graph, &self.weights, size).into_iter().enumerate() {
            for (at, kernel) in kernels.iter().enumerate() {
                self.record_kernel(&mut record.groups, &mut dispatches, (node, at), kernel)?;
            }
        }
        if record.dims.size() < dispatches.len() as u64 * DIMS_STRIDE {
            (record.dims, record.dims_group) = dims_buffer(&self.gpu, dispatches.len());
        }
        let mut bytes = vec![0; DIMS_STRIDE as usize * dispatches.len()];
        for (place, d) in bytes.chunks_mut(DIMS_STRIDE as usize).zip(&dispatches) {
            place[..DIMS_BYTES as usize].copy_from_slice(bytemuck::bytes_of(&d.dims));
            place[OP_DIMS_AT as usize..][..OP_DIMS_BYTES as usize].copy_from_slice(bytemuck::bytes_of(&d.op_dims));
        }
        self.gpu.queue.write_buffer(&record.dims, 0, &bytes);
        (record.size, record.dispatches) = (size, dispatches);
        Ok(record)
    }

    fn record_kernel(
        &self,
        groups: &mut HashMap<(usize, usize, usize), (Vec<Bind>, wgpu::BindGroup)>,
        dispatches: &mut Vec<Dispatch>,
        (node, at): (usize, usize),
        kernel: &Kernel,
    ) -> Result<()> {
        let no_pipeline = || Error::Device(format!("{} has no kernel for this size: the session was made without it", kernel.label));
        let pipeline = self.pipelines.get(&kernel.key()).ok_or_else(no_pipeline)?;
        for piece in 0..self.pieces(node, kernel) {
            let known = groups.get(&(node, at, piece)).filter(|(binds, _)| *binds == kernel.binds).map(|(_, group)| group.clone());
            let operands = known.unwrap_or_else(|| {
                let buffers: Vec<wgpu::Buffer> = kernel.binds.iter().map(|bind| self.bound(node, *bind, piece)).collect();
                let group = group(&self.gpu, kernel.label, &pipeline.get_bind_group_layout(0), &buffers);
                groups.insert((node, at, piece), (kernel.binds.clone(), group.clone()));
                group
            });
            let (first, count) = self.table(node).map_or((0, 0), |t| (t.pieces[piece].first, t.pieces[piece].rows));
            for cut in kernel.cuts(self.gpu.caps.submission_flops()) {
                dispatches.push(Dispatch {
                    node,
                    pipeline: pipeline.clone(),
                    operands: operands.clone(),
                    dims: Dims { first: first as u32, count: count as u32, group: cut.0, ..kernel.dims },
                    op_dims: kernel.op_dims,
                    grid: cut.1,
                    flops: kernel.flops_of(cut),
                });
            }
        }
        Ok(())
    }

    /// The table that a node looks rows up in.
    fn table(&self, node: usize) -> Option<&super::DeviceWeight> {
        let node = &self.graph.nodes[node];
        let at = node.op.operands().iter().position(|o| *o == Operand::Table)?;
        self.weights.get(node.inputs.get(at)?)
    }

    /// Dispatches of a kernel: one for each piece of the table that it reads.
    fn pieces(&self, node: usize, kernel: &Kernel) -> usize {
        let reads_table = |bind: &Bind| matches!(bind, Bind::Input(i) if self.graph.nodes[node].op.operands()[*i] == Operand::Table);
        if kernel.binds.iter().any(reads_table) { self.table(node).map_or(1, |t| t.pieces.len()) } else { 1 }
    }

    fn bound(&self, node: usize, bind: Bind, piece: usize) -> wgpu::Buffer {
        let of = &self.graph.nodes[node];
        match bind {
            Bind::Output(i) => self.buffer(of.outputs[i]).clone(),
            Bind::Scratch { at, .. } => self.slots[self.plan.scratch_of[node][at]].clone(),
            Bind::Input(i) => match self.weights.get(&of.inputs[i]) {
                Some(weight) => weight.pieces[if of.op.operands()[i] == Operand::Table { piece } else { 0 }].buffer.clone(),
                None => self.buffer(of.inputs[i]).clone(),
            },
        }
    }

    fn buffer(&self, value: Value) -> &wgpu::Buffer {
        self.buffers[value.0].as_ref().expect("what is no weight has a buffer")
    }

    fn encode(&self, encoder: &mut wgpu::CommandEncoder, range: std::ops::Range<usize>, record: &Record) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("run"), timestamp_writes: None });
        range.for_each(|at| record.dispatch(at, &mut pass));
    }

    pub(super) fn write(&self, encoder: &mut wgpu::CommandEncoder, value: Value, data: Data<'_>, size: Size) {
        let (desc, buffer) = (self.graph.desc(value), self.buffer(value));
        match data {
            Data::F32(d) if desc.stride() != desc.width => self.gpu.queue.write_buffer(buffer, 0, &Format::F32.pack(d, desc.width)),
            Data::F32(d) => self.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(d)),
            Data::U32(d) => self.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(d)),
            Data::Buffer(from) => encoder.copy_buffer_to_buffer(from, 0, buffer, 0, desc.bytes(size)),
        }
    }
}

impl Record {
    pub(super) fn dispatch(&self, at: usize, pass: &mut wgpu::ComputePass<'_>) {
        let d = &self.dispatches[at];
        let (offset, [x, y, z]) = (at as u32 * DIMS_STRIDE as u32, d.grid);
        pass.set_pipeline(&d.pipeline);
        pass.set_bind_group(0, &d.operands, &[]);
        pass.set_bind_group(1, &self.dims_group, &[offset, offset]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// A storage buffer that can be written and copied from.
pub(crate) fn storage(gpu: &Gpu, label: &str, bytes: u64) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    gpu.device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false })
}

/// Room for the dims of so many dispatches.
fn dims_buffer(gpu: &Gpu, dispatches: usize) -> (wgpu::Buffer, wgpu::BindGroup) {
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("dims"),
        size: DIMS_STRIDE * dispatches.max(1) as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let place = |offset, bytes| {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &buffer, offset, size: std::num::NonZeroU64::new(bytes) })
    };
    let entry = |(binding, resource)| wgpu::BindGroupEntry { binding, resource };
    let entries = [(0, place(0, DIMS_BYTES)), (1, place(OP_DIMS_AT, OP_DIMS_BYTES))].map(entry);
    let group =
        gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some("dims"), layout: &gpu.dims_layout, entries: &entries });
    (buffer, group)
}

fn group(gpu: &Gpu, label: &str, layout: &wgpu::BindGroupLayout, buffers: &[wgpu::Buffer]) -> wgpu::BindGroup {
    let entries: Vec<_> =
        buffers.iter().enumerate().map(|(i, b)| wgpu::BindGroupEntry { binding: i as u32, resource: b.as_entire_binding() }).collect();
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(label), layout, entries: &entries })
}
