//! The backend that computes on a device. Another backend is a file beside this one and an arm here.

use super::Kernel;
use super::host::HostLoops;
use super::tensors::BurnTensors;
use burn::tensor::Device;

pub fn of(device: &Device) -> &'static dyn Kernel {
    if is_host(device) { &HostLoops } else { &BurnTensors }
}

/// Whether the numbers of this device lie in the memory of this process, and burn keeps no graph of them.
fn is_host(device: &Device) -> bool {
    !device.is_autodiff() && *device == Device::flex()
}
