//! A graph on a GPU: its buffers, pipelines and bind groups, all made once.

use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;

use super::plan::{Plan, plan};
use super::{Desc, Graph, Kind, Origin, Size, Value};
use crate::error::{Error, Result};
use crate::gpu::{DIMS_STRIDE, Gpu};
use crate::ops::{Call, Dims};
use crate::weights::{DeviceWeights, Format};

/// One recorded dispatch.
struct Step {
    node: usize,
    /// The piece of the weight that it reads: its first row and count of rows.
    piece: (usize, usize),
    pipeline: wgpu::ComputePipeline,
    operands: wgpu::BindGroup,
}

/// A planned graph on a device. A run creates nothing: it writes inputs, encodes the recorded dispatches, submits and maps.
pub struct Session {
    gpu: Gpu,
    graph: Arc<Graph>,
    plan: Plan,
    capacity: Size,
    buffers: Vec<Option<wgpu::Buffer>>,
    steps: Vec<Step>,
    dims: wgpu::Buffer,
    dims_group: wgpu::BindGroup,
    /// The size that `dims` was last written for; held while a run is submitted, so that runs do not mix.
    written: Mutex<Option<Size>>,
    output: Value,
    read_backs: Arc<Mutex<Vec<wgpu::Buffer>>>,
}

