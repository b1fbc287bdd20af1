//! The facts of a run, in the order they happened. Everything shown (progress, status, explain, report) is a fold of
//! these; the journal stores them, one JSON object a line.

mod outcome;
mod place;

use crate::action::Candidate;
use crate::canonical::Canonical;
use crate::cause::{Cause, EvalPart};
use crate::failure::Failure;
use crate::gate::{Counts, Decision};
use crate::ledger::Permission;
use crate::plan::ArtifactName;
use cache::Content;
pub use outcome::{Outcome, WaitReason};
pub use place::place;
use serde::{Deserialize, Serialize};
use stages::io::Progress;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of a run in which nothing is executed.
pub const LOOK: &str = "look";

pub type Metrics = BTreeMap<String, Option<f64>>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    RunStarted {
        run: String,
        pipeline: String,
        file: String,
        /// RFC 3339.
        at: String,
        stages: Vec<Arc<StageHead>>,
        /// `--set` arguments, as typed.
        overrides: Vec<String>,
        /// `--only` and `--from`, as typed: the run has only these stages and what they need.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        selection: String,
        /// The machine that it is on; older journals have none, and a plan is on none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        machine: Option<Machine>,
    },
    /// An action was found in the store. For a part of an eval, `part` names the measurement and its model.
    Hit {
        stage: String,
        part: Option<EvalPart>,
        key: String,
        action: Canonical,
    },
    /// The record of an action was found in the remote. Its files come when they are needed.
    Fetched {
        stage: String,
        part: Option<EvalPart>,
        key: String,
        from: Box<RemoteRecord>,
    },
    /// An action begins to execute; `why` says what is new about it.
    Started {
        stage: String,
        part: Option<EvalPart>,
        key: String,
        action: Canonical,
        attempt: u32,
        why: Vec<Cause>,
        log: String,
        /// RFC 3339; older journals have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
    },
    /// Where a cluster has the work of an action. The first one of an attempt is in the journal before it is submitted.
    Placed {
        stage: String,
        part: Option<EvalPart>,
        executor: String,
        /// The name of the job, by which it is found.
        job: String,
        /// Empty before it has one.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        id: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        node: String,
        /// Why it waits in the queue, in the words of the cluster.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        waits: String,
    },
    /// Not kept in the journal.
    Progressed {
        stage: String,
        part: Option<EvalPart>,
        #[serde(flatten)]
        progress: Progress,
    },
    Finished {
        stage: String,
        part: Option<EvalPart>,
        key: String,
        seconds: f64,
        device: Option<String>,
        /// RFC 3339; older journals have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
    },
    Failed {
        stage: String,
        part: Option<EvalPart>,
        key: String,
        cause: Failure,
        log: String,
    },
    /// Something about an action that may interest a person: it waits, is tried again, or gave another result.
    Noted {
        stage: String,
        part: Option<EvalPart>,
        message: String,
    },
    /// A gate gave its verdict.
    Judged {
        stage: String,
        verdict: Box<Verdict>,
    },
    /// A stage ended.
    Ended {
        stage: String,
        outcome: Outcome,
        /// RFC 3339; older journals have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
    },
    /// The rewards that an eval stage scores by, in order: the headlines of its study are theirs.
    ScoredBy {
        eval: String,
        rewards: Vec<String>,
    },
    /// One model as an eval stage measured it: a row of the table of the study.
    Measured {
        eval: String,
        row: StudyRow,
    },
    /// Answers of two models to one prompt, for the side-by-side list.
    Compared {
        eval: String,
        prompt: String,
        answers: Vec<ModelAnswer>,
    },
    RunFinished {
        exit: u8,
        seconds: f64,
        at: String,
    },
}

/// A record that another machine made, as its telemetry tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteRecord {
    /// The address of the remote.
    pub remote: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The moment at which it was made, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<String>,
    /// The bytes of its files that were not here; fewer come, where not all are needed.
    pub bytes: u64,
}

impl RemoteRecord {
    /// Where it is from: `file:///shared, made on node7, 2026-11-30T10:00:00Z`.
    pub fn origin(&self) -> String {
        let host = self.host.as_ref().map_or(String::new(), |host| format!(", made on {host}"));
        let made = self.made.as_ref().map_or(String::new(), |made| format!(", {made}"));
        format!("{}{host}{made}", self.remote)
    }
}

/// The machine of a run, as its system describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The distribution, the kernel and the architecture.
    pub system: String,
    /// The model of the processor.
    pub processor: String,
    /// The cores that the process may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageHead {
    pub name: String,
    pub kind: String,
    pub has_gate: bool,
    /// `(metric, direction)` declared by the stage, in its order.
    pub metrics: Vec<(String, stages::stage::Direction)>,
    /// The sources on each port, as in the file: `sft`, `rm_1@150`, `data/sft.jsonl`. Older journals have none.
    #[serde(default, with = "ports", skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<(String, Vec<ArtifactName>)>,
    /// The families that it belongs to, by the names that rules give them. Older journals have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
}

/// A mapping in the journal, but a list here: there may be thousands of stages, and a map takes half a kilobyte for its
/// first entry.
mod ports {
    use super::{ArtifactName, BTreeMap};
    use serde::{Deserialize, Deserializer, Serializer};

    type Sources = (String, Vec<ArtifactName>);

