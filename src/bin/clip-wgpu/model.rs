#[cfg(feature = "hub")]
mod hub;
mod info;
mod verify;

use clap::{Args, Subcommand};
use clip_wgpu::Result;

use crate::Outcome;
use crate::context::Globals;

/// Find, pull and look into models
#[derive(Subcommand)]
#[command(after_help = "Examples:
  clip-wgpu model list
  clip-wgpu model pull ViT-B-16/datacomp_xl_s13b_b90k
  clip-wgpu model info openai/clip-vit-base-patch32
  clip-wgpu model verify ~/models/clip-vit-base-patch32 --device gpu
  clip-wgpu model rm ViT-B-16/datacomp_xl_s13b_b90k")]
pub enum Model {
    #[cfg(feature = "hub")]
    /// The models that are known by name, with size and published accuracy, and those in the cache
    List(hub::List),
    #[cfg(feature = "hub")]
    /// Pull a model into the cache that Python shares, or its newest version
    #[command(after_help = "Examples:
  clip-wgpu model pull ViT-B-16/datacomp_xl_s13b_b90k
  clip-wgpu model pull openai/clip-vit-base-patch32")]
    Pull(Named),
    #[cfg(feature = "hub")]
    /// Remove a model from the cache
    #[command(after_help = "Example:
  clip-wgpu model rm ViT-B-16/datacomp_xl_s13b_b90k")]
    Rm(Removed),
    /// What a model is made of, and what it takes on the device
    #[command(after_help = "Examples:
  clip-wgpu model info pico
  clip-wgpu model info ~/models/clip-vit-base-patch32 --device cpu --json")]
    Info(Named),
    /// Check the GPU's numbers against the CPU's, layer by layer
    #[command(after_help = "Examples:
  clip-wgpu model verify pico
  clip-wgpu model verify ~/models/clip-vit-base-patch32 --device gpu:0 --kernel product_few")]
    Verify(Named),
}

#[derive(Args)]
pub struct Named {
    /// The model; -m does as well
    #[arg(value_name = "NAME|DIR")]
    name: Option<String>,
}

#[cfg(feature = "hub")]
#[derive(Args)]
pub struct Removed {
    /// The model, which no variable and no default names
    name: String,
}

impl Named {
    fn name(&self, g: &Globals) -> Result<String> {
        self.name.clone().map_or_else(|| g.model(), Ok)
    }
}

impl Model {
    pub fn run(self, g: &Globals) -> Result<Outcome> {
        match self {
            #[cfg(feature = "hub")]
            Model::List(list) => list.run(g),
            #[cfg(feature = "hub")]
            Model::Pull(named) => hub::pull(g, &named.name(g)?),
            #[cfg(feature = "hub")]
            Model::Rm(removed) => hub::remove(g, &removed.name),
            Model::Info(named) => info::info(g, &named.name(g)?),
            Model::Verify(named) => verify::verify(g, &named.name(g)?),
        }
    }
}
