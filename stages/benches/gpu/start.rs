//! Whether a process finds kernels that one before it has compiled: the same first step of fine-tuning with empty caches,
//! and once more with what is in them by then.

use super::line::{attempt, failed, number, text};
use super::model::{self, DRAW, LORA};
use super::options::Options;
use super::{sections, sizes, steps};
use anyhow::{Context, Result, bail};
use formats::dtype::Dtype;
use stages::device;
use stages::model::{Adapter, Trainable};
use stages::train::Sequence;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Places of caches that drivers are told by these variables.
const OF_DRIVERS: [(&str, &str); 3] =
    [("MESA_SHADER_CACHE_DIR", "mesa"), ("__GL_SHADER_DISK_CACHE_PATH", "nvidia"), ("CUDA_CACHE_PATH", "cuda")];

pub fn run(options: &Options) {
    attempt("start", || {
        let caches = tempfile::tempdir().context("make a directory for caches")?;
        let cold = timed(options, caches.path())?;
        let source = "49 to 176 kernels, each compiled here and by the driver; a guess";
        number("first step, empty caches", cold, "s").beside(2.0, source).tell();
        let warm = timed(options, caches.path())?;
        let is_kept = cfg!(feature = "vulkan");
        number("first step, filled caches", warm, "s").beside(if is_kept { 0.8 } else { 1.5 }, source).tell();
        let source = if is_kept {
            "SPIR-V is kept by this program, machine code by the driver"
        } else {
            "WGSL is kept by nobody, machine code by the driver"
        };
        number("warm ÷ cold", warm / cold, "").beside(if is_kept { 0.4 } else { 0.75 }, source).tell();
        for (directory, whose) in [("pipeline/kernels", "of this program"), ("", "of everybody")] {
            let (files, bytes) = sum(&caches.path().join(directory));
            let name = format!("kept kernels {whose}");
            number(&name, bytes as f64 / 1e6, "MB").noting(format!("{files} files")).tell();
        }
        text("place of kept kernels", place(is_kept)).tell();
        Ok(())
    });
}

fn place(is_kept: bool) -> String {
    match is_kept {
        true => "$XDG_CACHE_HOME/pipeline/kernels, or ~/.cache/pipeline/kernels; those of the driver where it says"
            .to_owned(),
        false => {
            format!("none of this program: it is built for {}; those of the driver where it says", sections::build())
        }
    }
}

/// Files below a directory, and their bytes.
fn sum(directory: &Path) -> (u64, u64) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.fold((0, 0), |(files, bytes), entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            let (more, size) = sum(&entry.path());
            (files + more, bytes + size)
        }
        Ok(metadata) => (files + 1, bytes + metadata.len()),
        Err(_) => (files, bytes),
    })
}

/// The seconds of a process from its start to the end of its first step.
fn timed(options: &Options, caches: &Path) -> Result<f64> {
    let start = Instant::now();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(options.words_of("first-step", options.left(), 1.0)).env("XDG_CACHE_HOME", caches);
    for (variable, directory) in OF_DRIVERS {
        fs::create_dir_all(caches.join(directory))?;
        command.env(variable, caches.join(directory));
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !said.contains("\"first step\"") {
        bail!("the process of the first step ended with {}: {}", output.status, said.trim());
    }
    Ok(start.elapsed().as_secs_f64())
}

/// The first step of a process, on the smallest model.
pub fn first_step(options: &Options) {
    let sizes = &sizes::of(if options.is_tiny { "tiny" } else { "7M" });
    let device = match device::open(&options.device) {
        Ok(device) => device,
        Err(error) => return failed("device", format!("{error:#}")).tell(),
    };
    attempt("first step", || {
        let start = Instant::now();
        let llama = model::llama(sizes, Dtype::F32, &device);
        let adapter = Adapter::new(&llama.config, &LORA, DRAW, &device);
        let rows: Vec<Sequence> = (0..2).map(|row| model::row(row, 32, 1, sizes.vocabulary)).collect();
        let rows: Vec<&Sequence> = rows.iter().collect();
        let mut adam = steps::adam_of(&llama, &adapter, Trainable::Adapter);
        let (loss, gradients) = steps::way(&llama, &adapter, &adam, Trainable::Adapter, &rows, false)?;
        steps::step(&mut adam, loss, gradients)?;
        number("first step", start.elapsed().as_secs_f64(), "s").tell();
        Ok(())
    });
}
