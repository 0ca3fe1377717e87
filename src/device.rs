//! Where a model runs: what was asked for, and what was opened.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::gpu::{self, Gpu};

/// The device that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The best hardware adapter, else the host's processor.
    #[default]
    Auto,
    /// An adapter, software ones too: the best one, or the one of this index or with this in its name.
    Gpu(Option<String>),
    /// The host's processor.
    Cpu,
}

/// What runs graphs. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub enum Executor {
    Gpu(Gpu),
    /// The host's processor (Cargo feature `host`).
    #[cfg(feature = "host")]
    Host,
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Device::Auto),
            None if text == "cpu" => Ok(Device::Cpu),
            None if text == "gpu" => Ok(Device::Gpu(None)),
            Some(("gpu", which)) if !which.is_empty() => Ok(Device::Gpu(Some(which.into()))),
            _ => Err(Error::Argument(format!("expected a device auto, gpu, gpu:NAME, gpu:INDEX or cpu, found `{text}`"))),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Gpu(None) => f.write_str("gpu"),
            Device::Gpu(Some(which)) => write!(f, "gpu:{which}"),
        }
    }
}

impl Device {
    /// Opens it.
    ///
    /// # Errors
    /// [`Error::Device`] where there is no such adapter (the ones that there are, are named), or it gives no device.
    pub async fn open(&self) -> Result<Executor> {
        self.open_noting(|_| {}).await
    }

    /// As [`Device::open`]; `noted` is told why adapters are passed over that [`Device::Auto`] would have taken.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub async fn open_noting(&self, mut noted: impl FnMut(&Error)) -> Result<Executor> {
        if *self == Device::Cpu {
            return host();
        }
        let (mut adapters, mut refused) = (gpu::adapters().await, None);
        while let Some(adapter) = self.choose(adapters.clone())? {
            match Gpu::open(&adapter).await {
                // The next one, then: a driver that does not work is no reason to stop.
                Err(error) if *self == Device::Auto => {
                    noted(&error);
                    refused.get_or_insert(error);
                    adapters.retain(|other| *other != adapter);
                }
                opened => return Ok(Executor::Gpu(opened?)),
            }
        }
        host().map_err(|none| refused.unwrap_or(none))
    }

    /// The one that is meant of the adapters that there are; `None` for the host's processor.
    ///
    /// # Errors
    /// [`Error::Device`] where there is no such adapter.
    pub fn choose(&self, mut adapters: Vec<wgpu::Adapter>) -> Result<Option<wgpu::Adapter>> {
        let which = match self {
            Device::Cpu => return Ok(None),
            Device::Auto => None,
            Device::Gpu(which) => which.as_deref(),
        };
        let infos: Vec<wgpu::AdapterInfo> = adapters.iter().map(wgpu::Adapter::get_info).collect();
        let found = match which {
            None => infos.iter().position(|info| *self != Device::Auto || info.device_type != wgpu::DeviceType::Cpu),
            Some(which) => named(which, &infos.iter().map(|info| info.name.as_str()).collect::<Vec<_>>()),
        };
        match found {
            Some(i) => Ok(Some(adapters.swap_remove(i))),
            None if *self == Device::Auto => Ok(None),
            None if infos.is_empty() => Err(Error::Device(format!(
                "expected an adapter for `{self}`, found no GPU: install its Vulkan driver, or use the device cpu"
            ))),
            None => {
                let names: Vec<String> = infos.iter().enumerate().map(|(i, info)| format!("{i}: {}", info.name)).collect();
                Err(Error::Device(format!("expected an adapter for `{self}`, found {}", names.join(", "))))
            }
        }
    }
}

/// Which of the adapters of these names is meant: the one of this index, whatever number stands in the name of another, or the first
/// with this in its name.
fn named(which: &str, names: &[&str]) -> Option<usize> {
    let index = which.parse().ok().filter(|i| *i < names.len());
    index.or_else(|| names.iter().position(|name| name.to_lowercase().contains(&which.to_lowercase())))
}

#[cfg(feature = "host")]
fn host() -> Result<Executor> {
    Ok(Executor::Host)
}

#[cfg(not(feature = "host"))]
fn host() -> Result<Executor> {
    Err(Error::Device("found no GPU, and this program was built without the CPU executor (Cargo feature `host`)".into()))
}

impl Executor {
    /// What runs, in words.
    pub fn name(&self) -> String {
        match self {
            Executor::Gpu(gpu) => format!("{} ({})", gpu.info.name, gpu.info.backend),
            #[cfg(feature = "host")]
            Executor::Host => format!("CPU ({} threads)", rayon::current_num_threads()),
        }
    }
}

impl From<Gpu> for Executor {
    /// For an application's own device: [`Gpu::from_device`].
    fn from(gpu: Gpu) -> Self {
        Executor::Gpu(gpu)
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn an_index_is_no_part_of_a_name() {
        let names = ["GeForce GTX 1080", "Radeon RX 7900"];
        assert_eq!(
            ["0", "1", "1080", "radeon", "2", "Arc"].map(|which| named(which, &names)),
            [Some(0), Some(1), Some(0), Some(1), None, None]
        );
    }
}
