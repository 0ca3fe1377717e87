//! The options that every subcommand shares, and what they open.

use std::sync::Arc;
use std::time::Duration;

use crate::home;
use crate::output::complain;
use clap::{Args, ValueEnum};
use clip_wgpu::clip::{ModelFiles, PICO};
use clip_wgpu::weights::Compute;
use clip_wgpu::weights::Format;
use clip_wgpu::weights::load::StoredAs;
use clip_wgpu::{Clip, Device, Error, Executor, Options, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

#[derive(Args, Clone)]
#[command(next_help_heading = "Options for every command")]
pub struct Globals {
    /// The model: `pico` (in the box; knows emoji and drawings of shapes); a folder or weight file as it comes from Hugging Face, open_clip
    /// or OpenAI; a name on the Hub (openai/clip-vit-base-patch32) or open_clip's (ViT-B-32/laion2b_s34b_b79k), pulled once.
    /// Default: ViT-B-32-256/datacomp_s34b_b86k
    #[arg(short, long, global = true, value_name = "NAME|DIR|FILE", env = "CLIP_WGPU_MODEL")]
    pub model: Option<String>,
    /// Where it runs: auto (a hardware GPU, else the CPU), gpu, gpu:NAME, gpu:INDEX or cpu
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE", value_parser = parse_device)]
    pub device: Device,
    /// Force a kernel of the matrix product (product_tile, product_few, product_direct, product_subgroup, product_cooperative), for tests and bug reports
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub kernel: Option<String>,
    /// How weights are kept in memory: auto is the smallest form that is exact
    #[arg(long, global = true, default_value = "auto", value_enum)]
    pub dtype: Dtype,
    /// What linear layers multiply in: f32; for speed, rounded, f16 on a GPU (cosine to f32 about 0.99999), int8 on a CPU with
    /// AVX512-VNNI, AVX-VNNI or Arm's dot products (about 0.999)
    #[arg(long, global = true, default_value = "f32", value_name = "TYPE", value_parser = parse_compute)]
    pub compute: Compute,
    /// The most pictures or texts that run at once
    #[arg(long, global = true, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,
    /// Side of the pictures in pixels, where not the one that the model was trained on (its positions are resampled)
    #[arg(long, global = true, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..))]
    pub image_size: Option<u16>,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress and no warnings
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Never open a network connection: only what was pulled before, or is a folder
    #[arg(long, global = true)]
    pub offline: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    Auto,
    F32,
    F16,
    Bf16,
}

fn parse_device(text: &str) -> std::result::Result<Device, String> {
    text.parse().map_err(|e: Error| e.to_string())
}

fn parse_compute(text: &str) -> std::result::Result<Compute, String> {
    text.parse().map_err(|e: Error| e.to_string())
}

/// A number, which NaN is none of.
pub fn number(text: &str) -> std::result::Result<f32, String> {
    text.parse().ok().filter(|number: &f32| !number.is_nan()).ok_or_else(|| "expected a number".into())
}

/// With pipelines that the next run need not compile.
fn keeping_pipelines(executor: Executor) -> Executor {
    match (executor, home::caches()) {
        (Executor::Gpu(gpu), Some(caches)) => pollster::block_on(gpu.with_pipeline_cache(&caches.join("clip-wgpu"))).into(),
        (executor, _) => executor,
    }
}

impl Globals {
    /// The files of the model, or `None` where none was given.
    pub fn files(&self) -> Result<Option<ModelFiles>> {
        self.model.as_deref().map(|name| self.find(name)).transpose()
    }

    pub fn warn(&self, message: &str) {
        if !self.quiet {
            complain(message);
        }
    }

    pub fn options(&self) -> Options {
        let stored = match self.dtype {
            Dtype::Auto => StoredAs::Auto,
            Dtype::F32 => StoredAs::As(Format::F32),
            Dtype::F16 => StoredAs::As(Format::F16),
            Dtype::Bf16 => StoredAs::As(Format::Bf16),
        };
        Options {
            device: self.device.clone(),
            stored,
            compute: self.compute,
            batch: self.batch.into(),
            image_size: self.image_size.map(usize::from),
            refuse_non_finite: false, // the input is named instead
            ..Options::default()
        }
    }

    /// Opens the device; says so where `auto` ends on the CPU.
    pub fn executor(&self) -> Result<Executor> {
        let mut refused = Vec::new();
        let executor = pollster::block_on(self.device.open_noting(|error| refused.push(error.to_string())))?;
        refused.iter().for_each(|why| self.warn(&format!("a GPU is passed over: {why}")));
        let executor = self.forced(keeping_pipelines(executor))?;
        if self.device == Device::Auto && matches!(executor, Executor::Host) {
            self.warn(match refused.is_empty() {
                true => "no hardware GPU found (on Linux: is its Vulkan driver installed?); running on the CPU",
                false => "running on the CPU",
            });
        }
        Ok(executor)
    }

    /// With the kernel that is forced.
    pub fn forced(&self, executor: Executor) -> Result<Executor> {
        match (executor, &self.kernel) {
            (executor, None) => Ok(executor),
            (Executor::Gpu(gpu), Some(name)) => Ok(gpu.with_kernel(name)?.into()),
            (Executor::Host, Some(name)) => Err(Error::Argument(format!("--kernel {name} is a GPU's, but the CPU runs: add --device gpu"))),
        }
    }

    /// Loads the model on the device.
    pub fn load(&self) -> Result<Clip> {
        self.load_with(self.options())
    }

    /// As [`Globals::load`], with these options.
    pub fn load_with(&self, options: Options) -> Result<Clip> {
        let files = self.opened()?;
        self.load_on(&self.executor()?, files, options, &[])
    }

    /// The model's files; says what not to expect of pico.
    pub fn opened(&self) -> Result<ModelFiles> {
        let name = self.model()?;
        let files = self.find(&name)?;
        if name == PICO {
            self.warn("pico knows emoji and drawings of shapes, not photographs; -m NAME takes a real model (clip-wgpu model list)");
        }
        Ok(files)
    }

    /// Loads a model on a device that is open, with a progress bar; the values named in `keep` can be read.
    pub fn load_on(&self, executor: &Executor, files: ModelFiles, options: Options, keep: &[&str]) -> Result<Clip> {
        let bar = self.bar(0, "loading  {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        let told = bar.clone();
        let progress = Arc::new(move |done, total| {
            told.set_length(total);
            told.set_position(done);
        });
        let options = Options { progress: Some(progress), ..options };
        let clip = pollster::block_on(Clip::load_on(executor, files, &options, keep));
        bar.finish_and_clear();
        clip
    }

    /// A progress bar on stderr; hidden where stderr is no terminal.
    pub fn bar(&self, length: u64, template: &str) -> ProgressBar {
        let target = if self.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        bar.set_style(ProgressStyle::with_template(template).expect("the templates are part of the program"));
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }
}
