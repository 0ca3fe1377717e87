//! What a real GPU's compiler makes of the committed kernels, on a machine without that GPU.
//!
//!     for family in navi21 navi31 vega10; do
//!         RADV_FORCE_FAMILY=$family VK_DRIVER_FILES=/usr/share/vulkan/icd.d/radeon_icd.x86_64.json cargo run -q --example kernel-stats
//!     done
//!
//! Mesa's RADV compiles for any AMD family with no hardware present, and reports registers, spills and the instructions
//! (VK_KHR_pipeline_executable_properties). Mesa 22 calls navi31 gfx1100, hands out too few registers for it and knows no
//! cooperative matrices: take 25 (Debian has it in bookworm-backports and trixie). The SPIR-V has the checks that wgpu-hal's
//! Vulkan back end asks for: indices restricted, buffers left to robustBufferAccess2. `--isa NAME` prints the instructions of a
//! kernel as well. `--cache FILE` says instead how long the pipelines take with what the file keeps of an earlier run, as
//! `Gpu::with_pipeline_cache` does; Mesa's own cache has to be off for that (MESA_SHADER_CACHE_DISABLE=true).
#![allow(unsafe_code)] // Vulkan
#![allow(clippy::unwrap_used)] // a tool for developers: a panic names the line

use std::collections::BTreeMap;
use std::time::Instant;

use ash::vk;
use clip_wgpu::gpu::{Caps, CooperativeMatrix, Format, Product, shader};
use clip_wgpu::graph::kernel::Kernel;
use clip_wgpu::graph::{Graph, Kind, Rows, Size};
use clip_wgpu::ops::{Act, Attention, LayerNorm, Linear};
use naga::{AddressSpace, ShaderStage, back, front, proc, valid};

fn main() {
    let option = |name: &str| std::env::args().skip_while(|a| a != name).nth(1);
    let isa = option("--isa");
    let gpu = Gpu::open();
    println!("{}", gpu.name);
    if let Some(file) = option("--cache") {
        return time(&gpu, &file);
    }
    println!("kernel                   VGPRs  spills  workgroup memory   multiply-adds of the instructions in each innermost loop");
    for (what, kernel) in kernels(gpu.matrices) {
        let stats = gpu.compile(&kernel);
        let number = |key: &str| stats.numbers.iter().find(|(name, _)| name.contains(key)).map_or(-1.0, |(_, v)| *v);
        let spills = number("Spilled VGPRs").max(0.0) + number("Spilled SGPRs").max(0.0);
        let loops = inner_loops(&stats.isa).into_iter();
        let loops: Vec<String> =
            loops.map(|(instructions, adds)| format!("{adds} of {instructions}, {:.2}", adds as f64 / instructions as f64)).collect();
        let matrices = match stats.isa.matches("v_wmma").count() {
            0 => String::new(),
            count => format!("; {count} products of matrices"),
        };
        println!("{what:24} {:>5} {spills:>7} {:>17}   {}{matrices}", number("VGPRs"), number("LDS"), loops.join("; "));
        if isa.as_deref() == Some(kernel.label) {
            println!("{}", stats.isa);
        }
    }
}

/// How long the pipelines take, with a cache in a file.
fn time(gpu: &Gpu, file: &str) {
    let held = std::fs::read(file).unwrap_or_default();
    let kernels: Vec<_> = kernels(gpu.matrices).iter().map(|(_, kernel)| spirv(kernel)).collect();
    // SAFETY: plain Vulkan calls; the file is what this wrote.
    unsafe {
        let cache = gpu.device.create_pipeline_cache(&vk::PipelineCacheCreateInfo::default().initial_data(&held), None).unwrap();
        let begun = Instant::now();
        for kernel in &kernels {
            gpu.pipeline(kernel, vk::PipelineCreateFlags::empty(), cache);
        }
        println!("{} pipelines in {:.1} ms, of {} bytes kept", kernels.len(), 1e3 * begun.elapsed().as_secs_f64(), held.len());
        std::fs::write(file, gpu.device.get_pipeline_cache_data(cache).unwrap()).unwrap();
    }
}

