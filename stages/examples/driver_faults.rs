//! A Vulkan layer for tests: it counts what a program asks of its driver, and makes a driver worse than it is. Built as a
//! library with the tests; a manifest beside it names it (`tests/devices.rs` writes one), and the loader takes it in where
//! `VK_LAYER_PATH` and `VK_INSTANCE_LAYERS` say so.
//!
//! `DRIVER_LOG` names a file that gets a JSON object when a driver is opened, and one with the counts so far when the host
//! waits for new work and when the process ends.
//! `DRIVER_FAULTS` is a list of faults, with commas:
//!
//! * `crash`: the process is aborted as it opens the driver
//! * `lost-after:N`: after N submits the device is lost
//! * `lost-once:N`: the same in the first process that gets so far, and in no other
//! * `terminated-at:N`: the process gets SIGTERM as it submits for the Nth time
//! * `no-f16`: it does not compute in f16
//! * `small-shared-memory`: a workgroup shares 16 KiB, the least that Vulkan allows
//! * `no-compute`: no queue takes compute work
//! * `memory:N`: the device says that it has N bytes
//! * `memory-ends-at:N`: it says nothing of the kind, and gives no more than N bytes

#![allow(non_snake_case)]

use ash::vk;
use ash::vk::Handle;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::fs::OpenOptions;
use std::io::Write;
use std::mem::transmute;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, Once, OnceLock, PoisonError};

type Function = unsafe extern "system" fn();

// ---------------------------------------------------------------------------------------------- faults

#[derive(Default)]
struct Faults {
    crashes: bool,
    lost_after: Option<u64>,
    lost_once: Option<u64>,
    terminated_at: Option<u64>,
    no_f16: bool,
    has_small_memory: bool,
    no_compute: bool,
    memory: Option<u64>,
    memory_ends_at: Option<u64>,
}

fn faults() -> &'static Faults {
    static FAULTS: OnceLock<Faults> = OnceLock::new();
    FAULTS.get_or_init(|| {
        let mut faults = Faults::default();
        let typed = std::env::var("DRIVER_FAULTS").unwrap_or_default();
        for fault in typed.split(',').filter(|fault| !fault.is_empty()) {
            match fault.split_once(':') {
                None if fault == "crash" => faults.crashes = true,
                None if fault == "no-f16" => faults.no_f16 = true,
                None if fault == "small-shared-memory" => faults.has_small_memory = true,
                None if fault == "no-compute" => faults.no_compute = true,
                Some(("lost-once", count)) => faults.lost_once = Some(count.parse().expect("a number of submits")),
                Some(("lost-after", count)) => faults.lost_after = Some(count.parse().expect("a number of submits")),
                Some(("terminated-at", count)) => {
                    faults.terminated_at = Some(count.parse().expect("a number of submits"));
                }
                Some(("memory", bytes)) => faults.memory = Some(bytes.parse().expect("a number of bytes")),
                Some(("memory-ends-at", bytes)) => {
                    faults.memory_ends_at = Some(bytes.parse().expect("a number of bytes"));
                }
                _ => panic!("DRIVER_FAULTS: `{fault}` is none"),
            }
        }
        faults
    })
}

fn is_lost() -> bool {
    let is_reached = |most: Option<u64>| most.is_some_and(|most| SUBMITS.load(Relaxed) > most);
    is_reached(faults().lost_after) || (is_reached(faults().lost_once) && is_first())
}

/// Tells whether no process before this one asked here. The first one leaves a file beside the log.
fn is_first() -> bool {
    static IS_FIRST: OnceLock<bool> = OnceLock::new();
    *IS_FIRST.get_or_init(|| {
        let log = std::env::var("DRIVER_LOG").expect("DRIVER_LOG says where");
        OpenOptions::new().write(true).create_new(true).open(format!("{log}.lost")).is_ok()
    })
}

// ---------------------------------------------------------------------------------------------- counts

