//! The books of runner and worker: what one tells the other about a stage.

use super::DeviceChoice;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The content of `host.json`: facts about the run that are not part of the action.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Host {
    pub device: DeviceChoice,
    /// More devices that are the stage's own while it runs: those that can share a training work on them, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<DeviceChoice>,
    /// The GPUs of this machine that are the stage's own while it runs, by variable of the environment of its command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gpus: BTreeMap<String, String>,
    /// Names of environment variables that only the command of the stage gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Whether to record the files that the command reads.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub audit: bool,
    /// The folder of the replies of endpoints, for a stage that asks one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replies: Option<PathBuf>,
    /// Parameters that are not part of the action, since they change nothing that comes of it, by their paths.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Value>,
    /// The rewards that the stage asks, and how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub called: Vec<CalledReward>,
    /// Whether a person wants it executed again: what was kept and cannot be read is asked for anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_forced: bool,
    /// The number of bad rows that may be left out of the data files. The result does not depend on it where there are
    /// fewer.
    #[serde(default, skip_serializing_if = "is_none")]
    pub skip_bad_rows: u64,
}

/// A reward that a stage asks, and what changes no score of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalledReward {
    /// The content that its stage gave: by this it is known, so that no other directory is taken for a reward that is asked.
    pub content: String,
    /// Its parameters that are in no key, by their paths.
    pub beside_key: BTreeMap<String, Value>,
    /// The names of the secrets that it gets, and nobody else.
    pub secrets: Vec<String>,
}

fn is_none(rows: &u64) -> bool {
    *rows == 0
}

/// The error of a stage that stopped because it got SIGTERM: the next attempt goes on after this step.
#[derive(Clone, Copy, Debug)]
pub struct Interruption {
    /// `None` for a command, which keeps its own checkpoints or none.
    pub step: Option<u64>,
}

impl std::fmt::Display for Interruption {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.step {
            Some(step) => write!(formatter, "stopped after writing a checkpoint of step {step}"),
            None => write!(formatter, "stopped, and the command with it"),
        }
    }
}

impl std::error::Error for Interruption {}

/// A checkpoint that a stage hands over, `out/<step>/`, with the metrics measured on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub step: u64,
    /// `None` stands for a value that is not a finite number; gates treat it as an error.
    pub metrics: BTreeMap<String, Option<f64>>,
}

/// The content of `outcome.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageResult {
    /// That of the [`Handover`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    pub candidates: Vec<Candidate>,
    /// It did what it could, and waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Shortfall>,
    /// Telemetry of the worker: device class, seconds by phase. It is part of no digest, and gates do not see it.
    #[serde(default)]
    pub telemetry: BTreeMap<String, Value>,
}

/// The part that a stage has of what it needs, when it waits for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortfall {
    pub done: usize,
    pub needed: usize,
}

/// A line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
    /// The unit that is counted: `step`, `row`, …
    pub unit: String,
    /// A description of the work with its main numbers: `ppo: reward 0.41, kl 0.08`.
    pub message: String,
    /// The numbers of the last point of the curve, for programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, Option<f64>>,
}
