//! A graph on a GPU: its buffers, pipelines and bind groups, all made once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use super::kernel::{Bind, Kernel};
use super::pending::{Pending, ReadBack, ReadBacks};
use super::plan::{Plan, plan};
use super::record::Record;
use super::submissions::batches;
use super::witness::{Left, Witness};
use super::{Desc, DeviceWeights, Graph, Kind, Origin, Size, Value};
use crate::error::{Error, Result};
use crate::gpu::{Format, Gpu, PipelineKey};

/// A planned graph on a device. A run creates nothing: it writes inputs, encodes recorded dispatches, submits and maps.
pub struct Session {
    pub(super) gpu: Gpu,
    pub(super) graph: Arc<Graph>,
    pub(super) weights: Arc<DeviceWeights>,
    pub(super) plan: Plan,
    capacity: Size,
    kept: Vec<Value>,
    pub(super) slots: Vec<wgpu::Buffer>,
    /// Of inputs and of what nodes make.
    buffers: Vec<Option<wgpu::Buffer>>,
    pub(super) pipelines: HashMap<PipelineKey, wgpu::ComputePipeline>,
    /// Held while a run is submitted, so that runs do not mix.
    pub(super) record: Mutex<Record>,
    read_backs: ReadBacks,
    witness: Witness,
}

