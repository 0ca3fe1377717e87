//! The whole session on wgpu's noop back end: layouts, usages and limits are checked with no driver at all.
#![allow(clippy::unwrap_used)] // a test that fails may panic

use std::path::Path;

use clip_wgpu::clip::ModelFiles;
use clip_wgpu::gpu::{self, Gpu};
use clip_wgpu::weights::Format;
use clip_wgpu::weights::load::StoredAs;
use clip_wgpu::{Clip, Options};

async fn load(gpu: &Gpu, model: &str, options: &Options) -> Clip {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(model);
    let files = pollster::block_on(ModelFiles::find(&folder.display().to_string())).unwrap();
    Clip::load_on(&gpu.clone().into(), files, options, &[]).await.unwrap()
}

#[test]
fn both_towers_build_and_run_without_a_driver() {
    pollster::block_on(async {
        let adapters = gpu::instance(wgpu::Backends::NOOP).enumerate_adapters(wgpu::Backends::NOOP).await;
        let gpu = Gpu::open(&adapters[0]).await.unwrap();
        for model in ["hf_quick", "open_clip_gelu"] {
            for stored in [StoredAs::Auto, StoredAs::As(Format::F16), StoredAs::As(Format::Bf16)] {
                let clip = load(&gpu, model, &Options { stored, batch: 4, ..Options::default() }).await;
                let pixels = vec![0.5; 5 * 3 * clip.config.vision().unwrap().size.pow(2)];
                assert_eq!(clip.encode_pixels(&pixels).await.unwrap().rows, 5);
                assert_eq!(clip.encode_ids(&vec![vec![118, 7, 119]; 9]).await.unwrap().rows, 9);
            }
        }
    });
}

/// Pipelines cost up to 2 s each in some browsers.
#[test]
fn both_towers_take_ten_pipelines() {
    pollster::block_on(async {
        let adapters = gpu::instance(wgpu::Backends::NOOP).enumerate_adapters(wgpu::Backends::NOOP).await;
        let gpu = Gpu::open(&adapters[0]).await.unwrap();
        load(&gpu, "hf_f16", &Options::default()).await;
        assert_eq!(gpu.pipelines(), 10);
    });
}
