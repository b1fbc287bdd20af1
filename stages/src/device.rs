//! The device that tensors live on: burn's CPU backend, or a GPU through wgpu.

mod adapters;
pub mod asked;
#[cfg(any(test, feature = "vulkan"))]
mod kernels;
mod limits;

pub use adapters::{GpuAdapter, adapters, adapters_for, chosen};
pub use limits::DeviceLimits;

use crate::io::{DeviceChoice, Io};
use crate::tensor::{from_values, values_of};
use adapters::{AdapterHandle, find};
use anyhow::{Context, Result, anyhow};
use burn::tensor::wgpu::{WgpuSetup, wgpu};
use burn::tensor::{DType, Device, try_read_sync};
use formats::dtype::Dtype;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// A device that is open. A second start of one adapter would keep its memory twice.
struct OpenDevice {
    adapter: GpuAdapter,
    device: Device,
}

static OPEN: Mutex<Vec<OpenDevice>> = Mutex::new(Vec::new());

/// Opens the device of a choice. `auto` takes a real GPU and nothing less: a software driver is slower than the CPU
/// backend. It is opened at once, because burn's lazy constructors panic later, in another thread; and from the adapter
/// that was found, because burn counts adapters by interface and kind, and knows one software driver only.
///
/// # Errors
/// There is no such adapter, or its driver refuses it.
pub fn open(choice: &DeviceChoice) -> Result<Device> {
    keep_freed_memory();
    let found = if *choice == DeviceChoice::Cpu { None } else { find(choice)? };
    let Some(AdapterHandle { adapter, instance, described }) = found else { return Ok(Device::flex()) };
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(open) = open.iter().find(|open| open.adapter.index == described.index) {
        return Ok(open.device.clone());
    }
    #[cfg(feature = "vulkan")]
    kernels::keep(&described);
    let refused = || format!("open wgpu:{}", described.title());
    if !described.limits.has_compute {
        return Err(anyhow!("its driver takes no compute work; take another device, or --device cpu"))
            .with_context(refused);
    }
    let (device, queue) = request(&adapter).with_context(refused)?;
    let backend = adapter.get_info().backend;
    let setup = WgpuSetup { instance, adapter, device, queue, backend };
    let device = Device::wgpu_options().tasks_max(TASKS).setup(setup).init().with_context(refused)?;
    open.push(OpenDevice { adapter: described, device: device.clone() });
    Ok(device)
}

/// Asks for everything that the adapter has, as burn does.
fn request(adapter: &wgpu::Adapter) -> Result<(wgpu::Device, wgpu::Queue)> {
    #[cfg(feature = "vulkan")]
    if adapter.get_info().backend == wgpu::Backend::Vulkan {
        let native = try_read_sync(cubecl_wgpu::vulkan::try_request_vulkan_device(adapter));
        if let Some(opened) = native.context("the driver did not answer")?? {
            return Ok(opened);
        }
    }
    let asked = adapter.request_device(&wgpu::DeviceDescriptor {
        label: None,
        // Memory that the host can map would be slower for the kernels.
        required_features: adapter.features().difference(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS),
        required_limits: adapter.limits(),
        // Tensors come in blocks already.
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        trace: wgpu::Trace::Off,
        // SAFETY: burn's kernels use features of the adapter that wgpu calls experimental.
        experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
    });
    Ok(try_read_sync(asked).context("the driver did not answer")??)
}

/// The sizes that the work of a device must fit, and what it can compute with.
pub fn limits(device: &Device) -> DeviceLimits {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let of_adapter = open.iter().find(|open| open.device == *device).map(|open| open.adapter.limits.clone());
    of_adapter.unwrap_or_else(DeviceLimits::of_cpu)
}

/// Whether it is the CPU backend.
pub fn is_cpu(device: &Device) -> bool {
    device.identity().is_none()
}

/// The number of kernels that are handed to the driver at once: each submission costs the host tens of microseconds, and a
/// decoded token of a large model takes hundreds of kernels.
const TASKS: usize = 256;

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

