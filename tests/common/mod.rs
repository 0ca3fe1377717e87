//! What several tests share: a device, random numbers, a one-op graph.
#![allow(dead_code)]

pub mod cases;
pub mod server;

use std::sync::{Arc, OnceLock};

use clip_wgpu::gpu::{self, Caps, Gpu, Polling};
use clip_wgpu::graph::kernel::Kernel;
use clip_wgpu::graph::{Call, Data, Graph, Kind, Operand, Origin, Session, Size, Value};
use clip_wgpu::host::{HostSession, HostWeight, HostWeights};
use clip_wgpu::weights::{DeviceWeight, DeviceWeights, Format};

/// The machine's best adapter, opened once for all tests; none is a failure in CI and said aloud elsewhere.
pub fn gpu() -> Option<Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    let open = || {
        pollster::block_on(async {
            let adapter = gpu::adapters().await.into_iter().next()?;
            Some(Gpu::open(&adapter).await.expect("the adapter gives a device"))
        })
    };
    let gpu = GPU.get_or_init(open).clone();
    if gpu.is_none() {
        assert!(std::env::var_os("CI").is_none(), "no adapter: CI must have one (scripts/test installs lavapipe)");
        eprintln!("ignored: no adapter");
    }
    gpu
}

/// A device with WebGPU's default limits and no more, as an application may have opened it.
pub fn application_gpu() -> Option<Gpu> {
    gpu()?;
    pollster::block_on(async {
        let adapter = gpu::adapters().await.into_iter().next()?;
        let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await.expect("the adapter gives a device");
        assert_eq!(device.limits(), wgpu::Limits::default());
        Some(Gpu::from_device(&adapter, device, queue, Polling::of_our_own))
    })
}

/// Numbers that are the same on every machine (a 64-bit LCG).
pub struct Random(pub u64);

impl Random {
    /// Uniform in −1 … 1.
    pub fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as f32 / (1u64 << 31) as f32) * 2.0 - 1.0
    }
    pub fn many(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.uniform() * scale).collect()
    }
    pub fn below(&mut self, n: usize) -> usize {
        (((self.uniform() + 1.0) / 2.0 * n as f32) as usize).min(n - 1)
    }
}

/// Normalised mean square error against `want`.
pub fn nmse(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let error: f64 = got.iter().zip(want).map(|(g, w)| (*g as f64 - *w as f64).powi(2)).sum();
    error / want.iter().map(|w| (*w as f64).powi(2)).sum::<f64>().max(1e-300)
}

/// A texture of 8-bit texels, four values each.
pub fn texture(gpu: &Gpu, (width, height): (usize, usize), format: wgpu::TextureFormat, texels: &[u8]) -> wgpu::Texture {
    let size = wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 };
    let texture = gpu.device.create_texture(&wgpu::TextureDescriptor {
        label: Some("frame"),
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    });
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * width as u32), rows_per_image: None };
    gpu.queue.write_texture(texture.as_image_copy(), texels, layout, size);
    texture
}

/// A graph of one node, the data of its inputs and weights, and how large to run it.
pub struct Case {
    pub graph: Arc<Graph>,
    pub output: Value,
    pub data: Vec<(Value, Vec<f32>)>,
    pub format: Format,
    pub size: Size,
}

impl Case {
    /// What the reference makes of the data as the kernel sees it (weights unpacked).
    pub fn reference(&self) -> Vec<f32> {
        let mut data = vec![None; self.graph.values.len()];
        for (value, d) in &self.data {
            data[value.0] = Some(if self.in_format(*value) { self.format.round(d).into_owned() } else { d.clone() });
        }
        self.graph.reference(data, self.size).swap_remove(self.output.0)
    }