static DISPATCHES: AtomicU64 = AtomicU64::new(0);
static PIPELINES: AtomicU64 = AtomicU64::new(0);
static SUBMITS: AtomicU64 = AtomicU64::new(0);
static WAITS: AtomicU64 = AtomicU64::new(0);
static UPLOADS: AtomicU64 = AtomicU64::new(0);
static UPLOADED: AtomicU64 = AtomicU64::new(0);
static DOWNLOADS: AtomicU64 = AtomicU64::new(0);
static DOWNLOADED: AtomicU64 = AtomicU64::new(0);

/// Buffers from which the host's data are copied, and those to which they are copied for the host. wgpu gives them no other
/// use.
static STAGING: Mutex<BTreeMap<u64, vk::BufferUsageFlags>> = Mutex::new(BTreeMap::new());

/// The bytes of each allocation of the device's memory.
static ALLOCATED: Mutex<BTreeMap<u64, u64>> = Mutex::new(BTreeMap::new());

fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}

/// Appends a line in one write: several processes share the file.
fn log(line: &str) {
    let Some(path) = std::env::var_os("DRIVER_LOG") else { return };
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

extern "C" fn at_exit() {
    log_counts("ended");
}

/// The host waits, perhaps again and again, for what was submitted. A process that is killed tells no more than it told here.
fn count_wait() {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    count(&WAITS, 1);
    let submits = SUBMITS.load(Relaxed);
    if TOLD.swap(submits, Relaxed) != submits {
        log_counts("waited");
    }
}

fn log_counts(event: &str) {
    let counters = [
        ("dispatches", &DISPATCHES),
        ("pipelines", &PIPELINES),
        ("submits", &SUBMITS),
        ("waits", &WAITS),
        ("uploads", &UPLOADS),
        ("uploaded_bytes", &UPLOADED),
        ("downloads", &DOWNLOADS),
        ("downloaded_bytes", &DOWNLOADED),
    ];
    let counted: Vec<String> =
        counters.iter().map(|(name, counter)| format!("\"{name}\":{}", counter.load(Relaxed))).collect();
    log(&format!("{{\"event\":\"{event}\",\"process\":{},{}}}", std::process::id(), counted.join(",")));
}

// ---------------------------------------------------------------------------------------------- the chain of layers

/// `VkLayerInstanceLink` and `VkLayerDeviceLink` of the loader's interface.
#[repr(C)]
struct LayerLink {
    next: *mut LayerLink,
    get_instance_proc_addr: vk::PFN_vkGetInstanceProcAddr,
    get_device_proc_addr: vk::PFN_vkGetDeviceProcAddr,
}

/// `VkLayerInstanceCreateInfo` and `VkLayerDeviceCreateInfo`.
#[repr(C)]
struct LayerCreateInfo {
    s_type: vk::StructureType,
    next: *mut LayerCreateInfo,
    function: u32,
    link: *mut LayerLink,
}

/// `VkNegotiateLayerInterface`.
#[repr(C)]
pub struct LayerInterface {
    s_type: u32,
    next: *mut c_void,
    version: u32,
    get_instance_proc_addr: Option<vk::PFN_vkGetInstanceProcAddr>,
    get_device_proc_addr: Option<vk::PFN_vkGetDeviceProcAddr>,
    get_physical_device_proc_addr: Option<vk::PFN_vkGetInstanceProcAddr>,
}

/// The functions below an instance. They are looked up as it is made: later the loader answers with those on top.
#[derive(Clone, Copy)]
struct BelowInstance {
    instance: vk::Instance,
    get: vk::PFN_vkGetInstanceProcAddr,
    properties: vk::PFN_vkGetPhysicalDeviceProperties,
    properties2: vk::PFN_vkGetPhysicalDeviceProperties2,
    features2: vk::PFN_vkGetPhysicalDeviceFeatures2,
    queue_families: vk::PFN_vkGetPhysicalDeviceQueueFamilyProperties,
    memory: vk::PFN_vkGetPhysicalDeviceMemoryProperties,
    memory2: vk::PFN_vkGetPhysicalDeviceMemoryProperties2,
}

/// The next layer below a device.
#[derive(Clone, Copy)]
struct BelowDevice {
    device: vk::Device,
    get: vk::PFN_vkGetDeviceProcAddr,
}

static INSTANCES: Mutex<BTreeMap<usize, BelowInstance>> = Mutex::new(BTreeMap::new());
static DEVICES: Mutex<BTreeMap<usize, BelowDevice>> = Mutex::new(BTreeMap::new());

/// Objects of one instance or device begin with the same pointer, to the table of the loader.
unsafe fn key(object: impl Handle) -> usize {
    unsafe { *(object.as_raw() as *const usize) }
}

unsafe fn below_instance(object: impl Handle) -> BelowInstance {
    let instances = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
    instances[&unsafe { key(object) }]
}

unsafe fn below_device(object: impl Handle) -> BelowDevice {
    let devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    devices[&unsafe { key(object) }]
}

impl BelowInstance {
    unsafe fn function(self, name: &CStr) -> vk::PFN_vkVoidFunction {
        unsafe { (self.get)(self.instance, name.as_ptr()) }
    }
}

impl BelowDevice {
    unsafe fn function(self, name: &CStr) -> vk::PFN_vkVoidFunction {
        unsafe { (self.get)(self.device, name.as_ptr()) }
    }
}

/// The link of this layer, which is taken off, so that the next layer finds its own.
unsafe fn take_link(mut info: *mut LayerCreateInfo, wanted: vk::StructureType) -> Option<*mut LayerLink> {
    unsafe {
        while let Some(found) = info.as_mut() {
            if found.s_type == wanted && found.function == 0 {
                let link = found.link;
                found.link = (*link).next;
                return Some(link);
            }
            info = found.next;
        }
        None
    }
}

/// # Safety
/// The loader calls it, with a structure of its own.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vkNegotiateLoaderLayerInterfaceVersion(interface: *mut LayerInterface) -> vk::Result {
    let Some(interface) = (unsafe { interface.as_mut() }) else { return vk::Result::ERROR_INITIALIZATION_FAILED };
    interface.version = interface.version.min(2);
    interface.get_instance_proc_addr = Some(get_instance_proc_addr);
    interface.get_device_proc_addr = Some(get_device_proc_addr);
    interface.get_physical_device_proc_addr = None;
    vk::Result::SUCCESS
}

