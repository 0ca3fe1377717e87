//! What passes a device's limits is split, or refused by name.
#![allow(clippy::unwrap_used)] // a test that fails may panic

mod common;

use std::path::Path;

use clip_wgpu::clip::{Config, ModelFiles, vision};
use clip_wgpu::gpu::Gpu;
use clip_wgpu::graph::submissions::{fitting_batch, submissions};
use clip_wgpu::graph::{Graph, Kind, Rows, Size};
use clip_wgpu::ops::TokenEmbed;
use clip_wgpu::weights::{DeviceWeight, Format};
use clip_wgpu::{Clip, Device, Options};
use common::cases::BOUND;
use common::{Case, Random, nmse};

/// A device that binds no more than this at once.
fn limited(bytes: u64) -> Option<Gpu> {
    let mut gpu = common::gpu()?;
    gpu.caps.max_binding_bytes = bytes;
    Some(gpu)
}

#[test]
fn a_token_table_above_the_binding_limit_lies_in_pieces() {
    let width = 42;
    for format in [Format::F32, Format::F16] {
        let row_bytes = 48 * format.bytes() as u64;
        let Some(gpu) = limited(64 * row_bytes) else { return };
        let mut g = Graph::default();
        let ids = g.input("ids", Rows::Tokens, 1, Kind::U32);
        let (table, p) = (g.weight("table", 200, width), g.weight("p", 77, width));
        let output = g.push("y", TokenEmbed, &[ids, table, p]).unwrap();
        let weight = DeviceWeight::new(&gpu, g.desc(table), format, true).unwrap();
        assert_eq!(weight.pieces.iter().map(|p| (p.first, p.rows)).collect::<Vec<_>>(), [(0, 64), (64, 64), (128, 64), (192, 8)]);
        // The first and the last row of each piece, and some between.
        let wanted = [0, 63, 64, 127, 128, 191, 192, 199, 7, 100].map(|id| id as f32).to_vec();
        let mut r = Random(1);
        let data = vec![(ids, wanted), (table, r.many(200 * width, 1.0)), (p, r.many(77 * width, 1.0))];
        let size = Size { batch: 2, tokens: 5 };
        let case = Case { graph: g.into(), output, data, format, size };
        let error = nmse(&case.run(&gpu), &case.reference());
        assert!(error <= BOUND, "{format:?}: nmse {error:.1e}");
    }
}

#[test]
fn a_matrix_above_the_binding_limit_is_refused_by_name() {
    let Some(gpu) = limited(1 << 16) else { return };
    let mut g = Graph::default();
    let w = g.weight("visual.proj", 512, 768);
    let error = DeviceWeight::new(&gpu, g.desc(w), Format::F32, false).unwrap_err();
    assert_eq!(error.to_string(), "weight `visual.proj` needs 1572864 bytes, but the device's limit is 65536: the device cpu has none");
}

const VIT_L_14_336: &str = r#"{"model_type": "clip", "projection_dim": 768, "text_config": {}, "vision_config": {"hidden_size": 1024,
    "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14, "image_size": 336}}"#;
const VIT_B_32: &str = r#"{"model_type": "clip", "projection_dim": 512, "vision_config": {}, "text_config": {}}"#;

#[test]
fn a_batch_above_the_limits_is_halved_until_it_fits() {
    let (graph, _) = vision(&Config::from_hf(VIT_B_32, "config.json").unwrap()).unwrap();
    // The largest value of one item is the MLP's, 50 tokens of 3072 in rows of 64, and nearly as large are its pixels.
    for (limit, batch) in [(128 << 20, 32), (16 << 20, 16), (2 << 20, 2), (1 << 20, 1)] {
        let Some(gpu) = limited(limit) else { return };
        assert_eq!(fitting_batch(&gpu, &graph, 32, 50).unwrap(), batch, "limit {limit}");
    }
    let Some(gpu) = limited(600_000) else { return };
    let error = fitting_batch(&gpu, &graph, 32, 50).unwrap_err().to_string();
    assert_eq!(error, "`vision.block.11.mlp_fc` of one item needs 786432 bytes, but the device's limit is 600000: the device cpu has none");
}

/// Drivers hold memory for each submission until it is done.
#[test]
fn a_batch_of_many_submissions_is_halved() {
    let Some(mut gpu) = limited(2 << 30) else { return };
    let (large, _) = vision(&Config::from_hf(VIT_L_14_336, "config.json").unwrap()).unwrap();
    let (small, _) = vision(&Config::from_hf(VIT_B_32, "config.json").unwrap()).unwrap();
    gpu.caps.software = false;
    for (discrete, batch) in [(false, 4), (true, 16)] {
        gpu.caps.discrete = discrete;
        assert_eq!(fitting_batch(&gpu, &large, 32, 577).unwrap(), batch, "a card of its own: {discrete}");
        assert_eq!(fitting_batch(&gpu, &small, 32, 50).unwrap(), 32);
        let submitted = |batch| submissions(&large, Size { batch, tokens: 577 }, &gpu.caps).len();
        assert!(submitted(batch) <= 256 && submitted(2 * batch) > 256);
    }
}

#[test]
fn a_split_batch_gives_the_same_rows() {
    let Some(gpu) = common::gpu() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hf_quick");
    let clip = |batch| {
        let files = pollster::block_on(ModelFiles::find(folder.to_str().unwrap())).unwrap();
        pollster::block_on(Clip::load_on(&gpu.clone().into(), files, &Options { batch, ..Options::default() }, &[])).unwrap()
    };
    let (small, large) = (clip(2), clip(8));
    let pixels = Random(2).many(5 * 3 * small.config.vision().unwrap().size.pow(2), 1.0);
    let texts: Vec<Vec<u32>> = (0..5).map(|i| vec![118, 3 + i, 9, 119]).collect();
    pollster::block_on(async {
        assert_eq!(small.encode_pixels(&pixels).await.unwrap(), large.encode_pixels(&pixels).await.unwrap());
        assert_eq!(small.encode_ids(&texts).await.unwrap(), large.encode_ids(&texts).await.unwrap());
    });
}

#[test]
fn an_application_shares_its_own_device() {
    let (Some(mut ours), Some(theirs)) = (common::gpu(), common::application_gpu()) else { return };
    ours.caps.subgroup_min_size = theirs.caps.subgroup_min_size; // the same kernels: an application opens its device as it likes
    pollster::block_on(async {
        let device = theirs.device.clone();
        let load = async |gpu: Gpu| {
            let files = ModelFiles::find("pico").await.unwrap();
            Clip::load_on(&gpu.into(), files, &Options::default(), &[]).await.unwrap()
        };
        let (shared, own) = (load(theirs).await, load(ours).await);
        assert_eq!(shared.encode_texts(&["a red circle"]).await.unwrap(), own.encode_texts(&["a red circle"]).await.unwrap());
        drop(shared);
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap(); // it is still the application's
    });
}

/// Threads share a model, and executors of many threads may move its futures.
#[test]
fn a_model_is_send_and_sync() {
    fn shared<T: Send + Sync>() {}
    shared::<Clip>();
    shared::<clip_wgpu::Classifier>();
    fn moved<T: Send>(_: &T) {}
    let options = Options { device: Device::Cpu, ..Options::default() };
    let load = Clip::load("pico", &options);
    moved(&load);
    let clip = pollster::block_on(load).unwrap();
    moved(&clip.encode_texts(&["a star"]));
    moved(&clip.encode_images(&[]));
    moved(&clip.classifier(&["a star"], &["{}"]));
}
