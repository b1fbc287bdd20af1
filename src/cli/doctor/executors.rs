//! The clusters of the user's configuration: a job proves that its node sees what work needs.

use super::finding::{Finding, note, ok, problem};
use crate::executor::slurm::probe::{self, Probe};
use crate::executor::slurm::ready;
use crate::plan::SlurmSettings;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// The time in which the queue should begin a job of a minute.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most by which clocks should differ.
const SKEW: i64 = 30;

pub fn look(executors: &BTreeMap<String, SlurmSettings>, store: &Path) -> Vec<Finding> {
    executors.iter().map(|(name, settings)| one(name, settings, store)).collect()
}

fn one(name: &str, settings: &SlurmSettings, store: &Path) -> Finding {
    let cluster = match ready::look(name, settings) {
        Ok(cluster) => cluster,
        Err(error) => return problem("executor", format!("{error:#}"), "see `executors` in your configuration"),
    };
    match tried(settings, store) {
        Ok(found) => finding(name, settings, &found, cluster.has_gpus),
        Err(error) => problem("executor", format!("`{name}`: {error:#}"), "try the same by `sbatch`"),
    }
}

/// Submits a probe to work where stages would.
fn tried(settings: &SlurmSettings, store: &Path) -> Result<Probe> {
    let work = beside(settings.work_dir.as_deref().unwrap_or(store))?;
    let of_store = beside(store)?;
    probe::probe(settings, work.path(), of_store.path(), PATIENCE)
}

/// Makes a directory at a path, or as near above it as there is one.
fn beside(path: &Path) -> Result<TempDir> {
    let path = std::path::absolute(path).with_context(|| format!("find {}", path.display()))?;
    let found = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let made = tempfile::Builder::new().prefix(".pipeline-doctor-").tempdir_in(found);
    made.with_context(|| format!("make a directory in {}", found.display()))
}

fn finding(name: &str, settings: &SlurmSettings, found: &Probe, has_gpus: bool) -> Finding {
    let gpus = if has_gpus { "has GPUs" } else { "has no GPUs that `gres` names" };
    match found {
        Probe::Seen { node, sees_store: false, .. } => note(
            "executor",
            format!(
                "`{name}`: a job ran on {node}, which sees its `work_dir` and this program, and not `.pipeline`: a stage that asks an \
                 endpoint cannot keep the replies there"
            ),
            "let stages that ask endpoints run here (`executor: local`), or put `.pipeline` where nodes see it",
        ),
        Probe::Seen { node, ahead, .. } if ahead.abs() <= SKEW => ok(
            "executor",
            format!("`{name}`: a job ran on {node}, which sees this directory and this program; the partition {gpus}"),
        ),
        Probe::Seen { node, ahead, .. } => note(
            "executor",
            format!("`{name}`: a job ran on {node}, whose clock differs from this one by {} s", ahead.abs()),
            "set the clocks: what is said about times will be wrong",
        ),
        Probe::NoProgram { node } => problem(
            "executor",
            format!("`{name}`: {node} cannot start this program, which it must find at the same path"),
            "put the program on a file system that nodes see",
        ),
        Probe::Unseen => problem(
            "executor",
            format!("`{name}`: a job ended, and what it wrote is not seen here after {:?}", settings.visibility_wait),
            "give the executor a `work_dir` on a file system that its nodes see",
        ),
        Probe::Waits(reason) => note(
            "executor",
            format!("`{name}`: a job of a minute has not begun in {} s ({reason})", PATIENCE.as_secs()),
            "the cluster may be full; what nodes see was not tried",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn each_finding_says_what_to_do() {
        let node = || "n1".to_owned();
        let probes = [
            Probe::Seen { node: node(), ahead: 1, sees_store: true },
            Probe::Seen { node: node(), ahead: -90, sees_store: true },
            Probe::Seen { node: node(), ahead: 1, sees_store: false },
            Probe::NoProgram { node: node() },
            Probe::Unseen,
            Probe::Waits("PENDING Resources".to_owned()),
        ];
        let told = probes.map(|probe| {
            let found = finding("lab", &SlurmSettings::default(), &probe, true);
            format!("{:?} {} → {}", found.level, found.text, found.help.unwrap_or_default())
        });
        expect![[r"
            Ok `lab`: a job ran on n1, which sees this directory and this program; the partition has GPUs → 
            Note `lab`: a job ran on n1, whose clock differs from this one by 90 s → set the clocks: what is said about times will be wrong
            Note `lab`: a job ran on n1, which sees its `work_dir` and this program, and not `.pipeline`: a stage that asks an endpoint cannot keep the replies there → let stages that ask endpoints run here (`executor: local`), or put `.pipeline` where nodes see it
            Problem `lab`: n1 cannot start this program, which it must find at the same path → put the program on a file system that nodes see
            Problem `lab`: a job ended, and what it wrote is not seen here after 60s → give the executor a `work_dir` on a file system that its nodes see
            Note `lab`: a job of a minute has not begun in 60 s (PENDING Resources) → the cluster may be full; what nodes see was not tried"]]
        .assert_eq(&told.join("\n"));
    }
}