/// The data of one input.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Rows of the input's width.
    F32(&'a [f32]),
    U32(&'a [u32]),
}

/// An error unless `data` has the type and the values of `desc` at this size.
pub(crate) fn check_input(desc: &Desc, data: Data<'_>, size: Size) -> Result<()> {
    let (kind, found) = match data {
        Data::F32(d) => (Kind::F32, d.len()),
        Data::U32(d) => (Kind::U32, d.len()),
    };
    if kind == desc.kind && found == desc.rows(size) * desc.width {
        return Ok(());
    }
    let message = format!(
        "input `{}`: expected {} × {} values of {:?}, found {found} of {kind:?}",
        desc.name,
        desc.rows(size),
        desc.width,
        desc.kind
    );
    Err(Error::Shape { op: "session", message })
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

impl Session {
    /// Plans `graph` and makes all its objects. `kept` values, the last of which is the output, can be read after a run.
    ///
    /// # Errors
    /// [`Error::Shader`], [`Error::Device`] where the device refuses.
    pub async fn new(gpu: &Gpu, graph: Arc<Graph>, weights: &DeviceWeights, kept: &[Value], capacity: Size) -> Result<Self> {
        let mut pipelines = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let format = if node.op.reads_weight() { weights[&node.inputs[1]].format } else { Format::F32 };
            pipelines.push(gpu.pipeline(&*node.op, node.inputs.len(), format).await?);
        }
        // Error scopes belong to their thread: nothing is awaited while one is open.
        let (session, errors) = {
            let invalid = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
            let memory = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let session = Self::build(gpu, graph, weights, kept, capacity, &pipelines);
            (session, [memory.pop(), invalid.pop()])
        };
        for error in errors {
            if let Some(error) = error.await {
                return Err(Error::Device(error.to_string()));
            }
        }
        session
    }

    fn build(
        gpu: &Gpu,
        graph: Arc<Graph>,
        weights: &DeviceWeights,
        kept: &[Value],
        capacity: Size,
        pipelines: &[wgpu::ComputePipeline],
    ) -> Result<Self> {
        let plan = plan(&graph, kept, capacity);
        let slots: Vec<_> = plan.slot_bytes.iter().enumerate().map(|(i, &bytes)| storage(gpu, &format!("slot {i}"), bytes)).collect();
        let buffer = |(i, origin): (usize, &Origin)| match origin {
            Origin::Input => Some(storage(gpu, &graph.values[i].name, graph.values[i].bytes(capacity))),
            Origin::Node => plan.slot_of[i].map(|s| slots[s].clone()),
            Origin::Weight => None,
        };
        let buffers: Vec<_> = graph.origins.iter().enumerate().map(buffer).collect();
        let steps = steps(gpu, &graph, weights, &buffers, pipelines);
        let dims = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("dims"),
            size: DIMS_STRIDE * steps.len().max(1) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let place = wgpu::BufferBinding { buffer: &dims, offset: 0, size: std::num::NonZeroU64::new(size_of::<Dims>() as u64) };
        let dims_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("dims"),
            layout: &gpu.dims_layout,
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(place) }],
        });
        let output = *kept.last().ok_or_else(|| Error::Argument("a session without an output".into()))?;
        Ok(Self {
            gpu: gpu.clone(),
            graph,
            plan,
            capacity,
            buffers,
            steps,
            dims,
            dims_group,
            written: Mutex::default(),
            output,
            read_backs: Arc::default(),
        })
    }

    /// Dispatches of one run.
    pub fn dispatches(&self) -> usize {
        self.steps.len()
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn capacity(&self) -> Size {
        self.capacity
    }

    /// Runs the graph and reads its output: `[rows, width]`, without padding.
    ///
    /// # Errors
    /// [`Error::Shape`] where an input's length is not that of `size`; [`Error::Device`] where the device refuses.
    pub async fn run(&self, inputs: &[(Value, Data<'_>)], size: Size) -> Result<Vec<f32>> {
        Ok(self.run_and_read(inputs, size, &[self.output]).await?.remove(0))
    }

    /// Runs the graph and reads the values `read`, which must be among the kept ones.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_and_read(&self, inputs: &[(Value, Data<'_>)], size: Size, read: &[Value]) -> Result<Vec<Vec<f32>>> {
        if size.batch == 0 {
            return Ok(vec![Vec::new(); read.len()]);
        }
        if size.batch > self.capacity.batch || size.tokens > self.capacity.tokens {
            return Err(Error::Shape { op: "session", message: format!("{size:?} is above the capacity {:?}", self.capacity) });
        }
        let scope = self.gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let staging: Vec<wgpu::Buffer> = read.iter().map(|v| self.read_back(*v)).collect();
        self.submit(inputs, size, read, &staging)?;
        let maps: Vec<_> = staging
            .iter()
            .map(|buffer| {
                let (sender, receiver) = oneshot::channel();
                buffer.slice(..).map_async(wgpu::MapMode::Read, move |result| drop(sender.send(result)));
                receiver
            })
            .collect();
        self.gpu.wake();
        if let Some(error) = scope.pop().await {
            return Err(Error::Device(error.to_string()));
        }
        let mut values = Vec::new();
        for ((map, buffer), value) in maps.into_iter().zip(staging).zip(read) {
            map.await.ok().and_then(|r| r.ok()).ok_or_else(|| Error::DeviceLost("a result could not be read".into()))?;
            values.push(self.unpadded(&buffer, *value, size)?);
            buffer.unmap();
            self.read_backs.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
        Ok(values)
    }

    /// A buffer for reading `value` back: one of an earlier run, where there is one.
    fn read_back(&self, value: Value) -> wgpu::Buffer {
        let bytes = self.graph.desc(value).bytes(self.capacity);
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

    /// Writes the inputs and submits the recorded dispatches, cut by cost. No other run comes between.
    fn submit(&self, inputs: &[(Value, Data<'_>)], size: Size, read: &[Value], staging: &[wgpu::Buffer]) -> Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for (value, data) in inputs {
            self.write(*value, *data, size)?;
        }
        let calls: Vec<(Dims, [u32; 3], u64)> = self.steps.iter().map(|step| self.dispatch(step, size)).collect();
        if *written != Some(size) {
            let mut bytes = vec![0; DIMS_STRIDE as usize * calls.len()];
            for (place, (dims, ..)) in bytes.chunks_mut(DIMS_STRIDE as usize).zip(&calls) {
                place[..size_of::<Dims>()].copy_from_slice(bytemuck::bytes_of(dims));
            }
            self.gpu.queue.write_buffer(&self.dims, 0, &bytes);
            *written = Some(size);
        }
        let mut at = 0;
        while at < calls.len() {
            let first = at;
            let mut flops = 0;
            while at < calls.len() && (at == first || flops + calls[at].2 <= self.gpu.caps.submission_flops()) {
                flops += calls[at].2;
                at += 1;
            }
            let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("run") });
            self.encode(&mut encoder, first..at, &calls);
            if at == calls.len() {
                for (value, to) in read.iter().zip(staging) {
                    let from = self.buffers[value.0].as_ref().expect("a kept value has a slot");
                    encoder.copy_buffer_to_buffer(from, 0, to, 0, self.graph.desc(*value).bytes(size));
                }
            }
            self.gpu.queue.submit([encoder.finish()]);
        }
        Ok(())
    }

    fn encode(&self, encoder: &mut wgpu::CommandEncoder, steps: std::ops::Range<usize>, calls: &[(Dims, [u32; 3], u64)]) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("run"), timestamp_writes: None });
        for at in steps {
            let (step, [x, y, z]) = (&self.steps[at], calls[at].1);
            pass.set_pipeline(&step.pipeline);
            pass.set_bind_group(0, &step.operands, &[]);
            pass.set_bind_group(1, &self.dims_group, &[at as u32 * DIMS_STRIDE as u32]);
            pass.dispatch_workgroups(x, y, z);
        }
    }

    fn dispatch(&self, step: &Step, size: Size) -> (Dims, [u32; 3], u64) {
        let node = &self.graph.nodes[step.node];
        let call = Call { inputs: &self.graph.descs(&node.inputs), output: self.graph.desc(node.output), size };
        let (dims, grid) = node.op.dispatch(&call);
        (Dims { first: step.piece.0 as u32, count: step.piece.1 as u32, ..dims }, grid, node.op.flops(&call))
    }

    fn write(&self, value: Value, data: Data<'_>, size: Size) -> Result<()> {
        let desc = self.graph.desc(value);
        check_input(desc, data, size)?;
        let buffer = self.buffers[value.0].as_ref().expect("an input has a buffer");
        match data {
            Data::F32(d) if desc.stride() != desc.width => self.gpu.queue.write_buffer(buffer, 0, &Format::F32.pack(d, desc.width)),
            Data::F32(d) => self.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(d)),
            Data::U32(d) => self.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(d)),
        }
        Ok(())
    }

    fn unpadded(&self, buffer: &wgpu::Buffer, value: Value, size: Size) -> Result<Vec<f32>> {
        let desc = self.graph.desc(value);
        let mapped = buffer.slice(..).get_mapped_range().map_err(|e| Error::Device(e.to_string()))?;
        let padded: &[f32] = bytemuck::cast_slice(&mapped);
        Ok(padded.chunks(desc.stride()).take(desc.rows(size)).flat_map(|row| &row[..desc.width]).copied().collect())
    }
}

