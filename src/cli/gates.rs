//! `gate show`, `gate what-if`, `approve`. Nothing here runs a stage.

use super::check::understand;
use super::configuration;
use super::find::{self, StoredRun};
use super::looks;
use super::refusal::refused;
use super::terminal;
use crate::action::Record;
use crate::approvals::{self, Approval, Ruling};
use crate::cause::on_one_line;
use crate::event::{ArtifactEvidence, Evidence, Outcome, Table, Verdict};
use crate::gate::{self, Items};
use crate::labels;
use crate::ledger;
use crate::plan::{ArtifactName, Gate, Plan, selection};
use crate::report;
use crate::report::fold::{self, RunState, StageRun};
use crate::report::format::moment;
use crate::report::gate::{self as page, WhatIf};
use crate::report::sheet::Sheet;
use crate::run;
use crate::schedule::decide::{self, GateVerdict};
use anyhow::Result;
use cache::Store;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The stage of this name; an unknown name is refused with the nearest one.
pub fn stage_of<'a>(found: &'a StoredRun, name: &str) -> Result<&'a StageRun> {
    let run = &found.run;
    run.stage(name).ok_or_else(|| {
        let names: Vec<&str> = run.stages.iter().map(|stage| stage.head.name.as_str()).collect();
        let help = ::stages::stage::did_you_mean(name, &names);
        refused(format!("the last run ({}) has no stage `{name}`: {help}", run.file))
    })
}

fn verdict_of<'a>(found: &'a StoredRun, stage: &'a StageRun) -> Result<&'a Verdict> {
    stage.verdict.as_deref().ok_or_else(|| {
        let name = &stage.head.name;
        refused(match stage.head.has_gate {
            false => format!("`{name}` has no gate"),
            true => format!(
                "the gate of `{name}` was not asked in this run ({}, {})",
                found.run.file,
                moment(&found.run.at)
            ),
        })
    })
}

pub fn show(name: &str, found: &StoredRun) -> Result<u8> {
    let stage = stage_of(found, name)?;
    verdict_of(found, stage)?;
    let mut sheets = vec![Sheet::heading(report::heading(&found.run))];
    sheets.extend(page::show(stage));
    let was_judged = verdict_of(found, stage)?.evidence.candidates.iter().any(|seen| !seen.judged.is_empty());
    if was_judged && matches!(stage.outcome, Some(Outcome::Held { .. })) {
        let (file, options) = (&found.run.file, &found.run.options);
        sheets.push(Sheet::note(format!("the answers: `pipeline answers {name} {file}{options} --changed`")));
    }
    terminal::show(&sheets)?;
    Ok(0)
}

/// The pipeline file of a run: the one named now, else the one next to the store, else the path typed then.
pub fn pipeline_file(found: &StoredRun) -> Result<PathBuf> {
    if let Some(file) = &found.file {
        return Ok(file.clone());
    }
    let typed = PathBuf::from(&found.run.file);
    let beside = typed.file_name().map(|name| found.root.with_file_name(name));
    let there = [beside, Some(typed.clone())].into_iter().flatten().find(|path| path.is_file());
    there.ok_or_else(|| refused(format!("read {}: there is no such file", typed.display())))
}

/// Judges the stored results by another rule, in place of everything that the gate requires.
pub fn what_if(name: &str, rule: &str, all_runs: bool, found: &StoredRun) -> Result<u8> {
    let stage = stage_of(found, name)?;
    let file = pipeline_file(found)?;
    let overrides = &found.run.overrides;
    let today = understand(&file, overrides, None)?;
    let plan = understand(&file, overrides, Some((name, rule)))?;
    let (before, after) = (look(&today, &file, found)?, look(&plan, &file, found)?);
    let now = after.stage(name).and_then(|stage| stage.verdict.as_ref());
    let mut why_not = String::new();
    let mut rows = vec![];
    match (before.stage(name).and_then(|stage| stage.verdict.as_ref()), now) {
        (old, Some(now)) => rows.push(WhatIf {
            run: "as stored now".to_owned(),
            then: old.map(|old| old.decision),
            now: Ok((now.decision, page::because(now.select.as_deref(), &now.rules))),
        }),
        (_, None) => {
            let why = after.stage(name).and_then(|stage| stage.outcome.as_ref());
            let why = match why {
                Some(Outcome::WouldRun { because }) => on_one_line(because),
                Some(Outcome::Failed { cause }) => cause.to_string(),
                Some(Outcome::Skipped { because }) => because.to_string(),
                _ => format!("the stage was not reached ({})", stage.head.kind),
            };
            why_not = format!("What is stored cannot be judged by it: {why}");
        }
    }
    if all_runs {
        rows.extend(earlier(name, &plan, found)?);
    }
    let mut sheets = vec![
        Sheet::heading(report::heading(&found.run)),
        Sheet::heading(format!("What if {name} required: {rule}")),
        Sheet { heading: why_not, ..page::supposed(&rows).into() },
    ];
    if now.is_some() {
        let looks = now.and_then(|verdict| looks::cost(&plan, name, verdict)).into_iter().collect();
        let lines = [page::changes(&before, &after), page::cost(&before, &after), looks].concat();
        sheets.push(Sheet::note(lines.join("\n")));
    }
    terminal::show(&sheets)?;
    Ok(0)
}

