use rayon::prelude::*;
use rten_simd::SimdUnaryOp;
use rten_vecmath::{ApproxGelu, Gelu, Swish};

use super::{Call, Constant, Dims, Op, dot, expect_fixed, product_grid, shape_error};
use crate::error::Result;
use crate::gpu::shader::{Part, part};
use crate::graph::{Desc, Rows};
use crate::host::{self, Epilogue, Operand};

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
    /// In place, on all cores, to about 1e-6.
    fn apply_all(self, y: &mut [f32]) {
        if self == Act::None {
            return;
        }
        y.par_chunks_mut(8192).for_each(|part| match self {
            Act::None => {}
            Act::QuickGelu => Swish { alpha: 1.702 }.map_mut(part),
            Act::Gelu => Gelu {}.map_mut(part),
            Act::GeluTanh => ApproxGelu {}.map_mut(part),
            Act::Relu => part.iter_mut().for_each(|v| *v = v.max(0.0)),
            Act::Silu => Swish { alpha: 1.0 }.map_mut(part),
        });
    }

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
/// | b | `[n]` | f32 |
/// | r | `[rows, n]` | f32, read if `residual`; else any input, by rule b again |
/// | y | `[rows, n]` | f32 |
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    pub act: Act,
    pub residual: bool,
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn clone_box(&self) -> Box<dyn Op> {
        Box::new(*self)
    }

    fn output(&self, inputs: &[&Desc]) -> Result<(Rows, usize)> {
        let [x, w, b, r] = inputs else { return shape_error(self.name(), "takes x, w, b, r".into()) };
        let Rows::Fixed(n) = w.rows else { return shape_error(self.name(), format!("`{}` is no weight", w.name)) };
        expect_fixed(self.name(), w, n, x.width)?;
        expect_fixed(self.name(), b, 1, n)?;
        if self.residual && (r.rows != x.rows || r.width != n) {
            return shape_error(self.name(), format!("residual `{}` is {}, but y is [{:?}, {n}]", r.name, r.shape(), x.rows));
        }
        Ok((x.rows, n))
    }

    fn parts(&self) -> &'static [Part] {
        const { &[part!("product.wgsl"), part!("linear.wgsl")] }
    }

    fn constants(&self) -> Vec<Constant> {
        vec![("ACT", self.act as u32 as f64), ("RESIDUAL", self.residual as u32 as f64)]
    }

    fn reads_weight(&self) -> bool {
        true
    }

    fn dispatch(&self, call: &Call) -> (Dims, [u32; 3]) {
        let dims = call.dims();
        (dims, product_grid(&dims))
    }

    fn host(&self, operands: &[Operand], call: &Call, y: &mut [f32]) {
        let (rows, k) = (call.output.rows(call.size), call.inputs[0].width);
        let x = host::matrix(operands[0].floats(), [rows, k], [k, 1]);
        let w = operands[1].weight().right_side();
        let residual = self.residual.then(|| operands[3].floats());
        let inside = residual.filter(|_| self.act == Act::None); // r can be added by the product itself
        if let Some(r) = inside {
            y.copy_from_slice(r);
        }
        let beta = if inside.is_some() { 1.0 } else { 0.0 };
        host::product(x, w, Epilogue { beta, bias: Some(operands[2].floats()), ..Default::default() }, y);
        self.act.apply_all(y);
        if let (Some(r), None) = (residual, inside) {
            y.iter_mut().zip(r).for_each(|(y, r)| *y += r);
        }
    }

    fn reference(&self, data: &[&[f32]], call: &Call) -> Vec<f32> {
        let (k, n) = (call.inputs[0].width, call.output.width);
        let mut y = Vec::with_capacity(data[0].len() / k * n);
        for (row, x) in data[0].chunks(k).enumerate() {
            for (col, w) in data[1].chunks(k).enumerate() {
                let v = self.act.apply(dot(x, w) + data[2][col] as f64);
                y.push((v + if self.residual { data[3][row * n + col] as f64 } else { 0.0 }) as f32);
            }
        }
        y
    }

    fn flops(&self, call: &Call) -> u64 {
        (2 * call.output.rows(call.size) * call.output.width * call.inputs[0].width) as u64
    }
}
