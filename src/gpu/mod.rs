//! The only place that opens adapters and devices, and compiles shaders.

mod cache;
mod errors;
mod format;
mod lost;
mod pipeline;
mod poll;
pub mod shader;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use cache::PipelineCache;
pub use format::Format;
use lost::Lost;
pub use pipeline::{Binding, Constant, PipelineKey};
pub(crate) use pipeline::{DIMS_BYTES, DIMS_STRIDE, OP_DIMS_AT, OP_DIMS_BYTES};
pub use poll::Polling;

/// The kernel that matrix products run on, one for each class of device (`shaders/product_*.wgsl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// 64 × 64 tiles in workgroup memory: GPUs, where they fill one.
    Tile,
    /// 32 × 32 tiles, four times as many: GPUs, for few rows.
    Few,
    /// Many sums per invocation, no workgroup memory: software devices.
    Direct,
    /// The same, with the subgroup's lanes reading for each other: software devices with subgroups.
    Subgroup,
    /// Cooperative matrices, factors in f16 and sums in f32: GPUs with matrix units, where layers multiply in f16.
    Cooperative,
}

impl Product {
    pub const ALL: [Product; 5] = [Product::Tile, Product::Few, Product::Direct, Product::Subgroup, Product::Cooperative];

    pub fn name(self) -> &'static str {
        match self {
            Product::Tile => "product_tile",
            Product::Few => "product_few",
            Product::Direct => "product_direct",
            Product::Subgroup => "product_subgroup",
            Product::Cooperative => "product_cooperative",
        }
    }
}

/// Matrices that the invocations of a subgroup multiply together, on the matrix units of GPUs that have them: factors in f16,
/// sums in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CooperativeMatrix {
    /// Rows and columns: 16, or 8.
    pub side: u32,
    /// The most invocations that a subgroup has.
    pub subgroup: u32,
}

impl CooperativeMatrix {
    /// What a device is opened with to have them, beside [`wgpu::ExperimentalFeatures::enabled`].
    pub const FEATURES: wgpu::Features =
        wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16).union(wgpu::Features::SUBGROUP);

    /// What `adapter` offers, the larger first; none where four subgroups pass what a workgroup of product_cooperative may have.
    pub fn of(adapter: &wgpu::Adapter) -> Option<Self> {
        use wgpu::CooperativeScalarType::{F16, F32};
        let (found, info) = (adapter.cooperative_matrix_properties(), adapter.get_info());
        let square =
            |side: &u32| found.iter().any(|p| [p.m_size, p.n_size, p.k_size] == [*side; 3] && (p.ab_type, p.cr_type) == (F16, F32));
        let side = [16, 8].into_iter().find(square).filter(|_| adapter.features().contains(Self::FEATURES))?;
        // Apple's have 32 whatever wgpu says.
        let subgroup = if info.backend == wgpu::Backend::Metal { 32 } else { info.subgroup_max_size };
        Some(Self { side, subgroup }).filter(|m| m.invocations() <= 16 * side)
    }

    /// Of a workgroup of product_cooperative: four subgroups work together.
    pub fn invocations(self) -> u32 {
        4 * self.subgroup
    }
}

/// What a device can do, asked once.
#[derive(Clone, Debug)]
pub struct Caps {
    pub max_binding_bytes: u64,
    pub max_buffer_bytes: u64,
    /// The most that one session's activations may take: no limit but the device's, unless an application sets one.
    pub session_bytes: u64,
    /// Runs on the host's processor (lavapipe, SwiftShader, WARP).
    pub software: bool,
    /// A card of its own.
    pub discrete: bool,
    /// An invocation has 256 registers, as NVIDIA's and AMD's do: Apple's and Intel's have 128, Mali's 64.
    pub many_registers: bool,
    /// Is an application's, which has windows to draw.
    pub shared: bool,
    /// The fewest lanes of a subgroup, where compute shaders have subgroup operations; else 0.
    pub subgroup_min_size: u32,
    /// Shaders have integers of 64 bits: asked of lavapipe alone, for fewer loads.
    pub int64: bool,
    /// Timestamps around passes.
    pub timestamps: bool,
    /// Layers multiply in f16 (`shader-f16`), where that is asked for.
    pub f16: bool,
    /// What layers in f16 are multiplied with, where the device has it.
    pub cooperative: Option<CooperativeMatrix>,
    /// Why those that the adapter offers are not taken.
    pub cooperative_fault: Option<String>,
    /// The product's kernel where one is forced; else the device's class and the rows decide.
    pub product: Option<Product>,
}

