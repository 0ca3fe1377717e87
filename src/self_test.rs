//! Whether a device's arithmetic in f16 computes what it should: looked at before a model relies on it, since drivers offer cooperative
//! matrices that do not work, which wgpu calls experimental, and some fail at tiles of f16 in workgroup memory (ggml-org/llama.cpp#25748).

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gpu::{Format, Gpu, Product};
use crate::graph::{Data, DeviceWeight, DeviceWeights, Graph, Kind, Rows, Session, Size};
use crate::ops::{Act, Linear};

/// Rows, and the widths of x and y: several workgroups, not all of them full, and several rounds of each.
const SHAPE: [usize; 3] = [150, 200, 136];
/// What rounded factors make is 1e-7 of it. Sums of eight in f16 make as much again, and more where they are not rounded to the nearest.
fn most_nmse(gpu: &Gpu) -> f64 {
    if gpu.caps.matrices().is_some() { 1e-6 } else { 1e-5 }
}

/// `gpu`, which multiplies in f16, after a look at how: without its cooperative matrices where they are refused or compute something
/// else, and with what is wrong with them.
///
/// # Errors
/// [`Error::DeviceLost`]; [`Error::Device`] with what is wrong with the kernel that is insisted on, or is left.
pub async fn tested_in_f16(mut gpu: Gpu) -> Result<Gpu> {
    if gpu.caps.matrices().is_some() {
        match fault(&gpu).await? {
            None => return Ok(gpu),
            Some(fault) if gpu.caps.product.is_some() => return Err(fails(&gpu, Product::Cooperative, &fault)),
            fault => gpu.caps.cooperative_fault = fault,
        }
        gpu.caps.cooperative = None;
    }
    let tile = gpu.caps.many_registers.then_some(Product::Tile);
    let taken = gpu.caps.product.map_or(vec![Some(Product::Few), tile], |forced| vec![Some(forced)]);
    for product in taken.into_iter().flatten() {
        let mut forced = gpu.clone();
        forced.caps.product = Some(product);
        if let Some(fault) = fault(&forced).await? {
            return Err(fails(&gpu, product, &format!("{fault}; take the compute f32")));
        }
    }
    Ok(gpu)
}

fn fails(gpu: &Gpu, product: Product, fault: &str) -> Error {
    Error::Device(format!("{} fails its self-test on `{}`: {fault}", product.name(), gpu.info.name))
}

/// What is wrong with the kernel that `gpu` takes.
///
/// # Errors
/// [`Error::DeviceLost`].
async fn fault(gpu: &Gpu) -> Result<Option<String>> {
    let most = most_nmse(gpu);
    match nmse(gpu).await {
        Ok(nmse) if nmse < most => Ok(None),
        Ok(nmse) => Ok(Some(format!("a product by it is {nmse:.1e} off, at most {most:.0e} is expected"))),
        Err(Error::DeviceLost(_)) => Err(Error::DeviceLost("while its arithmetic in f16 was tested: take the compute f32".into())),
        Err(error) => Ok(Some(error.to_string())),
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that fails may panic
mod tests {
    use super::*;

    /// wgpu's backend that does nothing, as a driver whose arithmetic is wrong.
    #[test]
    fn kernels_that_compute_something_else_are_refused() {
        pollster::block_on(async {
            let adapters = crate::gpu::instance(wgpu::Backends::NOOP).enumerate_adapters(wgpu::Backends::NOOP).await;
            let mut gpu = Gpu::open(&adapters[0]).await.unwrap();
            gpu.caps.product = Some(Product::Tile); // in f32, which any device compiles
            let error = tested_in_f16(gpu.clone()).await.unwrap_err().to_string();
            assert!(error.starts_with("product_tile fails its self-test on `") && error.contains(" off, at most"), "{error}");
            gpu.caps.product = None;
            let error = tested_in_f16(gpu).await.unwrap_err().to_string();
            assert!(error.starts_with("product_few fails its self-test on `") && error.ends_with("take the compute f32"), "{error}");
        });
    }
}
