//! The curves of the stages that trained: a figure for each of the most telling series, a table for all.

use super::charts::{self, Figure, LinePoint, figure};
use super::facts::{Facts, StoredCurve, Trace};
use super::table::{TableEntry, table, words as plain};
use super::text::visible;
use super::words::{self, Language};
use crate::report::fold::StageRun;
use crate::report::format::number;
use maud::{Markup, html};
use stages::curve::CandidateSamples;
use stages::stage::Direction;

/// The figures of all stages together, and those of one stage: the rest stands in its table.
const FIGURES: usize = 160;
const OF_A_STAGE: usize = 6;

/// The beginning of the name of a series that is the same as another one, measured on rows that were held out.
const HELD_OUT: &str = "heldout_";

pub fn section(facts: &Facts, language: Language) -> Option<Markup> {
    let all = facts.run.stages.iter().filter_map(|stage| Some((stage, &facts.stored(stage)?.curve)));
    let all: Vec<(&StageRun, &StoredCurve)> =
        all.filter(|(_, curve)| !matches!(curve, StoredCurve::NotAsked)).collect();
    let count = all.iter().filter(|(_, curve)| matches!(curve, StoredCurve::Traces { .. })).count();
    let figures = (FIGURES / count.max(1)).clamp(1, OF_A_STAGE);
    (!all.is_empty()).then(|| {
        html! {
            @for (stage, curve) in all {
                article.curves {
                    h3 { (stage.head.name) " " span.kind { (stage.head.kind) } }
                    (of_stage(facts, stage, curve, figures, language))
                }
            }
        }
    })
}

fn of_stage(facts: &Facts, stage: &StageRun, curve: &StoredCurve, figures: usize, language: Language) -> Markup {
    let name = &stage.head.name;
    let again = || facts.command("run") + &format!(" --force {name}");
    match curve {
        StoredCurve::NotAsked => html! {},
        StoredCurve::NotWritten => html! { p.note { (words::NO_CURVE.say(language)) } },
        StoredCurve::NotKept => html! {
            p.note { (words::NO_CURVE_KEPT.say(language)) " " code { (again()) } }
        },
        StoredCurve::Lost => html! {
            p.note { (words::CURVE_LOST.say(language)) " " code { (again()) } }
        },
        StoredCurve::Traces { points, unreadable, traces, samples } => {
            html! {
                div.figures {
                    @for each in drawn(stage, traces, language).take(figures) { (figure(&each, language)) }
                }
                details {
                    summary { (words::ALL_SERIES.fill(language, &[("count", &traces.len().to_string())])) }
                    (numbers(traces, language))
                }
                @if !samples.is_empty() { (along_the_way(samples, language)) }
                p.note {
                    (words::POINTS_COUNT.fill(language, &[("count", &points.to_string())])) " "
                    @if *unreadable > 0 {
                        (words::UNREADABLE_POINTS.fill(language, &[("count", &unreadable.to_string())])) " "
                    }
                    (words::ALL_POINTS.say(language)) " "
                    code { (facts.command(&format!("curves {name}"))) " --csv" }
                }
            }
        }
    }
}

/// The answers of candidates to the same prompts.
fn along_the_way(samples: &[CandidateSamples], language: Language) -> Markup {
    let steps: Vec<String> =
        samples.iter().map(|one| words::AT_STEP.fill(language, &[("step", &one.step.to_string())])).collect();
    let headers: Vec<&str> =
        std::iter::once(words::SAMPLE_PROMPT.say(language)).chain(steps.iter().map(String::as_str)).collect();
    let prompts = samples.first().map_or(&[][..], |first| &first.samples);
    let rows: Vec<Vec<TableEntry>> = prompts
        .iter()
        .enumerate()
        .map(|(row, sample)| {
            let answers = samples.iter().map(|one| one.samples.get(row).map_or("–", |answer| &*answer.answer));
            let said = |text: &str| TableEntry::Text(html! { bdi { (visible(text)) } });
            std::iter::once(&*sample.prompt).chain(answers).map(said).collect()
        })
        .collect();
    html! {
        details.samples {
            summary { (words::SAMPLES.say(language)) }
            (table(words::SAMPLES.say(language), &headers, &rows))
        }
    }
}

