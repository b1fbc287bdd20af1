//! The backend that computes on a device. Another backend is a file beside this one and an arm here.

use super::Kernel;
#[cfg(not(feature = "fusion"))]
use super::gpu::GpuKernels;
use super::host::HostLoops;
use super::tensors::BurnTensors;
use burn::tensor::Device;

pub fn of(device: &Device) -> &'static dyn Kernel {
    if is_host(device) {
        return &HostLoops;
    }
    // What burn is to derive or to fuse has to be its own operations.
    #[cfg(not(feature = "fusion"))]
    if !device.is_autodiff() {
        return &GpuKernels;
    }
    &BurnTensors
}

/// Whether the numbers of this device lie in the memory of this process, and burn keeps no graph of them.
fn is_host(device: &Device) -> bool {
    !device.is_autodiff() && *device == Device::flex()
}
