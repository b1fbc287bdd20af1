//! The sections: what each is, the time that it may take, and what works it. Each is a process of its own.

use super::line::{failed, number, text};
use super::options::{self, Options};
use super::{constants, correct, peer, start, walls, work};
use stages::device::{self, DeviceLimits, GpuAdapter};
use std::process::Command;

/// A section of the measurement.
pub struct Section {
    pub name: String,
    /// Its share of the time, in seconds of [`Options::seconds`].
    pub seconds: f64,
    /// Whether it says something else of kernels in SPIR-V.
    pub is_of_build: bool,
}

/// The sections in their order: what may lose the device comes last.
pub fn all(is_tiny: bool) -> Vec<Section> {
    let section = |name: &str, seconds: f64, is_of_build: bool| Section { name: name.to_owned(), seconds, is_of_build };
    let mut all = vec![
        section("limits", 8.0, false),
        section("correct", 40.0, true),
        section("start", 40.0, true),
        section("constants", 50.0, true),
    ];
    let models: &[(&str, [f64; 2])] = match is_tiny {
        true => &[("tiny", [30.0, 30.0])],
        false => &[("350M", [22.0, 20.0]), ("1.3B", [30.0, 25.0]), ("7B", [40.0, 30.0])],
    };
    for (model, seconds) in models {
        all.extend(
            ["f32", "f16"]
                .iter()
                .zip(seconds)
                .map(|(dtype, seconds)| section(&format!("{model} {dtype}"), *seconds, true)),
        );
    }
    all.extend([section("peer", 70.0, false), section("walls", 30.0, true)]);
    all
}

/// The kernels of this program.
pub fn build() -> &'static str {
    if cfg!(feature = "vulkan") { "spir-v" } else { "wgsl" }
}

/// Works one section in this process.
pub fn run(name: &str, options: &Options) {
    match name {
        "limits" => limits(options),
        "correct" => correct::run(options),
        "digest" => correct::digest(options),
        "start" => start::run(options),
        "first-step" => start::first_step(options),
        "constants" => constants::run(options),
        "peer" => peer::run(options),
        "walls" => walls::run(options),
        other => match other.split_once(' ').and_then(|(model, dtype)| Some((model, options::dtype(dtype)?))) {
            Some((model, dtype)) => work::run(model, dtype, options),
            None => failed(name, "there is no such section").tell(),
        },
    }
}

/// The device, its limits, and what other programs say of it.
fn limits(options: &Options) {
    let adapters = device::adapters_for(&options.device);
    for adapter in &adapters {
        text("adapter", format!("{}, {}", adapter.title(), adapter.driver)).tell();
    }
    let at = match device::chosen(&options.device, &adapters) {
        Ok(Some(at)) => at,
        Ok(None) => return failed("device", "this choice takes the CPU; there is nothing to measure").tell(),
        Err(error) => return failed("device", format!("{error:#}")).tell(),
    };
    of_adapter(&adapters[at]);
    match device::open(&options.device) {
        Ok(device) => text("device class", device::class(&device)).tell(),
        Err(error) => failed("device", format!("{error:#}")).tell(),
    }
    let doctor = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join("pipeline")));
    for (name, program, words) in [
        ("pipeline doctor", doctor.filter(|path| path.is_file()), &["doctor"][..]),
        (
            "nvidia-smi",
            Some("nvidia-smi".into()),
            &["--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv"],
        ),
    ] {
        let Some(program) = program else { continue };
        match Command::new(program).args(words).output() {
            Ok(output) => text(name, String::from_utf8_lossy(&output.stdout).trim()).tell(),
            Err(error) => text(name, format!("not here: {error}")).tell(),
        }
    }
}

fn of_adapter(adapter: &GpuAdapter) {
    let DeviceLimits { binding, buffer, memory, shared_memory, workgroups, threads, subgroups, .. } = adapter.limits;
    let DeviceLimits { has_f16, has_bf16, has_matrices, .. } = adapter.limits;
    let of_driver = "NVIDIA's driver for Vulkan, as its documents have it";
    let of_wgpu = "wgpu binds less than 2 GiB";
    let tell = |name: &str, value: f64, unit: &str, predicted: f64, source: &str| {
        number(name, value, unit).beside(predicted, source).tell();
    };
    let gib = f64::from(1 << 30);
    tell("largest binding", binding as f64 / gib, "GiB", 2.0, of_wgpu);
    number("largest buffer", buffer as f64 / gib, "GiB").tell();
    match memory {
        Some(memory) => tell("memory", memory as f64 / gib, "GiB", 140.0, "an H200 has 141 GB"),
        None => text("memory", "the driver does not tell it").tell(),
    }
    tell("shared memory of a workgroup", shared_memory as f64 / 1024.0, "KiB", 48.0, of_driver);
    tell("threads of a workgroup", threads as f64, "", 1024.0, of_driver);
    tell("workgroups along a dimension", workgroups as f64, "", 65_535.0, of_driver);
    tell("least subgroup", f64::from(subgroups[0]), "threads", 32.0, of_driver);
    tell("largest subgroup", f64::from(subgroups[1]), "threads", 32.0, of_driver);
    for (name, is_there) in [("f16", has_f16), ("bf16", has_bf16), ("cooperative matrices", has_matrices)] {
        tell(name, f64::from(u8::from(is_there)), "", 1.0, of_driver);
    }
}
