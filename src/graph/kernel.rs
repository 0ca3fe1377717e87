//! What an op is lowered to: shader files, bindings, sizes and a grid.

use super::op::{Call, Op, Operand};
use crate::gpu::shader::{Part, part};
use crate::gpu::{Binding, Constant, PipelineKey};

/// Declares an op's own uniform in Rust: the same fields in the same order as the struct of this name in its shader.
macro_rules! op_dims {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(C)]
        pub struct $name { $(pub $field: $type),* }

        impl $crate::graph::kernel::Uniform for $name {
            const FIELDS: &[(&str, usize)] = &[$((stringify!($field), std::mem::offset_of!($name, $field))),*];
        }
    };
}
pub(crate) use op_dims;

op_dims! {
    /// The sizes of one dispatch, alike for every op: `Dims` in `shaders/dims.wgsl`. Strides are in elements.
    Dims { batch: u32, tokens: u32, rows: u32, k: u32, n: u32, width: u32, first: u32, count: u32, group: u32, pad0: u32, pad1: u32, pad2: u32 }
}

/// A struct that a shader reads as a uniform.
pub trait Uniform: bytemuck::Pod {
    /// Name and offset in bytes of each field.
    const FIELDS: &[(&str, usize)];
}

/// What a kernel binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// An input of the node, read only.
    Input(usize),
    /// An input of the node that is a texture.
    Texture(usize),
    /// An output of the node.
    Output(usize),
    /// Memory that lives within the node, by number: written by an earlier kernel and read by a later one.
    Scratch { at: usize, bytes: u64, written: bool },
}

/// One dispatch, before it has a device.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// In profiles and messages: the op's name, and its variant's where it has several.
    pub label: &'static str,
    /// The shader's files.
    pub parts: Vec<Part>,
    pub constants: Vec<Constant>,
    /// By binding number.
    pub binds: Vec<Bind>,
    pub dims: Dims,
    pub op_dims: [u32; 8],
    /// The fields of `op_dims`.
    pub op_fields: &'static [(&'static str, usize)],
    /// Workgroups. A grid of one dimension is folded into two where it passes 65,535.
    pub grid: [u32; 3],
    /// The axis along which the grid may be cut into several dispatches: a shader adds `dims.group` to it.
    pub cut: usize,
    /// Floating-point operations, a multiply-add counted as two.
    pub flops: u64,
    /// How many times its workgroups read each input, for profiles.
    pub reads: Vec<f64>,
}

impl Kernel {
    /// The kernel that reads all inputs and makes all outputs of `op`: `parts` without `dims.wgsl` and the weights' format,
    /// over a grid that may be cut along `cut`.
    pub fn new(op: &dyn Op, call: &Call, parts: &[Part], (grid, cut): ([u32; 3], usize)) -> Self {
        let formats = call.formats.iter().flatten().map(|f| f.part());
        let input = |i| if op.operands()[i] == Operand::Texture { Bind::Texture(i) } else { Bind::Input(i) };
        Self {
            label: op.name(),
            parts: [part!("dims.wgsl")].into_iter().chain(formats).chain(parts.iter().copied()).collect(),
            constants: Vec::new(),
            binds: (0..call.inputs.len()).map(input).chain((0..call.outputs.len()).map(Bind::Output)).collect(),
            dims: call.dims(),
            op_dims: [0; 8],
            op_fields: &[],
            grid,
            cut,
            flops: op.flops(call),
            reads: vec![1.0; call.inputs.len()],
        }
    }

    /// With how often its workgroups read the first inputs, each of which is else read once.
    pub fn reads(mut self, times: impl IntoIterator<Item = f64>) -> Self {
        self.reads.iter_mut().zip(times).for_each(|(reads, times)| *reads = times);
        self
    }

    /// With values for `override` constants of the shader's.
    pub fn constants(mut self, constants: impl IntoIterator<Item = Constant>) -> Self {
        self.constants.extend(constants);
        self
    }

    /// With the op's own uniform.
    pub fn op_dims<T: Uniform>(mut self, dims: T) -> Self {
        let bytes = bytemuck::bytes_of(&dims);
        bytemuck::bytes_of_mut(&mut self.op_dims)[..bytes.len()].copy_from_slice(bytes);
        Self { op_fields: T::FIELDS, ..self }
    }

    /// With the first input bound again at `binding`, where the shader wants an operand that it will not read.
    pub fn absent(mut self, binding: usize) -> Self {
        self.binds.insert(binding, Bind::Input(0));
        self
    }

    /// What its pipeline is decided by.
    pub fn key(&self) -> PipelineKey {
        let binding = |bind: &Bind| match bind {
            Bind::Texture(_) => Binding::Texture,
            Bind::Output(_) | Bind::Scratch { written: true, .. } => Binding::Write,
            Bind::Input(_) | Bind::Scratch { .. } => Binding::Read,
        };
        PipelineKey {
            parts: self.parts.clone(),
            constants: self.constants.iter().map(|(name, value)| (*name, value.to_bits())).collect(),
            bindings: self.binds.iter().map(binding).collect(),
        }
    }
}

/// The grid of an op that gives each row a workgroup.
pub fn row_grid(rows: usize) -> ([u32; 3], usize) {
    ([rows as u32, 1, 1], 0)
}

/// The most workgroups along one axis (WebGPU's default).
const MOST_GROUPS: u32 = 65_535;

/// A dispatch's first workgroup along the kernel's axis, and its grid.
pub(super) type Cut = (u32, [u32; 3]);

impl Kernel {
    /// The dispatches that it takes so that none costs more than `budget`: one, unless it is above that. A single workgroup's
    /// width of the grid is never cut.
    pub(super) fn cuts(&self, budget: u64) -> Vec<Cut> {
        let groups = self.grid[self.cut];
        let each = (self.flops / groups.max(1) as u64).max(1);
        let folds = self.cut == 0 && self.grid[1..] == [1, 1];
        let most = ((budget / each).clamp(1, u32::MAX as u64) as u32).min(if folds { u32::MAX } else { MOST_GROUPS });
        let cut = |first: u32| {
            let mut grid = self.grid;
            grid[self.cut] = most.min(groups - first);
            if folds && grid[0] > MOST_GROUPS {
                grid = [MOST_GROUPS, grid[0].div_ceil(MOST_GROUPS), 1];
            }
            (first, grid)
        };
        (0..groups).step_by(most as usize).map(cut).collect()
    }

    /// What one of those dispatches computes.
    pub(super) fn flops_of(&self, (_, grid): Cut) -> u64 {
        let all: u64 = self.grid.iter().map(|&n| n as u64).product();
        (self.flops as u128 * grid.iter().map(|&n| n as u128).product::<u128>() / all.max(1) as u128).min(self.flops as u128) as u64
    }
}
