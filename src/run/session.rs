//! The settings and tools with which a run executes.

use crate::event::HumanDecision;
use crate::executor::slurm::{self, ready};
use crate::executor::{Executor, ExecutorKind, Update};
use crate::journal::Journal;
use crate::plan::{Plan, Resources, SlurmSettings, Stage};
use crate::spec::executors::LOCAL;
use anyhow::Result;
use cache::Remote;
use stages::io::DeviceChoice;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The request for a run, whether it executes or only looks.
pub struct Options {
    /// The pipeline file and the `--set` arguments, as typed.
    pub file: PathBuf,
    pub overrides: Vec<String>,
    /// `.pipeline`, which holds `store/`, `work/` and `runs/`.
    pub store: PathBuf,
    /// People's decisions, by the question of the evidence.
    pub decisions: BTreeMap<String, HumanDecision>,
    /// The folder of the ledger of looks; `None`: the looks of this run alone count (`--no-ledger`).
    pub looks: Option<PathBuf>,
    /// The folder of people's labels.
    pub labels: PathBuf,
    /// Whether a look tells what stages will ask a server for.
    pub foretells: bool,
    /// Where results are found that are not in the store, and where those of this run go.
    pub remote: Option<Arc<Remote>>,
}

/// The settings for executing actions. Never part of a key.
pub struct ExecutionOptions {
    pub executor: ExecutorKind,
    pub device: DeviceChoice,
    /// The number of workers at a time.
    pub jobs: usize,
    /// The resources that all workers together may take; GPUs may be left to be counted.
    pub capacity: Resources,
    /// Whether every write reaches the disk before anything builds on it.
    pub is_durable: bool,
    /// The values of the secrets that stages may have, by the name of the variable. They are in no environment any more.
    pub secrets: BTreeMap<String, OsString>,
    /// Why the results of forced stages are wrong, if they are: they are moved aside.
    pub disowns: Option<String>,
    /// The clusters that stages name, as far as they are known.
    pub clusters: BTreeMap<String, ready::Cluster>,
    /// Whether stages that do not depend on a failed one still begin; if not, nothing begins after a failure.
    pub keeps_going: bool,
}

impl ExecutionOptions {
    /// The secrets of a stage, by name.
    pub fn secrets_of(&self, stage: &Stage) -> Vec<(String, OsString)> {
        let value = |name: &String| Some((name.clone(), self.secrets.get(name)?.clone()));
        stage.secrets.iter().filter_map(value).collect()
    }
}

/// The part of a run that a look lacks: it executes actions and writes a journal.
pub struct Session<'a> {
    pub journal: Journal,
    /// This machine.
    pub executor: Box<dyn Executor>,
    /// The clusters on which stages run, by name.
    clusters: BTreeMap<String, ClusterAccess>,
    /// The command of a worker; its last argument will be the directory.
    pub worker: &'a [OsString],
    pub execution: &'a ExecutionOptions,
}

/// A cluster as a run uses it.
pub struct ClusterAccess {
    pub executor: Box<dyn Executor>,
    pub settings: SlurmSettings,
    pub has_gpus: bool,
}

impl<'a> Session<'a> {
    /// Opens the journal, in `root` (`.pipeline`), and the executors that stages name.
    pub fn open(
        root: &Path,
        plan: &Plan,
        worker: &'a [OsString],
        execution: &'a ExecutionOptions,
    ) -> Result<Session<'a>> {
        let mut clusters = BTreeMap::new();
        for name in plan.stages.iter().filter_map(|stage| stage.executor.as_ref()) {
            if let (false, Some(settings)) = (clusters.contains_key(name), plan.settings.executors.get(name)) {
                let has_gpus = execution.clusters.get(name).is_some_and(|cluster| cluster.has_gpus);
                let executor = (slurm::SLURM.open)(name, settings)?;
                clusters.insert(name.clone(), ClusterAccess { executor, settings: settings.clone(), has_gpus });
            }
        }
        let journal = Journal::create(root, &plan.name, jiff::Timestamp::now())?;
        let executor = (execution.executor.open)(LOCAL, &SlurmSettings::default())?;
        Ok(Session { journal, executor, clusters, worker, execution })
    }

    /// The cluster that works a stage; `None`: this machine.
    pub fn cluster(&mut self, stage: &Stage) -> Option<&mut ClusterAccess> {
        self.clusters.get_mut(stage.executor.as_ref()?)
    }

    /// Asks what happened, on this machine and elsewhere. If nothing did, waits at most `patience` for something here.
    pub fn poll(&mut self, patience: Duration) -> Result<Vec<Update>> {
        let mut updates = Vec::new();
        for cluster in self.clusters.values_mut() {
            updates.extend(cluster.executor.poll(Duration::ZERO)?);
        }
        let patience = if updates.is_empty() { patience } else { Duration::ZERO };
        updates.extend(self.executor.poll(patience)?);
        Ok(updates)
    }

    pub fn stop_all(&mut self) {
        self.executor.stop_all();
        self.clusters.values_mut().for_each(|cluster| cluster.executor.stop_all());
    }
}
