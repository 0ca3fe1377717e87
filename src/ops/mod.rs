//! The ops: one Rust file and one WGSL file each, of the same name.

mod attention;
mod layer_norm;
mod linear;
mod mean;
mod normalize;
mod patch_embed;
mod pool;
mod scores;
mod token_embed;

pub use attention::{Attention, MAX_HEAD};
pub use layer_norm::LayerNorm;
pub use linear::{Act, Linear};
pub use mean::Mean;
pub use normalize::Normalize;
pub use patch_embed::PatchEmbed;
pub use pool::Pool;
pub use scores::Scores;
pub use token_embed::TokenEmbed;

use crate::error::{Error, Result};
use crate::gpu::shader::Part;
use crate::graph::{Desc, Rows, Size};
use crate::host::Operand;

/// The sizes of one dispatch: the same fields in the same order as `Dims` in `shaders/dims.wgsl`.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Dims {
    pub batch: u32,
    pub tokens: u32,
    pub rows: u32,
    pub k: u32,
    pub n: u32,
    pub width: u32,
    pub keys: u32,
    pub x_stride: u32,
    pub q_step: u32,
    pub k_at: u32,
    pub v_at: u32,
    pub first: u32,
    pub count: u32,
    pub size: u32,
    pub scale: f32,
    pub bias: f32,
    pub eps: f32,
    pub padding: [u32; 3],
}

/// What one run of an op sees: its operands' descriptions and the run's size.
pub struct Call<'a> {
    pub inputs: &'a [&'a Desc],
    pub output: &'a Desc,
    pub size: Size,
}

impl Call<'_> {
    /// The sizes that every op fills in alike.
    fn dims(&self) -> Dims {
        Dims {
            batch: self.size.batch as u32,
            tokens: self.size.tokens as u32,
            rows: self.output.rows(self.size) as u32,
            k: self.inputs[0].stride() as u32,
            n: self.output.stride() as u32,
            width: self.output.width as u32,
            ..Dims::default()
        }
    }
}

/// An `override` constant of a shader and its value.
pub type Constant = (&'static str, f64);

/// One kind of node. Bindings are by rule: inputs in order, read-only; then the output.
pub trait Op: std::fmt::Debug + Send + Sync {
    /// Also the name of its files, its tests and its row in a profile.
    fn name(&self) -> &'static str;

    fn clone_box(&self) -> Box<dyn Op>;

    /// Rows and width of the output, or what is wrong with the inputs.
    fn output(&self, inputs: &[&Desc]) -> Result<(Rows, usize)>;

    /// The shader's files, without `dims.wgsl` and `weight/*.wgsl`.
    fn parts(&self) -> &'static [Part];

    /// The values of the shader's `override` constants.
    fn constants(&self) -> Vec<Constant> {
        Vec::new()
    }

    /// Whether input 1 is a weight matrix that the shader reads through `weight4()`.
    fn reads_weight(&self) -> bool {
        false
    }

    /// Whether it looks up single rows of that weight, which may then lie in pieces.
    fn looks_up_rows(&self) -> bool {
        false
    }

    /// The uniform and the grid of workgroups of one run.
    fn dispatch(&self, call: &Call) -> (Dims, [u32; 3]);

    /// The same on the host's processor: fast, in f32. `y` has the output's rows without padding.
    fn host(&self, operands: &[Operand], call: &Call, y: &mut [f32]);

    /// The same in plain Rust with f64 sums: slow, and plainly right. The kernel is tested against it.
    ///
    /// `data[i]` is input `i` without padding, row after row; u32 inputs come as f32 (all are below 2²⁴).
    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32>;

    /// Floating-point operations of one run, a multiply-add counted as two.
    fn flops(&self, call: &Call) -> u64 {
        (call.output.rows(call.size) * call.output.width * 8) as u64
    }
}

/// The grid of an op that gives each row a workgroup, folded where it passes WebGPU's 65,535 in one dimension.
fn row_grid(rows: usize) -> [u32; 3] {
    let x = rows.clamp(1, 65_535);
    [x as u32, rows.div_ceil(x).max(1) as u32, 1]
}

/// The grid of product.wgsl: 64 × 64 tiles of y.
fn product_grid(dims: &Dims) -> [u32; 3] {
    [dims.n.div_ceil(64).max(1), dims.rows.div_ceil(64).max(1), 1]
}

fn shape_error<T>(op: &'static str, message: String) -> Result<T> {
    Err(Error::Shape { op, message })
}

/// An error unless `desc` holds `rows` fixed rows of `width`.
fn expect_fixed(op: &'static str, desc: &Desc, rows: usize, width: usize) -> Result<()> {
    if desc.rows == Rows::Fixed(rows) && desc.width == width {
        return Ok(());
    }
    shape_error(op, format!("`{}`: expected [{rows}, {width}], found {}", desc.name, desc.shape()))
}

/// Σ x·w in f64.
fn dot(x: &[f32], w: &[f32]) -> f64 {
    x.iter().zip(w).map(|(&x, &w)| x as f64 * w as f64).sum()
}
