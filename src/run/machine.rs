//! The machine that a run is on, as the system describes it.

use super::slots;
use crate::event::Machine;
use std::fs::{self, File};
use std::io::Read;
use std::process::{Command, Stdio};

pub fn here() -> Machine {
    Machine {
        system: system(),
        processor: processor(),
        cores: std::thread::available_parallelism().ok().map(|count| count.get() as u64),
        memory: slots::memory("MemTotal"),
    }
}

/// The distribution, the kernel and the architecture: `Debian GNU/Linux 12 (bookworm), Linux 6.1.0-18-amd64 x86_64`.
pub fn system() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
    let kernel = kernel.map(|release| format!("Linux {} {}", release.trim(), std::env::consts::ARCH)).ok();
    let kernel = kernel.or_else(|| said(Command::new("uname").arg("-srm")));
    let kernel = kernel.unwrap_or_else(|| format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let name = name.map(|name| format!("{}, ", name.trim_matches('"'))).unwrap_or_default();
    format!("{name}{kernel}")
}

/// The model of the processor.
pub fn processor() -> String {
    let of_linux = || {
        // The first core is enough: a machine with hundreds takes milliseconds to describe them all.
        let mut text = Vec::new();
        File::open("/proc/cpuinfo").ok()?.take(4096).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let of_macos = || said(Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]));
    of_linux().or_else(of_macos).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The output of a command, if it succeeds.
pub fn said(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    Some(text).filter(|text| output.status.success() && !text.is_empty())
}