/// A function of this layer, if it has one of this name.
fn own(name: &CStr) -> Option<Function> {
    // SAFETY: whoever asks for a function by its name calls it by the signature that belongs to the name.
    unsafe {
        let function = match name.to_bytes() {
            b"vkGetInstanceProcAddr" => transmute::<vk::PFN_vkGetInstanceProcAddr, Function>(get_instance_proc_addr),
            b"vkGetDeviceProcAddr" => transmute::<vk::PFN_vkGetDeviceProcAddr, Function>(get_device_proc_addr),
            b"vkCreateInstance" => transmute::<vk::PFN_vkCreateInstance, Function>(create_instance),
            b"vkCreateDevice" => transmute::<vk::PFN_vkCreateDevice, Function>(create_device),
            b"vkGetPhysicalDeviceProperties" => {
                transmute::<vk::PFN_vkGetPhysicalDeviceProperties, Function>(properties)
            }
            b"vkGetPhysicalDeviceProperties2" | b"vkGetPhysicalDeviceProperties2KHR" => {
                transmute::<vk::PFN_vkGetPhysicalDeviceProperties2, Function>(properties2)
            }
            b"vkGetPhysicalDeviceFeatures2" | b"vkGetPhysicalDeviceFeatures2KHR" => {
                transmute::<vk::PFN_vkGetPhysicalDeviceFeatures2, Function>(features2)
            }
            b"vkGetPhysicalDeviceQueueFamilyProperties" => {
                transmute::<vk::PFN_vkGetPhysicalDeviceQueueFamilyProperties, Function>(queue_families)
            }
            b"vkGetPhysicalDeviceMemoryProperties" => {
                transmute::<vk::PFN_vkGetPhysicalDeviceMemoryProperties, Function>(memory)
            }
            b"vkGetPhysicalDeviceMemoryProperties2" | b"vkGetPhysicalDeviceMemoryProperties2KHR" => {
                transmute::<vk::PFN_vkGetPhysicalDeviceMemoryProperties2, Function>(memory2)
            }
            b"vkAllocateMemory" => transmute::<vk::PFN_vkAllocateMemory, Function>(allocate_memory),
            b"vkFreeMemory" => transmute::<vk::PFN_vkFreeMemory, Function>(free_memory),
            b"vkCreateBuffer" => transmute::<vk::PFN_vkCreateBuffer, Function>(create_buffer),
            b"vkDestroyBuffer" => transmute::<vk::PFN_vkDestroyBuffer, Function>(destroy_buffer),
            b"vkCmdCopyBuffer" => transmute::<vk::PFN_vkCmdCopyBuffer, Function>(copy_buffer),
            b"vkCmdDispatch" => transmute::<vk::PFN_vkCmdDispatch, Function>(dispatch),
            b"vkCreateComputePipelines" => {
                transmute::<vk::PFN_vkCreateComputePipelines, Function>(create_compute_pipelines)
            }
            b"vkQueueSubmit" => transmute::<vk::PFN_vkQueueSubmit, Function>(queue_submit),
            b"vkWaitSemaphores" => transmute::<vk::PFN_vkWaitSemaphores, Function>(wait_semaphores),
            b"vkWaitSemaphoresKHR" => transmute::<vk::PFN_vkWaitSemaphores, Function>(wait_semaphores_khr),
            b"vkWaitForFences" => transmute::<vk::PFN_vkWaitForFences, Function>(wait_for_fences),
            _ => return None,
        };
        Some(function)
    }
}

