//! Every shader, joined with every storage format, through naga with core capabilities only, and out as SPIR-V, MSL and HLSL.
#![allow(clippy::unwrap_used)] // a test that fails may panic

use clip_wgpu::gpu::{parts, shader};
use clip_wgpu::ops::{Act, Attention, LayerNorm, Linear, Mean, Normalize, Op, PatchEmbed, Pool, Scores, TokenEmbed};
use clip_wgpu::weights::Format;
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// What `op` takes beyond core WGSL: reading f16 storage needs unpack2x16float alone.
fn capabilities(format: Option<Format>) -> Capabilities {
    if format == Some(Format::F16) { Capabilities::SHADER_FLOAT16_IN_FLOAT32 } else { Capabilities::empty() }
}

fn variants() -> Vec<(Box<dyn Op>, Option<Format>)> {
    let mut all: Vec<Box<dyn Op>> =
        vec![Box::new(LayerNorm { eps: 1e-5 }), Box::new(Normalize), Box::new(Pool), Box::new(TokenEmbed), Box::new(Mean { skip: 1 })];
    all.push(Box::new(Scores { scale: 1.0, bias: 0.0 }));
    all.extend([true, false].map(|class| Box::new(PatchEmbed { size: 224, patch: 32, class }) as Box<dyn Op>));
    for act in [Act::None, Act::QuickGelu, Act::Gelu, Act::GeluTanh, Act::Relu, Act::Silu] {
        all.extend([false, true].map(|residual| Box::new(Linear { act, residual }) as Box<dyn Op>));
    }
    for head in [12, 16, 64, 80, 88, 104, 120] {
        all.extend([false, true].map(|causal| Box::new(Attention { heads: 2, head, causal }) as Box<dyn Op>));
    }
    let formats = |op: &dyn Op| if op.reads_weight() { vec![Some(Format::F32), Some(Format::F16), Some(Format::Bf16)] } else { vec![None] };
    all.into_iter().flat_map(|op| formats(&*op).into_iter().map(move |f| (op.clone_box(), f)).collect::<Vec<_>>()).collect()
}

#[test]
fn every_joined_shader_passes_naga_and_comes_out_for_every_back_end() {
    let variants = variants();
    assert!(variants.len() >= 45, "{}", variants.len());
    for (op, format) in variants {
        let what = format!("{op:?} {format:?}");
        let text = shader::join(&parts(&*op, format));
        let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{what}: {}", e.emit_to_string(&text)));
        let mut validator = Validator::new(ValidationFlags::all(), capabilities(format));
        let info = validator.validate(&module).unwrap_or_else(|e| panic!("{what}: {}", e.emit_to_string(&text)));
        let constants = op.constants().into_iter().map(|(n, v)| (n.to_string(), v)).collect();
        let (module, _) =
            naga::back::pipeline_constants::process_overrides(&module, &info, Some((naga::ShaderStage::Compute, "main")), &constants)
                .unwrap_or_else(|e| panic!("{what}: {e}"));
        let info = validator.validate(&module).unwrap_or_else(|e| panic!("{what}: {}", e.emit_to_string(&text)));
        within_default_limits(&what, &module);

        spv::write_vec(&module, &info, &spv::Options::default(), None).unwrap_or_else(|e| panic!("{what}: SPIR-V: {e}"));
        msl::write_string(
            &module,
            &info,
            &msl::Options { fake_missing_bindings: true, ..Default::default() },
            &msl::PipelineOptions::default(),
        )
        .unwrap_or_else(|e| panic!("{what}: MSL: {e}"));
        let mut out = String::new();
        let options = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
        let pipeline = hlsl::PipelineOptions::default();
        hlsl::Writer::new(&mut out, &options, &pipeline).write(&module, &info, None).unwrap_or_else(|e| panic!("{what}: HLSL: {e}"));
    }
}

/// WebGPU's defaults: 256 invocations, 16 KiB of workgroup memory, 8 storage buffers.
fn within_default_limits(what: &str, module: &naga::Module) {
    let invocations: u32 = module.entry_points[0].workgroup_size.iter().product();
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).unwrap();
    let shared: u32 =
        module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup).map(|(_, v)| layouter[v.ty].size).sum();
    let buffers = module.global_variables.iter().filter(|(_, v)| matches!(v.space, naga::AddressSpace::Storage { .. })).count();
    assert!(
        invocations <= 256 && shared <= 16 << 10 && buffers <= 8,
        "{what}: {invocations} invocations, {shared} bytes, {buffers} buffers"
    );
}