/// The state of a pipeline against the store; nothing is executed.
pub fn look(plan: &Plan, file: &Path, found: &StoredRun) -> Result<RunState> {
    let options = run::Options {
        file: file.to_owned(),
        overrides: found.run.overrides.clone(),
        store: found.root.clone(),
        decisions: approvals::decisions(&approvals::read(&approvals::path(file))?),
        looks: Some(ledger::file::folder(file)),
        labels: labels::folder(file),
        foretells: false,
        remote: configuration::open(&plan.settings)?,
    };
    let mut events = Vec::new();
    let everything = selection::select(plan, &selection::Filter::default()).map_err(refused)?;
    run::look(plan, &everything, &options, &mut |event| events.push(event.clone()))?;
    let mut run = fold::fold(&events).ok_or_else(|| refused("the look at the store told nothing".to_owned()))?;
    run.lasted = find::lasted(&found.root, &plan.name, plan.stages.iter().map(|stage| stage.name.as_str()))?;
    Ok(run)
}

/// Every earlier run in which this gate decided, the newest first; runs with equal measurements share a row.
fn earlier(name: &str, plan: &Plan, found: &StoredRun) -> Result<Vec<WhatIf>> {
    let stage = plan.stages.iter().find(|stage| stage.name == name);
    let Some(gate) = stage.and_then(|stage| stage.gate.as_ref()) else { return Ok(Vec::new()) };
    let store = configuration::store(&found.root)?;
    let mut rows: Vec<(Evidence, Vec<String>, WhatIf)> = Vec::new();
    for run in find::runs(&found.root, &plan.name)? {
        let Some(verdict) = run.stage(name).and_then(|stage| stage.verdict.as_ref()) else { continue };
        let at = moment(&run.at);
        if let Some((_, times, _)) = rows.iter_mut().find(|(evidence, ..)| *evidence == verdict.evidence) {
            times.push(at);
            continue;
        }
        let mut evidence = verdict.evidence.clone();
        for (stage, _) in gate.stages.iter().filter(|(stage, _)| !verdict.evidence.stages.contains_key(stage)) {
            evidence.stages.extend(record_of(&store, &run, stage).map(|seen| (stage.clone(), seen)));
        }
        let now = rejudge(&store, gate, &evidence);
        rows.push((
            verdict.evidence.clone(),
            vec![at],
            WhatIf { run: String::new(), then: Some(verdict.decision), now },
        ));
    }
    let named = |(_, times, row): (Evidence, Vec<String>, WhatIf)| {
        let more = if times.len() > 1 { format!(" and {} before", times.len() - 1) } else { String::new() };
        WhatIf { run: format!("{}{more}", times[0]), ..row }
    };
    Ok(rows.into_iter().map(named).collect())
}

/// The artifact that carried the stage's name in a run, with its own metrics: no judge measured it.
fn record_of(store: &Store, run: &RunState, stage: &str) -> Option<ArtifactEvidence> {
    let stage = run.stage(stage)?;
    let Some(Outcome::Done { content, .. }) = &stage.outcome else { return None };
    let key = &stage.own_action()?.key;
    let record = Record::from_store(&store.lookup(&key.parse().ok()?).ok()??).ok()?;
    let candidate = record.candidates.into_iter().find(|candidate| candidate.content.to_string() == *content)?;
    Some(ArtifactEvidence::of(&candidate, ArtifactName::open(&stage.head.name)))
}

/// The decision and its numbers. `Err`: something was not measured then, which says nothing about the rule.
fn rejudge(store: &Store, gate: &Gate, evidence: &Evidence) -> Result<(gate::Decision, String), String> {
    let read = |table: &Table| {
        let items = run::answers::read_table(store, table);
        Some(items.unwrap_or_else(|_| Items::broken("they are no longer in the store")).into())
    };
    let GateVerdict { chosen, rules, decision } = decide::judge(gate, evidence, None, read);
    // If no candidate was chosen, only the choice can be explained.
    let select = (gate.select.is_some() || chosen.index.is_none()).then_some(chosen.explanation.as_str());
    let because = page::because(select, &rules);
    if decision == gate::Decision::Error { Err(because) } else { Ok((decision, because)) }
}

