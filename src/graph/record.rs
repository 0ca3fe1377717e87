//! The dispatches of a run, recorded: bind groups, sizes and grids.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use super::kernel::{Bind, Dims, Kernel};
use super::session::{Data, Session, lowered};
use super::{Operand, Size, Value};
use crate::error::{Error, Result};
use crate::gpu::{DIMS_BYTES, DIMS_STRIDE, Gpu, OP_DIMS_AT, OP_DIMS_BYTES};

/// The dispatches of a run of one size.
pub(super) struct Record {
    size: Size,
    pub(super) dispatches: Vec<Dispatch>,
    dims: wgpu::Buffer,
    pub(super) dims_group: wgpu::BindGroup,
    groups: Groups,
    /// The textures that are bound, by the input's value.
    textures: Vec<(Value, wgpu::Texture)>,
}

/// Bind groups by node, kernel and piece of the table, with what they bind.
type Groups = HashMap<(usize, usize, usize), (Vec<Bind>, wgpu::BindGroup)>;

#[derive(Clone)]
pub(super) struct Dispatch {
    pub(super) node: usize,
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) operands: wgpu::BindGroup,
    dims: Dims,
    op_dims: [u32; 8],
    pub(super) grid: [u32; 3],
    pub(super) flops: u64,
}

impl Session {
    /// The dispatches of a run of this size, with their dims written.
    pub(super) fn record(&self, size: Size, inputs: &[(Value, Data<'_>)]) -> Result<MutexGuard<'_, Record>> {
        let mut guard = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let record = &mut *guard;
        let texture = |(value, data): &(Value, Data<'_>)| match data {
            Data::Texture(texture) => Some((*value, (*texture).clone())),
            _ => None,
        };
        let textures: Vec<_> = inputs.iter().filter_map(texture).collect();
        if record.size == size && record.textures == textures {
            return Ok(guard);
        }
        if record.textures != textures {
            record.textures = textures;
            record.groups.retain(|_, (binds, _)| !binds.iter().any(|bind| matches!(bind, Bind::Texture(_))));
        }
        let mut dispatches = Vec::new();
        for (node, kernels) in lowered(&self.gpu, &self.graph, &self.weights, size).into_iter().enumerate() {
            for (at, kernel) in kernels.iter().enumerate() {
                self.record_kernel(&mut record.groups, &record.textures, &mut dispatches, (node, at), kernel)?;
            }
        }
        if record.dims.size() < dispatches.len() as u64 * DIMS_STRIDE {
            (record.dims, record.dims_group) = dims_buffer(&self.gpu, dispatches.len());
        }
        let mut bytes = vec![0; DIMS_STRIDE as usize * dispatches.len()];
        for (place, d) in bytes.chunks_mut(DIMS_STRIDE as usize).zip(&dispatches) {
            place[..DIMS_BYTES as usize].copy_from_slice(bytemuck::bytes_of(&d.dims));
            place[OP_DIMS_AT as usize..][..OP_DIMS_BYTES as usize].copy_from_slice(bytemuck::bytes_of(&d.op_dims));
        }
        self.gpu.queue.write_buffer(&record.dims, 0, &bytes);
        (record.size, record.dispatches) = (size, dispatches);
        Ok(guard)
    }

    fn record_kernel(
        &self,
        groups: &mut Groups,
        textures: &[(Value, wgpu::Texture)],
        dispatches: &mut Vec<Dispatch>,
        (node, at): (usize, usize),
        kernel: &Kernel,
    ) -> Result<()> {
        let no_pipeline = || Error::Device(format!("{} has no kernel for this size: the session was made without it", kernel.label));
        let pipeline = self.pipelines.get(&kernel.key()).ok_or_else(no_pipeline)?;
        for piece in 0..self.pieces(node, kernel) {
            let known = groups.get(&(node, at, piece)).filter(|(binds, _)| *binds == kernel.binds).map(|(_, group)| group.clone());
            let operands = known.unwrap_or_else(|| {
                let bound: Vec<Bound> = kernel.binds.iter().map(|bind| self.bound(node, *bind, piece, textures)).collect();
                let group = group(&self.gpu, kernel.label, &pipeline.get_bind_group_layout(0), &bound);
                groups.insert((node, at, piece), (kernel.binds.clone(), group.clone()));
                group
            });
            let (first, count) = self.table(node).map_or((0, 0), |t| (t.pieces[piece].first, t.pieces[piece].rows));
            for cut in kernel.cuts(self.gpu.caps.submission_flops()) {
                dispatches.push(Dispatch {
                    node,
                    pipeline: pipeline.clone(),
                    operands: operands.clone(),
                    dims: Dims { first: first as u32, count: count as u32, group: cut.0, ..kernel.dims },
                    op_dims: kernel.op_dims,
                    grid: cut.1,
                    flops: kernel.flops_of(cut),
                });
            }
        }
        Ok(())
    }

    /// The table that a node looks rows up in.
    fn table(&self, node: usize) -> Option<&super::DeviceWeight> {
        let node = &self.graph.nodes[node];
        let at = node.op.operands().iter().position(|o| *o == Operand::Table)?;
        self.weights.get(node.inputs.get(at)?)
    }

    /// Dispatches of a kernel: one for each piece of the table that it reads.
    pub(super) fn pieces(&self, node: usize, kernel: &Kernel) -> usize {
        let reads_table = |bind: &Bind| matches!(bind, Bind::Input(i) if self.graph.nodes[node].op.operands()[*i] == Operand::Table);
        if kernel.binds.iter().any(reads_table) { self.table(node).map_or(1, |t| t.pieces.len()) } else { 1 }
    }

    fn bound(&self, node: usize, bind: Bind, piece: usize, textures: &[(Value, wgpu::Texture)]) -> Bound {
        let of = &self.graph.nodes[node];
        Bound::Buffer(match bind {
            Bind::Texture(i) => {
                let texture = textures.iter().find(|(value, _)| *value == of.inputs[i]).map(|(_, texture)| texture);
                return Bound::Texture(texture.expect("every input was checked").create_view(&Default::default()));
            }
            Bind::Output(i) => self.buffer(of.outputs[i]).clone(),
            Bind::Scratch { at, .. } => self.slots[self.plan.scratch_of[node][at]].clone(),
            Bind::Input(i) => match self.weights.get(&of.inputs[i]) {
                Some(weight) => weight.pieces[if of.op.operands()[i] == Operand::Table { piece } else { 0 }].buffer.clone(),
                None => self.buffer(of.inputs[i]).clone(),
            },
        })
    }
}

/// What stands at a binding.
enum Bound {
    Buffer(wgpu::Buffer),
    Texture(wgpu::TextureView),
}

impl Bound {
    fn resource(&self) -> wgpu::BindingResource<'_> {
        match self {
            Bound::Buffer(buffer) => buffer.as_entire_binding(),
            Bound::Texture(view) => wgpu::BindingResource::TextureView(view),
        }
    }
}

impl Record {
    /// Nothing yet, with room for so many dispatches.
    pub(super) fn new(gpu: &Gpu, dispatches: usize) -> Self {
        let (dims, dims_group) = dims_buffer(gpu, dispatches);
        let size = Size { batch: 0, tokens: 0 };
        Self { size, dispatches: Vec::new(), dims, dims_group, groups: HashMap::new(), textures: Vec::new() }
    }

    pub(super) fn dispatch(&self, at: usize, pass: &mut wgpu::ComputePass<'_>) {
        let d = &self.dispatches[at];
        let (offset, [x, y, z]) = (at as u32 * DIMS_STRIDE as u32, d.grid);
        pass.set_pipeline(&d.pipeline);
        pass.set_bind_group(0, &d.operands, &[]);
        pass.set_bind_group(1, &self.dims_group, &[offset, offset]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Room for the dims of so many dispatches.
fn dims_buffer(gpu: &Gpu, dispatches: usize) -> (wgpu::Buffer, wgpu::BindGroup) {
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("dims"),
        size: DIMS_STRIDE * dispatches.max(1) as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let place = |offset, bytes| {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &buffer, offset, size: std::num::NonZeroU64::new(bytes) })
    };
    let entry = |(binding, resource)| wgpu::BindGroupEntry { binding, resource };
    let entries = [(0, place(0, DIMS_BYTES)), (1, place(OP_DIMS_AT, OP_DIMS_BYTES))].map(entry);
    let group =
        gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some("dims"), layout: &gpu.dims_layout, entries: &entries });
    (buffer, group)
}

fn group(gpu: &Gpu, label: &str, layout: &wgpu::BindGroupLayout, bound: &[Bound]) -> wgpu::BindGroup {
    let entries: Vec<_> =
        bound.iter().enumerate().map(|(i, b)| wgpu::BindGroupEntry { binding: i as u32, resource: b.resource() }).collect();
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(label), layout, entries: &entries })
}
