//! The only place that opens adapters and devices, and compiles shaders.

pub mod shader;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use crate::ops::{Constant, Dims, Op};
use crate::weights::Format;
use shader::Part;

/// What a device can do, asked once.
#[derive(Clone, Debug)]
pub struct Caps {
    pub max_binding_bytes: u64,
    pub max_buffer_bytes: u64,
    /// Runs on the host's processor (lavapipe, SwiftShader, WARP).
    pub software: bool,
}

impl Caps {
    /// Work that fits into one submission: 50 ms at a rate that any device of the class reaches. Drivers kill longer
    /// submissions, and windows stall behind them.
    pub fn submission_flops(&self) -> u64 {
        if self.software { 200_000_000 } else { 10_000_000_000 }
    }
}

/// A pipeline is decided by these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PipelineKey {
    op: &'static str,
    format: Option<Format>,
    constants: Vec<(&'static str, u64)>,
}

/// An open device: its queue, its limits, and the pipelines compiled so far. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Gpu {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub info: wgpu::AdapterInfo,
    pub caps: Caps,
    pipelines: Arc<Mutex<HashMap<PipelineKey, wgpu::ComputePipeline>>>,
    /// The layout of group 1: the dims uniform at a dynamic offset.
    pub(crate) dims_layout: wgpu::BindGroupLayout,
    poll: Arc<PollThread>,
}

/// A new wgpu instance over `backends`.
pub fn instance(backends: wgpu::Backends) -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    descriptor.backend_options.noop.enable = backends.contains(wgpu::Backends::NOOP);
    wgpu::Instance::new(descriptor)
}

/// All adapters of this machine, hardware first.
pub async fn adapters() -> Vec<wgpu::Adapter> {
    let mut found = instance(wgpu::Backends::PRIMARY).enumerate_adapters(wgpu::Backends::PRIMARY).await;
    found.sort_by_key(|a| match a.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    found
}

/// The limits to ask of `adapter` when an application opens the device that it shares with [`Gpu::from_device`]. WebGPU's
/// defaults work too: what passes them is split.
pub fn requirements(adapter: &wgpu::Adapter) -> wgpu::Limits {
    let most = adapter.limits();
    wgpu::Limits {
        max_storage_buffer_binding_size: most.max_storage_buffer_binding_size,
        max_buffer_size: most.max_buffer_size,
        ..wgpu::Limits::default()
    }
}

impl Gpu {
    /// Opens `adapter`.
    ///
    /// # Errors
    /// [`Error::Device`] where the adapter refuses.
    pub async fn open(adapter: &wgpu::Adapter) -> Result<Self> {
        let descriptor = wgpu::DeviceDescriptor { label: Some("clip-wgpu"), required_limits: requirements(adapter), ..Default::default() };
        let name = adapter.get_info().name;
        let (device, queue) =
            adapter.request_device(&descriptor).await.map_err(|e| Error::Device(format!("adapter `{name}` gave no device: {e}")))?;
        Ok(Self::from_device(adapter.get_info(), device, queue))
    }

    /// Shares a device and queue that the application already has.
    pub fn from_device(info: wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let limits = device.limits();
        let caps = Caps {
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            software: info.device_type == wgpu::DeviceType::Cpu,
        };
        let dims_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("dims"),
            entries: &[layout_entry(0, wgpu::BufferBindingType::Uniform, true)],
        });
        Self { poll: Arc::new(PollThread::new(device.clone())), device, queue, info, caps, pipelines: Arc::default(), dims_layout }
    }

    /// Asks for the callbacks of what has been submitted: they come from a thread of this device's own.
    pub(crate) fn wake(&self) {
        self.poll.wake();
    }

    /// How many pipelines have been compiled.
    pub fn pipelines(&self) -> usize {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The pipeline of `op` over weights of `format`, compiled at first use.
    ///
    /// # Errors
    /// [`Error::Shader`] with the file and line where the compiler refused.
    pub(crate) async fn pipeline(&self, op: &dyn Op, inputs: usize, format: Format) -> Result<wgpu::ComputePipeline> {
        let constants = op.constants();
        let key = PipelineKey {
            op: op.name(),
            format: op.reads_weight().then_some(format),
            constants: constants.iter().map(|(n, v)| (*n, v.to_bits())).collect(),
        };
        if let Some(known) = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(known.clone());
        }
        let pipeline = self.compile(op, inputs, key.format, &constants).await?;
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).insert(key, pipeline.clone());
        Ok(pipeline)
    }

    async fn compile(&self, op: &dyn Op, inputs: usize, format: Option<Format>, constants: &[Constant]) -> Result<wgpu::ComputePipeline> {
        let parts = parts(op, format);
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(op.name()),
            source: wgpu::ShaderSource::Wgsl(shader::join(&parts).into()),
        });
        let entries: Vec<_> = (0..=inputs as u32)
            .map(|i| layout_entry(i, wgpu::BufferBindingType::Storage { read_only: i < inputs as u32 }, false))
            .collect();
        let operands = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(op.name()), entries: &entries });
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(op.name()),
            bind_group_layouts: &[Some(&operands), Some(&self.dims_layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(op.name()),
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
            cache: None,
        });
        match scope.pop().await {
            None => Ok(pipeline),
            Some(error) => Err(shader_error(&parts, &module, error).await),
        }
    }
}

