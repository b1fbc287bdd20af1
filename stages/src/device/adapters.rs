//! The graphics adapters of this machine: one list with one number for each, and the one that is meant by a choice.
//!
//! A number counts the adapters of one interface after the other (Vulkan, Metal, DX12, OpenGL); within an interface
//! cards come first, in the order of their addresses on the bus, then other GPUs, then software drivers. A card that
//! several interfaces show is listed once, with the first of them. An interface is only asked when the ones before it
//! do not suffice: each loads drivers, which take time and may print to the terminal.

use super::limits::{DeviceLimits, of_adapter};
use crate::io::DeviceChoice;
use anyhow::{Result, bail};
use burn::tensor::try_read_sync;
use burn::tensor::wgpu::wgpu;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;

/// A GPU as its driver describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuAdapter {
    /// The number by which `--device wgpu:NUMBER` chooses it.
    pub index: usize,
    pub name: String,
    /// Vulkan, Metal, Dx12, Gl.
    pub api: String,
    /// DiscreteGpu, IntegratedGpu, …
    pub kind: String,
    pub driver: String,
    /// The driver computes on the CPU.
    pub is_software: bool,
    /// Its place on the bus, `0000:01:00.0`; empty where the driver does not tell it.
    pub address: String,
    /// The number of its maker.
    pub vendor: u32,
    pub limits: DeviceLimits,
}

impl GpuAdapter {
    pub fn is_card(&self) -> bool {
        self.kind == "DiscreteGpu"
    }

    /// Number, name and interface, for messages: `0 H200 (Vulkan, DiscreteGpu)`.
    pub fn title(&self) -> String {
        format!("{} {} ({}, {})", self.index, self.name, self.api, self.kind)
    }
}

/// An adapter that can be opened.
#[derive(Clone)]
pub struct AdapterHandle {
    pub adapter: wgpu::Adapter,
    pub instance: wgpu::Instance,
    pub described: GpuAdapter,
}

/// The interfaces to graphics drivers, the preferred one first.
const INTERFACES: [wgpu::Backends; 4] =
    [wgpu::Backends::VULKAN, wgpu::Backends::METAL, wgpu::Backends::DX12, wgpu::Backends::GL];

/// The adapters seen so far in this process, and the number of interfaces that were asked. Locked while drivers are
/// loaded: the loader of Vulkan crashes when several threads do that at once.
static SEEN: Mutex<(Vec<AdapterHandle>, usize)> = Mutex::new((Vec::new(), 0));

/// Every adapter. A broken driver may crash the process.
pub fn adapters() -> Vec<GpuAdapter> {
    described(look(|_| false))
}

/// The adapters among which the one that is meant by a choice is known to be, or known not to be.
pub fn adapters_for(choice: &DeviceChoice) -> Vec<GpuAdapter> {
    described(look_for(choice))
}

fn described(found: Vec<AdapterHandle>) -> Vec<GpuAdapter> {
    found.into_iter().map(|found| found.described).collect()
}

fn look_for(choice: &DeviceChoice) -> Vec<AdapterHandle> {
    look(|seen| choose(choice, seen).is_some_and(|at| !seen[at].is_software || by_number(choice)))
}

/// The adapter that is meant by a choice; `None`: `auto` takes the CPU.
///
/// # Errors
/// There is no such adapter. The message lists those that there are.
pub fn find(choice: &DeviceChoice) -> Result<Option<AdapterHandle>> {
    let seen = look_for(choice);
    let listed = described(seen.clone());
    Ok(chosen(choice, &listed)?.map(|at| seen[at].clone()))
}

/// The place in the list of the adapter that is meant by a choice, as [`find`].
///
/// # Errors
/// As [`find`].
pub fn chosen(choice: &DeviceChoice, listed: &[GpuAdapter]) -> Result<Option<usize>> {
    if let Some(at) = choose(choice, listed) {
        return Ok(Some(at));
    }
    let titles: Vec<String> = listed.iter().map(GpuAdapter::title).collect();
    let known = match titles.is_empty() {
        true => "wgpu finds no adapter at all: install a Vulkan, Metal or DX12 driver, or take --device cpu".to_owned(),
        false => format!("there are {}", titles.join("; ")),
    };
    match choice {
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok(None),
        DeviceChoice::Wgpu => bail!("open a wgpu device: {known}"),
        DeviceChoice::Adapter(number) => bail!("open `wgpu:{number}`: no adapter has this number; {known}"),
        DeviceChoice::Named(part) => bail!("open `wgpu:{part}`: no adapter's name contains `{part}`; {known}"),
    }
}

