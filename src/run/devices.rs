//! Asks the graphics drivers which adapters there are and whether the one that is meant opens. A child process asks:
//! a driver that crashes, hangs or prints does this only there.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use stages::device::{self, GpuAdapter};
use stages::io::DeviceChoice;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The verb of the child.
const VERB: &str = "devices";
/// The option with which it lists every adapter.
const ALL: &str = "--all";

/// The time limit for a driver; some compile shaders when they are opened.
const PATIENCE: Duration = Duration::from_secs(30);

/// A line that the child prints.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceLine {
    Adapter(GpuAdapter),
    /// The device that the choice means is open.
    Opened(OpenedDevice),
    /// There is no such device, or it does not open.
    Refused(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenedDevice {
    /// The number of the adapter; `None`: the CPU.
    pub index: Option<usize>,
    pub class: String,
}

/// The answer of the child.
#[derive(Debug, Default)]
pub struct ToldDevices {
    pub adapters: Vec<GpuAdapter>,
    /// The device that the choice means, or why there is none; `None` if the child did not get so far.
    pub opened: Option<Result<OpenedDevice, String>>,
    /// The end of the child, if it did not end well.
    pub end: Option<String>,
}

/// The child process. It prints the adapters before it opens one, and opens the one that is meant before it lists those
/// that need not be asked for that: each may crash it.
pub fn tell(choice: &DeviceChoice, is_all: bool) -> Result<()> {
    let adapters = device::adapters_for(choice);
    adapters.iter().try_for_each(|adapter| say(&DeviceLine::Adapter(adapter.clone())))?;
    say(&match device::open(choice) {
        Ok(opened) => {
            let index = device::chosen(choice, &adapters)?.map(|at| adapters[at].index);
            DeviceLine::Opened(OpenedDevice { index, class: device::class(&opened) })
        }
        Err(error) => DeviceLine::Refused(format!("{error:#}")),
    })?;
    let more = if is_all { device::adapters() } else { Vec::new() };
    more.into_iter().skip(adapters.len()).try_for_each(|adapter| say(&DeviceLine::Adapter(adapter)))
}

fn say(line: &DeviceLine) -> Result<()> {
    let line = serde_json::to_string(line)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("tell the devices")
}

/// Asks in a child process.
///
/// # Errors
/// It cannot be started.
pub fn ask(choice: &DeviceChoice, is_all: bool) -> Result<ToldDevices> {
    let program = std::env::current_exe().context("find this program")?;
    let mut child = Command::new(program)
        .args([VERB, &choice.to_string()])
        .args(is_all.then_some(ALL))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start a child")?;
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let reader = thread::Builder::new().spawn(move || {
        let mut told = Vec::new();
        // After an error the output so far is used.
        let _ = stdout.read_to_end(&mut told);
        String::from_utf8_lossy(&told).into_owned()
    });
    let reader = match reader {
        Ok(reader) => reader,
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error).context("start a thread");
        }
    };
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
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    Ok(ToldDevices { end, ..ToldDevices::read(&reader.join().unwrap_or_default()) })
}

impl ToldDevices {
    /// Reads the lines of the child; a driver may print others among them.
    pub fn read(told: &str) -> ToldDevices {
        let mut read = ToldDevices::default();
        for line in told.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            match line {
                DeviceLine::Adapter(adapter) => read.adapters.push(adapter),
                DeviceLine::Opened(opened) => read.opened = Some(Ok(opened)),
                DeviceLine::Refused(error) => read.opened = Some(Err(error)),
            }
        }
        read
    }
}
