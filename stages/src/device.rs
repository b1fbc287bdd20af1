//! The device that tensors live on: burn's CPU backend, or a GPU through wgpu.

use crate::io::{DeviceChoice, Io};
use anyhow::{Result, anyhow};
use burn::tensor::wgpu::wgpu;
use burn::tensor::{Device, try_read_sync};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// Opens the device of a choice. `auto` takes a real GPU and nothing less: a software driver is slower than the CPU
/// backend. The adapter is requested first, because burn's lazy constructors panic later, in another thread.
///
/// # Errors
/// wgpu was chosen, and there is no driver for it.
pub fn open(choice: DeviceChoice) -> Result<Device> {
    // A second start in one process is refused.
    static GPU: OnceLock<Result<Device, String>> = OnceLock::new();
    let gpu = || GPU.get_or_init(|| Device::wgpu_options().init().map_err(|error| error.to_string())).clone();
    keep_freed_memory();
    match choice {
        DeviceChoice::Cpu => Ok(Device::flex()),
        DeviceChoice::Wgpu => gpu().map_err(|error| {
            anyhow!("open a wgpu device: {error}; install a Vulkan, Metal or DX12 driver, or take --device cpu")
        }),
        DeviceChoice::Auto => {
            let real =
                gpu().ok().filter(|device| device.identity().is_some_and(|identity| identity.physical.is_some()));
            Ok(real.unwrap_or_else(Device::flex))
        }
    }
}

/// Makes glibc keep the memory of freed tensors. By default it returns megabytes to the kernel at once, which hands
/// them out again as new pages full of zeros: 5 to 9 % of a training step on the CPU (`cargo bench --bench train`, 7M
/// and 30M).
fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const NEVER: libc::c_int = libc::c_int::MAX;
        // SAFETY: both are plain settings of the allocator, which takes them at any time.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
            libc::mallopt(libc::M_TRIM_THRESHOLD, NEVER);
        }
    }
}

/// The device a stage computes on. Its class is recorded with the outcome: a stage resumes on the same class only.
pub fn of(io: &mut Io) -> Result<Device> {
    let device = open(io.device())?;
    if let Some(identity) = device.identity().filter(|identity| identity.physical.is_none()) {
        io.remark(format!(
            "{} is no GPU but a driver that computes on the CPU: `--device cpu` is faster",
            identity.name
        ));
    }
    io.telemetry("device", class(&device));
    Ok(device)
}

/// The device class: equal classes give equal bytes. For the CPU backend it is the instruction set that its matrix
/// products are compiled for.
pub fn class(device: &Device) -> String {
    match device.identity() {
        Some(identity) => {
            let shaders = if cfg!(feature = "vulkan") { "spir-v" } else { "wgsl" };
            let fused = if cfg!(feature = "fusion") { " fused" } else { "" };
            let tuned = if cfg!(feature = "autotune") { " autotuned" } else { "" };
            format!("wgpu {shaders}{fused}{tuned} {}", identity.name)
        }
        None => format!("cpu {}", instruction_set()),
    }
}

/// A GPU as its driver describes it, for a person to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuAdapter {
    pub name: String,
    /// Vulkan, Metal, Dx12, Gl.
    pub api: String,
    /// DiscreteGpu, IntegratedGpu, …
    pub kind: String,
    pub driver: String,
    /// The driver computes on the CPU.
    pub is_software: bool,
}

/// Every adapter that wgpu sees, through every interface. A broken driver may crash the process.
pub fn adapters() -> Vec<GpuAdapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let found = try_read_sync(instance.enumerate_adapters(wgpu::Backends::all())).unwrap_or_default();
    let adapter = |info: wgpu::AdapterInfo| GpuAdapter {
        name: info.name,
        api: format!("{:?}", info.backend),
        kind: format!("{:?}", info.device_type),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        is_software: info.device_type == wgpu::DeviceType::Cpu,
    };
    found.iter().map(|found| adapter(found.get_info())).collect()
}

/// The instruction set that the CPU backend's matrix products are compiled for.
#[cfg(target_arch = "x86_64")]
pub fn instruction_set() -> &'static str {
    if is_x86_feature_detected!("avx512f") {
        "x86_64 avx512f"
    } else if is_x86_feature_detected!("fma") {
        "x86_64 fma"
    } else {
        "x86_64"
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn instruction_set() -> &'static str {
    std::env::consts::ARCH
}
