//! Where everything comes from: contents, keys, versions, seeds, devices, times, parameters, rows of data that were left out.

use super::facts::Facts;
use super::standing::Standing;
use super::table::{TableEntry, pairs, table, words as plain};
use super::text::{place, visible};
use super::words::{self, Language};
use crate::event::{Machine, Metrics, Outcome};
use crate::report::card::StageWork;
use crate::report::fold::{ActionRun, StageRun};
use crate::report::format::{self, duration, moment, number, short};
use maud::{Markup, html};
use serde_json::Value;
use stages::stage::ROW_METRICS;
use std::collections::BTreeSet;

/// Stages up to which each has its parameters on the page.
const DETAILED: usize = 60;

pub fn section(facts: &Facts, language: Language) -> Option<Markup> {
    let run = &facts.run;
    Some(html! {
        (pairs(&[
            (words::RUN.say(language), html! { code { (run.name) } }),
            (words::FILE.say(language), html! { code { (place(&run.file)) } }),
            (words::STARTED.say(language), html! { (moment(&run.at)) }),
            (words::DEVICES.say(language), html! { (all(facts, |work| work.device.as_ref()).join("; ")) }),
            (words::PROGRAMS.say(language), html! { (all(facts, |work| work.program.as_ref()).join(", ")) }),
        ]))
        @if let Some(machine) = &run.machine { (environment(machine, language)) }
        (contents(facts, language))
        (rows_of_data(facts, language))
        @if run.stages.len() <= DETAILED {
            @for stage in run.stages.iter().filter(|stage| !stage.actions.is_empty()) { (details(facts, stage, language)) }
        } @else {
            p.note {
                (words::TOO_MANY_FOR_DETAILS.say(language)) " " code { (facts.all_tables()) }
            }
        }
    })
}

/// The machine that the run was on. Results that were found may be from another: their devices are told beside them.
fn environment(machine: &Machine, language: Language) -> Markup {
    let Machine { system, processor, cores, memory } = machine;
    let cores = cores.map(|cores| cores.to_string()).unwrap_or_default();
    let memory = memory.map(format::bytes).unwrap_or_default();
    html! {
        (pairs(&[
            (words::SYSTEM.say(language), visible(system)),
            (words::PROCESSOR.say(language), visible(processor)),
            (words::CORES.say(language), html! { (cores) }),
            (words::MEMORY.say(language), html! { (memory) }),
        ]))
    }
}

/// The different values of the works of all records.
fn all(facts: &Facts, of: impl Fn(&StageWork) -> Option<&String>) -> Vec<String> {
    facts.works.values().filter_map(of).cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// A row for each stage: its content, its key, its work.
fn contents(facts: &Facts, language: Language) -> Markup {
    let heads = [
        words::STAGE,
        words::STATE,
        words::CONTENT,
        words::KEY,
        words::VERSION,
        words::SEED,
        words::TIME,
        words::DEVICE,
    ];
    let headers = heads.map(|phrase| phrase.say(language));
    let row = |stage: &StageRun| {
        let content = match &stage.outcome {
            Some(Outcome::Done { content, .. }) => short(content),
            _ => String::new(),
        };
        let action = stage.own_action();
        let field = |name: &str| {
            let value = action.map(|action| action.action.value());
            value
                .and_then(|value| value.get(name).filter(|value| !value.is_null()).map(Value::to_string))
                .unwrap_or_default()
        };
        let work = action.and_then(|action| facts.works.get(&action.key));
        let key = action.map(|action| action.key.get(..12).unwrap_or(&action.key).to_owned()).unwrap_or_default();
        vec![
            plain(&stage.head.name),
            TableEntry::Text(Standing::of(stage, facts.is_alive).mark(language)),
            TableEntry::Text(html! { code { (content) } }),
            TableEntry::Text(html! { code { (key) } }),
            plain(&field("version")),
            plain(&field("seed")),
            plain(&work.map(|work| duration(work.seconds)).unwrap_or_default()),
            plain(work.and_then(|work| work.device.as_deref()).unwrap_or_default()),
        ]
    };
    let rows: Vec<Vec<TableEntry>> = facts.run.stages.iter().map(row).collect();
    table(words::PROVENANCE.say(language), &headers, &rows)
}

/// Rows of the data files that were read, left out and cut.
fn rows_of_data(facts: &Facts, language: Language) -> Markup {
    let names = ROW_METRICS.map(|metric| metric.name);
    let metrics = |stage: &'_ StageRun| -> Option<Metrics> {
        match &stage.outcome {
            Some(
                Outcome::Done { kept: false, metrics, .. }
                | Outcome::Stopped { metrics, .. }
                | Outcome::Held { metrics, .. },
            ) => names.iter().any(|name| metrics.contains_key(*name)).then(|| metrics.clone()),
            _ => None,
        }
    };
    let row = |stage: &StageRun| {
        let metrics = metrics(stage)?;
        let value = |name: &&str| TableEntry::Number(metrics.get(*name).map_or("–".to_owned(), |value| number(*value)));
        Some([plain(&stage.head.name)].into_iter().chain(names.iter().map(value)).collect())
    };
    let rows: Vec<Vec<TableEntry>> = facts.run.stages.iter().filter_map(row).collect();
    let headers =
        [words::STAGE, words::ROWS, words::ROWS_DROPPED, words::ROWS_TRUNCATED].map(|phrase| phrase.say(language));
    html! {
        @if !rows.is_empty() {
            h3 { (words::DATA_ROWS.say(language)) }
            (table(words::DATA_ROWS.say(language), &headers, &rows))
        }
    }
}