impl Default for Caps {
    /// A GPU with what WebGPU promises and no more.
    fn default() -> Self {
        let limits = wgpu::Limits::default();
        Self {
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            session_bytes: u64::MAX,
            software: false,
            discrete: false,
            many_registers: false,
            shared: false,
            subgroup_min_size: 0,
            int64: false,
            timestamps: false,
            f16: false,
            cooperative: None,
            cooperative_fault: None,
            product: None,
        }
    }
}

impl Caps {
    /// What layers are multiplied with, if with cooperative matrices: in f16, on hardware or where that kernel is forced.
    pub fn matrices(&self) -> Option<CooperativeMatrix> {
        let taken = match self.product {
            None => !self.software,
            Some(forced) => forced == Product::Cooperative,
        };
        self.cooperative.filter(|_| self.f16 && taken)
    }

    /// Work that fits into one submission: 50 ms at a rate that any card or any other GPU reaches (1 and 0.2 TFLOP/s), 60 ms of
    /// SwiftShader's where rows fill a tile, a fifth of that on an application's device. Drivers kill longer submissions, and windows stall
    /// behind them; of short ones there are many, and Vulkan's and Direct3D's take a megabyte each until they are done. One row of a
    /// product's workgroups is never cut: on software adapters that is more in layers wider than ViT-L/14's, on shared ones in most.
    pub fn submission_flops(&self) -> u64 {
        let flops = match (self.software, self.discrete) {
            (true, _) => 240_000_000,
            (false, true) => 50_000_000_000,
            (false, false) => 10_000_000_000,
        };
        if self.shared { flops / 5 } else { flops }
    }
}

/// An open device: its queue, its limits, and the pipelines compiled so far. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Gpu {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub info: wgpu::AdapterInfo,
    pub caps: Caps,
    pipelines: Arc<Mutex<HashMap<PipelineKey, wgpu::ComputePipeline>>>,
    cache: Option<Arc<PipelineCache>>,
    /// The layout of group 1: the dims and the op's own, at a dynamic offset.
    pub(crate) dims_layout: wgpu::BindGroupLayout,
    polling: Arc<Polling>,
    read_bytes: Arc<AtomicU64>,
}

/// What a binding holds at most, whatever the device says: naga's bounds are 32-bit numbers, which Metal's largest buffers pass.
const MOST_BOUND: u64 = i32::MAX as u64;
/// Vendors by PCI's numbers, which Vulkan and Direct3D hand on.
const NVIDIA: u32 = 0x10de;
const AMD: u32 = 0x1002;

/// A new wgpu instance over `backends`.
pub fn instance(backends: wgpu::Backends) -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    descriptor.backend_options.noop.enable = backends.contains(wgpu::Backends::NOOP);
    wgpu::Instance::new(descriptor)
}

/// All adapters of this machine, hardware first.
pub async fn adapters() -> Vec<wgpu::Adapter> {
    #[cfg(target_arch = "wasm32")]
    if !wgpu::util::is_browser_webgpu_supported().await {
        return Vec::new(); // an instance cannot even be made
    }
    adapters_of(&instance(wgpu::Backends::PRIMARY)).await
}