fn by_number(choice: &DeviceChoice) -> bool {
    matches!(choice, DeviceChoice::Adapter(_))
}

fn choose(choice: &DeviceChoice, listed: &[GpuAdapter]) -> Option<usize> {
    let best = |is_meant: &dyn Fn(&GpuAdapter) -> bool| {
        let places = listed.iter().enumerate().filter(|(_, adapter)| is_meant(adapter));
        places.min_by_key(|(at, adapter)| (!adapter.limits.has_compute, rank(&adapter.kind), *at)).map(|(at, _)| at)
    };
    match choice {
        DeviceChoice::Cpu => None,
        DeviceChoice::Auto => best(&|adapter| !adapter.is_software && adapter.limits.has_compute),
        DeviceChoice::Wgpu => best(&|_| true),
        DeviceChoice::Adapter(number) => listed.iter().position(|adapter| adapter.index == *number),
        DeviceChoice::Named(part) => {
            let part = part.to_lowercase();
            best(&|adapter| adapter.name.to_lowercase().contains(&part))
        }
    }
}

/// Cards of their own before GPUs inside a processor, and both before software.
fn rank(kind: &str) -> u8 {
    match kind {
        "DiscreteGpu" => 0,
        "Cpu" => 2,
        _ => 1,
    }
}

/// Asks one interface after the other until `suffices`, and returns the adapters seen so far.
fn look(suffices: impl Fn(&[GpuAdapter]) -> bool) -> Vec<AdapterHandle> {
    let mut seen = SEEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (found, asked) = &mut *seen;
    loop {
        let listed: Vec<GpuAdapter> = found.iter().map(|found| found.described.clone()).collect();
        if *asked == INTERFACES.len() || suffices(&listed) {
            return found.clone();
        }
        let interface = INTERFACES[*asked];
        *asked += 1;
        if !wgpu::Instance::enabled_backend_features().contains(interface) {
            continue;
        }
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: interface,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let more = try_read_sync(instance.enumerate_adapters(interface)).unwrap_or_default();
        let mut more: Vec<(wgpu::Adapter, GpuAdapter)> = more
            .into_iter()
            .map(|adapter| (describe(&adapter), adapter))
            .map(|(told, adapter)| (adapter, told))
            .collect();
        more.sort_by(|(_, one), (_, other)| order(one).cmp(&order(other)));
        for (adapter, described) in more {
            if !is_known(&described, &listed, found.iter().map(|found| &found.described)) {
                let described = GpuAdapter { index: found.len(), ..described };
                found.push(AdapterHandle { adapter, instance: instance.clone(), described });
            }
        }
    }
}

fn order(adapter: &GpuAdapter) -> (u8, &str) {
    (rank(&adapter.kind), &adapter.address)
}

/// Whether an adapter is one that is listed already: `before` has those of earlier interfaces, `all` these and the ones
/// of its own interface so far. Two drivers of one interface may show one card, which has one address. An interface
/// that tells no addresses (OpenGL) only adds cards of makers of which none was seen.
fn is_known<'a>(adapter: &GpuAdapter, before: &[GpuAdapter], mut all: impl Iterator<Item = &'a GpuAdapter>) -> bool {
    let is_same = |other: &GpuAdapter| match (adapter.is_software, other.is_software) {
        (true, true) => true,
        (false, false) => adapter.vendor == other.vendor,
        _ => false,
    };
    let has_address = !adapter.address.is_empty() && !adapter.is_software;
    before.iter().any(is_same) || has_address && all.any(|other| other.address == adapter.address)
}