/// Whether a GPU that this process has opened computes no longer: its driver has given it up, and every stage that comes
/// after in this process would fail.
pub fn is_lost() -> bool {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.iter().any(|OpenDevice { device, .. }| {
        let doubled = catch_unwind(AssertUnwindSafe(|| values_of(from_values(vec![1.0], [1], device) * 2.0)));
        !doubled.is_ok_and(|values| values.is_ok_and(|values| values == [2.0]))
    })
}

/// The device a stage computes on. Its class is recorded with the outcome: a stage resumes on the same class only.
///
/// # Errors
/// As [`open`].
pub fn of(io: &mut Io, dtype: Dtype) -> Result<Device> {
    let device = open(io.device())?;
    if let Some(identity) = device.identity().filter(|identity| identity.physical.is_none()) {
        io.remark(format!(
            "{} is no GPU but a driver that computes on the CPU: `--device cpu` is faster",
            identity.name
        ));
    }
    let kept = kept(dtype, &device);
    let replaced = if kept == dtype { String::new() } else { format!(" {} as {}", dtype.name(), kept.name()) };
    if kept != dtype {
        let large = if kept == Dtype::F16 { "; tensors with numbers beyond 65504 as f32" } else { "" };
        io.remark(format!(
            "this device does not compute in {}: matrices are kept and multiplied as {}{large}",
            dtype.name(),
            kept.name()
        ));
    }
    io.telemetry("device", class(&device) + &replaced);
    Ok(device)
}

/// Raised when the same work on a GPU would give other last bits than before.
const KERNELS: u32 = 5;

/// The precision in which a device keeps and multiplies matrices that are asked for in `dtype`. WGSL has no bf16, and
/// SPIR-V stores it without computing in it. f16 takes the same memory, and the numbers of bf16 from 2^-14 to 65504
/// exactly; tensors with larger ones are kept as f32, all others too where the device has no f16. It is a part of the
/// device class, as the results differ.
pub fn kept(dtype: Dtype, device: &Device) -> Dtype {
    match dtype {
        Dtype::Bf16 if device.supports_dtype(DType::BF16) => Dtype::Bf16,
        Dtype::Bf16 if device.supports_dtype(DType::F16) => Dtype::F16,
        Dtype::Bf16 => Dtype::F32,
        other => other,
    }
}

/// The device class: equal classes give equal bytes. For the CPU backend it is the instruction set that it
/// computes with.
pub fn class(device: &Device) -> String {
    match device.identity() {
        Some(identity) => {
            let shaders = if cfg!(feature = "vulkan") { "spir-v" } else { "wgsl" };
            let fused = if cfg!(feature = "fusion") { " fused" } else { "" };
            let tuned = if cfg!(feature = "autotune") { " autotuned" } else { "" };
            format!("wgpu {shaders} {KERNELS}{fused}{tuned} {}", identity.name)
        }
        None => format!("cpu {}", instruction_set()),
    }
}

/// The instruction set that the CPU backend's matrix products (`gemm`) and our own loops (`pulp`) choose on this machine: the
/// number of lanes decides in which order they add. Where they choose differently, both are named.
#[cfg(target_arch = "x86_64")]
pub fn instruction_set() -> &'static str {
    use pulp::x86::{V3, V4};
    let (wide, fused) = (is_x86_feature_detected!("avx512f"), is_x86_feature_detected!("fma"));
    match (V4::is_available(), V3::is_available()) {
        (true, _) => "x86_64 avx512f",
        (false, true) if wide => "x86_64 avx512f avx2",
        (false, true) => "x86_64 avx2",
        (false, false) if fused => "x86_64 fma",
        (false, false) => "x86_64",
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn instruction_set() -> &'static str {
    std::env::consts::ARCH
}

#[cfg(test)]
mod tests {
    use super::KERNELS;

    #[test]
    fn documents_name_the_class_of_these_kernels() {
        let documents = [include_str!("../../docs/performance.md"), include_str!("../../CHANGELOG.md")];
        assert!(documents.iter().all(|text| text.contains(&format!("`wgpu wgsl {KERNELS}"))), "wgpu wgsl {KERNELS}");
    }
}
