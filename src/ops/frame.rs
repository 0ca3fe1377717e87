use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::part;
use crate::graph::kernel::{Bind, Dims, Kernel, op_dims};
use crate::graph::op::shape_error;
use crate::graph::{Call, Desc, Kind, Op, Operand, Rows, Shape};
use crate::input::resize::{self, Taps};
use crate::input::{Image, Preprocess};

/// A texture as the pixels of a vision tower: resized, cropped, filled and normalised on the device, bit for bit what
/// [`Preprocess::pixels`] makes of the same picture.
///
/// | | shape | |
/// |---|---|---|
/// | frame | `[height, 4 · width]` | a texture's 8-bit values |
/// | tables | `[1, ..]` | the bits of [`Frame::tables`], as a weight: they are written once |
/// | y | `[1, 3 · size · size]` | f32 pixels |
#[derive(Clone, Debug)]
pub struct Frame {
    /// Of the texture, in texels.
    pub width: usize,
    pub height: usize,
    pub recipe: Preprocess,
}

op_dims! { FrameDims { taps: u32, across: u32, x: u32, y: u32, width: u32, height: u32, size: u32, fill: u32 } }

/// Values of a channel: the tables begin with what a tower reads for each.
const LEVELS: usize = 256;

// The shader's fixed point is the host's.
const _: () = assert!(part!("frame.wgsl").constant("BITS") == resize::BITS);

impl Frame {
    /// What the kernels look up: for each 8-bit value of each channel what the tower reads, as the bits of an f32; then for each
    /// column the first input, how many there are, and where their fixed-point weights stand; then the same for each row.
    pub fn tables(&self) -> Vec<u32> {
        let placed = self.recipe.placed(self.width, self.height);
        let passes = &placed.passes;
        let (columns, rows) = (resize::reach(&passes.across), resize::reach(&passes.down));
        let mut tables: Vec<u32> =
            (0..3).flat_map(|c| (0..LEVELS).map(move |v| (c, v as u8))).map(|(c, v)| self.recipe.pixel(c, v).to_bits()).collect();
        // The second pass reads what the first has left, from 0 on.
        let (across_from, down_from) = if passes.down_first { (columns.start, 0) } else { (0, rows.start) };
        append(&mut tables, &passes.across, across_from);
        append(&mut tables, &passes.down, down_from);
        tables
    }
}

fn append(tables: &mut Vec<u32>, taps: &[Taps], from: usize) {
    let mut at = tables.len() + 3 * taps.len();
    for t in taps {
        tables.extend([(t.first - from) as u32, t.weights.len() as u32, at as u32]);
        at += t.weights.len();
    }
    tables.extend(taps.iter().flat_map(|t| &t.weights).map(|&w| w as u32));
}

impl Op for Frame {
    fn name(&self) -> &'static str {
        "frame"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Texture, Operand::Rows]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        match inputs {
            [frame, tables]
                if (frame.kind, frame.rows, frame.width) == (Kind::Texel, Rows::PerItem(self.height), 4 * self.width)
                    && tables.rows == Rows::Fixed(1) =>
            {
                Ok(vec![Shape::f32(Rows::Items, 3 * self.recipe.size.pow(2))])
            }
            _ => shape_error(self.name(), format!("takes a texture of {} × {} texels and its tables", self.width, self.height)),
        }
    }

    fn lower(&self, call: &Call, _: &Caps) -> Vec<Kernel> {
        let placed = self.recipe.placed(self.width, self.height);
        let passes = &placed.passes;
        let (columns, rows) = (resize::reach(&passes.across), resize::reach(&passes.down));
        let size = self.recipe.size as u32;
        let fill = u32::from_le_bytes([self.recipe.fill[0], self.recipe.fill[1], self.recipe.fill[2], 0]);
        let across_at = 3 * LEVELS as u32;
        let down_at = across_at + passes.across.iter().map(|t| 3 + t.weights.len() as u32).sum::<u32>();
        let taps = |across: bool| if across { across_at } else { down_at };
        let work = |taps: &[Taps], lines: usize| 6 * lines as u64 * taps.iter().map(|t| t.weights.len() as u64).sum::<u64>();

        let (across, x, y, width, height, flops) = if passes.down_first {
            (false, columns.start, 0, columns.len(), passes.down.len(), work(&passes.down, columns.len()))
        } else {
            (true, 0, rows.start, passes.across.len(), rows.len(), work(&passes.across, rows.len()))
        };
        let part = |first| if first { part!("frame_first.wgsl") } else { part!("frame_second.wgsl") };
        let grid = |values: usize, first: bool| ([values.div_ceil(part(first).constant("GROUP") as usize) as u32, 1, 1], 0);
        let lines = |written| Bind::Scratch { at: 0, bytes: 4 * (width * height) as u64, written };
        let first = Kernel::new(self, call, &[part!("frame.wgsl"), part(true)], grid(width * height, true));
        let dims = FrameDims {
            taps: taps(across),
            across: across as u32,
            x: x as u32,
            y: y as u32,
            width: width as u32,
            height: height as u32,
            size,
            fill,
        };
        let first =
            Kernel { label: "frame_first", binds: vec![Bind::Texture(0), Bind::Input(1), lines(true)], flops, ..first }.op_dims(dims);

        let second = Kernel::new(self, call, &[part!("frame.wgsl"), part(false)], grid(self.recipe.size.pow(2), false));
        let flops = if across { work(&passes.down, passes.across.len()) } else { work(&passes.across, passes.down.len()) };
        let binds = vec![lines(false), Bind::Input(1), Bind::Output(0)];
        let dims = FrameDims {
            taps: taps(!across),
            across: !across as u32,
            x: placed.left as u32,
            y: placed.top as u32,
            width: passes.across.len() as u32,
            height: passes.down.len() as u32,
            ..dims
        };
        let stride = Dims { k: width as u32, ..second.dims };
        vec![first, Kernel { label: "frame_second", binds, flops, dims: stride, ..second }.op_dims(dims)]
    }

    fn reference(&self, data: &[&[f32]], _: &Call) -> Vec<f32> {
        let rgb = data[0].chunks(4).flat_map(|texel| texel[..3].iter().map(|&v| v as u8)).collect();
        Image::from_rgb8(self.width, self.height, rgb).map(|image| self.recipe.pixels(&image)).unwrap_or_default()
    }
}
