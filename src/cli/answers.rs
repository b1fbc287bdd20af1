//! `answers`: what a measured model said, alone or beside another model; also of a candidate that is held or rejected.

use super::find::StoredRun;
use super::gates::stage_of;
use super::options::RunArgument;
use super::refusal::refused;
use super::terminal;
use crate::action::Record;
use crate::cli::configuration;
use crate::event::{Table, Verdict};
use crate::gate::{self, Items, Rule};
use crate::plan::{ArtifactName, Pin};
use crate::progress;
use crate::report::answers::{self, AnswerChoice, AnswerRow};
use crate::report::fold::{RunState, StageRun};
use crate::report::heading;
use crate::report::measured::{MeasuredModel, MeasuredPart, measured};
use crate::report::sheet::Sheet;
use crate::run::answers::read_table;
use anyhow::{Context, Result};
use cache::{Digest, Store};
use clap::ValueEnum;
use std::path::Path;

pub struct AnswersRequest<'a> {
    /// A stage, or a candidate of one: `ppo_1@20`.
    pub model: &'a str,
    pub against: Option<&'a str>,
    /// The eval whose measurements are meant, if there are several.
    pub by: Option<&'a str>,
    pub choice: AnswerChoice,
    pub format: AnswerFormat,
}

/// The form in which answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, ValueEnum)]
pub enum AnswerFormat {
    #[default]
    Text,
    Csv,
    Jsonl,
}

pub fn answers(asked: &AnswersRequest, file: Option<&Path>, which: &RunArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let name = ArtifactName::from(asked.model.to_owned());
    let found = which.find_with(&name.name, file)?;
    let (model, other) = chosen(&found, asked, &name)?;
    let store = configuration::store(&found.root)?;
    let mine = items(&store, &model)?;
    let theirs = other.as_ref().map(|other| items(&store, other)).transpose()?;
    let all = answers::rows(&mine, theirs.as_ref())
        .map_err(|reason| refused(format!("{} cannot be compared with {}: {reason}", model.label, said(&other))))?;
    let count = all.len();
    let rows = answers::chosen(all, &asked.choice);
    match asked.format {
        AnswerFormat::Csv => terminal::pass_on(answers::csv(&rows)?.as_bytes())?,
        AnswerFormat::Jsonl => terminal::say_json(&answers::jsonl(&rows))?,
        AnswerFormat::Text => {
            let title = title(&model, other.as_ref(), &rows, count);
            let table = answers::table(&rows, &model.label, other.as_ref().map(|other| &other.label));
            terminal::show(&[Sheet::heading(heading(&found.run)), Sheet::heading(title), table])?
        }
    };
    Ok(0)
}

fn title(model: &MeasuredModel, other: Option<&MeasuredModel>, rows: &[AnswerRow], count: usize) -> String {
    let against = other.map_or(String::new(), |other| format!(" beside {}", other.label));
    format!("{}{against}, measured by {}: {} of {count} answers", model.label, model.by, rows.len())
}

fn said(model: &Option<MeasuredModel>) -> String {
    model.as_ref().map_or("nothing".to_owned(), |model| model.label.to_string())
}

/// The model that is meant and the one to compare it with.
fn chosen(
    found: &StoredRun,
    asked: &AnswersRequest,
    name: &ArtifactName,
) -> Result<(MeasuredModel, Option<MeasuredModel>)> {
    let stage = stage_of(found, &name.name)?;
    let all = measured(&found.run);
    let is_by = |model: &&MeasuredModel| asked.by.is_none_or(|by| model.by == by);
    let labels = labels_of(found, stage, name);
    let find = |labels: &[ArtifactName], by: Option<&str>| {
        let known = |label: &ArtifactName| {
            all.iter().filter(is_by).find(|model| model.label == *label && by.is_none_or(|by| model.by == by))
        };
        labels.iter().find_map(known).cloned()
    };
    let model = find(&labels, None).ok_or_else(|| nothing_measured(&found.run, name, &all))?;
    // Answers to other prompts are no pair: the other model is looked for where the first was measured.
    let by = Some(model.by.as_str());
    let other = match asked.against {
        Some(other) => {
            let other = ArtifactName::from(other.to_owned());
            let labels = labels_of(found, stage_of(found, &other.name)?, &other);
            Some(find(&labels, by).ok_or_else(|| nothing_measured(&found.run, &other, &all))?)
        }
        None => find(&rivals(found, stage, &model), by).filter(|other| other.label != model.label),
    };
    if other.is_none() && asked.choice.is_changed_only {
        return Err(refused(format!(
            "`--changed` compares with another model: name one by `--against`, of {}",
            list(&all)
        )));
    }
    Ok((model, other))
}

