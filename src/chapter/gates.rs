//! Every gate with the numbers that it saw, what its rules made of them, and the nearest rule that would have passed.

use super::facts::Facts;
use super::standing::{decision_class, decision_word};
use super::table::{TableEntry, rows_with_marks, table, words as plain};
use super::text::visible;
use super::words::{self, Language};
use crate::event::{ArtifactEvidence, RuleVerdict, Verdict};
use crate::gate::Decision;
use crate::report::fold::StageRun;
use crate::report::format::{moment, number, short};
use maud::{Markup, html};
use std::collections::BTreeSet;

pub fn section(facts: &Facts, language: Language) -> Option<Markup> {
    let judged = || facts.run.stages.iter().filter_map(|stage| Some((stage, stage.verdict.as_deref()?)));
    judged().next().is_some().then(|| {
        html! {
            @for (stage, verdict) in judged() { (gate(stage, verdict, language)) }
        }
    })
}

fn gate(stage: &StageRun, verdict: &Verdict, language: Language) -> Markup {
    // What did not pass is what a reader asks about.
    let is_open = verdict.decision != Decision::Pass;
    let name = &stage.head.name;
    html! {
        article.gate {
            h3 {
                (name) " " span class={ "verdict " (decision_class(verdict.decision)) } { (decision_word(verdict.decision, language)) }
            }
            @if !verdict.carries.is_empty() {
                p.note { (words::GOES_ON.fill(language, &[("carries", &verdict.carries)])) }
            }
            (rules(verdict, language))
            @if let Some(person) = &verdict.decided {
                @let said = if person.is_approved { words::APPROVED_BY } else { words::REJECTED_BY };
                p.note {
                    (visible(&said.fill(language, &[("by", &person.by), ("at", &moment(&person.at))])))
                    ": " (visible(&person.reason))
                }
            }
            details open[is_open] {
                summary { (words::NUMBERS_SEEN.say(language)) }
                (saw(verdict, language))
            }
        }
    }
}

/// The rules as written, what they said with all numbers, and what would have been enough.
pub fn rules(verdict: &Verdict, language: Language) -> Markup {
    html! {
        dl.rules {
            @if let Some(select) = &verdict.select {
                div { dt { span.role { "select" } } dd lang="en" { (visible(select)) } }
            }
            @for rule in &verdict.rules { (rule_line(rule, language)) }
        }
    }
}

fn rule_line(rule: &RuleVerdict, language: Language) -> Markup {
    html! {
        div {
            dt {
                span.role { (rule.role) } " "
                span class={ "verdict " (decision_class(rule.decision)) } { (decision_word(rule.decision, language)) }
            }
            dd {
                p { code { (visible(&rule.text)) } }
                @if rule.explanation != rule.text { p.numbers lang="en" { (visible(&rule.explanation)) } }
                @if let Some(nearest) = &rule.nearest {
                    p.nearest { (words::NEAREST.say(language)) " " code { (nearest) } }
                }
            }
        }
    }
}

/// The metrics of the artifacts that the gate compared, a row a metric: the candidate that was chosen, the model before it,
/// the stages named in rules, then the other checkpoints.
fn saw(verdict: &Verdict, language: Language) -> Markup {
    let evidence = &verdict.evidence;
    let chosen = evidence.chosen.and_then(|at| evidence.candidates.get(at));
    let mut columns: Vec<(String, &ArtifactEvidence)> = Vec::new();
    columns.extend(chosen.map(|seen| (words::CANDIDATE.say(language).to_owned(), seen)));
    columns.extend(evidence.incumbent.as_ref().map(|seen| (words::INCUMBENT.say(language).to_owned(), seen)));
    columns.extend(evidence.stages.iter().map(|(name, seen)| (name.clone(), seen)));
    let heads: Vec<String> = columns.iter().map(|(role, seen)| format!("{role}: {}", seen.label)).collect();
    let mut headers = vec![words::METRIC.say(language)];
    headers.extend(heads.iter().map(String::as_str));
    let metrics: Vec<(String, Vec<Option<Option<f64>>>)> = names(columns.iter().map(|(_, seen)| *seen))
        .into_iter()
        .map(|name| {
            let values = columns.iter().map(|(_, seen)| value(seen, &name)).collect();
            (label(&name), values)
        })
        .collect();
    let cells = |(name, values): &(String, Vec<Option<Option<f64>>>)| {
        let number = |value: &Option<Option<f64>>| TableEntry::Number(value.map_or("–".to_owned(), number));
        [plain(name)].into_iter().chain(values.iter().map(number)).collect()
    };
    let content =
        columns.iter().map(|(_, seen)| TableEntry::Text(html! { code { (short(&seen.content.to_string())) } }));
    let first: Vec<TableEntry> = [plain(words::CONTENT.say(language))].into_iter().chain(content).collect();
    let rows: Vec<Vec<TableEntry>> = [first].into_iter().chain(metrics.iter().map(cells)).collect();
    html! {
        (table(words::NUMBERS_SEEN.say(language), &headers, &rows))
        @if evidence.candidates.len() > 1 { (others(verdict, language)) }
    }
}

/// The metrics of all checkpoints among which one was chosen.
fn others(verdict: &Verdict, language: Language) -> Markup {
    let evidence = &verdict.evidence;
    let names = names(evidence.candidates.iter());
    let labels: Vec<String> = names.iter().map(label).collect();
    let has_steps = evidence.candidates.iter().any(|seen| seen.step.is_some());
    let first = if has_steps { words::STEP_COLUMN } else { words::MODEL };
    let headers: Vec<&str> = [first.say(language)].into_iter().chain(labels.iter().map(String::as_str)).collect();
    let row = |seen: &ArtifactEvidence| {
        let step = match seen.step {
            Some(step) => TableEntry::Number(step.to_string()),
            None => plain(&seen.label.to_string()),
        };
        let values = names.iter().map(|name| TableEntry::Number(value(seen, name).map_or("–".to_owned(), number)));
        [step].into_iter().chain(values).collect()
    };
    let rows: Vec<Vec<TableEntry>> = evidence.candidates.iter().map(row).collect();
    let marked: Vec<usize> = evidence.chosen.into_iter().collect();
    let among = if has_steps { words::CHOSEN_AMONG } else { words::CHOSEN_AMONG_STAGES };
    html! {
        details {
            summary { (among.fill(language, &[("count", &(rows.len() + evidence.failed_candidates.len()).to_string())])) }
            (rows_with_marks(words::CHECKPOINTS.say(language), &headers, &rows, &marked))
        }
    }
}

/// A metric, and the judge that measured it.
type MetricOf = (Option<String>, String);

fn names<'a>(all: impl Iterator<Item = &'a ArtifactEvidence>) -> BTreeSet<MetricOf> {
    let of = |seen: &'a ArtifactEvidence| {
        let own = seen.metrics.keys().map(|name| (None, name.clone()));
        let judged = seen
            .judged
            .iter()
            .flat_map(|(judge, by)| by.metrics.keys().map(move |name| (Some(judge.clone()), name.clone())));
        own.chain(judged).collect::<Vec<_>>()
    };
    all.flat_map(of).collect()
}

fn label((judge, metric): &MetricOf) -> String {
    judge.as_ref().map_or_else(|| metric.clone(), |judge| format!("{judge}.{metric}"))
}

fn value(seen: &ArtifactEvidence, (judge, metric): &MetricOf) -> Option<Option<f64>> {
    match judge {
        Some(judge) => seen.judged.get(judge)?.metrics.get(metric).copied(),
        None => seen.metrics.get(metric).copied(),
    }
}