/// The parts of a measurement, each with its key and its work.
fn measurements(facts: &Facts, stage: &StageRun, language: Language) -> Markup {
    let headers = [words::MEASUREMENT, words::KEY, words::TIME, words::DEVICE].map(|phrase| phrase.say(language));
    let row = |action: &ActionRun| {
        let work = facts.works.get(&action.key);
        vec![
            plain(&action.part.as_ref().map(ToString::to_string).unwrap_or_default()),
            TableEntry::Text(html! { code { (action.key.get(..12).unwrap_or(&action.key)) } }),
            plain(&work.map(|work| duration(work.seconds)).unwrap_or_default()),
            plain(work.and_then(|work| work.device.as_deref()).unwrap_or_default()),
        ]
    };
    let rows: Vec<Vec<TableEntry>> = stage.actions.iter().map(row).collect();
    html! {
        details.stage-facts {
            summary { (stage.head.name) " " span.kind { (stage.head.kind) } }
            (table(&stage.head.name, &headers, &rows))
        }
    }
}

/// The call of a stage, as its key holds it.
fn details(facts: &Facts, stage: &StageRun, language: Language) -> Markup {
    let Some(action) = stage.own_action() else { return measurements(facts, stage, language) };
    let value = action.action.value();
    let inputs: Vec<(String, String)> = value.get("inputs").map(format::parameters).unwrap_or_default();
    let parameters: Vec<(String, String)> =
        value.get("parameters").filter(|value| !value.is_null()).map(format::parameters).unwrap_or_default();
    let work = facts.works.get(&action.key);
    html! {
        details.stage-facts {
            summary { (stage.head.name) " " span.kind { (stage.head.kind) } }
            dl.facts {
                div { dt { (words::KEY.say(language)) } dd { code { (action.key) } } }
                @if let Some(Outcome::Done { content, .. }) = &stage.outcome {
                    div { dt { (words::CONTENT.say(language)) } dd { code { (content) } } }
                }
                @if let Some(work) = work {
                    div { dt { (words::FINISHED.say(language)) } dd { (moment(&work.at)) } }
                }
                @for (port, sources) in &stage.head.from {
                    div {
                        dt { (port) }
                        dd { @for source in sources { (place(&source.to_string())) " " } }
                    }
                }
                @for (path, content) in &inputs {
                    div { dt { "in." (path) } dd { code { (visible(&short(content))) } } }
                }
                @for (path, value) in &parameters {
                    div { dt { (path) } dd { (visible(value)) } }
                }
            }
        }
    }
}
