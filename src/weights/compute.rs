//! The arithmetic that a model is loaded for.

use std::fmt;
use std::str::FromStr;

use crate::device::Executor;
use crate::error::{Error, Result};
use crate::self_test::tested_in_f16;

/// What linear layers multiply in; everything else is f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compute {
    #[default]
    F32,
    /// Integers with a scale to each 64 or 128 of a row, as ggml's `Q8_0` has to each 32, for processors that multiply them faster
    /// than f32: 8 bits in the MLPs, which are two thirds of the work, and 13 in what attention and the patches need, which suffers
    /// most from rounding.
    Int8,
    /// f16, in which GPUs multiply two at a time (sums of eight products in f16, and those in f32), or matrices at a time (sums in
    /// f32) where the device offers them and they pass a self-test.
    F16,
}

/// Whole numbers that a layer's factors are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// -127..=127, four to a lane: four times the multiply-adds of f32. So many steps along k, a multiple of 4 up to 128, have a
    /// scale of their own: the fewer, the nearer is the largest of them to the others, and the more there is to scale.
    Bits8(usize),
    /// -4095..=4095, whose sum of a block still fits 32 bits, two to a lane.
    Bits13,
}

impl Compute {
    /// Of the weight of this name; `None` where no integers are multiplied.
    pub fn grain(self, weight: &str) -> Option<Grain> {
        match self {
            Compute::F32 | Compute::F16 => None,
            Compute::Int8 if weight.contains(".mlp.c_fc") => Some(Grain::Bits8(64)), // c_proj gains nothing by it: measured
            Compute::Int8 if weight.contains(".mlp.") => Some(Grain::Bits8(128)),
            Compute::Int8 => Some(Grain::Bits13),
        }
    }

    /// `executor` with this arithmetic.
    ///
    /// # Errors
    /// [`Error::Argument`] where it is another executor's; [`Error::Device`] where the device lacks it.
    pub async fn on(self, executor: &Executor) -> Result<Executor> {
        match (self, executor) {
            (Compute::F32, Executor::Gpu(gpu)) => Ok(Executor::Gpu(gpu.clone().in_f32()?)), // it may be that of a model in f16
            #[cfg(feature = "host")]
            (Compute::F32, Executor::Host) => Ok(Executor::Host),
            (Compute::F16, Executor::Gpu(gpu)) => Ok(Executor::Gpu(tested_in_f16(gpu.clone().in_f16()?).await?)),
            #[cfg(feature = "host")]
            (Compute::F16, Executor::Host) => {
                Err(Error::Argument("f16 arithmetic is a GPU's, but the CPU runs: choose the device gpu, or int8".into()))
            }
            (Compute::Int8, Executor::Gpu(_)) => {
                Err(Error::Argument("int8 arithmetic is the CPU's, but a GPU runs: choose the device cpu".into()))
            }
            #[cfg(feature = "host")]
            (Compute::Int8, Executor::Host) if crate::host::multiplies_integers() => Ok(Executor::Host),
            #[cfg(feature = "host")]
            (Compute::Int8, Executor::Host) => Err(Error::Argument(
                "int8 arithmetic needs a processor with AVX512-VNNI, AVX-VNNI or Arm's dot products, found none: f32 is as fast on this one".into(),
            )),
        }
    }
}

impl FromStr for Compute {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Compute::F32),
            "f16" => Ok(Compute::F16),
            "int8" => Ok(Compute::Int8),
            _ => Err(Error::Argument(format!("expected f32, f16 or int8, found `{text}`"))),
        }
    }
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compute::F32 => "f32",
            Compute::F16 => "f16",
            Compute::Int8 => "int8",
        })
    }
}