unsafe extern "system" fn get_instance_proc_addr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    unsafe {
        let name = CStr::from_ptr(name);
        if instance.is_null() {
            return own(name);
        }
        let below = below_instance(instance).function(name);
        below.and(own(name)).or(below)
    }
}

unsafe extern "system" fn get_device_proc_addr(device: vk::Device, name: *const c_char) -> vk::PFN_vkVoidFunction {
    unsafe {
        let name = CStr::from_ptr(name);
        let below = below_device(device).function(name);
        below.and(own(name)).or(below)
    }
}

/// A function below, whose signature is that of the type.
macro_rules! below {
    ($function:expr, $signature:ty) => {
        transmute::<vk::PFN_vkVoidFunction, $signature>(Some($function.expect("the driver has it")))
    };
}

// ---------------------------------------------------------------------------------------------- instances

unsafe extern "system" fn create_instance(
    info: *const vk::InstanceCreateInfo,
    allocator: *const vk::AllocationCallbacks,
    made: *mut vk::Instance,
) -> vk::Result {
    log(&format!("{{\"event\":\"opened\",\"process\":{}}}", std::process::id()));
    if faults().crashes {
        std::process::abort();
    }
    // SAFETY: it takes a function that stays as long as the process; the loader never unloads a layer in use.
    unsafe {
        static IS_TO_TELL: Once = Once::new();
        IS_TO_TELL.call_once(|| {
            let _ = libc::atexit(at_exit);
        });
        let chain = (*info).p_next.cast_mut().cast();
        let Some(link) = take_link(chain, vk::StructureType::LOADER_INSTANCE_CREATE_INFO) else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let get = (*link).get_instance_proc_addr;
        let result = below!(get(vk::Instance::null(), c"vkCreateInstance".as_ptr()), vk::PFN_vkCreateInstance)(
            info, allocator, made,
        );
        if result == vk::Result::SUCCESS {
            let named = |name: &CStr| get(*made, name.as_ptr());
            let below = BelowInstance {
                instance: *made,
                get,
                properties: below!(named(c"vkGetPhysicalDeviceProperties"), vk::PFN_vkGetPhysicalDeviceProperties),
                properties2: below!(named(c"vkGetPhysicalDeviceProperties2"), vk::PFN_vkGetPhysicalDeviceProperties2),
                features2: below!(named(c"vkGetPhysicalDeviceFeatures2"), vk::PFN_vkGetPhysicalDeviceFeatures2),
                queue_families: below!(
                    named(c"vkGetPhysicalDeviceQueueFamilyProperties"),
                    vk::PFN_vkGetPhysicalDeviceQueueFamilyProperties
                ),
                memory: below!(
                    named(c"vkGetPhysicalDeviceMemoryProperties"),
                    vk::PFN_vkGetPhysicalDeviceMemoryProperties
                ),
                memory2: below!(
                    named(c"vkGetPhysicalDeviceMemoryProperties2"),
                    vk::PFN_vkGetPhysicalDeviceMemoryProperties2
                ),
            };
            INSTANCES.lock().unwrap_or_else(PoisonError::into_inner).insert(key(*made), below);
        }
        result
    }
}

