//! Two runs as one page: what was asked otherwise, what this changed in metrics and verdicts, how sure that is, and the
//! answers that changed.

use super::answers::{pair_block, search};
use super::facts::{Facts, MetricGain, RunComparison, SharedAnswers};
use super::families;
use super::glossary;
use super::page::{PageFragment, document};
use super::standing::{Standing, decision_class, decision_word};
use super::study::is_noise;
use super::table::{TableEntry, table, words as plain};
use super::text::{place, visible};
use super::verdict::{losses, sentence};
use super::words::comparison as phrases;
use super::words::{self, Language, Phrase};
use crate::event::Verdict;
use crate::report::card::StageWork;
use crate::report::diff::{MetricDiff, StageDiff};
use crate::report::fold::StageRun;
use crate::report::format::{duration, moment, number, short};
use maud::{Markup, html};
use std::collections::{BTreeMap, BTreeSet};

const FRAGMENTS: [PageFragment<RunComparison>; 7] = [
    PageFragment { name: "verdict", title: words::VERDICT, content: verdict },
    PageFragment { name: "asked", title: phrases::ASKED, content: asked },
    PageFragment { name: "metrics", title: phrases::METRICS, content: metrics },
    PageFragment { name: "families", title: words::FAMILIES, content: families::compared },
    PageFragment { name: "verdicts", title: phrases::VERDICTS, content: verdicts },
    PageFragment { name: "answers", title: words::CHANGED_ANSWERS, content: answers },
    PageFragment { name: "glossary", title: words::GLOSSARY, content: glossary::section },
];

/// The whole page.
pub fn page(comparison: &RunComparison, language: Language) -> String {
    let pipelines = comparison.runs.each_ref().map(|facts| facts.run.pipeline.as_str());
    let name = if pipelines[0] == pipelines[1] { pipelines[1].to_owned() } else { pipelines.join(", ") };
    document([&name, phrases::COMPARISON.say(language)], &FRAGMENTS, comparison, language)
}

const SIDES: [Phrase; 2] = [phrases::OLD, phrases::NEW];

/// The standing of a metric of the new run to the same of the old.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    Better,
    Worse,
    Noise,
    Apart,
    /// It has no direction.
    Other,
}

fn change(metric: &MetricDiff, gain: Option<&MetricGain>) -> Change {
    match metric.judged {
        _ if metric.yardstick.is_some() => Change::Apart,
        _ if gain.is_some_and(|gain| is_noise(&gain.within, 0.0)) => Change::Noise,
        Some("better") => Change::Better,
        Some(_) => Change::Worse,
        None => Change::Other,
    }
}

/// Every metric that differs, with its stage and how sure the difference is.
fn all(comparison: &RunComparison) -> impl Iterator<Item = (&StageDiff, &MetricDiff, Option<&MetricGain>)> {
    comparison.diff.stages.iter().flat_map(move |stage| {
        stage.metrics.iter().map(move |metric| (stage, metric, comparison.gain(&stage.name, &metric.name)))
    })
}

fn verdict(comparison: &RunComparison, language: Language) -> Option<Markup> {
    let diff = &comparison.diff;
    let count = |wanted: Change| all(comparison).filter(|(_, metric, gain)| change(metric, *gain) == wanted).count();
    let flipped: Vec<&StageDiff> = diff.stages.iter().filter(|stage| is_flipped(comparison, stage)).collect();
    let only = diff.only.old.len() + diff.only.new.len();
    let changed = diff.stages.len() + only;
    let numbers = [
        ("changed", changed),
        ("all", changed + diff.unchanged),
        ("better", count(Change::Better)),
        ("worse", count(Change::Worse)),
        ("noise", count(Change::Noise)),
        ("apart", count(Change::Apart)),
        ("flipped", flipped.len()),
    ]
    .map(|(name, count)| (name, count.to_string()));
    let values = numbers.each_ref().map(|(name, count)| (*name, count.as_str()));
    let phrase = if changed == 0 { phrases::NOTHING_DIFFERS } else { phrases::DIFFERS };
    Some(html! {
        p.lead { (phrase.fill(language, &values)) }
        dl.rules {
            @for (side, facts) in SIDES.iter().zip(&comparison.runs) {
                div {
                    dt { span.role { (side.say(language)) } }
                    dd {
                        p { (visible(&sentence(facts, language))) }
                        (origin(facts, language))
                    }
                }
            }
        }
        (not_mixed(comparison, language))
        @for facts in &comparison.runs { (losses(facts, language)) }
    })
}

/// The run, its time, and what computed it.
fn origin(facts: &Facts, language: Language) -> Markup {
    let run = &facts.run;
    let of = |of: fn(&StageWork) -> Option<&String>| {
        facts.works.values().filter_map(of).cloned().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("; ")
    };
    html! {
        p.meta {
            code { (run.name) } " · " (place(&run.file)) " · " (moment(&run.at))
            @if let Some(finish) = &run.finish { " · " (duration(finish.seconds)) }
            @for (phrase, values) in [
                (words::DEVICES, of(|work| work.device.as_ref())),
                (words::PROGRAMS, of(|work| work.program.as_ref())),
            ] {
                @if !values.is_empty() { " · " (phrase.say(language)) " " (visible(&values)) }
            }
        }
    }
}