fn describe(adapter: &wgpu::Adapter) -> GpuAdapter {
    let info = adapter.get_info();
    GpuAdapter {
        index: 0,
        api: format!("{:?}", info.backend),
        kind: format!("{:?}", info.device_type),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        is_software: info.device_type == wgpu::DeviceType::Cpu,
        address: info.device_pci_bus_id.clone(),
        vendor: info.vendor,
        limits: of_adapter(adapter, &info),
        name: info.name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn adapter(index: usize, name: &str, api: &str, kind: &str) -> GpuAdapter {
        GpuAdapter {
            index,
            name: name.to_owned(),
            api: api.to_owned(),
            kind: kind.to_owned(),
            driver: String::new(),
            is_software: kind == "Cpu",
            address: String::new(),
            vendor: u32::from(name.starts_with('I')),
            limits: DeviceLimits { has_compute: true, ..DeviceLimits::default() },
        }
    }

    fn list() -> Vec<GpuAdapter> {
        vec![
            adapter(0, "Iris Xe", "Vulkan", "IntegratedGpu"),
            adapter(1, "llvmpipe", "Vulkan", "Cpu"),
            adapter(2, "NVIDIA H200", "Gl", "DiscreteGpu"),
            adapter(3, "NVIDIA H200 second", "Gl", "DiscreteGpu"),
        ]
    }

    #[test]
    fn a_choice_means_one_adapter() {
        let told =
            ["auto", "cpu", "wgpu", "wgpu:1", "wgpu:7", "wgpu:h200", "wgpu:LLVM", "wgpu:e", "wgpu:arc"].map(|typed| {
                let choice: DeviceChoice = typed.parse().unwrap();
                match chosen(&choice, &list()) {
                    Ok(Some(at)) => format!("{typed}: {}", list()[at].title()),
                    Ok(None) => format!("{typed}: the CPU"),
                    Err(error) => format!("{typed}: {error}"),
                }
            });
        expect![[r#"
            auto: 2 NVIDIA H200 (Gl, DiscreteGpu)
            cpu: the CPU
            wgpu: 2 NVIDIA H200 (Gl, DiscreteGpu)
            wgpu:1: 1 llvmpipe (Vulkan, Cpu)
            wgpu:7: open `wgpu:7`: no adapter has this number; there are 0 Iris Xe (Vulkan, IntegratedGpu); 1 llvmpipe (Vulkan, Cpu); 2 NVIDIA H200 (Gl, DiscreteGpu); 3 NVIDIA H200 second (Gl, DiscreteGpu)
            wgpu:h200: 2 NVIDIA H200 (Gl, DiscreteGpu)
            wgpu:LLVM: 1 llvmpipe (Vulkan, Cpu)
            wgpu:e: 3 NVIDIA H200 second (Gl, DiscreteGpu)
            wgpu:arc: open `wgpu:arc`: no adapter's name contains `arc`; there are 0 Iris Xe (Vulkan, IntegratedGpu); 1 llvmpipe (Vulkan, Cpu); 2 NVIDIA H200 (Gl, DiscreteGpu); 3 NVIDIA H200 second (Gl, DiscreteGpu)"#]]
        .assert_eq(&told.join("\n"));
        let software = [adapter(0, "llvmpipe", "Vulkan", "Cpu")];
        assert_eq!(chosen(&DeviceChoice::Auto, &software).unwrap(), None);
        assert_eq!(chosen(&DeviceChoice::Wgpu, &software).unwrap(), Some(0));
        assert!(chosen(&DeviceChoice::Wgpu, &[]).unwrap_err().to_string().contains("finds no adapter at all"));
    }

    #[test]
    fn a_card_has_one_number_through_however_many_interfaces_and_drivers_it_is_seen() {
        let at = |address: &str, adapter: GpuAdapter| GpuAdapter { address: address.to_owned(), ..adapter };
        let vulkan = [
            at("0000:01:00.0", adapter(0, "NVIDIA H200", "Vulkan", "DiscreteGpu")),
            at("0000:02:00.0", adapter(1, "NVIDIA H200", "Vulkan", "DiscreteGpu")),
            adapter(2, "llvmpipe", "Vulkan", "Cpu"),
        ];
        let within = |adapter: &GpuAdapter| is_known(adapter, &[], vulkan.iter());
        let later = |adapter: &GpuAdapter| is_known(adapter, &vulkan, vulkan.iter());
        assert!(within(&at("0000:02:00.0", adapter(0, "NVK", "Vulkan", "DiscreteGpu"))), "another driver");
        assert!(!within(&at("0000:03:00.0", adapter(0, "NVIDIA H200", "Vulkan", "DiscreteGpu"))));
        assert!(!within(&adapter(0, "llvmpipe", "Vulkan", "Cpu")), "two software drivers stand in for two cards");
        assert!(later(&adapter(0, "NVIDIA H200/PCIe", "Gl", "Other")));
        assert!(later(&adapter(0, "llvmpipe", "Gl", "Cpu")));
        assert!(!later(&adapter(0, "Iris Xe", "Gl", "IntegratedGpu")), "of a maker that Vulkan does not show");
    }
}