/// The files of `op`'s shader over weights of `format`, in the order they are joined.
pub fn parts(op: &dyn Op, format: Option<Format>) -> Vec<Part> {
    let weight = format.map(Format::part);
    [shader::part!("dims.wgsl")].into_iter().chain(weight).chain(op.parts().iter().copied()).collect()
}

/// Bytes of one dispatch's place in the dims buffer: WebGPU's greatest offset alignment.
pub(crate) const DIMS_STRIDE: u64 = 256;

fn layout_entry(binding: u32, ty: wgpu::BufferBindingType, has_dynamic_offset: bool) -> wgpu::BindGroupLayoutEntry {
    let min_binding_size = has_dynamic_offset.then(|| std::num::NonZeroU64::new(size_of::<Dims>() as u64)).flatten();
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size },
        count: None,
    }
}

async fn shader_error(parts: &[Part], module: &wgpu::ShaderModule, error: wgpu::Error) -> Error {
    let info = module.get_compilation_info().await;
    let found = info.messages.iter().find(|m| m.message_type == wgpu::CompilationMessageType::Error);
    let line = found.and_then(|m| m.location).map_or(1, |l| l.line_number);
    let (file, line) = shader::origin(parts, line as usize).unwrap_or((parts[parts.len() - 1].file, line as usize));
    let message = found.map_or_else(|| error.to_string(), |m| m.message.clone());
    Error::Shader { file: format!("shaders/{file}"), line: line as u32, message }
}

/// A thread that polls the device once for each [`Gpu::wake`], and ends with the last [`Gpu`] of the device.
#[derive(Debug)]
struct PollThread {
    wake: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl PollThread {
    fn new(device: wgpu::Device) -> Self {
        let (wake, receiver) = mpsc::channel();
        let poll = move || {
            while receiver.recv().is_ok() {
                // An error here is a lost device: whoever waits sees its map fail.
                let _ = device.poll(wgpu::PollType::wait_indefinitely());
            }
        };
        let thread = std::thread::Builder::new().name("clip-wgpu poll".into()).spawn(poll).expect("a thread can be started");
        Self { wake: Some(wake), thread: Some(thread) }
    }

    fn wake(&self) {
        if let Some(wake) = &self.wake {
            let _ = wake.send(()); // the thread lives as long as this
        }
    }
}

impl Drop for PollThread {
    /// Waits for the thread: a driver that is still at work in it while the process ends can crash.
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != std::thread::current().id()) {
            let _ = thread.join(); // it does not panic
        }
    }
}
