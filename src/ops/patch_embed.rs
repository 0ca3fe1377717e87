use rayon::prelude::*;

use super::{Call, Constant, Dims, Op, dot, expect_fixed, product_grid, shape_error};
use crate::error::Result;
use crate::gpu::shader::{Part, part};
use crate::graph::{Desc, Rows};
use crate::host::{self, Epilogue, Operand};

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
    fn patches(&self) -> usize {
        (self.size / self.patch).pow(2)
    }

    /// The patches, and the class token where there is one.
    pub fn tokens(&self) -> usize {
        self.class as usize + self.patches()
    }

    /// The pixels of a patch: channel, row, column.
    fn patch_pixels<'a>(&self, pixels: &'a [f32], i: usize) -> impl Iterator<Item = f32> + 'a {
        let (size, patch) = (self.size, self.patch);
        let (top, left) = (i / (size / patch) * patch, i % (size / patch) * patch);
        (0..3 * patch).flat_map(move |line| &pixels[(line / patch * size + top + line % patch) * size + left..][..patch]).copied()
    }
}

impl Op for PatchEmbed {
    fn name(&self) -> &'static str {
        "patch_embed"
    }

    fn clone_box(&self) -> Box<dyn Op> {
        Box::new(*self)
    }

    fn output(&self, inputs: &[&Desc]) -> Result<(Rows, usize)> {
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
        Ok((Rows::Tokens, n))
    }

    fn parts(&self) -> &'static [Part] {
        const { &[part!("product.wgsl"), part!("patch_embed.wgsl")] }
    }

    fn constants(&self) -> Vec<Constant> {
        vec![("PATCH", self.patch as f64), ("CLASS", self.class as u32 as f64)]
    }

    fn reads_weight(&self) -> bool {
        true
    }

    fn dispatch(&self, call: &Call) -> (Dims, [u32; 3]) {
        let w = call.inputs[1];
        let dims = Dims {
            k: w.stride() as u32,
            width: w.width as u32,
            size: self.size as u32,
            x_stride: call.inputs[0].stride() as u32,
            ..call.dims()
        };
        (dims, product_grid(&dims))
    }

    fn host(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (n, k) = (call.output.width, call.inputs[1].width);
        let (c, positions) = (operands[2].floats(), operands[3].floats());
        let pixels = operands[0].floats().par_chunks(3 * self.size * self.size);
        y.par_chunks_mut(self.tokens() * n).zip(pixels).for_each(|(y, pixels)| {
            y.copy_from_slice(positions);
            let added = if self.class { n } else { y.len() };
            y[..added].iter_mut().zip(c.iter().cycle()).for_each(|(y, c)| *y += c);
            let patches = &mut y[self.class as usize * n..];
            let rows: Vec<f32> = (0..self.patches()).flat_map(|i| self.patch_pixels(pixels, i)).collect();
            let x = host::matrix(&rows, [self.patches(), k], [k, 1]);
            host::product(x, operands[1].weight().right_side(), Epilogue { beta: 1.0, ..Default::default() }, patches);
        });
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let (size, n) = (self.size, call.output.width);
        let mut y = Vec::new();
        for pixels in data[0].chunks(3 * size * size) {
            if self.class {
                y.extend((0..n).map(|i| data[2][i] + data[3][i]));
            }
            for patch in 0..self.patches() {
                let x: Vec<f32> = self.patch_pixels(pixels, patch).collect();
                let p = &data[3][(self.class as usize + patch) * n..][..n];
                let c = |i: usize| if self.class { 0.0 } else { data[2][i] as f64 };
                y.extend(data[1].chunks(x.len()).enumerate().map(|(i, w)| (dot(&x, w) + c(i) + p[i] as f64) as f32));
            }
        }
        y
    }

    fn flops(&self, call: &Call) -> u64 {
        (2 * call.output.rows(call.size) * call.output.width * call.inputs[1].width) as u64
    }
}