unsafe extern "system" fn properties(device: vk::PhysicalDevice, told: *mut vk::PhysicalDeviceProperties) {
    unsafe {
        (below_instance(device).properties)(device, told);
        lower(&mut (*told).limits);
    }
}

unsafe extern "system" fn properties2(device: vk::PhysicalDevice, told: *mut vk::PhysicalDeviceProperties2) {
    unsafe {
        (below_instance(device).properties2)(device, told);
        lower(&mut (*told).properties.limits);
    }
}

fn lower(limits: &mut vk::PhysicalDeviceLimits) {
    if faults().has_small_memory {
        limits.max_compute_shared_memory_size = 16 << 10;
    }
}

unsafe extern "system" fn features2(device: vk::PhysicalDevice, told: *mut vk::PhysicalDeviceFeatures2) {
    unsafe {
        (below_instance(device).features2)(device, told);
        let mut more = (*told).p_next.cast::<vk::BaseOutStructure>();
        while faults().no_f16 && !more.is_null() {
            match (*more).s_type {
                vk::StructureType::PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES => {
                    (*more.cast::<vk::PhysicalDeviceShaderFloat16Int8Features>()).shader_float16 = vk::FALSE;
                }
                vk::StructureType::PHYSICAL_DEVICE_VULKAN_1_2_FEATURES => {
                    (*more.cast::<vk::PhysicalDeviceVulkan12Features>()).shader_float16 = vk::FALSE;
                }
                vk::StructureType::PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES => {
                    let storage = more.cast::<vk::PhysicalDevice16BitStorageFeatures>();
                    (*storage).storage_buffer16_bit_access = vk::FALSE;
                    (*storage).uniform_and_storage_buffer16_bit_access = vk::FALSE;
                }
                vk::StructureType::PHYSICAL_DEVICE_VULKAN_1_1_FEATURES => {
                    let storage = more.cast::<vk::PhysicalDeviceVulkan11Features>();
                    (*storage).storage_buffer16_bit_access = vk::FALSE;
                    (*storage).uniform_and_storage_buffer16_bit_access = vk::FALSE;
                }
                _ => {}
            }
            more = (*more).p_next;
        }
    }
}

unsafe extern "system" fn queue_families(
    device: vk::PhysicalDevice,
    count: *mut u32,
    told: *mut vk::QueueFamilyProperties,
) {
    unsafe {
        (below_instance(device).queue_families)(device, count, told);
        if faults().no_compute && !told.is_null() {
            for family in std::slice::from_raw_parts_mut(told, *count as usize) {
                family.queue_flags &= !vk::QueueFlags::COMPUTE;
            }
        }
    }
}

unsafe extern "system" fn memory(device: vk::PhysicalDevice, told: *mut vk::PhysicalDeviceMemoryProperties) {
    unsafe {
        (below_instance(device).memory)(device, told);
        shrink(&mut *told);
    }
}

unsafe extern "system" fn memory2(device: vk::PhysicalDevice, told: *mut vk::PhysicalDeviceMemoryProperties2) {
    unsafe {
        (below_instance(device).memory2)(device, told);
        shrink(&mut (*told).memory_properties);
    }
}

