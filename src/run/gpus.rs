//! The GPUs of a run: those that there are, and what a stage is told of the ones that are its own while it runs.
//!
//! A stage that computes through wgpu takes a GPU unless its `resources` say otherwise, so that two such stages are
//! never on one card. A command takes those that it asks for, and learns from its environment which they are.

use super::devices::{self, ToldDevices};
use anyhow::{Result, anyhow};
use stages::io::DeviceChoice;
use std::collections::BTreeMap;

/// Variables by which the libraries of the makers of GPUs restrict a program to some of them.
const VISIBLE: [&str; 3] = ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"];
/// The variable that says the same with the numbers of `doctor`.
const OURS: &str = "PIPELINE_GPUS";
/// The order in which CUDA counts. It must be that of the bus, in which adapters are counted here: by default the fastest
/// card comes first.
const ORDER: [&str; 2] = ["CUDA_DEVICE_ORDER", "PCI_BUS_ID"];

/// A GPU that a stage can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its number: that of `doctor`, or of the libraries of its maker where wgpu does not see it.
    pub number: usize,
    /// Stages of this run compute on it through wgpu.
    pub computes: bool,
    /// Its place in the lists of inherited variables, and in the order in which GPUs are handed out.
    pub place: usize,
}

#[cfg(test)]
impl Gpu {
    pub fn numbered(numbers: &[usize], computes: bool) -> Vec<Gpu> {
        numbers.iter().map(|number| Gpu { number: *number, computes, place: *number }).collect()
    }
}

/// The devices of a run.
#[derive(Debug, PartialEq)]
pub struct RunDevices {
    /// The device of stages that compute and have no GPU of their own.
    pub device: DeviceChoice,
    pub gpus: Vec<Gpu>,
    /// A remark for people on the choice.
    pub remark: Option<String>,
}

/// The GPUs and the device that a choice means. `typed` is the `gpu` of `--resources`; `None`: `auto`, the cards that
/// wgpu sees, at least one: a command may use a card that only its own libraries see.
///
/// # Errors
/// A device was asked for that does not open.
pub fn resolve(choice: &DeviceChoice, typed: Option<u64>) -> Result<RunDevices> {
    let is_known = typed.is_some() && *choice == DeviceChoice::Cpu || typed == Some(0) && *choice == DeviceChoice::Auto;
    let told = match is_known {
        true => ToldDevices::default(),
        // Cards are counted for commands, too, when every other stage computes on the CPU.
        false if *choice == DeviceChoice::Cpu => devices::ask(&DeviceChoice::Auto, false)?,
        false => devices::ask(choice, false)?,
    };
    let device = if is_known { Ok((DeviceChoice::Cpu, None)) } else { device(choice, &told) };
    let (device, remark) = device?;
    Ok(RunDevices { remark, ..found(choice, device, &told, typed, &inherited) })
}