/// The metrics that two yardsticks measured: a table of numbers alone would invite to compare them.
fn not_mixed(comparison: &RunComparison, language: Language) -> Markup {
    let mut apart: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (stage, metric, _) in all(comparison) {
        if let Some(yardstick) = &metric.yardstick {
            apart.entry(yardstick).or_default().push(format!("{}.{}", stage.name, metric.name));
        }
    }
    html! {
        @if !apart.is_empty() {
            div.losses role="note" {
                p { strong { (phrases::NOT_MIXED.say(language)) } }
                ul { @for (yardstick, metrics) in &apart { li { (visible(yardstick)) ": " (visible(&metrics.join(", "))) } } }
            }
        }
    }
}

fn asked(comparison: &RunComparison, language: Language) -> Option<Markup> {
    let diff = &comparison.diff;
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for (title, sets, only) in [
        (phrases::ONLY_OLD, &diff.overrides.old, &diff.only.old),
        (phrases::ONLY_NEW, &diff.overrides.new, &diff.only.new),
    ] {
        let sets = sets.iter().map(|set| format!("--set {set}"));
        lines.push((title.say(language).to_owned(), sets.chain(only.iter().cloned()).collect()));
    }
    for stage in &diff.stages {
        let mut all = stage.because.clone();
        if let Some(content) = &stage.content
            && let (Some(old), Some(new)) = (&content.old, &content.new)
            && all.is_empty()
        {
            all.push(format!("{}: {} → {}", phrases::ANOTHER_OUTPUT.say(language), short(old), short(new)));
        }
        let [before, after] = rules(stage);
        let gone = before.iter().filter(|rule| !after.contains(rule));
        let come = after.iter().filter(|rule| !before.contains(rule));
        all.extend(gone.map(|rule| format!("{}: {rule}", phrases::NO_LONGER.say(language))));
        all.extend(come.map(|rule| format!("{}: {rule}", phrases::NOW.say(language))));
        lines.push((format!("{} ({})", stage.name, stage.kind), all));
    }
    lines.retain(|(_, all)| !all.is_empty());
    Some(html! {
        @if lines.is_empty() { p.note { (phrases::SAME_ASKED.say(language)) } }
        dl.rules {
            @for (title, all) in &lines {
                div {
                    dt { (title) }
                    @for line in all { dd lang="en" { code { (visible(line)) } } }
                }
            }
        }
    })
}

/// The rules of a gate in both runs. A missing verdict says nothing about the rules: the stage may have them all the same.
fn rules(stage: &StageDiff) -> [&[String]; 2] {
    match &stage.gate {
        Some(gate) => match (&gate.old, &gate.new) {
            (Some(old), Some(new)) => [&old.rules, &new.rules],
            _ => [&[], &[]],
        },
        None => [&[], &[]],
    }
}

fn metrics(comparison: &RunComparison, language: Language) -> Option<Markup> {
    let heads = [
        words::STAGE,
        words::METRIC,
        phrases::OLD,
        phrases::NEW,
        phrases::CHANGE,
        words::INTERVAL_95,
        phrases::ITEMS,
        phrases::IS,
    ];
    let headers = heads.map(|phrase| phrase.say(language));
    let row = |(stage, metric, gain): (&StageDiff, &MetricDiff, Option<&MetricGain>)| {
        let [old, new] = metric.shown.clone().map(TableEntry::Number);
        let (word, tone) = match change(metric, gain) {
            Change::Better => (phrases::BETTER.say(language).to_owned(), "good"),
            Change::Worse => (phrases::WORSE.say(language).to_owned(), "bad"),
            Change::Noise => (words::WITHIN_NOISE.say(language).to_owned(), "unsure"),
            Change::Apart => {
                let why = metric.yardstick.as_deref().unwrap_or_default();
                (phrases::NOT_COMPARED.fill(language, &[("why", why)]), "quiet")
            }
            Change::Other => (String::new(), "quiet"),
        };
        let shown = metric.change.filter(|_| metric.yardstick.is_none());
        let signed = |value: f64| format!("{}{}", if value > 0.0 { "+" } else { "" }, number(Some(value)));
        vec![
            plain(&stage.name),
            plain(&metric.name),
            old,
            new,
            TableEntry::Number(shown.map(signed).unwrap_or_default()),
            TableEntry::Text(html! {
                @if let Some(gain) = gain {
                    span.range { (signed(gain.within.lower)) " – " (signed(gain.within.upper)) }
                }
            }),
            TableEntry::Number(gain.map(|gain| gain.items.to_string()).unwrap_or_default()),
            TableEntry::Text(html! { span class={ "verdict " (tone) } { (word) } }),
        ]
    };
    let rows: Vec<Vec<TableEntry>> = all(comparison).map(row).collect();
    (!rows.is_empty()).then(|| {
        html! {
            @if !comparison.gains.is_empty() { p.note { (phrases::PAIRED.say(language)) } }
            (table(phrases::METRICS.say(language), &headers, &rows))
        }
    })
}

