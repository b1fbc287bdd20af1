//! Compiled kernels, kept from one process to the next. Only the compiler to SPIR-V can do that; WGSL is compiled by every
//! process anew, and the driver keeps what it makes of it.

use super::GpuAdapter;
use std::path::PathBuf;

/// Keeps the kernels that this process compiles for an adapter, in the cache directory of the user, and takes those that
/// are there: a file for each driver with its version and for each version of this program, beside which the backend tells
/// builds and kernels apart. They are never part of a result or of a key: whoever removes the directory waits once. It
/// must be called before the backend is used.
#[cfg(feature = "vulkan")]
pub fn keep(adapter: &GpuAdapter) {
    use cubecl_runtime::config::cache::CacheConfig;
    use cubecl_runtime::config::{CubeClRuntimeConfig, RuntimeConfig};
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let Some(directory) = directory(variable("XDG_CACHE_HOME"), variable("HOME")) else { return };
    // What a person has set in `cubecl.toml` stays.
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.compilation.cache = true;
    config.environment.path = CacheConfig::Directory(directory);
    config.environment.name = name(adapter);
    if !CubeClRuntimeConfig::try_set(config) {
        tracing::debug!("compiled kernels are not kept: the backend is in use already");
    }
}

/// The cache directory of the user, as the XDG base directory specification finds it: a path that is not absolute does not
/// count.
fn directory(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let cache = xdg.filter(|path| path.is_absolute()).or_else(|| Some(home?.join(".cache")))?;
    Some(cache.join("pipeline").join("kernels"))
}

/// The name of the file for an adapter.
fn name(adapter: &GpuAdapter) -> String {
    let words = [&*adapter.name, &adapter.driver, env!("CARGO_PKG_VERSION")].join(" ");
    words
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || ".-".contains(letter) { letter } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceLimits;

    #[test]
    fn another_driver_has_another_file() {
        let adapter = |driver: &str| GpuAdapter {
            index: 0,
            name: "NVIDIA H200".to_owned(),
            api: "Vulkan".to_owned(),
            kind: "DiscreteGpu".to_owned(),
            driver: driver.to_owned(),
            is_software: false,
            address: String::new(),
            vendor: 0x10de,
            limits: DeviceLimits::of_cpu(),
        };
        assert_eq!(
            name(&adapter("NVIDIA 550.54.14")),
            format!("NVIDIA_H200_NVIDIA_550.54.14_{}", env!("CARGO_PKG_VERSION"))
        );
        assert_ne!(name(&adapter("NVIDIA 550.54.14")), name(&adapter("NVIDIA 560.35.03")));
    }

    #[test]
    fn kernels_lie_in_the_cache_of_the_user() {
        let path = |path: &str| Some(PathBuf::from(path));
        assert_eq!(directory(path("/xdg"), path("/home/me")), path("/xdg/pipeline/kernels"));
        assert_eq!(directory(path("relative"), path("/home/me")), path("/home/me/.cache/pipeline/kernels"));
        assert_eq!(directory(None, None), None);
    }
}
