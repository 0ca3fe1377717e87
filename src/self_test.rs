//! Whether a device's cooperative matrices compute what they should: looked at before a model relies on them, since drivers offer
//! them that do not work, and wgpu calls them experimental.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gpu::{Format, Gpu};
use crate::graph::{Data, DeviceWeight, DeviceWeights, Graph, Kind, Rows, Session, Size};
use crate::ops::{Act, Linear};

/// Rows, and the widths of x and y: several workgroups, not all of them full, and several rounds of each.
const SHAPE: [usize; 3] = [150, 200, 136];
/// Rounded factors make 1e-7 of it.
const MOST_NMSE: f64 = 1e-6;

/// `gpu`, without its cooperative matrices where they are refused or compute something else, and with what is wrong with them.
///
/// # Errors
/// [`Error::DeviceLost`]; where they are insisted on, [`Error::Device`] with what is wrong.
pub async fn without_faulty_matrices(mut gpu: Gpu) -> Result<Gpu> {
    if gpu.caps.matrices().is_none() {
        return Ok(gpu);
    }
    let fault = match nmse(&gpu).await {
        Ok(nmse) if nmse < MOST_NMSE => return Ok(gpu),
        Ok(nmse) => format!("a product by them is {nmse:.1e} off, at most {MOST_NMSE:.0e} is expected"),
        Err(Error::DeviceLost(_)) => {
            let when = "while its cooperative matrices were tested: take the compute f32, or force the kernel product_tile";
            return Err(Error::DeviceLost(when.into()));
        }
        Err(error) => error.to_string(),
    };
    if gpu.caps.product.is_some() {
        return Err(Error::Device(format!("product_cooperative fails its self-test on `{}`: {fault}", gpu.info.name)));
    }
    gpu.caps.cooperative = None;
    gpu.caps.cooperative_fault = Some(fault);
    Ok(gpu)
}

/// |y - want|² / |want|² of a layer as a tower has it, by the kernel that the device takes.
async fn nmse(gpu: &Gpu) -> Result<f64> {
    let [rows, k, n] = SHAPE;
    let fill = |count: usize, step: usize| (0..count).map(|i| ((i * step + 1) % 1009) as f32 / 504.5 - 1.0).collect::<Vec<_>>();
    let (x, b) = (fill(rows * k, 7919), fill(n, 31));
    let w = Format::F16.round(&fill(n * k, 104_729)).into_owned();
    let mut graph = Graph::default();
    let values = [graph.input("x", Rows::Items, k, Kind::F32), graph.weight("w", n, k), graph.weight("b", 1, n)];
    let y = graph.push("y", Linear { act: Act::None, bias: true, residual: false }, &values)?;
    let size = Size { batch: rows, tokens: 1 };
    let want = graph.reference(vec![Some(x.clone()), Some(w.clone()), Some(b.clone()), None], size).swap_remove(y.0);
    let mut weights = DeviceWeights::new();
    for (value, data, format) in [(values[1], &w, Format::F16), (values[2], &b, Format::F32)] {
        let (weight, refusals) = gpu.scoped(|| DeviceWeight::new(gpu, graph.desc(value), format, false));
        refusals.check(gpu, "a self-test's weights").await?;
        let weight = weight?;
        weight.write(gpu, 0, data);
        weights.insert(value, weight);
    }
    let session = Session::new(gpu, Arc::new(graph), Arc::new(weights), &[y], size).await?;
    let found = session.run_and_read(&[(values[0], Data::F32(&x))], size, &[y]).await?.swap_remove(0);
    let square = |v: f64| v * v;
    let error: f64 = found.iter().zip(&want).map(|(y, want)| square(f64::from(*y) - f64::from(*want))).sum();
    Ok(error / want.iter().map(|y| square(f64::from(*y))).sum::<f64>())
}