fn stages<'a>(comparison: &'a RunComparison, name: &str) -> [Option<&'a StageRun>; 2] {
    comparison.runs.each_ref().map(|facts| facts.run.stage(name))
}

/// Whether the gate said otherwise, or the stage ended otherwise: other numbers in the same verdict are no flip.
fn is_flipped(comparison: &RunComparison, stage: &StageDiff) -> bool {
    let [old, new] = stages(comparison, &stage.name).map(|stage| {
        let verdict = stage.and_then(|stage| stage.verdict.as_deref());
        verdict.map(|verdict| (verdict.decision, verdict.carries.clone()))
    });
    old != new
}

fn verdicts(comparison: &RunComparison, language: Language) -> Option<Markup> {
    let is_shown = |stage: &&StageDiff| stage.outcome.is_some() || is_flipped(comparison, stage);
    let shown: Vec<&StageDiff> = comparison.diff.stages.iter().filter(is_shown).collect();
    let headers = [words::STAGE, phrases::OLD, phrases::NEW, phrases::FLIPPED].map(|phrase| phrase.say(language));
    let rows: Vec<Vec<TableEntry>> = shown
        .into_iter()
        .map(|stage| {
            let sides = stages(comparison, &stage.name).into_iter().zip(&comparison.runs);
            let sides = sides.map(|(stage, facts)| TableEntry::Text(ending(stage, facts, language)));
            let flipped = if is_flipped(comparison, stage) { "✓" } else { "" };
            [plain(&stage.name)].into_iter().chain(sides).chain([plain(flipped)]).collect()
        })
        .collect();
    (!rows.is_empty()).then(|| table(phrases::VERDICTS.say(language), &headers, &rows))
}

/// The end of a stage in one of the runs, and what its gate said.
fn ending(stage: Option<&StageRun>, facts: &Facts, language: Language) -> Markup {
    let Some(stage) = stage else { return html! { "–" } };
    let said = |verdict: &Verdict| {
        html! {
            " · " (words::GATE.say(language)) " "
            span class={ "verdict " (decision_class(verdict.decision)) } { (decision_word(verdict.decision, language)) }
            @if !verdict.carries.is_empty() { " (" (words::GOES_ON.fill(language, &[("carries", &verdict.carries)])) ")" }
        }
    };
    html! {
        (Standing::of(stage, facts.is_alive).mark(language))
        @if let Some(verdict) = stage.verdict.as_deref() { (said(verdict)) }
    }
}

fn answers(comparison: &RunComparison, language: Language) -> Option<Markup> {
    let RunComparison { answers, left_out, unpaired, .. } = comparison;
    (!answers.is_empty() || !unpaired.is_empty()).then(|| {
        html! {
            (search(language))
            @if *left_out > 0 {
                p.note { (phrases::MORE_ANSWERS.fill(language, &[("count", &left_out.to_string())])) }
            }
            @if !unpaired.is_empty() {
                p.note { (phrases::NOT_PAIRED.say(language)) }
                ul.plain lang="en" { @for each in unpaired { li { (visible(each)) } } }
            }
            @for (at, shared) in answers.iter().enumerate() { (block(comparison, shared, at == 0, language)) }
        }
    })
}

fn block(comparison: &RunComparison, shared: &SharedAnswers, is_open: bool, language: Language) -> Markup {
    let SharedAnswers { contest, unscored } = shared;
    let (changed, shown) = (contest.counts.changed(), contest.pairs.len() as u64);
    let counts = [("changed", changed.to_string()), ("all", contest.counts.total().to_string())];
    let counts = counts.each_ref().map(|(name, count)| (*name, count.as_str()));
    let model = contest.candidate.to_string();
    html! {
        details.contest open[is_open] {
            summary {
                (phrases::ANSWERS_IN_BOTH.fill(language, &[("model", &model), ("of", &contest.of)])) " "
                span.kind { (words::CHANGED_COUNT.fill(language, &counts)) }
            }
            @match (unscored, &contest.gain_within) {
                (Some(why), _) => { p.note { (phrases::UNSCORED.fill(language, &[("why", why)])) } },
                (None, Some(within)) => {
                    p.note {
                        (words::GAIN.say(language)) " " (format!("{:+.3}", contest.gain)) ", "
                        (words::INTERVAL_95.say(language)) " " (format!("{:+.3} – {:+.3}", within.lower, within.upper))
                        @if is_noise(within, 0.0) { " " span.noise { (words::WITHIN_NOISE.say(language)) } }
                    }
                },
                _ => {},
            }
            @if shown < changed {
                p.note {
                    (words::SHOWN_OF.fill(language, &[("shown", &shown.to_string()), ("all", &changed.to_string())])) " "
                    @for facts in &comparison.runs { code { (facts.all_tables()) " --run " (facts.run.name) } " " }
                }
            }
            div.pairs-of-answers {
                @for pair in &contest.pairs {
                    (pair_block(pair, [phrases::NEW.say(language), phrases::OLD.say(language)], language))
                }
            }
        }
    }
}
