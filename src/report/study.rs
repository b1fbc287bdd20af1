//! The table of an eval stage: every model it measured, rejected ones included; and answers to the same prompts side by
//! side.

use super::fold::Study;
use super::sheet::{Grid, Header, MAY_BREAK, Sheet, Tone, Width, cell, plain};
use crate::event::{BaselineComparison, ModelAnswer, StudyRow};
use crate::gate::Counts;
use crate::plan::ArtifactName;
use std::collections::BTreeSet;

/// The columns of the comparison with the baseline, in the words of the published tables.
const COUNTS: [&str; 5] = ["win", "loss", "tie_changed", "tie_unchanged", "win rate"];

/// One row for each model; empty if nothing was measured.
pub fn table(study: &Study) -> Sheet {
    if study.rows.is_empty() {
        return Sheet::default();
    }
    let (scores, others) = columns(study);
    let has_counts = study.rows.iter().any(|row| row.versus.is_some());
    let counts_head: &[&str] = if has_counts { &COUNTS } else { &[] };
    let numbers =
        scores.iter().map(String::as_str).chain(counts_head.iter().copied()).chain(others.iter().map(String::as_str));
    let numbers = numbers.map(|name| Header::number(name.replacen('_', &format!("_{MAY_BREAK}"), 1)));
    let mut grid = Grid::new([Header::name("model")].into_iter().chain(numbers));
    for row in &study.rows {
        // Rejected models are quiet, so that the others stand out.
        let tone = if row.is_rejected { Tone::Quiet } else { Tone::Plain };
        let mut texts = vec![model(row, study)];
        texts.extend(scores.iter().map(|name| measured(row, name)));
        if has_counts {
            texts.extend(counts(row.versus.as_ref()));
        }
        texts.extend(others.iter().map(|name| measured(row, name)));
        grid.add(texts.into_iter().map(|text| cell(text, tone)));
    }
    Sheet { heading: title(study), grid, ..Sheet::default() }
}

fn title(study: &Study) -> String {
    let column = |(n, reward): (usize, &String)| match n {
        0 => format!("mean_score by {reward}"),
        n => format!("mean_score_{} by {reward}", n + 1),
    };
    let mut parts: Vec<String> = study.rewards.iter().enumerate().map(column).collect();
    if let Some(baseline) = baseline(study) {
        parts.push(format!("wins and losses against {baseline}"));
        parts.push("win rate over changed answers".to_owned());
    }
    if parts.is_empty() { study.eval.clone() } else { format!("{}: {}", study.eval, parts.join(", ")) }
}

fn baseline(study: &Study) -> Option<&ArtifactName> {
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

/// Whether this is a mean score: `mean_score`, `mean_score_2`, …, one for each reward model.
fn is_score(name: &str) -> bool {
    name == "mean_score" || name.strip_prefix("mean_score_").is_some_and(|rest| rest.parse::<u32>().is_ok())
}

/// The metrics that any row has: the scores in the order of the reward models; then distance and length. In a study
/// without scores, all metrics.
fn columns(study: &Study) -> (Vec<String>, Vec<String>) {
    let names: BTreeSet<&String> = study.rows.iter().flat_map(|row| row.metrics.keys()).collect();
    let mut scores: Vec<String> = names.iter().filter(|name| is_score(name)).map(|name| (*name).clone()).collect();
    // `mean_score_10` comes after `mean_score_9`.
    scores.sort_by_key(|name| (name.len(), name.clone()));
    let others = match scores.is_empty() {
        true => names.into_iter().cloned().collect(),
        false => ["kl", "length"].map(str::to_owned).into_iter().filter(|name| names.contains(name)).collect(),
    };
    (scores, others)
}

/// A value with the same number of decimal places as the others of its column.
fn measured(row: &StudyRow, name: &str) -> String {
    match row.metrics.get(name) {
        None => "–".to_owned(),
        Some(Some(value)) if value.is_finite() && name == "length" => format!("{value:.1}"),
        Some(Some(value)) if value.is_finite() => format!("{value:.3}"),
        Some(_) => "NaN".to_owned(),
    }
}

fn counts(versus: Option<&BaselineComparison>) -> [String; 5] {
    let Some(versus) = versus else { return ["–"; 5].map(str::to_owned) };
    let BaselineComparison { win, loss, tie_changed, tie_unchanged, .. } = *versus;
    let counts = Counts { win, loss, tie_changed, tie_unchanged };
    let rate = counts.win_rate().map_or("–".to_owned(), |rate| format!("{:.2} %", rate * 100.0));
    [win.to_string(), loss.to_string(), tie_changed.to_string(), tie_unchanged.to_string(), rate]
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

/// The text without space around its lines; an empty answer is shown as such.
fn shown(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().map(str::trim).collect();
    if lines.is_empty() { "(empty)".to_owned() } else { lines.join("\n") }
}

fn score(answer: &ModelAnswer) -> String {
    answer.score.map_or("–".to_owned(), |score| format!("{score:.3}"))
}