    pub fn serialize<S: Serializer>(ports: &[Sources], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(ports.iter().map(|(port, sources)| (port, sources)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Sources>, D::Error> {
        BTreeMap::deserialize(deserializer).map(|ports| ports.into_iter().collect())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub decision: Decision,
    /// The rules and the numbers they saw, one line each: `pass: mean_score 0.41 > incumbent.mean_score 0.11 (+0.30)`.
    pub rules: Vec<RuleVerdict>,
    /// The explanation of `select`, if there is one.
    pub select: Option<String>,
    /// The metrics that `select` reads, in the order of its text. Older journals have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chosen_by: Vec<String>,
    /// The artifact that carries the stage's name from here on: `step 150`, or `the incumbent (sft)`.
    pub carries: String,
    /// The person's decision, if the rules left it to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<HumanDecision>,
    /// The look that it took at its items, if a rule is confident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<Permission>,
    #[serde(default)]
    pub evidence: Evidence,
}

impl Verdict {
    /// The end of the sentence that a promotion is told in: the warnings that the promoted candidate breaks. Empty where
    /// it breaks none, and where nothing was promoted.
    pub fn despite(&self) -> String {
        let is_promoted = self.decision == Decision::Pass || self.decided.as_ref().is_some_and(|one| one.is_approved);
        let broken = self.rules.iter().filter(|rule| rule.role == "warn" && rule.decision == Decision::Fail);
        let broken: Vec<String> = broken.filter(|_| is_promoted).map(|rule| format!("`{}`", rule.text)).collect();
        match broken.len() {
            0 => String::new(),
            1 => format!(", although it breaks the warning {}", broken[0]),
            many => format!(", although it breaks {many} warnings: {}", broken.join(", ")),
        }
    }
}

/// The fields of a line of `….approvals.jsonl` that a verdict shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HumanDecision {
    pub is_approved: bool,
    pub by: String,
    /// RFC 3339.
    pub at: String,
    pub reason: String,
}

/// The evidence of a gate: enough to judge it again by another rule while the store has the tables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The digest that a person's decision is bound to: chosen candidate, measurements and required rules.
    pub question: String,
    /// In step order, at least one.
    pub candidates: Vec<ArtifactEvidence>,
    /// The index of the chosen one; `None` if `select` left none.
    pub chosen: Option<usize>,
    pub incumbent: Option<ArtifactEvidence>,
    /// The stages named in rules.
    pub stages: BTreeMap<String, ArtifactEvidence>,
    /// The stages of a `for` named in rules that failed, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<String, String>,
    /// The stages that a stage could not choose, since they failed: each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_candidates: Vec<String>,
}

impl Evidence {
    /// The number of artifacts that the candidate is the best of, here and before; one that failed had its chance.
    pub fn among(&self) -> usize {
        self.candidates.iter().map(|seen| seen.among).sum::<usize>() + self.failed_candidates.len()
    }
}

/// One artifact as a gate saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArtifactEvidence {
    pub label: ArtifactName,
    pub step: Option<u64>,
    pub content: Content,
    /// The metrics in its own record.
    pub metrics: Metrics,
    /// The per-item table in its own record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
    /// Measurements by judge.
    #[serde(default)]
    pub judged: BTreeMap<String, JudgeEvidence>,
    /// The number of artifacts that it was the best of before this gate, on the same rows; 1 if nobody chose it.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub among: usize,
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(among: &usize) -> bool {
    *among == 1
}

impl ArtifactEvidence {
    /// A candidate as described by its own record.
    pub fn of(candidate: &Candidate, label: ArtifactName) -> ArtifactEvidence {
        ArtifactEvidence {
            label,
            step: Some(candidate.step),
            content: candidate.content.clone(),
            metrics: candidate.metrics.clone(),
            table: Table::of(candidate),
            judged: BTreeMap::new(),
            among: 1,
        }
    }
}

impl Table {
    /// The rows behind the metrics of a record, if it has any.
    pub fn of(candidate: &Candidate) -> Option<Table> {
        let content = candidate.tables.get("items")?.clone();
        Some(Table { content, file: String::new(), suffix: String::new() })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgeEvidence {
    pub metrics: Metrics,
    /// Tables about one set of items, joined by their ids.
    pub tables: Vec<Table>,
}

/// A per-item table in the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Table {
    pub content: Content,
    /// The file, if the content is a directory.
    pub file: String,
    /// A suffix for the names of its fields.
    pub suffix: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleVerdict {
    /// `require`, `warn` or `observe`.
    pub role: String,
    pub text: String,
    pub decision: Decision,
    pub explanation: String,
    /// The nearest rule that would have passed, of one that did not. Older journals have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// Whether what decided may be noise alone. Older journals tell it only in words.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_within_noise: bool,
}

impl RuleVerdict {
    /// Whether the rule decides; others only inform.
    pub fn is_required(&self) -> bool {
        self.role == "require"
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyRow {
    /// `sft`, `ppo_2`, or `ppo_2@last` for a candidate that its gate rejected.
    pub model: ArtifactName,
    pub is_rejected: bool,
    pub metrics: Metrics,
    /// The comparison with the eval's baseline; `None` for the baseline itself and without one.
    pub versus: Option<BaselineComparison>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselineComparison {
    pub baseline: ArtifactName,
    pub win: u64,
    pub loss: u64,
    pub tie_changed: u64,
    pub tie_unchanged: u64,
}

impl BaselineComparison {
    pub fn of(baseline: ArtifactName, counts: Counts) -> BaselineComparison {
        let Counts { win, loss, tie_changed, tie_unchanged } = counts;
        BaselineComparison { baseline, win, loss, tie_changed, tie_unchanged }
    }

    pub fn counts(&self) -> Counts {
        Counts::named([self.win, self.loss, self.tie_changed, self.tie_unchanged])
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelAnswer {
    pub model: ArtifactName,
    pub text: String,
    pub score: Option<f64>,
}
