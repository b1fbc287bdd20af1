//! The tools that do the job: this program, and those of the field that are installed. One row a tool. Knows nothing
//! of what is measured.

use crate::job::Job;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Tool {
    pub name: &'static str,
    pub program: PathBuf,
    pub version: String,
    /// The file it reads, and what goes into it.
    file: &'static str,
    text: fn(&Job) -> String,
    /// Once in a new directory, not timed.
    prepare: &'static [&'static str],
    /// The first time it does the job, the second time it finds nothing to do. One command at a time, as the sum that
    /// is taken off ran them.
    run: &'static [&'static str],
    /// Larger jobs are not asked of it: they take minutes and tell nothing new.
    pub most: usize,
    /// The same when nothing was asked for but a quick look.
    pub most_in_a_hurry: usize,
}

pub const OURS: &str = "pipeline";

pub fn ours() -> Result<Tool> {
    let program = std::env::var_os("PIPELINE").map_or_else(|| env!("CARGO_BIN_EXE_pipeline").into(), PathBuf::from);
    let version = version(&program).context("ask this program for its version")?;
    Ok(Tool {
        name: OURS,
        program,
        version,
        file: "noop.yaml",
        text: Job::pipeline,
        prepare: &[],
        run: &["run", "noop.yaml", "--jobs", "1"],
        most: usize::MAX,
        most_in_a_hurry: usize::MAX,
    })
}

/// Those of the named ones that are installed.
pub fn peers(wanted: &[String]) -> Vec<Tool> {
    let find = |name: &'static str| {
        let program = wanted.iter().any(|wanted| wanted == name).then(|| installed(name))??;
        let version = version(&program).ok()?;
        Some((name, program, version))
    };
    let ninja = find("ninja").map(|(name, program, version)| Tool {
        name,
        program,
        version,
        file: "build.ninja",
        text: Job::ninja,
        prepare: &[],
        run: &["-j1", "--quiet"],
        most: usize::MAX,
        most_in_a_hurry: usize::MAX,
    });
    let snakemake = find("snakemake").map(|(name, program, version)| Tool {
        name,
        program,
        version,
        file: "Snakefile",
        text: Job::snakemake,
        prepare: &[],
        run: &["--cores", "1", "--quiet", "all"],
        most: 1_000,
        most_in_a_hurry: 8,
    });
    let dvc = find("dvc").map(|(name, program, version)| Tool {
        name,
        program,
        version,
        file: "dvc.yaml",
        text: Job::dvc,
        prepare: &["init", "--no-scm", "--quiet"],
        run: &["repro", "--quiet"],
        most: 100,
        most_in_a_hurry: 8,
    });
    [ninja, snakemake, dvc].into_iter().flatten().collect()
}

impl Tool {
    /// A new directory in which the job is still to be done. It stays until all is measured: for minutes after files were
    /// removed ext4 looks at each of their inodes before it makes a new one, and who comes next would pay for that.
    pub fn set_up(&self, job: &Job, home: &Path) -> Result<PathBuf> {
        let directory = tempfile::tempdir_in(home).context("make a directory")?.keep();
        fs::create_dir(directory.join("o")).context("make a directory")?;
        fs::write(directory.join(self.file), (self.text)(job)).context("write the job")?;
        if !self.prepare.is_empty() {
            crate::measure::once(self.command(&directory).args(self.prepare))?;
        }
        Ok(directory)
    }

    pub fn run(&self, directory: &Path) -> Command {
        let mut command = self.command(directory);
        command.args(self.run);
        command
    }

    pub fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(directory).env("DVC_NO_ANALYTICS", "1");
        for name in ["PIPELINE_STORE", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    /// Whether `run` takes the option.
    pub fn knows(&self, option: &str) -> bool {
        let help = Command::new(&self.program).args(["run", "--help"]).output();
        help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains(option))
    }
}

/// The number out of what `--version` says.
pub fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let word = said.split_whitespace().find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    Ok(word.unwrap_or("of unknown version").to_owned())
}

/// Where a program lies. The stand-ins that pyenv puts in the search path are shell scripts that take some 60 ms before
/// the program starts, which is not the program's fault.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())?;
    if !found.parent().is_some_and(|directory| directory.ends_with("shims")) {
        return Some(found);
    }
    let output = Command::new("pyenv").args(["which", name]).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    let real = PathBuf::from(said.trim());
    Some(if real.is_file() { real } else { found })
}
