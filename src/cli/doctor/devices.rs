//! The adapters wgpu sees, and the one `--device auto` takes. A child process asks, so that a driver that crashes or
//! hangs does not end `doctor`.

use super::finding::{Finding, note, ok, problem};
use crate::cli::terminal;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use stages::device::{self, GpuAdapter};
use stages::io::DeviceChoice;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The time limit for a driver; some compile shaders when they are opened.
const PATIENCE: Duration = Duration::from_secs(30);

/// A line that the child prints.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DeviceLine {
    Adapter(GpuAdapter),
    /// The device class that `--device auto` takes.
    Auto(String),
}

/// The child process. It prints the adapters before it opens a device, which may crash it.
pub fn tell() -> Result<u8> {
    for adapter in device::adapters() {
        say(&DeviceLine::Adapter(adapter))?;
    }
    let auto = device::open(DeviceChoice::Auto)?;
    say(&DeviceLine::Auto(device::class(&auto)))?;
    Ok(0)
}

fn say(line: &DeviceLine) -> Result<bool> {
    terminal::say(&(serde_json::to_string(line)? + "\n"))
}

pub fn look() -> Vec<Finding> {
    match ask() {
        Ok((told, end)) => findings(&told, end),
        Err(error) => vec![note("devices", format!("not looked for: {error:#}"), "run `pipeline devices` yourself")],
    }
}

