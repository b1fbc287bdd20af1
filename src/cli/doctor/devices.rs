//! The adapters that wgpu sees, what they can hold and do, and the one that `--device auto` takes.

use super::finding::{Finding, note, ok, problem};
use crate::report::format::bytes;
use crate::run::devices::{self, OpenedDevice, ToldDevices};
use stages::device::{DeviceLimits, GpuAdapter};
use stages::io::DeviceChoice;

pub fn look() -> Vec<Finding> {
    match devices::ask(&DeviceChoice::Auto, true) {
        Ok(told) => findings(&told),
        Err(error) => vec![note("devices", format!("not looked for: {error:#}"), "run `pipeline devices` yourself")],
    }
}

fn findings(told: &ToldDevices) -> Vec<Finding> {
    let auto = told.opened.as_ref().and_then(|opened| opened.as_ref().ok());
    let taken = auto.and_then(|opened| opened.index);
    let mut findings: Vec<Finding> = Vec::new();
    for adapter in &told.adapters {
        let GpuAdapter { api, kind, driver, index, .. } = adapter;
        let head = format!("wgpu:{index} {} ({api}, {kind}, driver {driver})", adapter.name);
        let why = match (auto, taken) {
            (Some(_), Some(taken)) if taken == *index => ": `--device auto` takes it".to_owned(),
            _ if adapter.is_software => {
                let would = if taken.is_some() { "" } else { "; `--device wgpu` would" };
                format!(": `auto` does not take it: it computes on the CPU, slower than `--device cpu`{would}")
            }
            _ if !adapter.limits.has_compute => ": its driver takes no compute work".to_owned(),
            (Some(auto), _) => format!(": `auto` does not take it: {} comes first", auto.class),
            (None, _) => String::new(),
        };
        findings.push(ok("device", format!("{head}{why}\n{}", can(&adapter.limits))));
    }
    findings.push(match (&told.opened, &told.end) {
        (_, Some(end)) => problem(
            "devices",
            format!(
                "the process that looks for a GPU {end}; a driver is broken, and `--device auto` computes on the CPU"
            ),
            "repair the driver (`vulkaninfo` says more), or run with `--device cpu`, which does not ask it",
        ),
        (Some(Ok(OpenedDevice { index: Some(_), class })), None) => ok("auto", class.clone()),
        (Some(Ok(OpenedDevice { index: None, class })), None) => note(
            "auto",
            format!("{class}: there is no GPU that wgpu can use"),
            "if there is a card: install its Vulkan, Metal or DX12 driver",
        ),
        (Some(Err(error)), None) => problem(
            "devices",
            error.clone(),
            "repair the driver (`vulkaninfo` says more), or run with `--device cpu`, which does not ask it",
        ),
        (None, None) => note("devices", "the child said nothing", "run `pipeline devices` yourself"),
    });
    findings
}

