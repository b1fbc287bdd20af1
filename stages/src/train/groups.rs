//! Prompts with several answers and the preferences among them, as tokens of a model.

use super::parameters::Passes;
use super::rows::{RowEncoder, Sequence, split, tokenised};
use crate::draw::Draw;
use crate::io::Io;
use crate::model::Load;
use crate::rl::PairTerms;
use anyhow::{Result, bail};
use formats::data::{self, DataSource, JudgedAnswers, Preference, RowFilter};

/// One prompt's answers, and the preferences among them: `(chosen, rejected)` as indices of `rows`.
pub struct Group {
    pub id: String,
    pub prompt: String,
    pub prompt_group: String,
    pub rows: Vec<Sequence>,
    pub pairs: Vec<(usize, usize)>,
    /// The margin of each pair, if the data names one.
    pub margins: Vec<Option<f64>>,
    /// The number of times it is learned in an epoch.
    pub weight: f64,
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

/// The part that is read of preferences.
#[derive(Clone, Copy)]
pub struct PreferenceReading {
    pub with_margins: bool,
    /// The most pairs of one prompt; more are drawn by `draw`.
    pub most: usize,
    pub draw: Draw,
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
    split_by: Draw,
    reading: PreferenceReading,
    filter: &mut RowFilter,
) -> Result<(Vec<Group>, Vec<Group>)> {
    let mut training = groups(encoder, "data", io.data("data")?, reading, filter)?;
    let heldout = match io.optional_data("heldout") {
        Some(path) => groups(encoder, "heldout", path, reading, filter)?,
        None => {
            let (_, held) = split(&split_by.order(0, training.len()), share)?;
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
    data: &[DataSource],
    reading: PreferenceReading,
    filter: &mut RowFilter,
) -> Result<Vec<Group>> {
    let judged = data::preferences(data, reading.with_margins, filter)?;
    let preferences = drawn(judged, port, reading, filter);
    let answers = |preference: &Preference| {
        let answers: Vec<&str> = preference.answers.iter().map(String::as_str).collect();
        encoder.sequences(&preference.prompt, &answers)
    };
    let place = |preference: &Preference| format!("row `{}`", preference.id);
    let tokens = tokenised(preferences, port, filter, place, answers)?;
    let (mut groups, mut lost) = (Vec::with_capacity(tokens.len()), 0);
    for (preference, rows) in tokens {
        let pairs = preference.pairs.len();
        let group = group(preference, rows);
        lost += pairs - group.pairs.len();
        groups.extend(Some(group).filter(|group| !group.pairs.is_empty()));
    }
    if lost > 0 {
        filter.dropped += lost as u64;
        filter.remark(format!(
            "`{port}`: {lost} pairs are left out, because they are too long, or equal once they are cut"
        ));
    }
    if groups.is_empty() {
        bail!("read `{port}`: no pair is left; raise `max_tokens`, or take another `truncate`");
    }
    Ok(groups)
}

/// The preferences with their pairs, of one prompt not more than are wanted.
fn drawn(
    judged: Vec<JudgedAnswers>,
    port: &str,
    reading: PreferenceReading,
    filter: &mut RowFilter,
) -> Vec<Preference> {
    let PreferenceReading { most, draw, .. } = reading;
    let many: Vec<usize> = judged.iter().map(JudgedAnswers::pairs).filter(|pairs| *pairs > most).collect();
    if !many.is_empty() {
        let (prompts, pairs) = (many.len(), many.iter().sum::<usize>());
        filter.remark(format!(
            "`{port}`: of {pairs} pairs of prompts with more than {most} each, {} were drawn (`pairs_per_prompt`); such \
             prompts: {prompts}",
            prompts * most
        ));
    }
    let one = |(number, known): (usize, JudgedAnswers)| {
        let mut stream = draw.stream(0, number as u64);
        known.with_pairs(most, |n| stream.below(n))
    };
    judged.into_iter().enumerate().map(one).collect()
}

/// The prompt with those answers that fit, and the pairs of them that still differ.
fn group(preference: Preference, rows: Vec<Option<Sequence>>) -> Group {
    let Preference { id, group, prompt, pairs, margins, weight, .. } = preference;
    let differ = |(better, worse): (usize, usize)| match (&rows[better], &rows[worse]) {
        (Some(better), Some(worse)) => better != worse,
        _ => false,
    };
    let kept: Vec<((usize, usize), Option<f64>)> =
        pairs.into_iter().zip(margins).filter(|(pair, _)| differ(*pair)).collect();
    let mut places = Vec::with_capacity(rows.len());
    let mut next = 0;
    for row in &rows {
        places.push(next);
        next += usize::from(row.is_some());
    }
    let (pairs, margins) =
        kept.into_iter().map(|((better, worse), margin)| ((places[better], places[worse]), margin)).unzip();
    Group {
        id,
        prompt: prompt.to_string(),
        prompt_group: group,
        rows: rows.into_iter().flatten().collect(),
        pairs,
        margins,
        weight,
    }
}

/// The sizes of one part of a batch of groups, for an estimate of memory.
pub fn load_of_groups(groups: &[Group], passes: &Passes, batch: usize, has_predictions: bool) -> Load {
    let most = |of: fn(&Group) -> usize| groups.iter().map(of).max().unwrap_or(0);
    let answers = most(|group| group.rows.len());
    let of_shard = batch.div_ceil(passes.shards()) * answers;
    let rows = passes.micro_batch.map_or(of_shard, |at_once| at_once.min(of_shard));
    let tokens = most(|group| group.rows.iter().map(|row| row.ids.len()).max().unwrap_or(0));
    let predicted = if has_predictions { rows * tokens } else { 0 };
    Load { rows, tokens, predicted, trained: 1, ..Load::default() }
}

/// Splits a batch into parts of at most `at_once` rows of similar length. A group is never split; one of more rows is a
/// part by itself, and goes through in pieces.
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
        rows: lengths.iter().map(|length| Sequence::new(vec![0; 1 + length], 1)).collect(),
        pairs: pairs.to_vec(),
        margins: vec![None; pairs.len()],
        weight: 1.0,
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