/// A person's decision at a gate that holds.
pub struct ApprovalRequest<'a> {
    pub stage: &'a str,
    pub answer: Ruling,
    pub reason: &'a str,
    pub by: String,
    /// Where it is decided, unless it is the command line.
    pub from: Option<String>,
}

/// The name of the person who decides: `--by`, else from the environment.
pub fn who(named: Option<String>) -> Result<String> {
    let names = ["GIT_AUTHOR_NAME", "USER", "USERNAME"].map(|name| std::env::var(name).ok());
    let typing = || names.into_iter().flatten().find(|name| !name.trim().is_empty());
    let unnamed = || refused("a decision needs a name: `--by NAME`, or set GIT_AUTHOR_NAME".to_owned());
    named.or_else(typing).ok_or_else(unnamed)
}

pub fn approve(decision: &ApprovalRequest, found: &StoredRun) -> Result<u8> {
    let (approval, path) = decide(decision, found)?;
    let Approval { stage, by, candidate, .. } = &approval;
    let word = if approval.decision == Ruling::Approve { "approved" } else { "rejected" };
    terminal::say(&format!(
        "{word} by {by}: {stage}, {candidate}; written to {}\n`pipeline run {}` goes on\n",
        path.display(),
        pipeline_file(found)?.display()
    ))?;
    Ok(0)
}

/// Writes the decision to the file of approvals, whose path is returned. One that was taken before stays there, and the last
/// one counts.
///
/// # Errors
/// The gate asks for none, or another question by now.
pub fn decide(decision: &ApprovalRequest, found: &StoredRun) -> Result<(Approval, PathBuf)> {
    let ApprovalRequest { stage: name, answer, reason, by, from } = decision;
    let stage = stage_of(found, name)?;
    if reason.trim().is_empty() {
        return Err(refused("a decision needs a reason: `--reason \"what was looked at, and why\"`".to_owned()));
    }
    let verdict = verdict_of(found, stage)?;
    if !matches!(stage.outcome, Some(Outcome::Held { .. })) && verdict.decided.is_none() {
        let word = verdict.decision.word();
        return Err(refused(format!(
            "the gate of `{name}` does not wait for a decision: it says {word} (a gate waits with `on_fail: hold`)"
        )));
    }
    let evidence = &verdict.evidence;
    let candidate = evidence.chosen.and_then(|at| evidence.candidates.get(at));
    let file = pipeline_file(found)?;
    let path = approvals::path(&file);
    // A file that cannot be read would stop the next run as well.
    approvals::read(&path)?;
    let today = look(&understand(&file, &found.run.overrides, None)?, &file, found)?;
    let asked = today.stage(name).and_then(|stage| stage.verdict.as_ref());
    if asked.is_none_or(|verdict| verdict.evidence.question != evidence.question) {
        return Err(refused(format!(
            "the file or its data have changed since that run: the question of the gate of `{name}` is another one now; \
             `pipeline run {}` first",
            file.display()
        )));
    }
    let approval = Approval {
        stage: (*name).to_owned(),
        decision: *answer,
        reason: reason.trim().to_owned(),
        by: by.clone(),
        at: run::now(),
        candidate: candidate.map_or_else(String::new, |seen| format!("{}, {}", seen.label, seen.content)),
        rules: verdict.rules.iter().filter(|rule| rule.is_required()).map(|rule| rule.explanation.clone()).collect(),
        question: evidence.question.clone(),
        from: from.clone(),
    };
    approvals::append(&path, &approval)?;
    Ok((approval, path))
}

/// Notes on decisions that no longer apply: their stages are held again, with another question.
pub fn lapsed(run: &RunState, approvals: &[Approval]) -> Vec<String> {
    let held = run.stages.iter().filter(|stage| matches!(stage.outcome, Some(Outcome::Held { .. })));
    let last: BTreeMap<&str, &Approval> =
        approvals.iter().map(|approval| (approval.stage.as_str(), approval)).collect();
    held.filter_map(|stage| last.get(stage.head.name.as_str()))
        .map(|approval| {
            format!(
                "note: the decision of {} on `{}` ({}) has lapsed: the candidate, what was measured or the rule is \
                 another one now\n",
                approval.by,
                approval.stage,
                moment(&approval.at)
            )
        })
        .collect()
}
