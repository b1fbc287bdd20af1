//! Every model under every reward model, so that one that pleases only the reward model that trained it is seen.

use super::facts::Facts;
use super::table::{TableEntry, table};
use super::words::{self, Language};
use crate::event::StudyRow;
use crate::report::fold::{RunState, Study};
use crate::report::study::{columns, measured};
use maud::{Markup, html};

pub fn section(facts: &Facts, language: Language) -> Option<Markup> {
    let of: Vec<&Study> = facts.run.studies.iter().filter(|study| study.rewards.len() > 1).collect();
    (!of.is_empty()).then(|| {
        html! {
            p.note { (words::MODELS_NOTE.say(language)) }
            @for study in of {
                @if facts.run.studies.len() > 1 { h3 { (study.eval) } }
                (matrix(&facts.run, study, language))
            }
        }
    })
}

fn matrix(run: &RunState, study: &Study, language: Language) -> Markup {
    let scores = columns(study).0;
    let headers: Vec<&str> = [words::MODEL.say(language)]
        .into_iter()
        .chain(study.rewards.iter().map(String::as_str))
        .chain([words::TRAINED_BY.say(language)])
        .collect();
    let row = |row: &StudyRow| {
        let scores = scores.iter().map(|column| TableEntry::Number(measured(row, column)));
        let trained = trained_by(run, row, study).map(|at| study.rewards[at].clone());
        let trained = TableEntry::Text(html! { (trained.unwrap_or_default()) });
        [TableEntry::Text(html! { (row.model) })].into_iter().chain(scores).chain([trained]).collect()
    };
    let rows: Vec<Vec<TableEntry>> = study.rows.iter().map(row).collect();
    table(words::MODELS_BY_REWARDS.say(language), &headers, &rows)
}

/// The index of the reward that trained a model, among those that a study scores by.
pub fn trained_by(run: &RunState, row: &StudyRow, study: &Study) -> Option<usize> {
    let stage = run.stage(&row.model.name)?;
    let mut sources = stage.head.from.iter().flat_map(|(_, sources)| sources);
    sources.find_map(|source| study.rewards.iter().position(|reward| *reward == source.to_string()))
}
