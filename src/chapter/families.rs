//! Stages of a `for` side by side, with their mean and how far they lie apart.

use super::facts::{Facts, RunComparison};
use super::standing::Standing;
use super::table::{TableEntry, rows_with_marks, words as plain};
use super::words::comparison as phrases;
use super::words::{self, Language};
use crate::gate::statistics::Spread;
use crate::report::diff::MetricDiff;
use crate::report::families::{Family, FamilyMember, FamilyMetric, families};
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

/// The metrics across stages of both runs that differ, with the interval of the difference by Welch's t: the stages of one
/// run and those of the other are the evidence.
pub fn compared(comparison: &RunComparison, language: Language) -> Option<Markup> {
    let [old, new] = comparison.runs.each_ref().map(|facts| families(&facts.run, facts.is_alive));
    let mut rows: Vec<Vec<TableEntry>> = Vec::new();
    for (family, before) in
        new.iter().filter_map(|family| Some((family, old.iter().find(|one| one.name == family.name)?)))
    {
        for (at, metric) in family.metrics.iter().enumerate() {
            let Some(then) = before.metrics.iter().position(|one| one.name == metric.name) else { continue };
            let [mine, theirs] = [family.numbers(at), before.numbers(then)];
            if mine == theirs && family.failed() == before.failed() {
                continue;
            }
            let side = |family: &Family, at: usize| {
                let FamilyMetric { count, mean, deviation, .. } = &family.metrics[at];
                let deviation = deviation.map_or(String::new(), |sd| format!(" ± {sd:.0$}", family.decimals(at)));
                let mean = mean.map_or("–".to_owned(), |mean| format!("{mean:.0$}", family.decimals(at)));
                let of = [("count", count.to_string()), ("all", family.members.len().to_string())];
                let of = of.each_ref().map(|(name, value)| (*name, value.as_str()));
                plain(&format!("{mean}{deviation} ({})", words::OF_ALL.fill(language, &of)))
            };
            let is_apart = comparison.diff.stages.iter().any(|stage| {
                let is_it = |other: &MetricDiff| other.name == metric.name && other.yardstick.is_some();
                family.members.iter().any(|member| member.stage == stage.name) && stage.metrics.iter().any(is_it)
            });
            let difference = Spread::of(&mine).zip(Spread::of(&theirs)).map(|(mine, theirs)| mine.minus(theirs));
            let within = difference.filter(|difference| !is_apart && !difference.has_no_error());
            let within = within.map(|difference| difference.inference(0.025));
            let within = within.map_or("–".to_owned(), |of| format!("{:+.3} – {:+.3}", of.lower, of.upper));
            let [name, metric] = [family.name.as_str(), metric.name.as_str()].map(plain);
            rows.push(vec![name, metric, side(before, then), side(family, at), plain(&within)]);
        }
    }
    let headers = [words::FAMILIES, words::METRIC, phrases::OLD, phrases::NEW, phrases::DIFFERENCE_95];
    let headers = headers.map(|phrase| phrase.say(language));
    (!rows.is_empty()).then(|| {
        html! {
            p.note { (words::FAMILY_NOTE.say(language)) }
            (rows_with_marks(words::FAMILIES.say(language), &headers, &rows, &[]))
        }
    })
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
