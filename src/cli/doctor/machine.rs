//! The program, the system, the processor, memory, and what `exec` stages need.

use super::finding::{Finding, note, ok, problem, size};
use crate::run::machine;
use std::fs;
use std::process::{Command, Stdio};
use std::time::SystemTime;

pub fn look() -> Vec<Finding> {
    let mut findings = vec![program(), system(), processor(), cores()];
    findings.extend(memory());
    findings.extend([clock(), shell()]);
    #[cfg(target_os = "linux")]
    findings.push(tracing());
    findings.push(confinement());
    findings
}

fn program() -> Finding {
    let build = if cfg!(debug_assertions) { ", a debug build: slow" } else { "" };
    let shaders = if cfg!(feature = "vulkan") { "SPIR-V" } else { "WGSL" };
    ok("program", format!("pipeline {}, {shaders} shaders{build}", env!("CARGO_PKG_VERSION")))
}

fn system() -> Finding {
    ok("system", machine::system())
}

fn processor() -> Finding {
    let set = stages::device::instruction_set();
    let text = format!("{}; matrix products for {set}{}", machine::processor(), features());
    match set {
        "x86_64" => note("processor", text, "without AVX2 and FMA training on the CPU is several times slower"),
        _ => ok("processor", text),
    }
}

/// The instruction sets among which the CPU backend chooses its code.
#[cfg(target_arch = "x86_64")]
fn features() -> String {
    let known = [
        ("sse4.1", is_x86_feature_detected!("sse4.1")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512dq", is_x86_feature_detected!("avx512dq")),
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
    ];
    let found: Vec<&str> = known.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name).collect();
    format!(" (has {})", found.join(" "))
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> String {
    String::new()
}

fn cores() -> Finding {
    match std::thread::available_parallelism() {
        Ok(count) => ok("cores", format!("{count} for this process")),
        Err(error) => note("cores", format!("not known: {error}"), "one is assumed"),
    }
}

/// The memory, on Linux; other systems give no finding.
fn memory() -> Option<Finding> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    let (total, free) = (field("MemTotal")?, field("MemAvailable")?);
    // A container may have less; "max" means no limit and does not parse.
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = limits.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    let limit = limit.filter(|limit| *limit < total);
    let within = limit.map(|limit| format!(", this container may use {}", size(limit))).unwrap_or_default();
    let text = format!("{}, {} free{within}", size(total), size(free));
    Some(match free.min(limit.unwrap_or(free)) < 2_000_000_000 {
        true => note("memory", text, "little for training: lower `batch` or `max_tokens` if a stage is killed"),
        false => ok("memory", text),
    })
}

/// The clock, because runs are named and found by their time.
fn clock() -> Finding {
    let built = std::env::current_exe().and_then(fs::metadata).and_then(|program| program.modified());
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    match built {
        Ok(built) if built > SystemTime::now() => note(
            "clock",
            format!("{now} is before this program was built"),
            "set the clock: the last run is found by its time",
        ),
        _ => ok("clock", now),
    }
}

fn shell() -> Finding {
    if cfg!(windows) {
        return note("shell", "there is no /bin/sh on Windows", "write the commands of `exec` stages as lists");
    }
    let ended = Command::new("/bin/sh").args(["-eu", "-c", "exit 7"]).stdin(Stdio::null()).status();
    match ended {
        Ok(status) if status.code() == Some(7) => ok("shell", "/bin/sh runs"),
        Ok(status) => problem("shell", format!("/bin/sh does not work: {status}"), "repair /bin/sh"),
        Err(error) => note("shell", format!("/bin/sh: {error}"), "write the commands of `exec` stages as lists"),
    }
}

/// Whether a command can be confined, which `sandbox: true` needs.
fn confinement() -> Finding {
    match stages::sandbox::obstacle() {
        None => ok("sandbox", "a command can be confined: `sandbox: true` works"),
        Some(obstacle) => note("sandbox", format!("no command can be confined: {obstacle}"), stages::sandbox::HELP),
    }
}

/// Whether a child can ask to be traced (it then stops at its start), which `audit: true` needs.
#[cfg(target_os = "linux")]
fn tracing() -> Finding {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exit 0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: between fork and exec only one system call is made, which allocates nothing.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    match command.spawn() {
        Ok(mut child) => {
            // The child is stopped before its first instruction.
            let _ = child.kill();
            let _ = child.wait();
            ok("tracing", "a process may be traced (ptrace): `audit: true` works")
        }
        Err(error) => note(
            "tracing",
            format!("a process may not be traced (ptrace): {error}"),
            "`audit: true` says nothing here; in a container: --cap-add=SYS_PTRACE",
        ),
    }
}