    /// What its last op is lowered to.
    pub fn kernels(&self, caps: &Caps) -> Vec<Kernel> {
        let node = self.graph.nodes.last().expect("a node");
        let formats: Vec<_> = node.inputs.iter().map(|v| self.in_format(*v).then_some(self.format)).collect();
        let (inputs, outputs) = (self.graph.descs(&node.inputs), self.graph.descs(&node.outputs));
        node.op.lower(&Call { inputs: &inputs, formats: &formats, outputs: &outputs, size: self.size }, caps)
    }

    fn in_format(&self, value: Value) -> bool {
        self.graph.origins[value.0] == Origin::Weight && self.graph.operand(value) != Operand::Rows
    }

    /// What the host's version makes of it.
    pub fn run_on_host(&self) -> Vec<f32> {
        let mut weights = HostWeights::new();
        for (value, data) in self.data.iter().filter(|(v, _)| self.graph.origins[v.0] == Origin::Weight) {
            let width = self.graph.desc(*value).width;
            let data = if self.in_format(*value) { self.format.round(data) } else { data.into() };
            weights.insert(*value, HostWeight::new(self.graph.operand(*value), self.format, None, &data, width));
        }
        let (inputs, whole) = (self.inputs(), self.whole());
        let inputs: Vec<(Value, Data)> = inputs.iter().map(|&(i, v)| (v, self.input(i, v, &whole))).collect();
        let session = HostSession::new(self.graph.clone(), weights.into(), &[self.output], self.size).expect("a session");
        session.run_and_read(&inputs, self.size, &[self.output]).expect("a run").remove(0)
    }

    /// Where in the data each input is.
    fn inputs(&self) -> Vec<(usize, Value)> {
        let of_input = |(_, (v, _)): &(usize, &(Value, Vec<f32>))| self.graph.origins[v.0] == Origin::Input;
        self.data.iter().enumerate().filter(of_input).map(|(i, (v, _))| (i, *v)).collect()
    }

    fn whole(&self) -> Vec<Vec<u32>> {
        self.data.iter().map(|(_, d)| d.iter().map(|&x| x as u32).collect()).collect()
    }

    fn input<'a>(&'a self, i: usize, value: Value, whole: &'a [Vec<u32>]) -> Data<'a> {
        if self.graph.desc(value).kind == Kind::U32 { Data::U32(&whole[i]) } else { Data::F32(&self.data[i].1) }
    }

    fn texture(&self, gpu: &Gpu, i: usize, value: Value) -> wgpu::Texture {
        let desc = self.graph.desc(value);
        let texels: Vec<u8> = self.data[i].1.iter().map(|&v| v as u8).collect();
        texture(gpu, (desc.width / 4, desc.rows(self.size)), wgpu::TextureFormat::Rgba8Unorm, &texels)
    }

    /// What the kernel makes of it.
    pub fn run(&self, gpu: &Gpu) -> Vec<f32> {
        let mut weights = DeviceWeights::new();
        for (value, data) in &self.data {
            if self.graph.origins[value.0] == Origin::Weight {
                let format = if self.in_format(*value) { self.format } else { Format::F32 };
                let weight = DeviceWeight::new(gpu, self.graph.desc(*value), format, true).expect("it fits");
                weight.write(gpu, 0, data);
                weights.insert(*value, weight);
            }
        }
        let (inputs, whole) = (self.inputs(), self.whole());
        let texture = |&(i, v): &(usize, Value)| (self.graph.desc(v).kind == Kind::Texel).then(|| self.texture(gpu, i, v));
        let textures: Vec<_> = inputs.iter().map(texture).collect();
        let data = |(i, v): (usize, Value)| self.input(i, v, &whole);
        let inputs: Vec<(Value, Data)> = (inputs.iter().zip(&textures))
            .map(|(&(i, v), texture)| (v, texture.as_ref().map_or_else(|| data((i, v)), Data::Texture)))
            .collect();
        pollster::block_on(async {
            let session = Session::new(gpu, self.graph.clone(), weights.into(), &[self.output], self.size).await.expect("a session");
            session.run_and_read(&inputs, self.size, &[self.output]).await.expect("a run").remove(0)
        })
    }
}