fn shrink(told: &mut vk::PhysicalDeviceMemoryProperties) {
    if let Some(most) = faults().memory {
        told.memory_heaps.iter_mut().for_each(|heap| heap.size = heap.size.min(most));
    }
}

// ---------------------------------------------------------------------------------------------- devices

unsafe extern "system" fn create_device(
    physical: vk::PhysicalDevice,
    info: *const vk::DeviceCreateInfo,
    allocator: *const vk::AllocationCallbacks,
    made: *mut vk::Device,
) -> vk::Result {
    unsafe {
        let chain = (*info).p_next.cast_mut().cast();
        let Some(link) = take_link(chain, vk::StructureType::LOADER_DEVICE_CREATE_INFO) else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let make = ((*link).get_instance_proc_addr)(vk::Instance::null(), c"vkCreateDevice".as_ptr()).or_else(|| {
            ((*link).get_instance_proc_addr)(below_instance(physical).instance, c"vkCreateDevice".as_ptr())
        });
        let result = below!(make, vk::PFN_vkCreateDevice)(physical, info, allocator, made);
        if result == vk::Result::SUCCESS {
            let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
            devices.insert(key(*made), BelowDevice { device: *made, get: (*link).get_device_proc_addr });
        }
        result
    }
}

unsafe extern "system" fn allocate_memory(
    device: vk::Device,
    info: *const vk::MemoryAllocateInfo,
    allocator: *const vk::AllocationCallbacks,
    made: *mut vk::DeviceMemory,
) -> vk::Result {
    unsafe {
        let mut allocated = ALLOCATED.lock().unwrap_or_else(PoisonError::into_inner);
        let size = (*info).allocation_size;
        if faults().memory_ends_at.is_some_and(|most| allocated.values().sum::<u64>() + size > most) {
            return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
        }
        let result = below!(below_device(device).function(c"vkAllocateMemory"), vk::PFN_vkAllocateMemory)(
            device, info, allocator, made,
        );
        if result == vk::Result::SUCCESS {
            allocated.insert((*made).as_raw(), size);
        }
        result
    }
}

unsafe extern "system" fn free_memory(
    device: vk::Device,
    memory: vk::DeviceMemory,
    allocator: *const vk::AllocationCallbacks,
) {
    ALLOCATED.lock().unwrap_or_else(PoisonError::into_inner).remove(&memory.as_raw());
    unsafe { below!(below_device(device).function(c"vkFreeMemory"), vk::PFN_vkFreeMemory)(device, memory, allocator) }
}

unsafe extern "system" fn create_buffer(
    device: vk::Device,
    info: *const vk::BufferCreateInfo,
    allocator: *const vk::AllocationCallbacks,
    made: *mut vk::Buffer,
) -> vk::Result {
    unsafe {
        let result = below!(below_device(device).function(c"vkCreateBuffer"), vk::PFN_vkCreateBuffer)(
            device, info, allocator, made,
        );
        let usage = (*info).usage;
        let is_staging = [vk::BufferUsageFlags::TRANSFER_SRC, vk::BufferUsageFlags::TRANSFER_DST].contains(&usage);
        if result == vk::Result::SUCCESS && is_staging {
            STAGING.lock().unwrap_or_else(PoisonError::into_inner).insert((*made).as_raw(), usage);
        }
        result
    }
}

unsafe extern "system" fn destroy_buffer(
    device: vk::Device,
    buffer: vk::Buffer,
    allocator: *const vk::AllocationCallbacks,
) {
    STAGING.lock().unwrap_or_else(PoisonError::into_inner).remove(&buffer.as_raw());
    unsafe {
        below!(below_device(device).function(c"vkDestroyBuffer"), vk::PFN_vkDestroyBuffer)(device, buffer, allocator)
    }
}

