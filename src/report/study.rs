//! The table of the study: every model that was put before one yardstick, rejected ones too; and what two models
//! answered to the same prompts. Knows nothing of how they were measured.

use super::fold::Study;
use super::page::{self, Page, Tone, cell, fold_text};
use crate::event::{Answer, Measured, Versus};
use crate::gate::Counts;
use comfy_table::Table;
use std::collections::BTreeSet;

/// What a row says of the comparison with the baseline, in the words of the published tables.
const COUNTS: [&str; 5] = ["win", "loss", "tie_changed", "tie_unchanged", "win rate"];

/// Empty when nothing was measured.
pub fn table(study: &Study, page: Page) -> String {
    if study.rows.is_empty() {
        return String::new();
    }
    // Every name on one line where the page is wide enough, else the long ones in two.
    let mut table = rows(study, page, false);
    if page::natural_width(&table) > page.width {
        table = rows(study, page, true);
    }
    format!("{}{}", title(study), page::print(table))
}

fn rows(study: &Study, page: Page, is_narrow: bool) -> Table {
    let broken =
        |text: &str, at: &str, into: &str| if is_narrow { text.replacen(at, into, 1) } else { text.to_owned() };
    let (scores, others) = columns(study);
    let has_counts = study.rows.iter().any(|row| row.versus.is_some());
    let counts_head: &[&str] = if has_counts { &COUNTS } else { &[] };
    let head = ["model"].into_iter().chain(scores.iter().map(String::as_str)).chain(counts_head.iter().copied());
    let head: Vec<String> = head.chain(others.iter().copied()).map(|name| broken(name, "_", "_\n")).collect();
    let mut table = page::table(page, &head.iter().map(String::as_str).collect::<Vec<_>>());
    for row in &study.rows {
        // What the gate let through stands out from what it did not.
        let tone = if row.is_rejected { Tone::Quiet } else { Tone::Plain };
        let mut texts = vec![broken(&model(row, study), " (", "\n(")];
        texts.extend(scores.iter().map(|name| measured(row, name)));
        if has_counts {
            texts.extend(counts(row.versus.as_ref()));
        }
        texts.extend(others.iter().map(|name| measured(row, name)));
        table.add_row(texts.into_iter().map(|text| cell(text, tone)));
    }
    page::align_right(&mut table, 1..head.len());
    page::keep_whole(&mut table, 0..head.len());
    table
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
    if parts.is_empty() { format!("{}\n", study.eval) } else { format!("{}: {}\n", study.eval, parts.join(", ")) }
}

fn baseline(study: &Study) -> Option<&str> {
    study.rows.iter().find_map(|row| row.versus.as_ref()).map(|versus| versus.baseline.as_str())
}

fn model(row: &Measured, study: &Study) -> String {
    // Of a stage whose gate let another checkpoint through, nothing was rejected.
    let stage = row.model.split('@').next().unwrap_or_default();
    if row.is_rejected && study.rows.iter().any(|other| other.model == stage && !other.is_rejected) {
        format!("{} (not chosen)", row.model)
    } else if row.is_rejected {
        format!("{} (rejected)", row.model)
    } else if baseline(study) == Some(row.model.as_str()) {
        format!("{} (baseline)", row.model)
    } else {
        row.model.clone()
    }
}

/// `mean_score`, `mean_score_2`, …: one for each reward.
fn is_score(name: &str) -> bool {
    name == "mean_score" || name.strip_prefix("mean_score_").is_some_and(|rest| rest.parse::<u32>().is_ok())
}

/// The columns of the study, as far as any row has them: the scores in the order of the rewards; distance and length.
fn columns(study: &Study) -> (Vec<String>, Vec<&'static str>) {
    let names: BTreeSet<&String> = study.rows.iter().flat_map(|row| row.metrics.keys()).collect();
    let mut scores: Vec<String> = names.iter().filter(|name| is_score(name)).map(|name| (*name).clone()).collect();
    // `mean_score_10` comes after `mean_score_9`.
    scores.sort_by_key(|name| (name.len(), name.clone()));
    let others = ["kl", "length"].into_iter().filter(|name| names.iter().any(|known| known == name));
    (scores, others.collect())
}

/// The same number of places down a column, so that it can be read as a column.
fn measured(row: &Measured, name: &str) -> String {
    match row.metrics.get(name) {
        None => "–".to_owned(),
        Some(Some(value)) if value.is_finite() && name == "length" => format!("{value:.1}"),
        Some(Some(value)) if value.is_finite() => format!("{value:.3}"),
        Some(_) => "NaN".to_owned(),
    }
}

fn counts(versus: Option<&Versus>) -> [String; 5] {
    let Some(versus) = versus else { return ["–"; 5].map(str::to_owned) };
    let Versus { win, loss, tie_changed, tie_unchanged, .. } = *versus;
    let counts = Counts { win, loss, tie_changed, tie_unchanged };
    let rate = counts.win_rate().map_or("–".to_owned(), |rate| format!("{:.2} %", rate * 100.0));
    [win.to_string(), loss.to_string(), tie_changed.to_string(), tie_unchanged.to_string(), rate]
}

/// Answers of the same models stand in one table, a row for each prompt.
pub fn side_by_side(study: &Study, page: Page) -> String {
    let mut text = String::new();
    for rows in study.comparisons.chunk_by(|(_, one), (_, next)| models(one) == models(next)) {
        let models = models(&rows[0].1);
        let has_scores = rows.iter().flat_map(|(_, answers)| answers).any(|answer| answer.score.is_some());
        let mut head = vec!["prompt"];
        for model in &models {
            head.push(*model);
            if has_scores {
                head.push("score");
            }
        }
        // A score takes nine cells with its margin; the texts share the rest alike, two cells between them.
        let for_scores = if has_scores { 9 * models.len() } else { 0 };
        let share = usize::from(page.width).saturating_sub(for_scores) / (models.len() + 1);
        let text_width = share.saturating_sub(2).max(12);
        let mut table = page::table(page, &head);
        for (prompt, answers) in rows {
            let mut cells = vec![cell(shown(prompt, text_width), Tone::Quiet)];
            for answer in answers {
                cells.push(cell(shown(&answer.text, text_width), Tone::Plain));
                if has_scores {
                    cells.push(cell(score(answer), Tone::Plain));
                }
            }
            table.add_row(cells);
        }
        if has_scores {
            page::align_right(&mut table, (2..head.len()).step_by(2));
        }
        text.push_str(&format!("{}: the same prompts, side by side\n{}", study.eval, page::print(table)));
    }
    text
}

fn models(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(|answer| answer.model.as_str()).collect()
}

/// An empty answer is said to be one; the line breaks of a dialogue stay.
fn shown(text: &str, width: usize) -> String {
    let lines: Vec<String> = text.trim().lines().map(|line| fold_text(line.trim(), width)).collect();
    let text = lines.join("\n");
    if text.is_empty() { "(empty)".to_owned() } else { text }
}

fn score(answer: &Answer) -> String {
    answer.score.map_or("–".to_owned(), |score| format!("{score:.3}"))
}
