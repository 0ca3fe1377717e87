use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::part;
use crate::graph::kernel::Kernel;
use crate::graph::{Call, Desc, Op, Operand, Rows, Shape};

/// What a device can do at most, for [`Executor::peak`](crate::Executor::peak): y = x without loops; with them y is what 32 chains of
/// multiply-adds a loop leave, from y = x + c on.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    pub loops: usize,
}

/// Multiply-adds of one invocation in one loop: of each of its four values, one for each chain.
const CHAINS: usize = 32;

impl Peak {
    /// Floating-point operations of one invocation in one loop.
    pub(crate) const FLOPS: usize = 2 * CHAINS;
}

impl Op for Peak {
    fn name(&self) -> &'static str {
        "peak"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Rows]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        Ok(vec![Shape::f32(Rows::Items, inputs[0].width)])
    }

    fn lower(&self, call: &Call, _: &Caps) -> Vec<Kernel> {
        let quads = call.rows() * call.output().stride() / 4;
        let part = const { part!("peak.wgsl") };
        let groups = quads.div_ceil((part.constant("GROUP") * part.constant("EACH")) as usize);
        vec![Kernel::new(self, call, &[part], ([groups as u32, 1, 1], 0)).constants([("LOOPS", self.loops as f64)])]
    }

    fn reference(&self, data: &[&[f32]], _: &Call) -> Vec<f32> {
        let chain = |v: f32, c: usize| (0..self.loops).fold(v as f64 + c as f64, |a, _| a * v as f64 + v as f64);
        let sum = |&v: &f32| if self.loops == 0 { v } else { (0..CHAINS / 4).map(|c| chain(v, c)).sum::<f64>() as f32 };
        data[0].iter().map(sum).collect()
    }

    fn flops(&self, call: &Call) -> u64 {
        (call.rows() * call.output().stride() / 4 * (Self::FLOPS * self.loops).max(8)) as u64
    }
}