unsafe extern "system" fn copy_buffer(
    commands: vk::CommandBuffer,
    from: vk::Buffer,
    to: vk::Buffer,
    regions: u32,
    region: *const vk::BufferCopy,
) {
    unsafe {
        let bytes = std::slice::from_raw_parts(region, regions as usize).iter().map(|region| region.size).sum();
        let staging = STAGING.lock().unwrap_or_else(PoisonError::into_inner);
        if staging.get(&from.as_raw()) == Some(&vk::BufferUsageFlags::TRANSFER_SRC) {
            count(&UPLOADS, 1);
            count(&UPLOADED, bytes);
        }
        if staging.get(&to.as_raw()) == Some(&vk::BufferUsageFlags::TRANSFER_DST) {
            count(&DOWNLOADS, 1);
            count(&DOWNLOADED, bytes);
        }
        drop(staging);
        let below = below_device(commands);
        below!(below.function(c"vkCmdCopyBuffer"), vk::PFN_vkCmdCopyBuffer)(commands, from, to, regions, region);
    }
}

unsafe extern "system" fn create_compute_pipelines(
    device: vk::Device,
    cache: vk::PipelineCache,
    count_of_infos: u32,
    infos: *const vk::ComputePipelineCreateInfo,
    allocator: *const vk::AllocationCallbacks,
    made: *mut vk::Pipeline,
) -> vk::Result {
    count(&PIPELINES, count_of_infos.into());
    unsafe {
        let below = below_device(device).function(c"vkCreateComputePipelines");
        below!(below, vk::PFN_vkCreateComputePipelines)(device, cache, count_of_infos, infos, allocator, made)
    }
}

unsafe extern "system" fn dispatch(commands: vk::CommandBuffer, x: u32, y: u32, z: u32) {
    count(&DISPATCHES, 1);
    unsafe { below!(below_device(commands).function(c"vkCmdDispatch"), vk::PFN_vkCmdDispatch)(commands, x, y, z) }
}

unsafe extern "system" fn queue_submit(
    queue: vk::Queue,
    count_of_infos: u32,
    infos: *const vk::SubmitInfo,
    fence: vk::Fence,
) -> vk::Result {
    if faults().terminated_at == Some(SUBMITS.fetch_add(1, Relaxed) + 1) {
        signal_hook::low_level::raise(signal_hook::consts::SIGTERM).expect("a process may signal itself");
    }
    if is_lost() {
        return vk::Result::ERROR_DEVICE_LOST;
    }
    unsafe {
        below!(below_device(queue).function(c"vkQueueSubmit"), vk::PFN_vkQueueSubmit)(
            queue,
            count_of_infos,
            infos,
            fence,
        )
    }
}

unsafe extern "system" fn wait_semaphores(
    device: vk::Device,
    info: *const vk::SemaphoreWaitInfo,
    timeout: u64,
) -> vk::Result {
    unsafe { wait(device, info, timeout, c"vkWaitSemaphores") }
}

unsafe extern "system" fn wait_semaphores_khr(
    device: vk::Device,
    info: *const vk::SemaphoreWaitInfo,
    timeout: u64,
) -> vk::Result {
    unsafe { wait(device, info, timeout, c"vkWaitSemaphoresKHR") }
}

unsafe fn wait(device: vk::Device, info: *const vk::SemaphoreWaitInfo, timeout: u64, name: &CStr) -> vk::Result {
    count_wait();
    if is_lost() {
        return vk::Result::ERROR_DEVICE_LOST;
    }
    unsafe { below!(below_device(device).function(name), vk::PFN_vkWaitSemaphores)(device, info, timeout) }
}

unsafe extern "system" fn wait_for_fences(
    device: vk::Device,
    fences: u32,
    fence: *const vk::Fence,
    all: vk::Bool32,
    timeout: u64,
) -> vk::Result {
    count_wait();
    if is_lost() {
        return vk::Result::ERROR_DEVICE_LOST;
    }
    unsafe {
        below!(below_device(device).function(c"vkWaitForFences"), vk::PFN_vkWaitForFences)(
            device, fences, fence, all, timeout,
        )
    }
}
