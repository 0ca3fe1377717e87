//! The ops: one Rust file and one WGSL file each, of the same name.

mod attention;
mod attention_parts;
mod frame;
mod layer_norm;
mod layer_norm_parts;
mod linear;
mod mean;
mod nearest;
mod normalize;
mod patch_embed;
mod peak;
mod pool;
mod product;
mod scores;
mod token_embed;

#[cfg(feature = "host")]
pub(crate) use attention::queries;
pub use attention::{Attention, MAX_HEAD};
pub use attention_parts::AttentionParts;
pub use frame::Frame;
pub use layer_norm::LayerNorm;
pub use layer_norm_parts::LayerNormParts;
pub use linear::{Act, Linear};
pub use mean::Mean;
pub use nearest::Nearest;
pub use normalize::Normalize;
pub use patch_embed::PatchEmbed;
pub use peak::Peak;
pub use pool::{Pool, PooledRow};
pub use scores::Scores;
pub use token_embed::TokenEmbed;

/// Σ x·w in f64.
fn dot(x: &[f32], w: &[f32]) -> f64 {
    x.iter().zip(w).map(|(&x, &w)| x as f64 * w as f64).sum()
}