/// The labels under which a model may have been measured, the likeliest first: what its gate chose, what carries the
/// stage's name, its last candidate. An eval stands for the model that it measures.
fn labels_of(found: &StoredRun, stage: &StageRun, name: &ArtifactName) -> Vec<ArtifactName> {
    let chosen = stage.verdict.as_deref().and_then(chosen_label);
    match name.pin {
        Pin::Open => {}
        // A study calls the checkpoint that a gate did not let through the last one; the gate knows its step.
        Pin::Last => return [name.clone()].into_iter().chain(chosen).collect(),
        Pin::Step(_) => return vec![name.clone()],
    }
    let study = found.run.studies.iter().find(|study| study.eval == stage.head.name);
    let measured = study.and_then(|study| study.rows.iter().rfind(|row| !row.is_rejected)).map(|row| row.model.clone());
    let own = [ArtifactName::open(&stage.head.name), ArtifactName::last(&stage.head.name)];
    let ported = stage.actions.iter().rev().filter_map(|action| action.part.as_ref()?.model.clone());
    chosen.into_iter().chain(own).chain(measured).chain(ported).collect()
}

fn chosen_label(verdict: &Verdict) -> Option<ArtifactName> {
    Some(verdict.evidence.candidates.get(verdict.evidence.chosen?)?.label.clone())
}

/// The models that one is compared with unasked: the incumbent and the models named by the rules of its gate, then the
/// baselines of evals.
fn rivals(found: &StoredRun, stage: &StageRun, model: &MeasuredModel) -> Vec<ArtifactName> {
    // A stage that a rule names by itself comes before those of a `for` that it means together.
    let rules = stage.verdict.iter().flat_map(|verdict| &verdict.rules);
    let rules: Vec<Rule> = rules.filter_map(|rule| gate::parse(&rule.text).ok()).collect();
    let is_named = |name: &str| rules.iter().flat_map(Rule::stages).any(|(named, _)| named == name);
    let evidence = stage.verdict.iter().map(|verdict| &verdict.evidence);
    let of_gate = evidence.flat_map(|evidence| {
        let (named, others): (Vec<_>, Vec<_>) = evidence.stages.iter().partition(|(name, _)| is_named(name));
        evidence.incumbent.iter().chain(named.into_iter().chain(others).map(|(_, seen)| seen))
    });
    let mut studies: Vec<_> = found.run.studies.iter().collect();
    studies.sort_by_key(|study| study.eval != model.by);
    let baselines = studies.into_iter().flat_map(|study| &study.rows).filter_map(|row| row.versus.as_ref());
    of_gate.map(|seen| seen.label.clone()).chain(baselines.map(|versus| versus.baseline.clone())).collect()
}

fn list(all: &[MeasuredModel]) -> String {
    let mut names: Vec<String> = all.iter().map(|model| model.label.to_string()).collect();
    names.dedup();
    if names.is_empty() { "none: this run measured no model".to_owned() } else { names.join(", ") }
}

fn nothing_measured(run: &RunState, name: &ArtifactName, all: &[MeasuredModel]) -> anyhow::Error {
    refused(match all.is_empty() {
        true => format!(
            "the last run ({}) measured no answers: a stage of kind eval does, or a gate with `judge`",
            run.file
        ),
        false => {
            format!("no answers of `{name}` were measured in this run ({}); there are those of {}", run.file, list(all))
        }
    })
}

/// Everything that was measured of a model, item by item; of its scores those by the reward that judges.
pub fn items(store: &Store, model: &MeasuredModel) -> Result<Items> {
    if let Some(own) = &model.own {
        return read_table(store, own).with_context(|| format!("read the items of {}", model.label));
    }
    let mut whole: Option<Items> = None;
    for MeasuredPart { kind, key, .. } in model.parts.iter().filter(|part| part.reward.is_none()) {
        let Some(file) = stages::kinds::part(kind).map(|part| part.table) else { continue };
        let gone = || {
            refused(format!("{kind} of {} are no more in the store: `pipeline run` measures them again", model.label))
        };
        let record = store.result::<Record>(&key.parse::<Digest>()?)?.ok_or_else(gone)?;
        let content = record.checked()?.last().content.clone();
        let table = read_table(store, &Table { content, file: file.to_owned(), suffix: String::new() })?;
        match &mut whole {
            None => whole = Some(table),
            Some(whole) => whole
                .join(&table, "")
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("join {kind} of {}", model.label))?,
        }
    }
    whole.with_context(|| format!("read what was measured of {}", model.label))
}
