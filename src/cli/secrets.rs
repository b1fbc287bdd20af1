//! A check, before anything is executed, that the secrets of commands are set. Handles their names, never their values.

use super::refusal::refused;
use crate::event::{Event, Outcome};
use crate::plan::Plan;
use crate::plan::selection::Selection;
use crate::run;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

/// Takes the secrets that the file names out of the environment: whatever this process starts does not inherit them. Only
/// the worker of a stage that has `secret:` is told their values. Call it before anything is started.
pub fn take(plan: &Plan) -> BTreeMap<String, OsString> {
    let names: BTreeSet<&String> = plan.stages.iter().flat_map(|stage| &stage.secrets).collect();
    let mut taken = BTreeMap::new();
    for name in names {
        if let Some(value) = std::env::var_os(name) {
            taken.insert(name.clone(), value);
            // SAFETY: other threads of this process read the environment through the standard library alone, which
            // locks it.
            unsafe { std::env::remove_var(name) };
        }
    }
    taken
}

/// Refuses a run if a secret is missing for a stage that would be executed.
/// `taken` are those that an earlier walk took from the environment.
pub fn check(
    plan: &Plan,
    selection: &Selection,
    options: &run::Options,
    taken: &BTreeMap<String, OsString>,
) -> Result<()> {
    let mut missing = Vec::new();
    for stage in &plan.stages {
        for name in stage.needed_secrets() {
            let value = taken.get(name).cloned().or_else(|| std::env::var_os(name));
            if let Some(objection) = stages::secret::objection(value.as_deref()) {
                missing.push((stage.name.as_str(), name, objection));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let mut would_run = BTreeSet::new();
    run::look(plan, selection, options, &mut |event| {
        if let Event::Ended { stage, outcome: Outcome::WouldRun { .. }, .. } = event {
            would_run.insert(stage.clone());
        }
    })?;
    // What judges a stage measures it as soon as it is trained, whether or not the judge itself is part of the run.
    let judges =
        plan.stages.iter().filter(|stage| would_run.contains(&stage.name)).filter_map(|stage| stage.gate.as_ref());
    let judges: BTreeSet<&str> =
        judges.flat_map(|gate| &gate.judges).map(|judge| plan.stages[*judge].name.as_str()).collect();
    missing.retain(|(stage, ..)| would_run.contains(*stage) || judges.contains(stage));
    let lines: Vec<String> = missing
        .iter()
        .map(|(stage, name, objection)| format!("the secret `{name}` of stage `{stage}` {objection}"))
        .collect();
    if lines.is_empty() { Ok(()) } else { Err(refused(format!("{}; nothing was run", lines.join("\n       ")))) }
}
