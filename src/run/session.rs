//! The settings and tools with which a run executes.

use crate::executor::{Executor, ExecutorKind};
use crate::journal::Journal;
use crate::plan::{Resources, Stage};
use anyhow::Result;
use stages::io::DeviceChoice;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

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
    /// Whether stages that do not depend on a failed one still begin; if not, nothing begins after a failure.
    pub keeps_going: bool,
}

impl ExecutionOptions {
    /// The secrets of a stage, by name.
    pub fn secrets_of(&self, stage: &Stage) -> Vec<(String, OsString)> {
        let value = |name: &String| Some((name.clone(), self.secrets.get(name)?.clone()));
        stage.needed_secrets().iter().filter_map(value).collect()
    }
}

/// The part of a run that a look lacks: it executes actions and writes a journal.
pub struct Session<'a> {
    pub journal: Journal,
    pub executor: Box<dyn Executor>,
    /// The command of a worker; its last argument will be the directory.
    pub worker: &'a [OsString],
    pub execution: &'a ExecutionOptions,
}

impl<'a> Session<'a> {
    /// Opens the journal, in `root` (`.pipeline`), and the executor.
    pub fn open(
        root: &Path,
        pipeline: &str,
        worker: &'a [OsString],
        execution: &'a ExecutionOptions,
    ) -> Result<Session<'a>> {
        let journal = Journal::create(root, pipeline, jiff::Timestamp::now())?;
        Ok(Session { journal, executor: (execution.executor.open)(), worker, execution })
    }
}
