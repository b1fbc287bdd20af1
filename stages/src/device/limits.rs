//! The limits of a device: the sizes that the work of a stage must fit, and what it can compute with.

use burn::tensor::wgpu::wgpu;
use serde::{Deserialize, Serialize};

/// Sizes in bytes. Those of the CPU backend are the largest numbers there are: only memory bounds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLimits {
    /// The largest part of a buffer that a kernel can read or write: no tensor may be larger.
    pub binding: u64,
    /// The largest buffer.
    pub buffer: u64,
    /// The memory of the device; `None` where its driver does not tell it, and for the CPU backend.
    pub memory: Option<u64>,
    /// The memory that the threads of a workgroup share.
    pub shared_memory: u64,
    /// The workgroups along one dimension of a launch.
    pub workgroups: u64,
    /// The threads of a workgroup.
    pub threads: u64,
    /// The least and the largest number of threads that compute in step.
    pub subgroups: [u32; 2],
    /// It takes compute work at all.
    pub has_compute: bool,
    /// Kernels may compute in f16.
    pub has_f16: bool,
    /// The driver knows bf16; kernels in WGSL do not.
    pub has_bf16: bool,
    /// The driver multiplies small matrices by cooperating threads; kernels in WGSL do not.
    pub has_matrices: bool,
}

impl DeviceLimits {
    pub(super) fn of_cpu() -> DeviceLimits {
        DeviceLimits {
            binding: u64::MAX,
            buffer: u64::MAX,
            memory: None,
            shared_memory: u64::MAX,
            workgroups: u64::MAX,
            threads: u64::MAX,
            subgroups: [1, 1],
            has_compute: true,
            has_f16: true,
            has_bf16: true,
            has_matrices: false,
        }
    }
}

pub(super) fn of_adapter(adapter: &wgpu::Adapter, info: &wgpu::AdapterInfo) -> DeviceLimits {
    let limits = adapter.limits();
    let native = native(adapter).unwrap_or_default();
    DeviceLimits {
        binding: limits.max_storage_buffer_binding_size,
        buffer: limits.max_buffer_size,
        memory: native.memory,
        shared_memory: u64::from(limits.max_compute_workgroup_storage_size),
        workgroups: u64::from(limits.max_compute_workgroups_per_dimension),
        threads: u64::from(limits.max_compute_invocations_per_workgroup),
        subgroups: [info.subgroup_min_size, info.subgroup_max_size],
        has_compute: adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
            && !native.lacks_compute,
        has_f16: adapter.features().contains(wgpu::Features::SHADER_F16),
        has_bf16: native.has_bf16,
        has_matrices: native.has_matrices,
    }
}

/// Limits that only the interface below wgpu tells.
#[derive(Default)]
struct NativeLimits {
    memory: Option<u64>,
    /// The queues that wgpu takes, those of the first family, take no compute work.
    lacks_compute: bool,
    has_bf16: bool,
    has_matrices: bool,
}

/// Asks Vulkan. The memory is that of the largest heap of the device itself; a driver that computes on the CPU names the
/// memory of the machine.
#[cfg(not(target_vendor = "apple"))]
fn native(adapter: &wgpu::Adapter) -> Option<NativeLimits> {
    /// `VK_MEMORY_HEAP_DEVICE_LOCAL_BIT`
    const OF_DEVICE: u32 = 1;
    // SAFETY: the adapter is only asked, and lives longer than the guard.
    let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = vulkan.shared_instance().raw_instance();
    // SAFETY: the physical device is of this instance.
    let memory = unsafe { instance.get_physical_device_memory_properties(vulkan.raw_physical_device()) };
    let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize);
    let heaps = heaps.filter(|heap| heap.flags.as_raw() & OF_DEVICE != 0);
    /// `VK_QUEUE_COMPUTE_BIT`
    const COMPUTES: u32 = 2;
    // SAFETY: as above.
    let queues = unsafe { instance.get_physical_device_queue_family_properties(vulkan.raw_physical_device()) };
    let knows = |extension| vulkan.physical_device_capabilities().supports_extension(extension);
    Some(NativeLimits {
        memory: heaps.map(|heap| heap.size).max().filter(|size| *size > 0),
        lacks_compute: queues.first().is_none_or(|family| family.queue_flags.as_raw() & COMPUTES == 0),
        has_bf16: knows(c"VK_KHR_shader_bfloat16"),
        has_matrices: knows(c"VK_KHR_cooperative_matrix"),
    })
}

#[cfg(target_vendor = "apple")]
fn native(_: &wgpu::Adapter) -> Option<NativeLimits> {
    None
}
