use super::{dot, product};
use crate::error::Result;
use crate::gpu::Caps;
use crate::gpu::shader::part;
use crate::graph::kernel::{Kernel, op_dims};
use crate::graph::op::{expect_fixed, shape_error};
use crate::graph::{Call, Desc, Op, Operand, Rows, Shape};

/// The activation of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    None = 0,
    /// x · sigmoid(1.702 x), as OpenAI's checkpoints were trained.
    QuickGelu = 1,
    /// x · Φ(x), by erf.
    Gelu = 2,
    /// The tanh approximation of GELU.
    GeluTanh = 3,
    Relu = 4,
    /// x · sigmoid(x)
    Silu = 5,
}

impl Act {
    fn apply(self, v: f64) -> f64 {
        match self {
            Act::None => v,
            Act::QuickGelu => v / (1.0 + (-1.702 * v).exp()),
            Act::Gelu => 0.5 * v * (1.0 + erf(v / std::f64::consts::SQRT_2)),
            Act::GeluTanh => 0.5 * v * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v)).tanh()),
            Act::Relu => v.max(0.0),
            Act::Silu => v / (1.0 + (-v).exp()),
        }
    }
}

/// erf in f64: its Taylor series near zero, the continued fraction of erfc further out.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a < 3.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..80 {
            term *= -a * a / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        return x.signum() * sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let fraction = (1..60).rev().fold(a, |f, n| a + n as f64 / 2.0 / f);
    x.signum() * (1.0 - (-a * a).exp() / (fraction * std::f64::consts::PI.sqrt()))
}

/// y = act(x · Wᵀ + b) + r
///
/// | | shape | |
/// |---|---|---|
/// | x | `[rows, k]` | f32 |
/// | w | `[n, k]` | any weight format |
/// | b | `[n]` | f32, if `bias` |
/// | r | `[rows, n]` | f32, if `residual` |
/// | y | `[rows, n]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    pub act: Act,
    pub bias: bool,
    pub residual: bool,
}

impl Linear {
    /// Where among the inputs the residual is, if there is one.
    pub fn residual_at(&self) -> Option<usize> {
        self.residual.then_some(2 + self.bias as usize)
    }
}

op_dims! { LinearDims { bias: u32 } }

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn operands(&self) -> &'static [Operand] {
        &[Operand::Rows, Operand::Weight, Operand::Rows, Operand::Rows]
    }

    fn outputs(&self, inputs: &[&Desc]) -> Result<Vec<Shape>> {
        if inputs.len() != 2 + self.bias as usize + self.residual as usize {
            return shape_error(self.name(), format!("takes x, w, b if bias, r if residual; found {} inputs", inputs.len()));
        }
        let (x, w) = (inputs[0], inputs[1]);
        let Rows::Fixed(n) = w.rows else { return shape_error(self.name(), format!("`{}` is no weight", w.name)) };
        expect_fixed(self.name(), w, n, x.width)?;
        if self.bias {
            expect_fixed(self.name(), inputs[2], 1, n)?;
        }
        if let Some(r) = self.residual_at().map(|at| inputs[at])
            && (r.rows != x.rows || r.width != n)
        {
            return shape_error(self.name(), format!("residual `{}` is {}, but y is [{:?}, {n}]", r.name, r.shape(), x.rows));
        }
        Ok(vec![Shape::f32(x.rows, n)])
    }

    fn lower(&self, call: &Call, caps: &Caps) -> Vec<Kernel> {
        let mut kernel = product::kernel(self, call, caps, &[part!("input.wgsl"), part!("linear.wgsl")]);
        if !self.bias {
            kernel = kernel.absent(2);
        }
        if !self.residual {
            kernel = kernel.absent(3);
        }
        let constants = [("ACT", self.act as u32 as f64), ("RESIDUAL", self.residual as u32 as f64)];
        vec![kernel.constants(constants).op_dims(LinearDims { bias: self.bias as u32 })]
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let (k, n) = (call.inputs[0].width, call.output().width);
        let mut y = Vec::with_capacity(data[0].len() / k * n);
        for (row, x) in data[0].chunks(k).enumerate() {
            for (col, w) in data[1].chunks(k).enumerate() {
                let bias = if self.bias { data[2][col] as f64 } else { 0.0 };
                let residual = self.residual_at().map_or(0.0, |at| data[at][row * n + col] as f64);
                y.push((self.act.apply(dot(x, w) + bias) + residual) as f32);
            }
        }
        y
    }

    fn flops(&self, call: &Call) -> u64 {
        2 * call.rows() as u64 * call.output().width as u64 * call.inputs[0].width as u64
    }
}