fn inherited(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The device that the child has opened, and a remark where `auto` falls back on the CPU for a reason.
fn device(choice: &DeviceChoice, told: &ToldDevices) -> Result<(DeviceChoice, Option<String>)> {
    let why = match &told.opened {
        _ if *choice == DeviceChoice::Cpu => return Ok((DeviceChoice::Cpu, None)),
        Some(Ok(opened)) => return Ok((opened.index.map_or(DeviceChoice::Cpu, DeviceChoice::Adapter), None)),
        Some(Err(error)) => error.clone(),
        None => {
            let end = told.end.as_deref().unwrap_or("said nothing");
            format!("the process that opens the graphics driver {end}")
        }
    };
    match choice {
        DeviceChoice::Auto => {
            Ok((DeviceChoice::Cpu, Some(format!("computes on the CPU: {why} (`pipeline doctor` says more)"))))
        }
        _ => Err(anyhow!("{why}")),
    }
}

fn found(
    choice: &DeviceChoice,
    device: DeviceChoice,
    told: &ToldDevices,
    typed: Option<u64>,
    inherited: &dyn Fn(&str) -> Option<String>,
) -> RunDevices {
    let is_named = matches!(choice, DeviceChoice::Adapter(_) | DeviceChoice::Named(_));
    let chosen = match device {
        DeviceChoice::Adapter(index) => told.adapters.iter().find(|adapter| adapter.index == index),
        _ => None,
    };
    let is_software = chosen.is_some_and(|chosen| chosen.is_software);
    let has_card = told.adapters.iter().any(|adapter| adapter.is_card());
    // A GPU inside the processor is not counted beside a card.
    let counts = |adapter: &&stages::device::GpuAdapter| match is_named {
        true => chosen.is_some_and(|chosen| chosen.index == adapter.index),
        false if is_software => adapter.is_software,
        false => !adapter.is_software && (adapter.is_card() || !has_card),
    };
    let adapters: Vec<usize> = told.adapters.iter().filter(counts).map(|adapter| adapter.index).collect();
    // Libraries of makers know nothing of software drivers.
    let restricting = [OURS].iter().chain(VISIBLE.iter().filter(|_| !is_software));
    let visible = restricting.into_iter().find_map(|name| Some(list(&inherited(name)?)));
    let listed: Option<Vec<usize>> = visible.as_ref().and_then(|list| list.iter().map(|n| n.parse().ok()).collect());
    let place_of = |number: usize, at: usize| {
        listed.as_ref().and_then(|listed| listed.iter().position(|other| *other == number)).unwrap_or(at)
    };
    // Numbers of cards that are all there are those of the adapters; others are names, or count inside a container.
    let numbers: Vec<usize> = match (&visible, &listed) {
        _ if is_named => adapters.clone(),
        (_, Some(listed)) if adapters.is_empty() || listed.iter().all(|number| adapters.contains(number)) => {
            listed.clone()
        }
        (Some(visible), _) if adapters.is_empty() => (0..visible.len()).collect(),
        (Some(visible), _) => adapters.iter().copied().take(visible.len()).collect(),
        (None, _) => adapters.clone(),
    };
    let least = usize::from(visible.is_none());
    let wanted = typed.map_or(numbers.len().max(least), |typed| usize::try_from(typed).unwrap_or(usize::MAX));
    let computes = matches!(device, DeviceChoice::Adapter(_));
    // More than are seen are there because it was typed.
    let more = (0..).filter(|number| !numbers.contains(number));
    let gpus: Vec<Gpu> = numbers
        .iter()
        .copied()
        .chain(more)
        .take(wanted)
        .enumerate()
        .map(|(at, number)| Gpu {
            number,
            computes: computes && adapters.contains(&number),
            place: place_of(number, at),
        })
        .collect();
    let first = gpus.iter().find(|gpu| gpu.computes).map(|gpu| DeviceChoice::Adapter(gpu.number));
    // `auto` leaves alone what an inherited variable hides.
    let rest = if *choice == DeviceChoice::Auto { DeviceChoice::Cpu } else { device };
    RunDevices { device: first.unwrap_or(rest), gpus, remark: None }
}

/// The entries of a variable of [`VISIBLE`]; as for CUDA, nothing after -1 counts.
fn list(text: &str) -> Vec<String> {
    text.split(',')
        .map(|entry| entry.trim().to_owned())
        .take_while(|entry| !entry.is_empty() && entry != "-1")
        .collect()
}

/// The variables of a node that say which GPUs a job there has.
pub fn of_node() -> BTreeMap<String, String> {
    let visible: BTreeMap<String, String> =
        VISIBLE.iter().filter_map(|name| Some(((*name).to_owned(), inherited(name)?))).collect();
    let [order, by_bus] = ORDER;
    let order = (!visible.is_empty()).then(|| (order.to_owned(), by_bus.to_owned()));
    visible.into_iter().chain(order).collect()
}

/// The variables that tell a command which GPUs are its own. Inherited ones restrict this program, and are mapped through.
pub fn variables(own: &[Gpu]) -> BTreeMap<String, String> {
    variables_with(own, &inherited)
}

fn variables_with(own: &[Gpu], inherited: &dyn Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    if own.is_empty() {
        return BTreeMap::new();
    }
    let joined = |name: &str| {
        let known = inherited(name).map(|text| list(&text)).unwrap_or_default();
        let names = own.iter().map(|gpu| known.get(gpu.place).cloned().unwrap_or_else(|| gpu.number.to_string()));
        names.collect::<Vec<_>>().join(",")
    };
    let numbers: Vec<String> = own.iter().map(|gpu| gpu.number.to_string()).collect();
    let [order, by_bus] = ORDER;
    let order = (order.to_owned(), inherited(order).unwrap_or_else(|| by_bus.to_owned()));
    let visible = VISIBLE.iter().map(|name| ((*name).to_owned(), joined(name)));
    visible.chain([(OURS.to_owned(), numbers.join(",")), order]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::devices::OpenedDevice;
    use super::*;
    use expect_test::expect;
    use stages::device::{DeviceLimits, GpuAdapter};

    fn told(kinds: &[&str], opened: Option<usize>) -> ToldDevices {
        let adapter = |(index, kind): (usize, &&str)| GpuAdapter {
            index,
            name: "made up".to_owned(),
            api: "Vulkan".to_owned(),
            kind: (*kind).to_owned(),
            driver: String::new(),
            is_software: *kind == "Cpu",
            address: String::new(),
            vendor: 0,
            limits: DeviceLimits::default(),
        };
        let adapters = kinds.iter().enumerate().map(adapter).collect();
        ToldDevices { adapters, opened: Some(Ok(OpenedDevice { index: opened, class: String::new() })), end: None }
    }

    const CARDS: [&str; 4] = ["DiscreteGpu", "DiscreteGpu", "IntegratedGpu", "Cpu"];

    /// The device and the numbers of the GPUs, those that compute with a star; below it what a command that has all of
    /// them is told.
    fn shown(typed: &str, resources: Option<u64>, told: &ToldDevices, variables: &[(&str, &str)]) -> String {
        let choice: DeviceChoice = typed.parse().unwrap();
        let inherited =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let (device, _) = device(&choice, told).unwrap();
        let devices = found(&choice, device, told, resources, &inherited);
        let gpus = devices.gpus.iter().map(|gpu| format!("{}{}", gpu.number, if gpu.computes { "*" } else { "" }));
        let mut said = variables_with(&devices.gpus, &inherited);
        said.remove(ORDER[0]);
        let said: Vec<String> = said.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{typed}: {} of {}; {}", devices.device, gpus.collect::<Vec<_>>().join(" "), said.join(" "))
    }

    #[test]
    fn the_gpus_are_the_cards_that_adapters_show_or_what_was_typed() {
        let cards = |opened| told(&CARDS, opened);
        let none = told(&[], None);
        let software = told(&["Cpu", "Cpu"], Some(0));
        let rows = [
            shown("auto", None, &cards(Some(0)), &[]),
            shown("auto", Some(1), &cards(Some(0)), &[]),
            shown("auto", Some(3), &cards(Some(0)), &[]),
            shown("cpu", None, &cards(Some(0)), &[]),
            shown("wgpu:1", None, &cards(Some(1)), &[]),
            shown("wgpu:1", Some(2), &cards(Some(1)), &[]),
            shown("auto", None, &told(&["IntegratedGpu", "Cpu"], Some(0)), &[]),
            shown("auto", None, &none, &[]),
            shown("auto", Some(2), &none, &[]),
            shown("wgpu", None, &software, &[]),
            shown("auto", None, &told(&["Cpu", "Cpu"], None), &[]),
            shown("wgpu", Some(0), &software, &[]),
        ];
        expect![[r#"
            auto: wgpu:0 of 0* 1*; CUDA_VISIBLE_DEVICES=0,1 HIP_VISIBLE_DEVICES=0,1 PIPELINE_GPUS=0,1 ZE_AFFINITY_MASK=0,1
            auto: wgpu:0 of 0*; CUDA_VISIBLE_DEVICES=0 HIP_VISIBLE_DEVICES=0 PIPELINE_GPUS=0 ZE_AFFINITY_MASK=0
            auto: wgpu:0 of 0* 1* 2; CUDA_VISIBLE_DEVICES=0,1,2 HIP_VISIBLE_DEVICES=0,1,2 PIPELINE_GPUS=0,1,2 ZE_AFFINITY_MASK=0,1,2
            cpu: cpu of 0 1; CUDA_VISIBLE_DEVICES=0,1 HIP_VISIBLE_DEVICES=0,1 PIPELINE_GPUS=0,1 ZE_AFFINITY_MASK=0,1
            wgpu:1: wgpu:1 of 1*; CUDA_VISIBLE_DEVICES=1 HIP_VISIBLE_DEVICES=1 PIPELINE_GPUS=1 ZE_AFFINITY_MASK=1
            wgpu:1: wgpu:1 of 1* 0; CUDA_VISIBLE_DEVICES=1,0 HIP_VISIBLE_DEVICES=1,0 PIPELINE_GPUS=1,0 ZE_AFFINITY_MASK=1,0
            auto: wgpu:0 of 0*; CUDA_VISIBLE_DEVICES=0 HIP_VISIBLE_DEVICES=0 PIPELINE_GPUS=0 ZE_AFFINITY_MASK=0
            auto: cpu of 0; CUDA_VISIBLE_DEVICES=0 HIP_VISIBLE_DEVICES=0 PIPELINE_GPUS=0 ZE_AFFINITY_MASK=0
            auto: cpu of 0 1; CUDA_VISIBLE_DEVICES=0,1 HIP_VISIBLE_DEVICES=0,1 PIPELINE_GPUS=0,1 ZE_AFFINITY_MASK=0,1
            wgpu: wgpu:0 of 0* 1*; CUDA_VISIBLE_DEVICES=0,1 HIP_VISIBLE_DEVICES=0,1 PIPELINE_GPUS=0,1 ZE_AFFINITY_MASK=0,1
            auto: cpu of 0; CUDA_VISIBLE_DEVICES=0 HIP_VISIBLE_DEVICES=0 PIPELINE_GPUS=0 ZE_AFFINITY_MASK=0
            wgpu: wgpu:0 of ; "#]].assert_eq(&rows.join("\n"));
    }

    #[test]
    fn an_inherited_restriction_holds_and_is_mapped_through() {
        let cards = told(&["DiscreteGpu"; 4], Some(0));
        let none = told(&[], None);
        let rows = [
            shown("auto", None, &cards, &[("CUDA_VISIBLE_DEVICES", "3,1")]),
            shown("auto", Some(1), &cards, &[("CUDA_VISIBLE_DEVICES", "3,1")]),
            shown("wgpu:1", None, &told(&CARDS, Some(1)), &[("CUDA_VISIBLE_DEVICES", "3,1")]),
            shown("auto", None, &cards, &[("CUDA_VISIBLE_DEVICES", "GPU-ab12,GPU-cd34")]),
            shown("auto", None, &none, &[("CUDA_VISIBLE_DEVICES", "2,3,-1,5")]),
            shown("auto", None, &none, &[("CUDA_VISIBLE_DEVICES", "")]),
            shown("auto", None, &cards, &[("CUDA_VISIBLE_DEVICES", "")]),
            shown("wgpu", None, &told(&["Cpu", "Cpu"], Some(0)), &[("CUDA_VISIBLE_DEVICES", "")]),
            shown("auto", None, &cards, &[("PIPELINE_GPUS", "2,1"), ("CUDA_VISIBLE_DEVICES", "GPU-ab12,GPU-cd34")]),
            shown("auto", None, &cards, &[("PIPELINE_GPUS", "2")]),
            shown("auto", None, &cards, &[("HIP_VISIBLE_DEVICES", "1"), ("ZE_AFFINITY_MASK", "0.1")]),
        ];
        expect![[r#"
            auto: wgpu:3 of 3* 1*; CUDA_VISIBLE_DEVICES=3,1 HIP_VISIBLE_DEVICES=3,1 PIPELINE_GPUS=3,1 ZE_AFFINITY_MASK=3,1
            auto: wgpu:3 of 3*; CUDA_VISIBLE_DEVICES=3 HIP_VISIBLE_DEVICES=3 PIPELINE_GPUS=3 ZE_AFFINITY_MASK=3
            wgpu:1: wgpu:1 of 1*; CUDA_VISIBLE_DEVICES=1 HIP_VISIBLE_DEVICES=1 PIPELINE_GPUS=1 ZE_AFFINITY_MASK=1
            auto: wgpu:0 of 0* 1*; CUDA_VISIBLE_DEVICES=GPU-ab12,GPU-cd34 HIP_VISIBLE_DEVICES=0,1 PIPELINE_GPUS=0,1 ZE_AFFINITY_MASK=0,1
            auto: cpu of 2 3; CUDA_VISIBLE_DEVICES=2,3 HIP_VISIBLE_DEVICES=2,3 PIPELINE_GPUS=2,3 ZE_AFFINITY_MASK=2,3
            auto: cpu of ; 
            auto: cpu of ; 
            wgpu: wgpu:0 of 0* 1*; CUDA_VISIBLE_DEVICES=0,1 HIP_VISIBLE_DEVICES=0,1 PIPELINE_GPUS=0,1 ZE_AFFINITY_MASK=0,1
            auto: wgpu:2 of 2* 1*; CUDA_VISIBLE_DEVICES=GPU-ab12,GPU-cd34 HIP_VISIBLE_DEVICES=2,1 PIPELINE_GPUS=2,1 ZE_AFFINITY_MASK=2,1
            auto: wgpu:2 of 2*; CUDA_VISIBLE_DEVICES=2 HIP_VISIBLE_DEVICES=2 PIPELINE_GPUS=2 ZE_AFFINITY_MASK=2
            auto: wgpu:1 of 1*; CUDA_VISIBLE_DEVICES=1 HIP_VISIBLE_DEVICES=1 PIPELINE_GPUS=1 ZE_AFFINITY_MASK=0.1"#]].assert_eq(&rows.join("\n"));
    }

    #[test]
    fn a_driver_that_crashes_makes_auto_the_cpu_with_a_remark_and_fails_a_device_that_was_asked_for() {
        let crashed =
            ToldDevices { end: Some("was ended by signal: 11 (SIGSEGV)".to_owned()), ..ToldDevices::default() };
        let (device_of_auto, remark) = device(&DeviceChoice::Auto, &crashed).unwrap();
        assert_eq!(device_of_auto, DeviceChoice::Cpu);
        expect!["computes on the CPU: the process that opens the graphics driver was ended by signal: 11 (SIGSEGV) (`pipeline doctor` says more)"].assert_eq(&remark.unwrap());
        expect!["the process that opens the graphics driver was ended by signal: 11 (SIGSEGV)"]
            .assert_eq(&device(&DeviceChoice::Wgpu, &crashed).unwrap_err().to_string());
        // A driver that crashes when all is done has been of use.
        let late = ToldDevices { end: crashed.end, ..told(&CARDS, Some(0)) };
        assert_eq!(device(&DeviceChoice::Auto, &late).unwrap(), (DeviceChoice::Adapter(0), None));
    }
}