/// The dispatches of a run, in order: one per node, or per piece of the weight that a node reads.
fn steps(
    gpu: &Gpu,
    graph: &Graph,
    weights: &DeviceWeights,
    buffers: &[Option<wgpu::Buffer>],
    pipelines: &[wgpu::ComputePipeline],
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (at, (node, pipeline)) in graph.nodes.iter().zip(pipelines).enumerate() {
        let pieces = node.op.reads_weight().then(|| &weights[&node.inputs[1]].pieces);
        for piece in 0..pieces.map_or(1, Vec::len) {
            let buffer = |(i, v): (usize, &Value)| {
                let of_weight = || weights[v].pieces[if i == 1 { piece } else { 0 }].buffer.clone();
                buffers[v.0].clone().unwrap_or_else(of_weight)
            };
            let bound: Vec<wgpu::Buffer> = node.inputs.iter().chain([&node.output]).enumerate().map(buffer).collect();
            steps.push(Step {
                node: at,
                piece: pieces.map_or((0, 0), |p| (p[piece].first, p[piece].rows)),
                operands: group(gpu, node.op.name(), &pipeline.get_bind_group_layout(0), &bound),
                pipeline: pipeline.clone(),
            });
        }
    }
    steps
}

/// A storage buffer that can be written and copied from.
pub(crate) fn storage(gpu: &Gpu, label: &str, bytes: u64) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    gpu.device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false })
}

fn group(gpu: &Gpu, label: &str, layout: &wgpu::BindGroupLayout, buffers: &[wgpu::Buffer]) -> wgpu::BindGroup {
    let entries: Vec<_> =
        buffers.iter().enumerate().map(|(i, b)| wgpu::BindGroupEntry { binding: i as u32, resource: b.as_entire_binding() }).collect();
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(label), layout, entries: &entries })
}