/// The data of one input.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Rows of the input's width.
    F32(&'a [f32]),
    U32(&'a [u32]),
    /// Rows on the device, padded as [`Desc::stride`] says: what [`Target::Buffer`] is given.
    Buffer(&'a wgpu::Buffer),
    /// A texture (usage TEXTURE_BINDING) of 8-bit values as they are, of the input's size.
    Texture(&'a wgpu::Texture),
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
        Data::Texture(texture) => return check_texture(desc, texture, size),
        Data::F32(d) => (Kind::F32, d.len()),
        Data::U32(d) => (Kind::U32, d.len()),
        Data::Buffer(buffer) if desc.kind != Kind::Texel && buffer.size() >= desc.bytes(size) => return Ok(()),
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

fn check_texture(desc: &Desc, texture: &wgpu::Texture, size: Size) -> Result<()> {
    let wanted = (desc.width / 4, desc.rows(size));
    let as_they_are = matches!(texture.format(), wgpu::TextureFormat::Rgba8Unorm | wgpu::TextureFormat::Bgra8Unorm);
    let bound = texture.usage().contains(wgpu::TextureUsages::TEXTURE_BINDING);
    let flat = texture.dimension() == wgpu::TextureDimension::D2 && texture.depth_or_array_layers() == 1 && texture.sample_count() == 1;
    if desc.kind == Kind::Texel && (texture.width() as usize, texture.height() as usize) == wanted && as_they_are && bound && flat {
        return Ok(());
    }
    session_error(format!(
        "input `{}`: expected {}, found a texture of {} × {} {:?} for {:?}",
        desc.name,
        match desc.kind {
            Kind::Texel => format!("a flat texture of {} × {} Rgba8Unorm or Bgra8Unorm for TEXTURE_BINDING", wanted.0, wanted.1),
            other => format!("rows of {other:?}"),
        },
        texture.width(),
        texture.height(),
        texture.format(),
        texture.usage()
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

/// The kernels of every node, in order.
pub(super) fn lowered(gpu: &Gpu, graph: &Graph, weights: &DeviceWeights, size: Size) -> Vec<Vec<Kernel>> {
    let format = |value: Value| weights.get(&value).map(|w| w.format);
    graph.nodes.iter().map(|node| graph.with_call(node, size, format, |call| node.op.lower(call, &gpu.caps))).collect()
}

/// The pipelines of a session, compiled where the device does not have them yet.
///
/// # Errors
/// [`Error::Shader`], or what the device says.
pub(crate) async fn pipelines(
    gpu: &Gpu,
    graph: &Graph,
    weights: &DeviceWeights,
    capacity: Size,
) -> Result<HashMap<PipelineKey, wgpu::ComputePipeline>> {
    // Which kernel is taken may depend on the rows: the least and the most of them take all that there are.
    let mut pipelines = HashMap::new();
    for size in [Size { batch: 1, tokens: 1 }, capacity] {
        for kernel in lowered(gpu, graph, weights, size).iter().flatten() {
            let key = kernel.key();
            if let Entry::Vacant(place) = pipelines.entry(key) {
                let pipeline = gpu.pipeline(kernel.label, place.key()).await?;
                place.insert(pipeline);
            }
        }
    }
    Ok(pipelines)
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
        let pipelines = pipelines(gpu, &graph, &weights, capacity).await?;
        gpu.keep_pipelines();
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
            Origin::Input if graph.values[i].kind == Kind::Texel => None,
            Origin::Input => Some(storage(gpu, &graph.values[i].name, graph.values[i].bytes(capacity))),
            Origin::Node => plan.slot_of[i].map(|s| slots[s].clone()),
            Origin::Weight => None,
        };
        let buffers: Vec<_> = graph.origins.iter().enumerate().map(buffer).collect();
        let record = Mutex::new(Record::new(gpu, graph.nodes.len()));
        let session = Self {
            witness: Witness::new(gpu),
            gpu: gpu.clone(),
            graph,
            weights,
            plan,
            capacity,
            kept: kept.into(),
            slots,
            buffers,
            pipelines,
            record,
            read_backs: Arc::default(),
        };
        if !session.graph.reads_textures() {
            drop(session.record(capacity, &[])?); // so that the first run makes nothing
        }
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
        let (handed, refusals) = self.gpu.scoped(|| self.hand_over(inputs, size, results));
        self.gpu.wake();
        let (left, reads) = handed?;
        Ok(Pending::new(self.gpu.clone(), Box::pin(refusals.first()), left, reads))
    }

    /// Runs the graph and reads the values `read`, which must be among the kept ones: each `[rows, width]`, without padding.
    ///
    /// # Errors
    /// As [`Session::submit`] and [`Pending::values`].
    pub async fn run_and_read(&self, inputs: &[(Value, Data<'_>)], size: Size, read: &[Value]) -> Result<Vec<Vec<f32>>> {
        let results: Vec<_> = read.iter().map(|v| (*v, Target::Host)).collect();
        self.submit(inputs, size, &results)?.values().await
    }

    fn hand_over(&self, inputs: &[(Value, Data<'_>)], size: Size, results: &[(Value, Target<'_>)]) -> Result<(Left, Vec<ReadBack>)> {
        let record = self.record(size, inputs)?;
        let mut encoder = self.encoder();
        inputs.iter().for_each(|(value, data)| self.write(&mut encoder, *value, *data, size));
        let costs: Vec<u64> = record.dispatches.iter().map(|d| d.flops).collect();
        let (run, ranges) = (self.witness.begin(&self.gpu), batches(&costs, self.gpu.caps.submission_flops()));
        let submissions = ranges.len().max(1);
        for (at, range) in ranges.into_iter().enumerate() {
            self.encode(&mut encoder, range, &record);
            if at + 1 < submissions {
                // the last copies the results, too
                self.witness.leave(&mut encoder, at);
                self.gpu.queue.submit([std::mem::replace(&mut encoder, self.encoder()).finish()]);
            }
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
        let to = self.read_back(Witness::BYTES);
        self.witness.leave(&mut encoder, submissions - 1);
        self.witness.read(&mut encoder, &to, submissions);
        self.gpu.queue.submit([encoder.finish()]);
        let read_back = |to, shape| ReadBack::new(&self.gpu, to, self.read_backs.clone(), shape);
        let left = Left { run, submissions, read: read_back(to, (0, 0, 1)) };
        Ok((left, reads.into_iter().map(|(to, shape)| read_back(to, shape)).collect()))
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

    pub(super) fn buffer(&self, value: Value) -> &wgpu::Buffer {
        self.buffers[value.0].as_ref().expect("what is neither weight nor texture has a buffer")
    }

    fn encode(&self, encoder: &mut wgpu::CommandEncoder, range: std::ops::Range<usize>, record: &Record) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("run"), timestamp_writes: None });
        range.for_each(|at| record.dispatch(at, &mut pass));
    }

    pub(super) fn write(&self, encoder: &mut wgpu::CommandEncoder, value: Value, data: Data<'_>, size: Size) {
        let (desc, buffer) = (self.graph.desc(value), || self.buffer(value));
        match data {
            Data::F32(d) if desc.stride() != desc.width => self.gpu.queue.write_buffer(buffer(), 0, &Format::F32.pack(d, desc.width)),
            Data::F32(d) => self.gpu.queue.write_buffer(buffer(), 0, bytemuck::cast_slice(d)),
            Data::U32(d) => self.gpu.queue.write_buffer(buffer(), 0, bytemuck::cast_slice(d)),
            Data::Buffer(from) => encoder.copy_buffer_to_buffer(from, 0, buffer(), 0, desc.bytes(size)),
            Data::Texture(_) => {} // bound as it is
        }
    }
}

/// The browser's collector does not see the GPU's memory; what was handed over is still done.
#[cfg(target_arch = "wasm32")]
impl Drop for Session {
    fn drop(&mut self) {
        self.slots.iter().chain(self.buffers.iter().flatten()).for_each(wgpu::Buffer::destroy);
    }
}

/// A storage buffer that can be written and copied from.
pub(crate) fn storage(gpu: &Gpu, label: &str, bytes: u64) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    gpu.device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false })
}