/// All adapters of an instance, hardware first.
pub async fn adapters_of(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    // A browser offers one, and wants to know which: by default it may take the one that saves power.
    #[cfg(target_arch = "wasm32")]
    let mut found = Vec::from_iter({
        let power_preference = wgpu::PowerPreference::HighPerformance;
        instance.request_adapter(&wgpu::RequestAdapterOptions { power_preference, ..Default::default() }).await.ok()
    });
    #[cfg(not(target_arch = "wasm32"))]
    let mut found = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
    found.sort_by_key(|a| match a.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    found
}

/// What to ask of `adapter` when an application opens the device that it shares with [`Gpu::from_device`]: its features and
/// limits beside the application's own. WebGPU's defaults work too: what passes them is split, slower kernels are taken. For
/// matrix units in f16, which wgpu calls experimental, see [`CooperativeMatrix::FEATURES`].
pub fn requirements(adapter: &wgpu::Adapter) -> (wgpu::Features, wgpu::Limits) {
    let most = adapter.limits();
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: most.max_storage_buffer_binding_size,
        max_buffer_size: most.max_buffer_size,
        ..wgpu::Limits::default()
    };
    let limits = limits.or_worse_values_from(&most); // smaller textures, say, are no reason to do without
    let wanted = wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE;
    let info = adapter.get_info();
    let lavapipe = info.device_type == wgpu::DeviceType::Cpu && info.backend == wgpu::Backend::Vulkan;
    let wanted = if lavapipe { wanted | wgpu::Features::SHADER_INT64 } else { wanted };
    (adapter.features() & wanted, limits)
}

impl Gpu {
    /// Opens `adapter`.
    ///
    /// # Errors
    /// [`Error::Device`] where the adapter refuses.
    pub async fn open(adapter: &wgpu::Adapter) -> Result<Self> {
        let (required_features, required_limits) = requirements(adapter);
        let descriptor = wgpu::DeviceDescriptor { label: Some("clip-wgpu"), required_features, required_limits, ..Default::default() };
        let (mut opened, mut fault) = (None, None);
        if CooperativeMatrix::of(adapter).is_some() {
            // SAFETY: wgpu may leave what an experimental feature does unchecked. Only product_cooperative uses this one: its accesses
            // are within its arrays, and its subgroups multiply whole or not at all. What stays open: with these matrices naga takes
            // Vulkan's memory model and leaves accesses private, which barriers then need not order (gfx-rs/wgpu#8805). Drivers
            // order them; `self_test` looks for those that do not before a model relies on it, which is no proof.
            #[allow(unsafe_code)]
            let experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
            let required_features = required_features | CooperativeMatrix::FEATURES;
            let with_matrices = wgpu::DeviceDescriptor { required_features, experimental_features, ..descriptor.clone() };
            match adapter.request_device(&with_matrices).await {
                Ok(device_and_queue) => opened = Some(device_and_queue),
                Err(error) => fault = Some(error.to_string()),
            }
        }
        let refused = |e| Error::Device(format!("adapter `{}` gave no device: {e}", adapter.get_info().name));
        let (device, queue) = match opened {
            Some(opened) => opened,
            None => adapter.request_device(&descriptor).await.map_err(refused)?,
        };
        let mut gpu = Self::from_device(adapter, device, queue, Polling::of_our_own);
        gpu.caps.shared = false;
        gpu.caps.cooperative_fault = fault;
        let lost = gpu.on_device_lost();
        gpu.device.set_device_lost_callback(move |_, _| lost());
        Ok(gpu)
    }

    /// Shares a device and queue that the application already has from `adapter`. `polling` says who polls: [`Polling::of_our_own`] a thread
    /// of ours, [`Polling::by_the_application`] the application, which then must until a result is there; in the browser
    /// nobody has to. No callback of the application's is replaced: its own for a lost device calls what [`Gpu::on_device_lost`] gives.
    pub fn from_device(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue, polling: fn(&wgpu::Device) -> Polling) -> Self {
        let (info, limits, features) = (adapter.get_info(), device.limits(), device.features());
        let offered = CooperativeMatrix::of(adapter);
        let cooperative = offered.filter(|_| features.contains(CooperativeMatrix::FEATURES));
        let opened_without = offered.is_some() && cooperative.is_none();
        let caps = Caps {
            max_binding_bytes: limits.max_storage_buffer_binding_size.min(MOST_BOUND),
            max_buffer_bytes: limits.max_buffer_size,
            session_bytes: u64::MAX,
            software: info.device_type == wgpu::DeviceType::Cpu,
            discrete: info.device_type == wgpu::DeviceType::DiscreteGpu,
            many_registers: [NVIDIA, AMD].contains(&info.vendor),
            shared: true,
            subgroup_min_size: if features.contains(wgpu::Features::SUBGROUP) { info.subgroup_min_size } else { 0 },
            int64: features.contains(wgpu::Features::SHADER_INT64),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            f16: false,
            cooperative,
            cooperative_fault: opened_without.then(|| "the device was opened without (see gpu::CooperativeMatrix::FEATURES)".into()),
            product: None,
        };
        let dims_layout = pipeline::dims_layout(&device);
        let polling = Arc::new(polling(&device));
        Self { device, queue, info, caps, pipelines: Arc::default(), cache: None, dims_layout, polling, read_bytes: Arc::default() }
    }

