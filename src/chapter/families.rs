//! Stages of a `for` side by side, with their mean and how far they lie apart.

use super::facts::Facts;
use super::standing::Standing;
use super::table::{TableEntry, rows_with_marks, words as plain};
use super::words::{self, Language};
use crate::report::families::{Family, FamilyMember, families};
use maud::{Markup, html};
use serde_json::{Value, json};

pub fn section(facts: &Facts, language: Language) -> Option<Markup> {
    let families = families(&facts.run, facts.is_alive);
    if families.is_empty() {
        return None;
    }
    Some(html! {
        p.note { (words::FAMILY_NOTE.say(language)) }
        @for family in &families {
            h3 { (words::FAMILY_OF.fill(language, &[("name", &family.name), ("count", &family.members.len().to_string())])) }
            (table(facts, family, language))
            @if family.failed() > 0 {
                p.note { (words::FAMILY_FAILED.fill(language, &[("count", &family.failed().to_string())])) }
            }
        }
    })
}

fn table(facts: &Facts, family: &Family, language: Language) -> Markup {
    let mut headers = [words::STAGE, words::STATE, words::CHECKPOINT].map(|phrase| phrase.say(language)).to_vec();
    headers.extend(family.metrics.iter().map(|metric| metric.name.as_str()));
    let number = |value: Option<f64>, at: usize| {
        let text = value.map_or("–".to_owned(), |value| format!("{value:.0$}", family.decimals(at)));
        TableEntry::Number(text)
    };
    let columns = 0..family.metrics.len();
    let mut rows: Vec<Vec<TableEntry>> = Vec::new();
    for member in &family.members {
        let step =
            member.step.map(|step| words::STEP.fill(language, &[("step", &step.to_string())])).unwrap_or_default();
        let state =
            facts.run.stage(&member.stage).map_or("", |stage| Standing::of(stage, facts.is_alive).word(language));
        let mut row: Vec<TableEntry> = [member.stage.as_str(), state, &step].map(plain).into();
        row.extend(columns.clone().map(|at| number(member.values[at], at)));
        rows.push(row);
    }
    let marked: Vec<usize> = vec![rows.len()];
    let mut across = |name: &str, entry: &dyn Fn(usize) -> TableEntry| {
        let mut row: Vec<TableEntry> = [name, "", ""].map(plain).into();
        row.extend(columns.clone().map(entry));
        rows.push(row);
    };
    let metrics = &family.metrics;
    let mean = match family.failed() {
        0 => words::MEAN.say(language).to_owned(),
        failed => words::MEAN_OF.fill(language, &[("count", &(family.members.len() - failed).to_string())]),
    };
    across(&mean, &|at| number(metrics[at].mean, at));
    across(words::DEVIATION.say(language), &|at| number(metrics[at].deviation, at));
    across(words::INTERVAL_95.say(language), &|at| match metrics[at].within {
        None => number(None, at),
        Some([low, high]) => TableEntry::Text(html! {
            span.range { (format!("{low:.0$} – {high:.0$}", family.decimals(at))) }
        }),
    });
    rows_with_marks(&family.name, &headers, &rows, &marked)
}

/// A row for each metric of each stage, and one for what they are together, which has no stage.
pub fn rows(facts: &Facts) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for family in families(&facts.run, facts.is_alive) {
        for (at, metric) in family.metrics.iter().enumerate() {
            let (name, of) = (json!(family.name), json!(metric.name));
            rows.extend(family.members.iter().map(|FamilyMember { stage, state, step, values }| {
                let [stage, state, step, value] = [json!(stage), json!(state), json!(step), json!(values[at])];
                vec![
                    name.clone(),
                    stage,
                    state,
                    step,
                    of.clone(),
                    value,
                    json!(1),
                    Value::Null,
                    Value::Null,
                    Value::Null,
                ]
            }));
            let [low, high] = [0, 1].map(|end| metric.within.map(|within| within[end]));
            let [mean, sd, low, high] = [metric.mean, metric.deviation, low, high].map(|number| json!(number));
            rows.push(vec![name, Value::Null, Value::Null, Value::Null, of, mean, json!(metric.count), sd, low, high]);
        }
    }
    rows
}