/// The output of the child, and how it ended if it failed.
fn ask() -> Result<(String, Option<String>)> {
    let program = std::env::current_exe().context("find this program")?;
    let mut child = Command::new(program)
        .arg("devices")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start a child")?;
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let reader = thread::spawn(move || {
        let mut told = Vec::new();
        // After an error the output so far is used.
        let _ = stdout.read_to_end(&mut told);
        String::from_utf8_lossy(&told).into_owned()
    });
    let until = Instant::now() + PATIENCE;
    let end = loop {
        match child.try_wait().context("wait for the child")? {
            Some(status) if status.success() => break None,
            Some(status) => break Some(format!("was ended by {status}")),
            None if Instant::now() > until => {
                let _ = child.kill();
                let _ = child.wait();
                break Some(format!("gave no answer in {} s", PATIENCE.as_secs()));
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    Ok((reader.join().unwrap_or_default(), end))
}

fn findings(told: &str, end: Option<String>) -> Vec<Finding> {
    let lines: Vec<DeviceLine> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut auto = None;
    let mut adapters: Vec<&GpuAdapter> = Vec::new();
    for line in &lines {
        match line {
            DeviceLine::Adapter(adapter) => adapters.push(adapter),
            DeviceLine::Auto(class) => auto = Some(class.as_str()),
        }
    }
    // A card appears once for each graphics interface; the first of its name is the one that is opened.
    let taken = adapters
        .iter()
        .position(|adapter| !adapter.is_software && auto.is_some_and(|auto| auto.ends_with(&adapter.name)));
    let mut findings: Vec<Finding> = Vec::new();
    for (n, adapter) in adapters.iter().enumerate() {
        let head = format!("{} ({}, {}, driver {})", adapter.name, adapter.api, adapter.kind, adapter.driver);
        findings.push(match (auto, taken) {
            (Some(_), Some(taken)) if taken == n => ok("device", format!("{head}: `--device auto` takes it")),
            _ if adapter.is_software => {
                let would = if taken.is_some() { "" } else { "; `--device wgpu` would" };
                let why = "`auto` does not take it: it computes on the CPU, slower than `--device cpu`";
                ok("device", format!("{head}: {why}{would}"))
            }
            (Some(_), Some(taken)) if adapters[taken].name == adapter.name && adapters[taken].api != adapter.api => {
                ok("device", format!("{head}: the same card, which `auto` takes through {}", adapters[taken].api))
            }
            (Some(auto), _) => ok("device", format!("{head}: `auto` does not take it: {auto} comes first")),
            (None, _) => ok("device", head),
        });
    }
    findings.push(match (auto, end) {
        (_, Some(end)) => problem(
            "devices",
            format!(
                "the process that looks for a GPU {end}; a driver is broken, and `--device auto` will end the same way"
            ),
            "run with `--device cpu`, or repair the driver (`vulkaninfo` says more)",
        ),
        (Some(auto), None) if taken.is_some() => ok("auto", auto),
        (Some(auto), None) => note(
            "auto",
            format!("{auto}: there is no GPU that wgpu can use"),
            "if there is a card: install its Vulkan, Metal or DX12 driver",
        ),
        (None, None) => note("devices", "the child said nothing", "run `pipeline devices` yourself"),
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::page::{Page, print};
    use expect_test::{Expect, expect};

    fn check(lines: &[DeviceLine], end: Option<&str>, expected: Expect) {
        let told: String = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        let sheets = super::super::sheets(&findings(&told, end.map(str::to_owned)));
        expected.assert_eq(&print(&sheets, Page { width: 80, has_color: false }));
    }

    fn adapter(name: &str, api: &str, kind: &str) -> DeviceLine {
        let (name, api, kind) = (name.to_owned(), api.to_owned(), kind.to_owned());
        DeviceLine::Adapter(GpuAdapter {
            is_software: kind == "Cpu",
            driver: "made up 1.0".to_owned(),
            name,
            api,
            kind,
        })
    }

    #[test]
    fn of_several_devices_it_is_said_why_each_is_taken_or_not() {
        check(
            &[
                adapter("H200", "Vulkan", "DiscreteGpu"),
                adapter("H200", "Vulkan", "DiscreteGpu"),
                adapter("Iris", "Vulkan", "IntegratedGpu"),
                adapter("llvmpipe", "Vulkan", "Cpu"),
                adapter("H200", "Gl", "DiscreteGpu"),
                DeviceLine::Auto("wgpu wgsl H200".to_owned()),
            ],
            None,
            expect![[r#"
                ok       device      H200 (Vulkan, DiscreteGpu, driver made up 1.0): `--device auto` takes it
                ok       device      H200 (Vulkan, DiscreteGpu, driver made up 1.0): `auto` does not take it: wgpu wgsl H200 comes first
                ok       device      Iris (Vulkan, IntegratedGpu, driver made up 1.0): `auto` does not take it: wgpu wgsl H200 comes first
                ok       device      llvmpipe (Vulkan, Cpu, driver made up 1.0): `auto` does not take it: it computes on the CPU, slower than `--device cpu`
                ok       device      H200 (Gl, DiscreteGpu, driver made up 1.0): the same card, which `auto` takes through Vulkan
                ok       auto        wgpu wgsl H200

                nothing prevents a run
            "#]],
        );
    }

    #[test]
    fn a_software_driver_alone_is_no_gpu() {
        check(
            &[adapter("llvmpipe", "Vulkan", "Cpu"), DeviceLine::Auto("cpu x86_64 fma".to_owned())],
            None,
            expect![[r#"
            ok       device      llvmpipe (Vulkan, Cpu, driver made up 1.0): `auto` does not take it: it computes on the CPU, slower than `--device cpu`; `--device wgpu` would
            note     auto        cpu x86_64 fma: there is no GPU that wgpu can use
                                 → if there is a card: install its Vulkan, Metal or DX12 driver

            nothing prevents a run; notes: 1
        "#]],
        );
    }

    #[test]
    fn a_driver_that_crashes_is_a_problem_and_what_was_seen_before_is_told() {
        check(
            &[adapter("H200", "Vulkan", "DiscreteGpu")],
            Some("was ended by signal: 11 (SIGSEGV)"),
            expect![[r#"
            ok       device      H200 (Vulkan, DiscreteGpu, driver made up 1.0)
            PROBLEM  devices     the process that looks for a GPU was ended by signal: 11 (SIGSEGV); a driver is broken, and `--device auto` will end the same way
                                 → run with `--device cpu`, or repair the driver (`vulkaninfo` says more)

            problems: 1
        "#]],
        );
    }
}
