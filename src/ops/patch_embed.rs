use super::{dot, product};
use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::part;
use crate::graph::kernel::{Dims, Kernel, op_dims};
use crate::graph::op::{expect_fixed, shape_error};
use crate::graph::{Call, Desc, Op, Operand, Rows, Shape};

/// With a class token, y\[b, 0\] = c + p\[0\] and y\[b, 1 + i\] = patch i · Wᵀ + p\[1 + i\]; without one,
/// y\[b, i\] = patch i · Wᵀ + c + p\[i\]. Pixels right of and below the last whole patch are left out, as an unpadded
/// convolution does.
///
/// | | shape | |
/// |---|---|---|
/// | x | `[batch, 3 · size · size]` | f32 pixels |
/// | w | `[n, 3 · patch · patch]` | any weight format |
/// | c | `[n]` | f32, the class token; the convolution's bias where there is none |
/// | p | `[tokens, n]` | f32, positions |
/// | y | `[batch, tokens, n]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct PatchEmbed {
    /// Side of the picture, in pixels.
    pub size: usize,
    /// Side of a patch, in pixels.
    pub patch: usize,
    /// Whether a class token stands before the patches.
    pub class: bool,
}

impl PatchEmbed {
    pub(crate) fn patches(&self) -> usize {
        (self.size / self.patch).pow(2)
    }

    /// The patches, and the class token where there is one.
    pub fn tokens(&self) -> usize {
        self.class as usize + self.patches()
    }

    /// The pixels of a patch, a line at a time: channel, row, column.
    pub(crate) fn patch_lines<'a>(&self, pixels: &'a [f32], i: usize) -> impl Iterator<Item = &'a [f32]> {
        let (size, patch) = (self.size, self.patch);
        let (top, left) = (i / (size / patch) * patch, i % (size / patch) * patch);
        (0..3 * patch).map(move |line| &pixels[(line / patch * size + top + line % patch) * size + left..][..patch])
    }
}

op_dims! { PatchEmbedDims { size: u32, x_stride: u32, pixels: u32 } }

impl Op for PatchEmbed {
    fn name(&self) -> &'static str {
        "patch_embed"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Rows, Operand::Weight, Operand::Rows, Operand::Rows]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        let [x, w, c, p] = inputs else { return shape_error(self.name(), "takes x, w, c, p".into()) };
        let Rows::Fixed(n) = w.rows else { return shape_error(self.name(), format!("`{}` is no weight", w.name)) };
        if x.rows != Rows::Items || x.width != 3 * self.size * self.size {
            return shape_error(
                self.name(),
                format!("`{}` is {}, but the pixels are [batch, 3 · {} · {}]", x.name, x.shape(), self.size, self.size),
            );
        }
        expect_fixed(self.name(), w, n, 3 * self.patch * self.patch)?;
        expect_fixed(self.name(), c, 1, n)?;
        expect_fixed(self.name(), p, self.tokens(), n)?;
        Ok(vec![Shape::f32(Rows::PerItem(self.tokens()), n)])
    }

    fn lower(&self, call: &Call, caps: &Caps) -> Vec<Kernel> {
        let (x, w) = (call.inputs[0], call.inputs[1]);
        let fours = self.patch.is_multiple_of(4) && self.size.is_multiple_of(4);
        let pixels = if fours { part!("patch_embed_pixels_4.wgsl") } else { part!("patch_embed_pixels.wgsl") };
        let kernel = product::kernel(self, call, caps, &[pixels, part!("patch_embed.wgsl")]);
        let dims = Dims { k: w.stride() as u32, ..kernel.dims };
        let op_dims = PatchEmbedDims { size: self.size as u32, x_stride: x.stride() as u32, pixels: w.width as u32 };
        let constants = [("PATCH", self.patch as f64), ("CLASS", self.class as u32 as f64)];
        vec![Kernel { dims, ..kernel }.constants(constants).op_dims(op_dims)]
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let (size, n) = (self.size, call.output().width);
        let mut y = Vec::new();
        for pixels in data[0].chunks(3 * size * size) {
            if self.class {
                y.extend((0..n).map(|i| data[2][i] + data[3][i]));
            }
            for patch in 0..self.patches() {
                let x = self.patch_lines(pixels, patch).collect::<Vec<_>>().concat();
                let p = &data[3][(self.class as usize + patch) * n..][..n];
                let c = |i: usize| if self.class { 0.0 } else { data[2][i] as f64 };
                y.extend(data[1].chunks(x.len()).enumerate().map(|(i, w)| (dot(&x, w) + c(i) + p[i] as f64) as f32));
            }
        }
        y
    }

    fn flops(&self, call: &Call) -> u64 {
        2 * call.rows() as u64 * call.output().width as u64 * call.inputs[1].width as u64
    }
}
