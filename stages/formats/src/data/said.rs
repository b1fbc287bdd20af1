//! The answers of a row as one kind of stage takes them: the best one, labels, or what can be compared.

use super::row::{Completions, Content};
use anyhow::{Result, bail};
use std::cmp::Ordering;

/// The answer to learn: the only one, else the chosen or the best one; `None` where it was unwanted.
///
/// # Errors
/// There is none, or it is empty.
pub fn best(answers: Completions) -> Result<Option<String>> {
    let first_best = |answers: Vec<(String, f64)>| {
        let mut best: Option<(String, f64)> = None;
        for (answer, value) in answers {
            if best.as_ref().is_none_or(|(_, highest)| value > *highest) {
                best = Some((answer, value));
            }
        }
        best.map(|(answer, _)| answer)
    };
    let answer = match answers {
        Completions::None => {
            bail!("no answer to learn (`completion`, `output`, `response`, `answer`, or a last turn of the assistant)")
        }
        Completions::Labelled(_, false) => return Ok(None),
        Completions::One(answer) | Completions::Labelled(answer, true) | Completions::Pair { chosen: answer, .. } => {
            Some(answer)
        }
        // The one that more people preferred; neither, if as many preferred the other.
        Completions::Voted { answers, votes: [first, second], .. } => match first.cmp(&second) {
            Ordering::Equal => return Ok(None),
            Ordering::Greater => answers.into_iter().next(),
            Ordering::Less => answers.into_iter().next_back(),
        },
        Completions::Ranked(ranked) => {
            first_best(ranked.into_iter().map(|(answer, rank)| (answer, -(rank as f64))).collect())
        }
        Completions::Rated(rated) => first_best(rated),
    };
    match answer {
        Some(answer) if !answer.trim().is_empty() => Ok(Some(answer)),
        _ => bail!("the answer is empty"),
    }
}

/// An answer, and whether it was wanted.
pub struct Label {
    pub id: String,
    pub answer: String,
    pub is_desirable: bool,
}

/// Answers with labels.
///
/// # Errors
/// They have none.
pub fn labels(id: String, completions: Completions) -> Result<Vec<Label>> {
    Ok(match completions {
        Completions::Labelled(answer, is_desirable) => vec![Label { id, answer, is_desirable }],
        Completions::Pair { chosen, rejected } => vec![
            Label { id: format!("{id}/chosen"), answer: chosen, is_desirable: true },
            Label { id: format!("{id}/rejected"), answer: rejected, is_desirable: false },
        ],
        Completions::Ranked(_) | Completions::Rated(_) | Completions::Voted { .. } => {
            bail!("ranks, ratings and votes say which answer is better, not which was wanted: add a `label`")
        }
        Completions::None | Completions::One(_) => bail!("no field `label` (nor `chosen` and `rejected`)"),
    })
}

/// The contents of a row in which answers are compared.
///
/// # Errors
/// There are none.
pub fn judged(contents: Vec<Content>) -> Result<Vec<Content>> {
    let compares = |content: &Content| !matches!(content.completions, Completions::None | Completions::One(_));
    let judged: Vec<Content> = contents.into_iter().filter(compares).collect();
    if judged.is_empty() {
        bail!("no field `chosen` (nor `ranking`, `rating` or `label`)");
    }
    Ok(judged)
}
