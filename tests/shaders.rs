//! Every shader, joined with every storage format, through naga with core capabilities and those that it names, and out for every
//! back end that has them.
#![allow(clippy::unwrap_used)] // a test that fails may panic

mod common;

use clip_wgpu::Preprocess;
use clip_wgpu::gpu::{Caps, CooperativeMatrix, Product, shader};
use clip_wgpu::graph::Size;
use clip_wgpu::graph::kernel::{Dims, Kernel, Uniform};
use clip_wgpu::ops::{Act, Attention, AttentionParts, Linear, Mean, PatchEmbed};
use clip_wgpu::weights::Format;
use common::cases::{
    attention, attention_of_a_probe, attention_parts, frame, layer_norm, layer_norm_parts, linear, mean, nearest, normalize, patch_embed,
    peak, pool, pool_always, scores, token_embed,
};
use common::{Case, Random};
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// What a kernel takes beyond core WGSL: reading f16 storage needs unpack2x16float alone.
fn capabilities(kernel: &Kernel) -> Capabilities {
    let of = |file: &str| match file {
        "weight/f16.wgsl" => Capabilities::SHADER_FLOAT16_IN_FLOAT32,
        "weight/f16_64.wgsl" => Capabilities::SHADER_FLOAT16_IN_FLOAT32 | Capabilities::SHADER_INT64,
        _ if file.ends_with("_64.wgsl") => Capabilities::SHADER_INT64,
        "f16.wgsl" => Capabilities::SHADER_FLOAT16,
        "shuffle.wgsl" => Capabilities::SUBGROUP,
        "cooperative.wgsl" => Capabilities::SUBGROUP | Capabilities::COOPERATIVE_MATRIX,
        _ => Capabilities::empty(),
    };
    kernel.parts.iter().map(|p| of(p.file)).fold(Capabilities::empty(), Capabilities::union)
}

fn ops() -> Vec<Case> {
    let mut r = Random(1);
    let formats = [Format::F32, Format::F16, Format::Bf16];
    let mut all = vec![layer_norm(&mut r, 2, 16, 0.0, 1.0), normalize(&mut r, 2, 16, 1.0), pool(&mut r, 3, 16), pool_always(&mut r, 3, 16)];
    let (size, op) = (Size { batch: 2, tokens: 3 }, AttentionParts { heads: 2, head: 8 });
    all.extend([false, true].map(|probe| attention_parts(&mut r, size, op, probe)));
    all.push(layer_norm_parts(&mut r, size, 16));
    all.push(mean(&mut r, Mean { skip: 1 }, 3, 16));
    all.push(peak(&mut r, 4, 3, 16));
    all.push(frame(&mut r, (31, 40), Preprocess::openai(14)));
    for format in formats {
        all.push(Case { format, ..nearest(&mut r, 2, 1, 2000, 16) });
        all.push(token_embed(&mut r, 3, 16, format));
        all.push(Case { format, ..scores(&mut r, 2, 3, 16) });
        all.extend([true, false].map(|class| patch_embed(&mut r, PatchEmbed { size: 28, patch: 14, class }, 16, format)));
        for act in [Act::None, Act::QuickGelu, Act::Gelu, Act::GeluTanh, Act::Relu, Act::Silu] {
            for (bias, residual) in [(true, false), (true, true), (false, false), (false, true)] {
                all.push(linear(&mut r, 2, 8, 8, Linear { act, bias, residual }, format, 1.0));
            }
        }
    }
    for head in [12, 16, 64, 80, 88, 104, 120, 128] {
        for causal in [false, true] {
            all.push(attention(&mut r, Size { batch: 2, tokens: 3 }, Attention { heads: 2, head, causal }, 1.0, vec![3.0, 1.0]));
        }
        all.push(attention_of_a_probe(&mut r, Size { batch: 2, tokens: 3 }, Attention { heads: 2, head, causal: false }, vec![3.0, 1.0]));
    }
    all
}

/// Every kernel that any class of device takes for these ops.
fn kernels() -> Vec<(String, Kernel)> {
    let caps = |product| Caps { subgroup_min_size: 8, product: Some(product), ..Caps::default() };
    let in_f16 = |product| Caps { f16: true, ..caps(product) };
    let matrices = |side, subgroup| Caps { cooperative: Some(CooperativeMatrix { side, subgroup }), ..in_f16(Product::Cooperative) };
    let mut all = Product::ALL.map(caps).to_vec();
    all.extend([in_f16(Product::Tile), in_f16(Product::Few), matrices(16, 32), matrices(16, 64), matrices(8, 8), matrices(8, 32)]);
    all.extend([false, true].map(|int64| Caps { software: true, subgroup_min_size: 8, int64, ..Caps::default() }));
    let mut found: Vec<(String, Kernel)> = Vec::new();
    for case in ops() {
        for caps in &all {
            for kernel in case.kernels(caps) {
                if !found.iter().any(|(_, k)| k.key() == kernel.key()) {
                    let files = kernel.parts.iter().map(|p| p.file).collect::<Vec<_>>().join(" + ");
                    found.push((format!("{files} {:?}", kernel.constants), kernel));
                }
            }
        }
    }
    found
}

