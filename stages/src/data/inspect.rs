//! What is in a data file, for people: formats, lengths, repetitions, bad rows, and what it shares with another one.
//! Knows neither tokens nor how it is shown.

use super::row::{self, Answers, Format, Prompt};
use super::{Place, file};
use anyhow::{Context, Result};
use rayon::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Bad rows that are told one by one.
const TOLD: usize = 5;

#[derive(Debug)]
pub struct Found {
    /// JSON, JSONL, Parquet.
    pub form: &'static str,
    pub rows: usize,
    /// Rows by format, as far as their fields tell one.
    pub formats: BTreeMap<Format, usize>,
    pub bad: usize,
    /// The first of them, and why.
    pub first_bad: Vec<(Place, String)>,
    /// Of prompts (or documents) and of all answers, sorted; in what the caller counts.
    pub prompt_lengths: Vec<usize>,
    /// Good rows whose lengths could not be counted, and why not the first.
    pub uncounted: usize,
    pub first_uncounted: Option<(Place, String)>,
    pub answer_lengths: Vec<usize>,
    /// Good rows that say what an earlier one said, and their first place and that of their likeness.
    pub repeated_rows: usize,
    pub first_repeated: Option<(Place, Place)>,
    /// Prompts that more than one row has.
    pub repeated_prompts: usize,
    /// Where each prompt is first asked, by the digest of its letters.
    prompts: HashMap<[u8; 32], Place>,
}

/// Of one row whose format is known.
struct Seen {
    format: Format,
    said: Result<Said>,
}

struct Said {
    /// Of all it says, and of its prompt.
    digests: [[u8; 32]; 2],
    /// Of its prompt, and of its answers.
    lengths: Result<(usize, Vec<usize>)>,
}

/// Reads a whole file. `length(prompt, answer)` counts an answer, or without one the prompt.
///
/// # Errors
/// The file cannot be read as a whole.
pub fn inspect(path: &Path, length: impl Fn(&Prompt, Option<&str>) -> Result<usize> + Sync) -> Result<Found> {
    let say = |value: &Value, format: Format| -> Result<Said> {
        let (prompt, answers) = match format {
            Format::Text => (Prompt::Text(row::document(value)?), Answers::None),
            _ => row::read(value)?,
        };
        let said = format!("{answers:?}");
        let answers = match answers {
            Answers::None => Vec::new(),
            Answers::One(answer) | Answers::Labelled(answer, _) => vec![answer],
            Answers::Pair { chosen, rejected } => vec![chosen, rejected],
            Answers::Ranked(ranked) => ranked.into_iter().map(|(answer, _)| answer).collect(),
            Answers::Rated(rated) => rated.into_iter().map(|(answer, _)| answer).collect(),
        };
        let letters = letters(&prompt.to_string());
        let lengths = || {
            let answers = answers.iter().map(|answer| length(&prompt, Some(answer))).collect::<Result<_>>()?;
            Ok((length(&prompt, None)?, answers))
        };
        Ok(Said {
            digests: [format!("{letters}\0{said}"), letters].map(|text| *blake3::hash(text.as_bytes()).as_bytes()),
            lengths: lengths(),
        })
    };
    let read = |value: &Value, _| -> Result<Seen> {
        let format = row::format(value).context("no field of a known format")?;
        Ok(Seen { format, said: say(value, format) })
    };
    let (form, outcomes) = file::rows(path, read)?;
    let mut found = Found {
        form,
        rows: outcomes.len(),
        formats: BTreeMap::new(),
        bad: 0,
        first_bad: Vec::new(),
        prompt_lengths: Vec::new(),
        uncounted: 0,
        first_uncounted: None,
        answer_lengths: Vec::new(),
        repeated_rows: 0,
        first_repeated: None,
        repeated_prompts: 0,
        prompts: HashMap::new(),
    };
    let mut rows = HashMap::new();
    let mut asked: HashMap<[u8; 32], usize> = HashMap::new();
    for (place, outcome) in outcomes {
        if let Ok(Seen { format, .. }) = &outcome {
            *found.formats.entry(*format).or_default() += 1;
        }
        match outcome.and_then(|seen| seen.said) {
            Err(error) => {
                found.bad += 1;
                if found.first_bad.len() < TOLD {
                    found.first_bad.push((place, format!("{error:#}")));
                }
            }
            Ok(Said { digests: [whole, prompt], lengths }) => {
                match lengths {
                    Ok((prompt, answers)) => {
                        found.prompt_lengths.push(prompt);
                        found.answer_lengths.extend(answers);
                    }
                    Err(error) => {
                        found.uncounted += 1;
                        found.first_uncounted.get_or_insert((place, format!("{error:#}")));
                    }
                }
                if let Some(first) = rows.get(&whole) {
                    found.repeated_rows += 1;
                    found.first_repeated.get_or_insert((place, *first));
                } else {
                    rows.insert(whole, place);
                }
                *asked.entry(prompt).or_default() += 1;
                found.prompts.entry(prompt).or_insert(place);
            }
        }
    }
    found.repeated_prompts = asked.values().filter(|rows| **rows > 1).count();
    found.prompt_lengths.par_sort_unstable();
    found.answer_lengths.par_sort_unstable();
    Ok(found)
}

impl Found {
    /// Prompts that both files have, in the order of this one: where here, where there.
    pub fn shared_with(&self, other: &Found) -> Vec<(Place, Place)> {
        let both = self.prompts.iter().filter_map(|(digest, here)| Some((*here, *other.prompts.get(digest)?)));
        let mut both: Vec<(Place, Place)> = both.collect();
        both.sort_unstable();
        both
    }
}

/// Prompts that differ only in case and space are one: held-out rows of that kind measure memory.
fn letters(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The smallest value that `share` of the sorted ones do not exceed (nearest rank).
pub fn percentile(sorted: &[usize], share: f64) -> Option<usize> {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}
