//! Compute pipelines, compiled at first use and kept.

use std::num::NonZeroU64;
use std::sync::PoisonError;

use super::Gpu;
use super::shader::{self, Part};
use crate::error::{Error, Result};

/// An `override` constant of a shader and its value.
pub type Constant = (&'static str, f64);

/// What a pipeline is decided by: nothing else may tell two kernels apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PipelineKey {
    pub parts: Vec<Part>,
    /// Names and bits of the values.
    pub constants: Vec<(&'static str, u64)>,
    /// Those of group 0.
    pub bindings: Vec<Binding>,
}

/// What a pipeline expects at a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// A storage buffer that is only read.
    Read,
    /// A storage buffer.
    Write,
    /// A texture whose texels are loaded one by one.
    Texture,
}

/// Bytes of one dispatch's place in the dims buffer: the dims, and the op's own from [`OP_DIMS_AT`] on, both at WebGPU's
/// greatest offset alignment.
pub(crate) const DIMS_STRIDE: u64 = 512;
pub(crate) const OP_DIMS_AT: u64 = 256;
/// Bytes of the dims, and of the op's own.
pub(crate) const DIMS_BYTES: u64 = 48;
pub(crate) const OP_DIMS_BYTES: u64 = 32;

pub(super) fn dims_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let uniform = |binding, bytes| {
        let (ty, min_binding_size) = (wgpu::BufferBindingType::Uniform, NonZeroU64::new(bytes));
        entry(binding, wgpu::BindingType::Buffer { ty, has_dynamic_offset: true, min_binding_size })
    };
    let entries = [uniform(0, DIMS_BYTES), uniform(1, OP_DIMS_BYTES)];
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some("dims"), entries: &entries })
}

fn entry(binding: u32, ty: wgpu::BindingType) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry { binding, visibility: wgpu::ShaderStages::COMPUTE, ty, count: None }
}

impl Binding {
    fn ty(self) -> wgpu::BindingType {
        let storage = |read_only| {
            let ty = wgpu::BufferBindingType::Storage { read_only };
            wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None }
        };
        match self {
            Binding::Read => storage(true),
            Binding::Write => storage(false),
            Binding::Texture => wgpu::BindingType::Texture {
                sample_type: wgpu::TextureSampleType::Float { filterable: false },
                view_dimension: wgpu::TextureViewDimension::D2,
                multisampled: false,
            },
        }
    }
}

impl Gpu {
    /// How many pipelines have been compiled.
    pub fn pipelines(&self) -> usize {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The pipeline of this key, compiled at first use.
    ///
    /// # Errors
    /// [`Error::Shader`] with the file and line where the compiler refused; what the driver says where it does.
    pub(crate) async fn pipeline(&self, label: &str, key: &PipelineKey) -> Result<wgpu::ComputePipeline> {
        if let Some(known) = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Ok(known.clone());
        }
        let ((module, pipeline), refusals) = self.scoped(|| self.compile(label, key));
        match refusals.first().await {
            None => {}
            Some(error @ wgpu::Error::Validation { .. }) if !self.is_lost() => return Err(shader_error(&key.parts, &module, error).await),
            Some(error) => return Err(self.refusal(&format!("the pipeline of {label}"), &error)),
        }
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), pipeline.clone());
        Ok(pipeline)
    }

    fn compile(&self, label: &str, key: &PipelineKey) -> (wgpu::ShaderModule, wgpu::ComputePipeline) {
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(shader::join(&key.parts).into()),
        });
        let entries: Vec<_> = key.bindings.iter().enumerate().map(|(i, binding)| entry(i as u32, binding.ty())).collect();
        let operands = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries: &entries });
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(label),
            bind_group_layouts: &[Some(&operands), Some(&self.dims_layout)],
            immediate_size: 0,
        });
        let constants: Vec<Constant> = key.constants.iter().map(|(name, bits)| (*name, f64::from_bits(*bits))).collect();
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                // Kernels write workgroup memory before they read it, and on Metal and Direct3D one invocation would clear it all.
                zero_initialize_workgroup_memory: false,
            },
            cache: self.cache.as_ref().map(|kept| &kept.cache),
        });
        (module, pipeline)
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