#[test]
fn every_joined_shader_passes_naga_and_comes_out_for_every_back_end() {
    let kernels = kernels();
    assert!(kernels.len() >= 200, "{}", kernels.len());
    for (what, kernel) in kernels {
        let text = shader::join(&kernel.parts);
        let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{what}: {}", e.emit_to_string(&text)));
        let mut validator = Validator::new(ValidationFlags::all(), capabilities(&kernel));
        validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE).subgroup_operations(naga::valid::SubgroupOperationSet::all());
        let info = validator.validate(&module).unwrap_or_else(|e| panic!("{what}: {}", e.emit_to_string(&text)));
        let constants = kernel.constants.iter().map(|(n, v)| (n.to_string(), *v)).collect();
        let (module, _) =
            naga::back::pipeline_constants::process_overrides(&module, &info, Some((naga::ShaderStage::Compute, "main")), &constants)
                .unwrap_or_else(|e| panic!("{what}: {e}"));
        let info = validator.validate(&module).unwrap_or_else(|e| panic!("{what}: {}", e.emit_to_string(&text)));
        within_default_limits(&what, &module);
        uniforms_agree(&what, &module, &kernel);

        spv::write_vec(&module, &info, &spv::Options { lang_version: (1, 3), ..Default::default() }, None)
            .unwrap_or_else(|e| panic!("{what}: SPIR-V: {e}"));
        // Cooperative matrices: Metal has those of 8 × 8, Direct3D none that naga writes.
        let has = |file: &str| kernel.parts.iter().any(|p| p.file == file);
        if has("cooperative_16.wgsl") {
            continue;
        }
        let options = msl::Options { fake_missing_bindings: true, lang_version: (2, 4), ..Default::default() };
        msl::write_string(&module, &info, &options, &msl::PipelineOptions::default()).unwrap_or_else(|e| panic!("{what}: MSL: {e}"));
        if has("cooperative_8.wgsl") {
            continue;
        }
        let mut out = String::new();
        let options = hlsl::Options { fake_missing_bindings: true, shader_model: hlsl::ShaderModel::V6_0, ..Default::default() };
        let pipeline = hlsl::PipelineOptions::default();
        hlsl::Writer::new(&mut out, &options, &pipeline).write(&module, &info, None).unwrap_or_else(|e| panic!("{what}: HLSL: {e}"));
    }
}

/// Chromium's compiler (156, through SwiftShader) leaves a `var` in a loop as it was in the round before, though WGSL makes it
/// zero: there, every `var` says what it begins with.
#[test]
fn no_variable_in_a_loop_is_left_to_be_zero() {
    for (what, kernel) in kernels() {
        for part in &kernel.parts {
            let mut loops = Vec::new(); // indentations
            for line in part.text.lines().filter(|l| !l.trim().is_empty()) {
                let (indent, text) = (line.len() - line.trim_start().len(), line.trim_start());
                loops.retain(|&i| i < indent);
                let declared = text.strip_prefix("var ").and_then(|t| t.split("//").next());
                let left = declared.is_some_and(|d| !d.contains('='));
                assert!(!left || loops.is_empty(), "{what}: {}: {text}", part.file);
                if text.starts_with("for ") || text.starts_with("loop ") || text.starts_with("while ") {
                    loops.push(indent);
                }
            }
        }
    }
}

/// The host's structs and the shader's have the same fields at the same places.
fn uniforms_agree(what: &str, module: &naga::Module, kernel: &Kernel) {
    for (name, fields) in [("dims", Dims::FIELDS), ("op", kernel.op_fields)] {
        let global = module.global_variables.iter().find(|(_, v)| v.name.as_deref() == Some(name));
        let members = global.map(|(_, v)| match &module.types[v.ty].inner {
            naga::TypeInner::Struct { members, .. } => members.iter().map(|m| (m.name.as_deref().unwrap(), m.offset as usize)).collect(),
            _ => Vec::new(),
        });
        assert_eq!(members.unwrap_or_default(), fields, "{what}: `{name}`");
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
