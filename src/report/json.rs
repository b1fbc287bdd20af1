//! `status --json`: a run as one JSON document for programs. A versioned promise: within one `format`, fields may be
//! added, and none changes its meaning.

use super::fold::{ActionRun, ActionState, RunState, StageRun, Study};
use crate::cause::{Cause, EvalPart};
use crate::event::{HumanDecision, Metrics, ModelAnswer, Outcome, RuleVerdict, StudyRow, Verdict, WaitReason};
use crate::failure::Failure;
use crate::gate::Decision;
use crate::ledger::Permission;
use serde::Serialize;

const FORMAT: u32 = 1;

#[derive(Serialize)]
struct JsonRun<'a> {
    format: u32,
    run: &'a str,
    pipeline: &'a str,
    file: &'a str,
    /// RFC 3339.
    at: &'a str,
    overrides: &'a [String],
    /// Whether the process of the run still exists.
    alive: bool,
    /// Null until the run has ended.
    exit: Option<u8>,
    seconds: Option<f64>,
    stages: Vec<JsonStage<'a>>,
    studies: Vec<JsonStudy<'a>>,
}

#[derive(Serialize)]
struct JsonStage<'a> {
    name: &'a str,
    kind: &'a str,
    /// `done`, `stopped`, `held`, `failed`, `skipped`, `interrupted`; before its end `running`, `broken_off`,
    /// `not_reached`.
    outcome: &'static str,
    /// False: the result was in the store before. Null: there is no result.
    executed: Option<bool>,
    seconds: Option<f64>,
    step: Option<u64>,
    /// The artifact that carries the stage's name.
    content: Option<&'a str>,
    /// Whether `content` is the incumbent.
    kept: bool,
    /// Why the stage failed or was skipped.
    because: Option<String>,
    metrics: Option<&'a Metrics>,
    verdict: Option<JsonGate<'a>>,
    actions: Vec<JsonAction<'a>>,
}

#[derive(Serialize)]
struct JsonGate<'a> {
    decision: Decision,
    carries: &'a str,
    select: Option<&'a str>,
    rules: &'a [RuleVerdict],
    decided: Option<&'a HumanDecision>,
    /// The look that its confident rules took at their items; null without any.
    look: Option<&'a Permission>,
}

#[derive(Serialize)]
struct JsonAction<'a> {
    /// The measurement this is; null for the stage's own action.
    part: Option<&'a EvalPart>,
    key: &'a str,
    /// `hit`, `running`, `finished`, `failed`.
    state: &'static str,
    log: Option<&'a str>,
    why: &'a [Cause],
    seconds: Option<f64>,
    device: Option<&'a str>,
    cause: Option<&'a Failure>,
}

#[derive(Serialize)]
struct JsonStudy<'a> {
    eval: &'a str,
    rewards: &'a [String],
    rows: &'a [StudyRow],
    comparisons: Vec<JsonComparison<'a>>,
}

#[derive(Serialize)]
struct JsonComparison<'a> {
    prompt: &'a str,
    answers: &'a [ModelAnswer],
}

pub fn document(run: &RunState, is_alive: bool) -> String {
    let is_alive = is_alive && run.finish.is_none();
    let document = JsonRun {
        format: FORMAT,
        run: &run.name,
        pipeline: &run.pipeline,
        file: &run.file,
        at: &run.at,
        overrides: &run.overrides,
        alive: is_alive,
        exit: run.finish.as_ref().map(|finish| finish.exit),
        seconds: run.finish.as_ref().map(|finish| finish.seconds),
        stages: run.stages.iter().map(|of| stage(of, is_alive)).collect(),
        studies: run.studies.iter().map(table).collect(),
    };
    let mut text = serde_json::to_string_pretty(&document).expect("a report is plain data");
    text.push('\n');
    text
}

/// The state of a stage in one word. `is_alive`: whether the run may still go on.
pub fn word(stage: &StageRun, is_alive: bool) -> &'static str {
    match &stage.outcome {
        Some(Outcome::Done { .. }) => "done",
        Some(Outcome::Stopped { .. }) => "stopped",
        Some(Outcome::Held { .. }) => "held",
        Some(Outcome::Waits { .. }) => "waits",
        Some(Outcome::Failed { .. }) => "failed",
        Some(Outcome::Skipped { .. }) => "skipped",
        Some(Outcome::WouldRun { .. }) => "would_run",
        Some(Outcome::Interrupted) => "interrupted",
        None if stage.actions.is_empty() => "not_reached",
        None if is_alive => "running",
        None => "broken_off",
    }
}

fn stage(run: &StageRun, is_alive: bool) -> JsonStage<'_> {
    let mut stage = JsonStage {
        name: &run.head.name,
        kind: &run.head.kind,
        outcome: word(run, is_alive),
        executed: None,
        seconds: None,
        step: None,
        content: None,
        kept: false,
        because: None,
        metrics: None,
        verdict: run.verdict.as_deref().map(gate),
        actions: run.actions.iter().map(action).collect(),
    };
    match &run.outcome {
        Some(Outcome::Done { content, step, kept, executed, seconds, metrics }) => {
            (stage.executed, stage.seconds, stage.metrics) = (Some(*executed), Some(*seconds), Some(metrics));
            (stage.content, stage.step, stage.kept) = (Some(content.as_str()), *step, *kept);
        }
        Some(Outcome::Stopped { executed, seconds, metrics } | Outcome::Held { executed, seconds, metrics }) => {
            (stage.executed, stage.seconds, stage.metrics) = (Some(*executed), Some(*seconds), Some(metrics));
        }
        Some(Outcome::Waits { done, needed, on: WaitReason::Labels }) => {
            stage.because = Some(format!("{done} of {needed} labels"));
        }
        Some(Outcome::Waits { done, needed, on }) => stage.because = Some(on.progress(*done, *needed)),
        Some(Outcome::Failed { cause }) => stage.because = Some(cause.to_string()),
        Some(Outcome::Skipped { because }) => stage.because = Some(because.to_string()),
        Some(Outcome::WouldRun { .. } | Outcome::Interrupted) | None => {}
    }
    stage
}

fn gate(verdict: &Verdict) -> JsonGate<'_> {
    let Verdict { decision, rules, select, carries, decided, look, .. } = verdict;
    let (select, decided, look) = (select.as_deref(), decided.as_ref(), look.as_ref());
    JsonGate { decision: *decision, carries, select, rules, decided, look }
}

fn action(run: &ActionRun) -> JsonAction<'_> {
    let of = |state, log, why| JsonAction {
        part: run.part.as_ref(),
        key: &run.key,
        state,
        log,
        why,
        seconds: None,
        device: None,
        cause: None,
    };
    match &run.state {
        ActionState::Hit => of("hit", None, &[]),
        ActionState::Running { why, log, .. } => of("running", Some(log), why),
        ActionState::Finished { why, log, seconds, device } => {
            JsonAction { seconds: Some(*seconds), device: device.as_deref(), ..of("finished", Some(log), why) }
        }
        ActionState::Failed { why, log, cause } => JsonAction { cause: Some(cause), ..of("failed", Some(log), why) },
    }
}

fn table(study: &Study) -> JsonStudy<'_> {
    let comparisons = study.comparisons.iter().map(|(prompt, answers)| JsonComparison { prompt, answers });
    JsonStudy { eval: &study.eval, rewards: &study.rewards, rows: &study.rows, comparisons: comparisons.collect() }
}

#[cfg(test)]
mod tests;