/// A layer's kernels on GPUs: weights in f16, 400 rows of 768.
fn kernels(matrices: bool) -> Vec<(String, Kernel)> {
    let mut found = Vec::new();
    let mut products = vec![(Product::Tile, false), (Product::Few, false), (Product::Tile, true), (Product::Few, true)];
    if matrices {
        products.push((Product::Cooperative, true));
    }
    for (product, f16) in products {
        let mut g = Graph::default();
        let x = g.input("x", Rows::Items, 768, Kind::F32);
        let (w, b) = (g.weight("w", 768, 768), g.weight("b", 1, 768));
        g.push("y", Linear { act: Act::QuickGelu, bias: true, residual: false }, &[x, w, b]).unwrap();
        let what = format!("{}{} (linear)", product.name(), if f16 && product != Product::Cooperative { "_f16" } else { "" });
        let cooperative = Some(CooperativeMatrix { side: 16, subgroup: 64 });
        found.push((what, lowered(&g, Caps { product: Some(product), f16, cooperative, ..Caps::default() })));
    }
    let mut g = Graph::default();
    let qkv = g.input("qkv", Rows::Tokens, 3 * 768, Kind::F32);
    let lengths = g.input("lengths", Rows::Items, 1, Kind::U32);
    g.push("y", Attention { heads: 12, head: 64, causal: false }, &[qkv, qkv, lengths]).unwrap();
    found.push(("attention, heads of 64".into(), lowered(&g, Caps::default())));
    let mut g = Graph::default();
    let x = g.input("x", Rows::Items, 768, Kind::F32);
    let (gain, bias) = (g.weight("g", 1, 768), g.weight("b", 1, 768));
    g.push("y", LayerNorm { eps: 1e-5 }, &[x, gain, bias]).unwrap();
    found.push(("layer_norm".into(), lowered(&g, Caps::default())));
    found
}

fn lowered(graph: &Graph, caps: Caps) -> Kernel {
    graph.lower_last(Size { batch: 8, tokens: 50 }, Format::F16, &caps).remove(0)
}

/// The instructions of each innermost loop that multiplies and adds, and those of them that do.
fn inner_loops(isa: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = isa.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let labels: BTreeMap<&str, usize> = lines.iter().enumerate().filter_map(|(i, l)| l.strip_suffix(':').map(|name| (name, i))).collect();
    let is_instruction =
        |l: &&&str| ["v_", "s_", "ds_", "buffer_", "global_", "flat_", "scratch_", "exp", "image_"].iter().any(|p| l.starts_with(p));
    // Two in one line where RDNA 3 issues them together, two in one where they are of f16.
    let add = |part: &str| match ["fma", "mac", "mad"].iter().any(|m| part.contains(m)) {
        true => 1 + usize::from(part.contains("_pk_")),
        false => 0,
    };
    let adds = |line: &str| line.split("::").map(add).sum::<usize>();
    let branches = lines.iter().enumerate().filter(|(_, l)| l.starts_with("s_cbranch") || l.starts_with("s_branch"));
    let loops: Vec<(usize, usize)> = branches
        .filter_map(|(to, line)| Some((*labels.get(line.split_whitespace().nth(1)?)?, to)))
        .filter(|(from, to)| from < to)
        .collect();
    let innermost = loops.iter().filter(|outer| !loops.iter().any(|l| l != *outer && outer.0 <= l.0 && l.1 <= outer.1));
    innermost
        .map(|(from, to)| {
            let of_loop: Vec<&&str> = lines[*from..=*to].iter().filter(is_instruction).collect();
            (of_loop.len(), of_loop.iter().filter(|l| l.starts_with("v_")).map(|l| adds(l)).sum())
        })
        .filter(|(_, adds)| *adds > 0)
        .collect()
}

struct Stats {
    numbers: Vec<(String, f64)>,
    isa: String,
}

struct Gpu {
    name: String,
    /// Whether it has cooperative matrices.
    matrices: bool,
    instance: ash::Instance,
    device: ash::Device,
    _entry: ash::Entry,
}