/// The limits that stages meet.
fn can(limits: &DeviceLimits) -> String {
    let DeviceLimits { binding, buffer, memory, shared_memory, workgroups, subgroups: [least, most], .. } = limits;
    let memory = memory.map_or("not told".to_owned(), bytes);
    let has = [("f16", limits.has_f16), ("bf16", limits.has_bf16), ("cooperative matrices", limits.has_matrices)];
    let has = has.map(|(what, is_there)| format!("{what} {}", if is_there { "yes" } else { "no" }));
    let subgroups = if least == most { least.to_string() } else { format!("{least} to {most}") };
    format!(
        "memory {memory}; largest tensor {}, largest buffer {}; a workgroup shares {}; {workgroups} workgroups a dimension; \
         subgroups of {subgroups}; {}",
        bytes(*binding),
        bytes(*buffer),
        bytes(*shared_memory),
        has.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::page::{Page, print};
    use expect_test::{Expect, expect};

    fn check(adapters: Vec<GpuAdapter>, opened: Option<OpenedDevice>, end: Option<&str>, expected: Expect) {
        let told = ToldDevices { adapters, opened: opened.map(Ok), end: end.map(str::to_owned) };
        let sheets = super::super::sheets(&findings(&told));
        expected.assert_eq(&print(&sheets, Page { width: 80, has_color: false, breaks_words: true }));
    }

    fn adapter(index: usize, name: &str, kind: &str) -> GpuAdapter {
        GpuAdapter {
            index,
            name: name.to_owned(),
            api: "Vulkan".to_owned(),
            kind: kind.to_owned(),
            driver: "made up 1.0".to_owned(),
            is_software: kind == "Cpu",
            address: String::new(),
            vendor: 0,
            limits: DeviceLimits {
                binding: (2 << 30) - 1,
                buffer: 1 << 40,
                memory: (kind == "DiscreteGpu").then_some(150 << 30),
                shared_memory: 48 << 10,
                workgroups: 65_535,
                threads: 1024,
                subgroups: if kind == "Cpu" { [8, 8] } else { [32, 64] },
                has_compute: true,
                has_f16: true,
                has_bf16: false,
                has_matrices: kind == "DiscreteGpu",
            },
        }
    }

    fn opened(index: Option<usize>, class: &str) -> Option<OpenedDevice> {
        Some(OpenedDevice { index, class: class.to_owned() })
    }

    #[test]
    fn of_several_devices_it_is_said_why_each_is_taken_or_not() {
        check(
            vec![
                adapter(0, "H200", "DiscreteGpu"),
                adapter(1, "H200", "DiscreteGpu"),
                adapter(2, "Iris", "IntegratedGpu"),
                adapter(3, "llvmpipe", "Cpu"),
            ],
            opened(Some(0), "wgpu wgsl H200"),
            None,
            expect![[r#"
                ok       device      wgpu:0 H200 (Vulkan, DiscreteGpu, driver made up 1.0): `--device auto` takes it
                                     memory 150.0 GiB; largest tensor 2.0 GiB, largest buffer 1.0 TiB; a workgroup shares 48.0 KiB; 65535 workgroups a dimension; subgroups of 32 to 64; f16 yes, bf16 no, cooperative matrices yes
                ok       device      wgpu:1 H200 (Vulkan, DiscreteGpu, driver made up 1.0): `auto` does not take it: wgpu wgsl H200 comes first
                                     memory 150.0 GiB; largest tensor 2.0 GiB, largest buffer 1.0 TiB; a workgroup shares 48.0 KiB; 65535 workgroups a dimension; subgroups of 32 to 64; f16 yes, bf16 no, cooperative matrices yes
                ok       device      wgpu:2 Iris (Vulkan, IntegratedGpu, driver made up 1.0): `auto` does not take it: wgpu wgsl H200 comes first
                                     memory not told; largest tensor 2.0 GiB, largest buffer 1.0 TiB; a workgroup shares 48.0 KiB; 65535 workgroups a dimension; subgroups of 32 to 64; f16 yes, bf16 no, cooperative matrices no
                ok       device      wgpu:3 llvmpipe (Vulkan, Cpu, driver made up 1.0): `auto` does not take it: it computes on the CPU, slower than `--device cpu`
                                     memory not told; largest tensor 2.0 GiB, largest buffer 1.0 TiB; a workgroup shares 48.0 KiB; 65535 workgroups a dimension; subgroups of 8; f16 yes, bf16 no, cooperative matrices no
                ok       auto        wgpu wgsl H200

                nothing prevents a run
            "#]],
        );
    }

    #[test]
    fn a_software_driver_alone_is_no_gpu() {
        check(
            vec![adapter(0, "llvmpipe", "Cpu")],
            opened(None, "cpu x86_64 fma"),
            None,
            expect![[r#"
                ok       device      wgpu:0 llvmpipe (Vulkan, Cpu, driver made up 1.0): `auto` does not take it: it computes on the CPU, slower than `--device cpu`; `--device wgpu` would
                                     memory not told; largest tensor 2.0 GiB, largest buffer 1.0 TiB; a workgroup shares 48.0 KiB; 65535 workgroups a dimension; subgroups of 8; f16 yes, bf16 no, cooperative matrices no
                note     auto        cpu x86_64 fma: there is no GPU that wgpu can use
                                     → if there is a card: install its Vulkan, Metal or DX12 driver

                nothing prevents a run; notes: 1
            "#]],
        );
    }

    #[test]
    fn a_driver_that_crashes_is_a_problem_and_what_was_seen_before_is_told() {
        check(
            vec![adapter(0, "H200", "DiscreteGpu")],
            None,
            Some("was ended by signal: 11 (SIGSEGV)"),
            expect![[r#"
                ok       device      wgpu:0 H200 (Vulkan, DiscreteGpu, driver made up 1.0)
                                     memory 150.0 GiB; largest tensor 2.0 GiB, largest buffer 1.0 TiB; a workgroup shares 48.0 KiB; 65535 workgroups a dimension; subgroups of 32 to 64; f16 yes, bf16 no, cooperative matrices yes
                PROBLEM  devices     the process that looks for a GPU was ended by signal: 11 (SIGSEGV); a driver is broken, and `--device auto` computes on the CPU
                                     → repair the driver (`vulkaninfo` says more), or run with `--device cpu`, which does not ask it

                problems: 1
            "#]],
        );
    }
}