    /// The same device with the product's kernel forced, for tests and bug reports.
    ///
    /// # Errors
    /// [`Error::Device`] where the device cannot run it, [`Error::Argument`] where there is none of that name.
    pub fn with_kernel(mut self, name: &str) -> Result<Self> {
        let Some(product) = Product::ALL.into_iter().find(|p| p.name() == name) else {
            let names = Product::ALL.map(Product::name).join(", ");
            return Err(Error::Argument(format!("expected a kernel {names}, found `{name}`")));
        };
        let lacking = match product {
            Product::Subgroup if self.caps.subgroup_min_size == 0 => Some("subgroups"),
            Product::Cooperative if self.caps.cooperative.is_none() => Some("cooperative matrices of f16 with sums in f32"),
            _ => None,
        };
        if let Some(lacking) = lacking {
            let fault = self.caps.cooperative_fault.as_ref().filter(|_| product == Product::Cooperative);
            let why = fault.map_or(String::new(), |fault| format!(": {fault}"));
            return Err(Error::Device(format!("{name} takes {lacking}, which `{}` does not have{why}", self.info.name)));
        }
        self.caps.product = Some(product);
        if self.caps.f16 { self.in_f16() } else { Ok(self) }
    }

    /// The same device with layers that multiply in f16.
    ///
    /// # Errors
    /// [`Error::Device`] where the device cannot, or a kernel is forced that does not.
    pub fn in_f16(mut self) -> Result<Self> {
        if !self.device.features().contains(wgpu::Features::SHADER_F16) {
            let why = match (self.caps.shared, self.info.backend) {
                (true, _) => "was opened without (see gpu::requirements)",
                (false, wgpu::Backend::Dx12) => "does not have by Direct3D's older compiler (dxcompiler.dll on the path is the newer one)",
                (false, _) => "does not have",
            };
            return Err(Error::Device(format!("f16 arithmetic takes shader-f16, which `{}` {why}: use f32", self.info.name)));
        }
        if let Some(product @ (Product::Direct | Product::Subgroup)) = self.caps.product {
            return Err(Error::Device(format!(
                "{} has no f16 arithmetic: product_tile, product_few and product_cooperative have",
                product.name()
            )));
        }
        self.caps.f16 = true;
        Ok(self)
    }

    /// The same device with layers that multiply in f32.
    ///
    /// # Errors
    /// [`Error::Argument`] where a kernel is forced that does not.
    pub fn in_f32(mut self) -> Result<Self> {
        if self.caps.product == Some(Product::Cooperative) {
            return Err(Error::Argument(
                "product_cooperative multiplies in f16 alone, and the compute is f32: take the compute f16, or another kernel".into(),
            ));
        }
        self.caps.f16 = false;
        Ok(self)
    }

    /// Bytes of results that have come to the host, padding not counted.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn count_read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits for what was submitted; `when` is for the message of a device that is lost meanwhile.
    pub(crate) async fn done(&self, when: &str) -> Result<()> {
        let (sender, mut receiver) = futures::channel::oneshot::channel();
        self.queue.on_submitted_work_done(move || sender.send(()).unwrap_or(()));
        self.wake();
        self.lost().or(&mut receiver).await.ok_or_else(|| Error::DeviceLost(when.into()))
    }

    /// What a device's `set_device_lost_callback` has to call, an application's own ([`Gpu::from_device`]), too: then whoever waits for a
    /// result is told, whom wgpu does not call any more. It holds nothing of the device.
    pub fn on_device_lost(&self) -> impl Fn() + Send + Sync + 'static {
        let lost = self.lost().clone();
        move || lost.tell()
    }

    /// Whether it is lost, and what tells.
    pub(crate) fn lost(&self) -> &Arc<Lost> {
        &self.polling.lost
    }

    /// Asks for the callbacks of what has been submitted.
    pub(crate) fn wake(&self) {
        self.polling.wake();
    }
}
