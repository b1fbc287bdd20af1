//! Prompts with several answers and the preferences among them, as tokens of a model.

use super::rows::{RowEncoder, Sequence, split, tokenised};
use crate::draw::Draw;
use crate::io::Io;
use crate::model::Load;
use crate::rl::PairTerms;
use anyhow::{Context, Result};
use formats::data::{self, Preference, RowFilter};
use std::path::Path;

/// One prompt's answers, and the preferences among them: `(chosen, rejected)` as indices of `rows`.
pub struct Group {
    pub id: String,
    pub prompt: String,
    pub prompt_group: String,
    pub rows: Vec<Sequence>,
    pub pairs: Vec<(usize, usize)>,
    /// The margin of each pair, if the data names one.
    pub margins: Vec<Option<f64>>,
}

impl Group {
    /// Splits numbers by answer into those of the chosen and those of the rejected answer of each pair.
    pub fn sides(&self, of_answers: &[f64]) -> (Vec<f64>, Vec<f64>) {
        self.pairs.iter().map(|(better, worse)| (of_answers[*better], of_answers[*worse])).unzip()
    }

    /// Adds the weighted gradients of the pairs to the gradients of the answers.
    pub fn spread(&self, pairs: &PairTerms, weight: f64, of_answers: &mut [f64]) {
        for ((better, worse), (chosen, rejected)) in self.pairs.iter().zip(pairs.chosen.iter().zip(&pairs.rejected)) {
            of_answers[*better] += weight * chosen;
            of_answers[*worse] += weight * rejected;
        }
    }
}

/// Reads the prompts to train on and those to measure on. The latter come from the port `heldout`, else they are a
/// share of `data`.
///
/// # Errors
/// A file cannot be read, more rows are bad than may be left out, or there are too few prompts to hold any out.
pub fn groups_apart(
    encoder: &RowEncoder,
    io: &Io,
    share: f64,
    draw: Draw,
    with_margins: bool,
    filter: &mut RowFilter,
) -> Result<(Vec<Group>, Vec<Group>)> {
    let mut training = groups(encoder, "data", io.input("data")?, with_margins, filter)?;
    let heldout = match io.optional_input("heldout") {
        Some(path) => groups(encoder, "heldout", path, with_margins, filter)?,
        None => {
            let (_, held) = split(&draw.order(0, training.len()), share)?;
            held.iter().rev().map(|group| training.remove(*group)).collect()
        }
    };
    Ok((training, heldout))
}

/// Reads preferences and tokenises them.
///
/// # Errors
/// The file cannot be read, or more rows are bad than may be left out.
fn groups(
    encoder: &RowEncoder,
    port: &str,
    data: &Path,
    with_margins: bool,
    filter: &mut RowFilter,
) -> Result<Vec<Group>> {
    let answers = |preference: &Preference| -> Result<(Vec<Sequence>, usize)> {
        let row = |answer: &String| {
            let row = encoder.sequence(&preference.prompt, answer);
            row.with_context(|| format!("row `{}` of `{port}`", preference.id))
        };
        let rows = preference.answers.iter().map(row).collect::<Result<Vec<_>>>()?;
        let cut = rows.iter().filter(|(_, is_cut)| *is_cut).count();
        Ok((rows.into_iter().map(|(row, _)| row).collect(), cut))
    };
    let preferences = data::preferences(data, with_margins, filter)?;
    let groups = tokenised(preferences, format_args!("read {}", data.display()), filter, answers)?;
    let group = |(preference, rows): (Preference, Vec<Sequence>)| {
        let Preference { id, group, prompt, pairs, margins, .. } = preference;
        Group { id, prompt: prompt.to_string(), prompt_group: group, rows, pairs, margins }
    };
    Ok(groups.into_iter().map(group).collect())
}

/// The sizes of one part of a batch of groups, for an estimate of memory.
pub fn load_of_groups(groups: &[Group], at_once: Option<usize>, batch: usize, has_predictions: bool) -> Load {
    let most = |of: fn(&Group) -> usize| groups.iter().map(of).max().unwrap_or(0);
    let answers = most(|group| group.rows.len());
    let rows = at_once.map_or(batch * answers, |at_once| at_once.max(answers));
    let tokens = most(|group| group.rows.iter().map(|row| row.ids.len()).max().unwrap_or(0));
    let predicted = if has_predictions { rows * tokens } else { 0 };
    Load { rows, tokens, predicted, trained: 1, ..Load::default() }
}

/// Splits a batch into parts of about `at_once` rows of similar length. A group is never split.
pub fn parts_of_groups(groups: &[&Group], at_once: Option<usize>) -> Vec<Vec<usize>> {
    let longest = |group: &Group| group.rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
    let mut order: Vec<usize> = (0..groups.len()).collect();
    let Some(at_once) = at_once else { return vec![order] };
    order.sort_by_key(|group| longest(groups[*group]));
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for group in order {
        let rows = groups[group].rows.len();
        if rows > room {
            parts.push(Vec::new());
            room = at_once.max(rows);
        }
        room -= rows;
        parts.last_mut().expect("one was pushed").push(group);
    }
    parts
}

/// A ranking of four answers, the last two of which tie, and a pair whose second answer is the better one.
#[cfg(test)]
pub fn groups_of_a_test() -> [Group; 2] {
    let group = |lengths: &[usize], pairs: &[(usize, usize)]| Group {
        id: String::new(),
        prompt: String::new(),
        prompt_group: String::new(),
        rows: lengths.iter().map(|length| Sequence { ids: vec![0; 1 + length], start: 1 }).collect(),
        pairs: pairs.to_vec(),
        margins: vec![None; pairs.len()],
    };
    [group(&[3, 5, 2, 4], &[(1, 0), (1, 2), (1, 3), (0, 2), (0, 3)]), group(&[2, 7], &[(1, 0)])]
}

/// Asserts that the gradients are the derivatives of the loss, by central differences.
#[cfg(test)]
pub fn has_gradients(at: &[f64], objective: impl Fn(&[f64]) -> (f64, Vec<f64>)) {
    const STEP: f64 = 1e-6;
    let (_, gradients) = objective(at);
    assert!(gradients.iter().any(|gradient| *gradient != 0.0));
    for (index, gradient) in gradients.iter().enumerate() {
        let moved = |step: f64| {
            let mut at = at.to_vec();
            at[index] += step;
            objective(&at).0
        };
        let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        assert!((gradient - expected).abs() < 1e-8, "{index}: {gradient} is not {expected}");
    }
}