impl Gpu {
    fn open() -> Self {
        // SAFETY: plain Vulkan calls, every structure of which outlives its call.
        unsafe {
            let entry = ash::Entry::load().expect("the Vulkan loader");
            let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let instance = entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&app), None).unwrap();
            let gpu =
                *instance.enumerate_physical_devices().unwrap().first().expect("a device: RADV_FORCE_FAMILY and VK_DRIVER_FILES say which");
            let name = instance.get_physical_device_properties(gpu).device_name_as_c_str().unwrap().to_string_lossy().into_owned();
            let queue = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
            let (mut f11, mut f12, mut f13) = Default::default();
            let mut statistics = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
            let mut cooperative = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
            let mut features = vk::PhysicalDeviceFeatures2::default()
                .push_next::<vk::PhysicalDeviceVulkan11Features>(&mut f11)
                .push_next::<vk::PhysicalDeviceVulkan12Features>(&mut f12)
                .push_next::<vk::PhysicalDeviceVulkan13Features>(&mut f13)
                .push_next(&mut statistics);
            let known = instance.enumerate_device_extension_properties(gpu).unwrap();
            let matrices = known.iter().any(|e| e.extension_name_as_c_str() == Ok(ash::khr::cooperative_matrix::NAME));
            let mut extensions = vec![ash::khr::pipeline_executable_properties::NAME.as_ptr()];
            if matrices {
                features = features.push_next(&mut cooperative);
                extensions.push(ash::khr::cooperative_matrix::NAME.as_ptr());
            }
            instance.get_physical_device_features2(gpu, &mut features);
            let info =
                vk::DeviceCreateInfo::default().queue_create_infos(&queue).enabled_extension_names(&extensions).push_next(&mut features);
            let device = instance.create_device(gpu, &info, None).expect("a device that reports on its pipelines: RADV");
            Self { name, matrices, instance, device, _entry: entry }
        }
    }

    /// The pipeline of SPIR-V and what it binds.
    ///
    /// # Safety
    /// Vulkan's.
    unsafe fn pipeline(&self, (words, bindings): &Spirv, flags: vk::PipelineCreateFlags, cache: vk::PipelineCache) -> vk::Pipeline {
        // SAFETY: as above.
        unsafe {
            let mut groups: Vec<Vec<vk::DescriptorSetLayoutBinding>> = Vec::new();
            for (binding, space) in bindings {
                groups.resize(groups.len().max(binding.group as usize + 1), Vec::new());
                let kind =
                    if *space == AddressSpace::Uniform { vk::DescriptorType::UNIFORM_BUFFER } else { vk::DescriptorType::STORAGE_BUFFER };
                let entry = vk::DescriptorSetLayoutBinding::default().binding(binding.binding).descriptor_type(kind).descriptor_count(1);
                groups[binding.group as usize].push(entry.stage_flags(vk::ShaderStageFlags::COMPUTE));
            }
            let layout = |g: &Vec<_>| {
                self.device.create_descriptor_set_layout(&vk::DescriptorSetLayoutCreateInfo::default().bindings(g), None).unwrap()
            };
            let sets: Vec<_> = groups.iter().map(layout).collect();
            let layout = self.device.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default().set_layouts(&sets), None).unwrap();
            let module = self.device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(words), None).unwrap();
            let stage = vk::PipelineShaderStageCreateInfo::default().stage(vk::ShaderStageFlags::COMPUTE).module(module).name(c"main");
            let info = vk::ComputePipelineCreateInfo::default().flags(flags).stage(stage).layout(layout);
            self.device.create_compute_pipelines(cache, &[info], None).unwrap()[0]
        }
    }

    fn compile(&self, kernel: &Kernel) -> Stats {
        let flags = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
        // SAFETY: as above.
        unsafe {
            let pipeline = self.pipeline(&spirv(kernel), flags, vk::PipelineCache::null());
            let query = ash::khr::pipeline_executable_properties::Device::new(&self.instance, &self.device);
            let executable = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
            let value = |s: &vk::PipelineExecutableStatisticKHR| match s.format {
                vk::PipelineExecutableStatisticFormatKHR::UINT64 => s.value.u64 as f64,
                vk::PipelineExecutableStatisticFormatKHR::INT64 => s.value.i64 as f64,
                vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => s.value.f64,
                _ => s.value.b32 as f64,
            };
            let statistics = query.get_pipeline_executable_statistics(&executable).unwrap();
            let numbers = statistics.iter().map(|s| (s.name_as_c_str().unwrap().to_string_lossy().into_owned(), value(s))).collect();
            let mut texts = query.get_pipeline_executable_internal_representations(&executable).unwrap();
            let mut bytes: Vec<Vec<u8>> = texts.iter().map(|r| vec![0; r.data_size]).collect();
            texts.iter_mut().zip(&mut bytes).for_each(|(r, b)| r.p_data = b.as_mut_ptr().cast());
            let (read, mut count) = (query.fp().get_pipeline_executable_internal_representations_khr, texts.len() as u32);
            assert_eq!(read(self.device.handle(), &executable, &mut count, texts.as_mut_ptr()), vk::Result::SUCCESS);
            let isa = texts.iter().zip(&bytes).find(|(r, _)| r.name_as_c_str().unwrap().to_string_lossy().contains("ssembly"));
            Stats { numbers, isa: isa.map(|(_, b)| String::from_utf8_lossy(b).into_owned()).unwrap_or_default() }
        }
    }
}

/// SPIR-V, and what it binds.
type Spirv = (Vec<u32>, Vec<(naga::ResourceBinding, AddressSpace)>);

/// SPIR-V as wgpu makes it.
fn spirv(kernel: &Kernel) -> Spirv {
    let module = front::wgsl::parse_str(&shader::join(&kernel.parts)).unwrap();
    let mut validator = valid::Validator::new(valid::ValidationFlags::all(), valid::Capabilities::all());
    let info = validator.validate(&module).unwrap();
    let constants = kernel.constants.iter().map(|(name, value)| (name.to_string(), *value)).collect();
    let (module, info) =
        back::pipeline_constants::process_overrides(&module, &info, Some((ShaderStage::Compute, "main")), &constants).unwrap();
    let checks = proc::BoundsCheckPolicies { index: proc::BoundsCheckPolicy::Restrict, ..Default::default() };
    let zero = back::spv::ZeroInitializeWorkgroupMemoryMode::None; // src/gpu/pipeline.rs
    let options = back::spv::Options {
        lang_version: (1, 3),
        bounds_check_policies: checks,
        zero_initialize_workgroup_memory: zero,
        ..Default::default()
    };
    let words = back::spv::write_vec(&module, &info, &options, None).unwrap();
    (words, module.global_variables.iter().filter_map(|(_, v)| v.binding.map(|b| (b, v.space))).collect())
}
