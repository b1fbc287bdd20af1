//! Knowledge of a cluster before anything is submitted.

use super::clients::{self, COMMANDS};
use crate::plan::SlurmSettings;
use anyhow::{Result, bail, ensure};
use std::path::Path;

/// A partition as `sinfo` lists it: a row for each kind of its nodes.
#[derive(Clone, Debug, PartialEq)]
struct Partition {
    name: String,
    is_default: bool,
    gres: String,
}

/// A cluster as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cluster {
    pub has_gpus: bool,
}

/// Finds out whether jobs can be submitted.
///
/// # Errors
/// A command is missing, or the partition. A controller that does not answer is no error: it may again.
pub fn look(name: &str, settings: &SlurmSettings) -> Result<Cluster> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |command: &str| std::env::split_paths(&path).any(|directory| directory.join(command).is_file());
    if let Some(missing) = COMMANDS.into_iter().find(|command| !is_there(command)) {
        bail!("executor `{name}`: `{missing}` is not in PATH; a machine that submits to Slurm has its commands");
    }
    if let Some(work) = &settings.work_dir {
        ensure!(Path::is_dir(work), "executor `{name}`: `work_dir` {}: there is no such directory", work.display());
    }
    let said = match clients::call("sinfo", &["-h", "-o", "%P|%G"].map(Into::into)).and_then(|said| said.good("sinfo"))
    {
        Ok(said) => said,
        Err(error) => {
            tracing::warn!("executor `{name}`: {error:#}");
            return Ok(Cluster::default());
        }
    };
    cluster(name, settings, &partitions(&said))
}

fn partitions(text: &str) -> Vec<Partition> {
    let row = |line: &str| {
        let (name, gres) = line.split_once('|')?;
        let is_default = name.ends_with('*');
        Some(Partition { name: name.trim_end_matches('*').to_owned(), is_default, gres: gres.trim().to_owned() })
    };
    text.lines().filter_map(row).collect()
}

fn cluster(executor: &str, settings: &SlurmSettings, partitions: &[Partition]) -> Result<Cluster> {
    let of = |row: &&Partition| match &settings.partition {
        Some(asked) => asked.split(',').any(|asked| asked == row.name),
        None => row.is_default,
    };
    let of_ours: Vec<&Partition> = partitions.iter().filter(of).collect();
    if let (Some(asked), true) = (&settings.partition, of_ours.is_empty()) {
        let mut known: Vec<&str> = partitions.iter().map(|row| row.name.as_str()).collect();
        known.dedup();
        bail!("executor `{executor}`: the cluster has no partition `{asked}`; it has {}", known.join(", "));
    }
    let word = settings.gres.split(':').next().unwrap_or_default();
    let has = |gres: &str| gres.split(',').any(|gres| gres.split([':', '(']).next() == Some(word));
    Ok(Cluster { has_gpus: of_ours.iter().any(|row| has(&row.gres)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_is_not_there_is_told_with_those_that_are() {
        let known = partitions("main*|gpu:fake:2(S:0)\nmain*|(null)\ncpu|(null)\n");
        let with = |partition: Option<&str>| {
            let settings = SlurmSettings { partition: partition.map(str::to_owned), ..SlurmSettings::default() };
            cluster("lab", &settings, &known).map_err(|error| error.to_string())
        };
        assert_eq!(with(None), Ok(Cluster { has_gpus: true }));
        assert_eq!(with(Some("main")), Ok(Cluster { has_gpus: true }));
        assert_eq!(with(Some("cpu")), Ok(Cluster { has_gpus: false }));
        assert_eq!(
            with(Some("gpu")),
            Err("executor `lab`: the cluster has no partition `gpu`; it has main, cpu".to_owned())
        );
    }
}
