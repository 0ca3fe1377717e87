//! One device for the engine and the window.

use clip_wgpu::gpu::{self, Gpu, Polling};
use clip_wgpu::{Device, Executor};
use eframe::egui_wgpu::WgpuSetupExisting;

pub struct Opened {
    pub setup: WgpuSetupExisting,
    /// Where the model runs: the device that draws, or the processor.
    pub executor: Executor,
    /// The device that draws, on which frames are kept.
    pub gpu: Gpu,
    /// What may be chosen instead.
    pub names: Vec<String>,
}

/// Opens the device that `wanted` means; where that is the processor, the window is drawn on the first adapter that there is.
///
/// # Errors
/// A sentence for the user.
pub fn open(wanted: &Device) -> Result<Opened, String> {
    pollster::block_on(async {
        let instance = gpu::instance(wgpu::Backends::PRIMARY);
        let adapters = gpu::adapters_of(&instance).await;
        let names = adapters.iter().map(|a| a.get_info().name).collect();
        let first = adapters.first().cloned();
        let chosen = wanted.choose(adapters).map_err(|e| e.to_string())?;
        let runs = chosen.is_some();
        let adapter =
            chosen.or(first).ok_or("a window needs a GPU or a software driver for Vulkan (Mesa's lavapipe); --headless needs none")?;
        let (required_features, limits) = gpu::requirements(&adapter);
        let required_limits = wgpu::Limits { max_texture_dimension_2d: adapter.limits().max_texture_dimension_2d, ..limits };
        let descriptor = wgpu::DeviceDescriptor { label: Some("viewer"), required_features, required_limits, ..Default::default() };
        let refused = |e| format!("adapter `{}` gave no device: {e}", adapter.get_info().name);
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(refused)?;
        // What goes wrong is said where it is met; the default would end the program.
        device.on_uncaptured_error(std::sync::Arc::new(|e| eprintln!("viewer: {e}")));
        let gpu = Gpu::from_device(&adapter, device.clone(), queue.clone(), Polling::of_our_own);
        let lost = gpu.on_device_lost();
        device.set_device_lost_callback(move |_, _| lost());
        let executor = if runs { Executor::Gpu(gpu.clone()) } else { Executor::Host };
        Ok(Opened { setup: WgpuSetupExisting { instance, adapter, device, queue }, executor, gpu, names })
    })
}