/// The figures of a stage, the most telling first.
fn drawn(stage: &StageRun, traces: &[Trace], language: Language) -> impl Iterator<Item = Figure> {
    let marks: Vec<f64> = stage.judged_step().map(|step| step as f64).into_iter().collect();
    telling(stage, traces).into_iter().map(move |(main, heldout)| series(main, heldout, &marks, language))
}

/// Every figure of the section, with the stage that it is of: also those that the page leaves to its table.
pub fn figures(facts: &Facts, language: Language) -> Vec<(String, Figure)> {
    let of_stage = |stage: &StageRun| match facts.stored(stage).map(|stored| &stored.curve) {
        Some(StoredCurve::Traces { traces, .. }) => {
            drawn(stage, traces, language).map(|figure| (stage.head.name.clone(), figure)).collect()
        }
        _ => Vec::new(),
    };
    facts.run.stages.iter().flat_map(of_stage).collect()
}

/// The series in the order in which they tell most: what the stage declares to get better, then the others; a series on
/// held-out rows stands beside its own.
fn telling<'a>(stage: &StageRun, traces: &'a [Trace]) -> Vec<(&'a Trace, Option<&'a Trace>)> {
    let find = |name: &str| traces.iter().find(|trace| trace.name == name);
    let is_beside = |trace: &Trace| trace.name.strip_prefix(HELD_OUT).is_some_and(|own| find(own).is_some());
    let weight = |trace: &Trace| {
        let declared = stage.head.metrics.iter().position(|(name, _)| *name == trace.name);
        let is_neutral = declared.is_none_or(|at| stage.head.metrics[at].1 == Direction::Neutral);
        let is_loss = trace.name == "loss";
        // A time is not what a stage is about.
        (trace.name.contains('.'), is_neutral && !is_loss, declared.unwrap_or(usize::MAX))
    };
    let mut order: Vec<&Trace> = traces.iter().filter(|trace| !is_beside(trace) && trace.points > 0).collect();
    order.sort_by_key(|trace| weight(trace));
    order.into_iter().map(|trace| (trace, find(&format!("{HELD_OUT}{}", trace.name)))).collect()
}

fn series(main: &Trace, heldout: Option<&Trace>, marks: &[f64], language: Language) -> Figure {
    let lines: Vec<&[LinePoint]> =
        [Some(main), heldout].into_iter().flatten().map(|trace| trace.drawn.as_slice()).collect();
    let traces: Vec<&Trace> = [Some(main), heldout].into_iter().flatten().collect();
    let caption = html! {
        @if traces.len() > 1 {
            @for (at, trace) in traces.iter().enumerate() { span.key { (charts::sample(at)) " " (trace.name) } " " }
        }
        @for trace in &traces {
            @if trace.points > trace.drawn.len() {
                span.thin { (words::MIN_MAX_DRAWN.fill(language, &[("count", &trace.points.to_string())])) } " "
            }
            @if trace.gaps > 0 { span.gaps { (words::NOT_FINITE.fill(language, &[("count", &trace.gaps.to_string())])) } " " }
        }
    };
    Figure {
        name: main.name.clone(),
        says: says(main, language),
        drawing: charts::lines(&lines, marks),
        caption,
        headers: heads(language),
        rows: traces.iter().map(|trace| row(trace)).collect(),
    }
}

fn says(trace: &Trace, language: Language) -> String {
    let (first, last) = (number(trace.first), number(trace.last));
    words::CURVE_SAYS.fill(language, &[("name", &trace.name), ("first", &first), ("last", &last)])
}

fn heads(language: Language) -> Vec<&'static str> {
    let heads = [words::SERIES, words::POINTS, words::FIRST, words::LAST, words::LOWEST, words::HIGHEST];
    heads.map(|phrase| phrase.say(language)).to_vec()
}

fn row(trace: &Trace) -> Vec<TableEntry> {
    let extreme = |point: Option<[f64; 2]>| number(point.map(|point| point[1]));
    let numbers = [number(trace.first), number(trace.last), extreme(trace.lowest), extreme(trace.highest)];
    let points = TableEntry::Number(trace.points.to_string());
    [plain(&trace.name), points].into_iter().chain(numbers.map(TableEntry::Number)).collect()
}

/// A row for each series.
fn numbers(traces: &[Trace], language: Language) -> Markup {
    let rows: Vec<Vec<TableEntry>> = traces.iter().map(row).collect();
    table(words::SERIES.say(language), &heads(language), &rows)
}
