//! The table of an eval stage: every model it measured, rejected ones included; and answers to the same prompts side by
//! side.

use super::answers::shown;
use super::fold::{RunState, Study};
use super::sheet::{Grid, Header, MAY_BREAK, Sheet, Tone, Width, cell, plain};
use crate::event::{BaselineComparison, Evidence, ModelAnswer, StudyRow};
use crate::gate::Counts;
use crate::plan::ArtifactName;
use serde::Serialize;
use stages::kinds::study_columns;
use stages::stage::StudyColumns;
use std::collections::BTreeSet;

/// One row for each model; empty if nothing was measured.
pub fn table(study: &Study) -> Sheet {
    if study.rows.is_empty() {
        return Sheet::default();
    }
    let (headlines, others) = columns(study);
    let has_counts = study.rows.iter().any(|row| row.versus.is_some());
    let counted = Counts::NAMES.into_iter().chain(["win rate"]).filter(|_| has_counts);
    let names = |columns: &[MetricColumn]| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    let numbers = names(&headlines).into_iter().chain(counted.map(str::to_owned)).chain(names(&others));
    let numbers = numbers.map(|name| Header::number(name.replacen('_', &format!("_{MAY_BREAK}"), 1)));
    let mut grid = Grid::new([Header::name("model")].into_iter().chain(numbers));
    for row in &study.rows {
        // Rejected models are quiet, so that the others stand out.
        let tone = if row.is_rejected { Tone::Quiet } else { Tone::Plain };
        let mut texts = vec![model(row, study)];
        texts.extend(headlines.iter().map(|column| measured(row, column)));
        if has_counts {
            texts.extend(counts(row.versus.as_ref()));
        }
        texts.extend(others.iter().map(|column| measured(row, column)));
        grid.add(texts.into_iter().map(|text| cell(text, tone)));
    }
    Sheet { heading: title(study), grid, ..Sheet::default() }
}

fn title(study: &Study) -> String {
    let rewards = study_columns_of(study).into_iter().flat_map(|columns| {
        let inputs = study.rewards.iter().zip(1..);
        inputs.map(|(reward, input)| format!("{} by {reward}", columns.of_input(input)))
    });
    let mut parts: Vec<String> = rewards.collect();
    if let Some(baseline) = baseline(study) {
        parts.push(format!("wins and losses against {baseline}"));
        parts.push("win rate over changed answers".to_owned());
    }
    if parts.is_empty() { study.eval.clone() } else { format!("{}: {}", study.eval, parts.join(", ")) }
}

pub fn baseline(study: &Study) -> Option<&ArtifactName> {
    study.rows.iter().find_map(|row| row.versus.as_ref()).map(|versus| &versus.baseline)
}

fn model(row: &StudyRow, study: &Study) -> String {
    // If another checkpoint of the stage passed, this one was only not chosen.
    let open = ArtifactName::open(&row.model.name);
    if row.is_rejected && study.rows.iter().any(|other| other.model == open && !other.is_rejected) {
        format!("{} {MAY_BREAK}(not chosen)", row.model)
    } else if row.is_rejected {
        format!("{} {MAY_BREAK}(rejected)", row.model)
    } else if baseline(study) == Some(&row.model) {
        format!("{} {MAY_BREAK}(baseline)", row.model)
    } else {
        row.model.to_string()
    }
}

/// A metric as a column: all its values have the same number of decimal places.
pub struct MetricColumn {
    pub name: String,
    decimals: usize,
}

/// The columns that the measuring kind gives to a study of its metrics.
fn study_columns_of(study: &Study) -> Option<&'static StudyColumns> {
    study_columns(|name| study.rows.iter().any(|row| row.metrics.contains_key(name)))
}

/// The metrics that any row has: the headlines in the order of their inputs, and those that stand after the comparison.
/// In a study without a headline, all metrics.
pub fn columns(study: &Study) -> (Vec<MetricColumn>, Vec<MetricColumn>) {
    let names: BTreeSet<&String> = study.rows.iter().flat_map(|row| row.metrics.keys()).collect();
    let Some(columns) = study_columns_of(study) else {
        return (Vec::new(), names.into_iter().map(|name| MetricColumn { name: name.clone(), decimals: 3 }).collect());
    };
    let mut headlines: Vec<(usize, &String)> =
        names.iter().filter_map(|name| Some((columns.input(name)?, *name))).collect();
    headlines.sort();
    let decimals = columns.headline.decimals;
    let headlines = headlines.into_iter().map(|(_, name)| MetricColumn { name: name.clone(), decimals });
    let others =
        columns.others.iter().map(|other| MetricColumn { name: other.metric.to_owned(), decimals: other.decimals });
    (headlines.collect(), others.filter(|other| names.contains(&other.name)).collect())
}

