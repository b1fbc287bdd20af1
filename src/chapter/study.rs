//! The table of the study: a row for each model that was measured, with the checkpoint that was judged, its wins and losses,
//! and how sure they are.

use super::charts;
use super::facts::{AnswerContest, Facts, step_of};
use super::table::{TableEntry, rows_with_marks, words as plain};
use super::words::{self, Language};
use crate::event::{Outcome, StudyRow};
use crate::gate::Counts;
use crate::gate::statistics::{Glance, Sample, glance_win_rate};
use crate::plan::ArtifactName;
use crate::report::fold::Study;
use crate::report::study::{MetricColumn, baseline, columns, goes_on, is_chosen, measured};
use maud::{Markup, html};

pub fn section(facts: &Facts, language: Language) -> Option<Markup> {
    let studies: Vec<&Study> = facts.run.studies.iter().filter(|study| !study.rows.is_empty()).collect();
    if studies.is_empty() {
        return None;
    }
    Some(html! {
        @for study in studies {
            h3 { (study.eval) }
            (note(study, language))
            (table(facts, study, language))
        }
    })
}

/// The yardsticks of the columns.
fn note(study: &Study, language: Language) -> Markup {
    let scores = columns(study).0;
    html! {
        p.note {
            @for (reward, column) in study.rewards.iter().zip(&scores) {
                (words::SCORED_BY.fill(language, &[("metric", &column.name), ("reward", reward)])) " "
            }
            @if let Some(baseline) = baseline(study) {
                (words::AGAINST_BASELINE.fill(language, &[("baseline", &baseline.to_string())]))
            }
        }
    }
}

fn table(facts: &Facts, study: &Study, language: Language) -> Markup {
    let (scores, others) = columns(study);
    let has_counts = study.rows.iter().any(|row| row.versus.is_some());
    let first = [words::MODEL, words::CHECKPOINT, words::RULING];
    let mut headers = first.map(|phrase| phrase.say(language)).to_vec();
    headers.extend(scores.iter().map(|column| column.name.as_str()));
    if has_counts {
        headers.extend(Counts::NAMES);
        headers.extend([words::WIN_RATE, words::INTERVAL_95].map(|phrase| phrase.say(language)));
        headers.extend([words::GAIN, words::INTERVAL_95].map(|phrase| phrase.say(language)));
    }
    headers.extend(others.iter().map(|column| column.name.as_str()));
    let rows: Vec<Vec<TableEntry>> = study
        .rows
        .iter()
        .map(|row| {
            let number = |column: &MetricColumn| TableEntry::Number(measured(row, column));
            let step =
                step_of(&facts.run, &row.model).map(|step| words::STEP.fill(language, &[("step", &step.to_string())]));
            let step = step.unwrap_or_default();
            let first = [row.model.name.as_str(), &step, verdict(facts, study, row, language)];
            let mut cells: Vec<TableEntry> = first.map(plain).into();
            cells.extend(scores.iter().map(number));
            if has_counts {
                cells.extend(versus(facts, study, row, language));
            }
            cells.extend(others.iter().map(number));
            cells
        })
        .collect();
    let going_on = goes_on(&facts.run, study).map(|row| &row.model);
    let marked: Vec<usize> = (0..rows.len()).rfind(|at| Some(&study.rows[*at].model) == going_on).into_iter().collect();
    rows_with_marks(words::STUDY.say(language), &headers, &rows, &marked)
}

/// Wins and losses, the win rate over changed answers with its interval, and the gain with its.
fn versus(facts: &Facts, study: &Study, row: &StudyRow, language: Language) -> Vec<TableEntry> {
    let nothing = || TableEntry::Text(html! { "–" });
    let Some(versus) = &row.versus else { return std::iter::repeat_with(nothing).take(8).collect() };
    let counts = versus.counts();
    let Counts { win, loss, tie_changed, tie_unchanged } = counts;
    let mut cells: Vec<TableEntry> =
        [win, loss, tie_changed, tie_unchanged].map(|count| TableEntry::Number(count.to_string())).into();
    let contest = contest_of(facts, study, &row.model);
    let rate = contest.map_or_else(|| by_counts(&counts), |contest| contest.rate);
    cells.push(TableEntry::Number(counts.win_rate().map_or("–".to_owned(), |rate| format!("{:.2} %", rate * 100.0))));
    cells.push(match (&rate, counts.win_rate()) {
        (Some(rate), Some(estimate)) => TableEntry::Text(html! {
            span.range { (format!("{:.1}–{:.1} %", rate.lower * 100.0, rate.upper * 100.0)) }
            @if is_noise(rate, 0.5) { " " span.noise { (words::WITHIN_NOISE.say(language)) } }
            br;
            (charts::interval(estimate, rate.lower, rate.upper))
        }),
        _ => nothing(),
    });
    match contest {
        None => cells.extend([nothing(), nothing()]),
        Some(contest) => {
            cells.push(TableEntry::Number(format!("{:+.3}", contest.gain)));
            cells.push(contest.gain_within.as_ref().map_or_else(nothing, |gain| {
                TableEntry::Text(html! {
                    span.range { (format!("{:+.3} – {:+.3}", gain.lower, gain.upper)) }
                    @if is_noise(gain, 0.0) { " " span.noise { (words::WITHIN_NOISE.say(language)) } }
                })
            }));
        }
    }
    cells
}

/// Whether an interval holds what would be no difference.
pub fn is_noise(glance: &Glance, none: f64) -> bool {
    glance.lower <= none && none <= glance.upper
}

/// The contest of a model with the baseline of its study.
pub fn contest_of<'a>(facts: &'a Facts, study: &Study, model: &ArtifactName) -> Option<&'a AnswerContest> {
    facts.contests.iter().find(|contest| contest.of == study.eval && contest.candidate == *model)
}

/// The interval of a win rate of which only the counts are known: every pair counts as one piece of evidence.
pub fn by_counts(counts: &Counts) -> Option<Glance> {
    let points = |points: f64, count: u64| std::iter::repeat_n(points, count as usize);
    let all = points(1.0, counts.win).chain(points(0.0, counts.loss)).chain(points(0.5, counts.tie_changed));
    glance_win_rate(&Sample::of_items(&all.collect::<Vec<_>>()), 0.5, 0.025)
}

/// The fate of the model, in a word.
pub fn verdict(facts: &Facts, study: &Study, row: &StudyRow, language: Language) -> &'static str {
    if baseline(study) == Some(&row.model) {
        return words::BASELINE.say(language);
    }
    let open = ArtifactName::open(&row.model.name);
    let has_other = study.rows.iter().any(|other| other.model == open && !other.is_rejected);
    let stage = facts.run.stage(&row.model.name);
    let phrase = match stage.map(|stage| (&stage.outcome, stage.verdict.is_some())) {
        _ if row.is_rejected && has_other => words::NOT_CHOSEN,
        Some((Some(Outcome::Held { .. }), _)) => words::HELD,
        _ if row.is_rejected => words::REJECTED,
        Some((Some(Outcome::Done { kept: false, .. }), true)) => words::PROMOTED,
        _ => match is_chosen(&facts.run, &row.model) {
            Some(true) => words::CHOSEN,
            Some(false) => words::NOT_CHOSEN,
            None => words::NOT_JUDGED,
        },
    };
    phrase.say(language)
}