pub fn measured(row: &StudyRow, MetricColumn { name, decimals }: &MetricColumn) -> String {
    match row.metrics.get(name) {
        None => "–".to_owned(),
        Some(Some(value)) if value.is_finite() => format!("{value:.decimals$}"),
        Some(_) => "NaN".to_owned(),
    }
}

fn counts(versus: Option<&BaselineComparison>) -> [String; 5] {
    let Some(versus) = versus else { return ["–"; 5].map(str::to_owned) };
    let counts = versus.counts();
    let Counts { win, loss, tie_changed, tie_unchanged } = counts;
    let rate = counts.win_rate().map_or("–".to_owned(), |rate| format!("{:.2} %", rate * 100.0));
    [win.to_string(), loss.to_string(), tie_changed.to_string(), tie_unchanged.to_string(), rate]
}

/// The number of a study that one line shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Headline {
    pub model: String,
    pub metric: String,
    /// Null if it is not finite.
    pub value: Option<f64>,
}

/// Whether a stage that chooses among others chose this model; `None` if none had it to choose.
pub fn is_chosen(run: &RunState, model: &ArtifactName) -> Option<bool> {
    let choices =
        run.stages.iter().filter(|stage| stage.chooses()).filter_map(|stage| Some(&stage.verdict.as_deref()?.evidence));
    let of = |evidence: &Evidence| {
        let at = evidence.candidates.iter().position(|seen| seen.label == *model)?;
        Some(evidence.chosen == Some(at))
    };
    choices.filter_map(of).reduce(|one, other| one || other)
}

/// The model that goes on: the one that a stage chose among others, else the last one that no gate rejected.
pub fn goes_on<'a>(run: &RunState, study: &'a Study) -> Option<&'a StudyRow> {
    let chosen = study.rows.iter().rfind(|row| is_chosen(run, &row.model) == Some(true));
    let is_carried = |row: &&StudyRow| !row.is_rejected && baseline(study) != Some(&row.model);
    chosen.or_else(|| study.rows.iter().rfind(is_carried)).or_else(|| study.rows.iter().rfind(|row| !row.is_rejected))
}

/// The first number of the model that goes on: what one line says of a study.
pub fn headline(run: &RunState, study: &Study) -> Option<Headline> {
    let (headlines, others) = columns(study);
    let column = headlines.into_iter().chain(others).next()?;
    let row = goes_on(run, study).filter(|row| row.metrics.contains_key(&column.name))?;
    let value = row.metrics.get(&column.name).copied().flatten();
    Some(Headline { model: row.model.to_string(), metric: column.name, value })
}

/// One table for each set of models, with a row for each prompt.
pub fn side_by_side(study: &Study) -> Vec<Sheet> {
    let groups = study.comparisons.chunk_by(|(_, one), (_, next)| models(one) == models(next));
    groups.map(|rows| answers(study, rows)).collect()
}

fn answers(study: &Study, rows: &[(String, Vec<ModelAnswer>)]) -> Sheet {
    let has_scores = rows.iter().flat_map(|(_, answers)| answers).any(|answer| answer.score.is_some());
    let text = |title: &str| Header { width: Width::Share, ..Header::text(title) };
    let mut headers = vec![text("prompt")];
    for model in models(&rows[0].1) {
        headers.push(text(&model));
        headers.extend(has_scores.then(|| Header::number("score")));
    }
    let mut grid = Grid::new(headers);
    for (prompt, answers) in rows {
        let mut cells = vec![cell(shown(prompt), Tone::Quiet)];
        for answer in answers {
            cells.push(plain(shown(&answer.text)));
            cells.extend(has_scores.then(|| plain(score(answer))));
        }
        grid.add(cells);
    }
    Sheet { heading: format!("{}: the same prompts, side by side", study.eval), grid, ..Sheet::default() }
}

fn models(answers: &[ModelAnswer]) -> Vec<String> {
    answers.iter().map(|answer| answer.model.to_string()).collect()
}

fn score(answer: &ModelAnswer) -> String {
    answer.score.map_or("–".to_owned(), |score| format!("{score:.3}"))
}
