//! A summary of a data file for people: formats, lengths, repetitions, bad rows, and the prompts it shares with another
//! file.

use super::file::{self, Place};
use super::row::{self, Completions, Format};
use crate::dialogue::Prompt;
use anyhow::{Context, Result};
use rayon::prelude::*;
use serde_json::Value;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The number of bad rows that are shown one by one.
const SHOWN: usize = 5;

#[derive(Debug)]
pub struct Inspection {
    /// JSON, JSONL or Parquet.
    pub form: &'static str,
    pub rows: usize,
    /// Rows by format, as far as their fields show one.
    pub formats: BTreeMap<Format, usize>,
    pub bad: usize,
    /// The first bad rows, each with its error.
    pub first_bad: Vec<(Place, String)>,
    /// Sorted lengths of the prompts (or documents), in the caller's unit.
    pub prompt_lengths: Vec<usize>,
    /// Sorted lengths of all answers.
    pub answer_lengths: Vec<usize>,
    /// Good rows whose lengths could not be counted.
    pub uncounted: usize,
    /// The first of them, and its error.
    pub first_uncounted: Option<(Place, String)>,
    /// Good rows with the prompt and the answers of an earlier row.
    pub repeated_rows: usize,
    /// The first of them, and the row that it repeats.
    pub first_repeated: Option<(Place, Place)>,
    /// Prompts of more than one row.
    pub repeated_prompts: usize,
    /// The first row of each prompt, by the digest of its letters.
    prompts: HashMap<[u8; 32], Place>,
}

/// A row whose format is known.
struct Row {
    format: Format,
    content: Result<Content>,
}

struct Content {
    whole: [u8; 32],
    prompt: [u8; 32],
    /// The length of the prompt, and those of the answers.
    lengths: Result<(usize, Vec<usize>)>,
}

/// Reads a whole file. `length(prompt, answer)` counts an answer, or without one the prompt.
///
/// # Errors
/// The file cannot be read as a whole.
pub fn inspect(path: &Path, length: impl Fn(&Prompt, Option<&str>) -> Result<usize> + Sync) -> Result<Inspection> {
    let content = |value: &Value, format: Format| -> Result<Content> {
        let (prompt, completions) = match format {
            Format::Text => (Prompt::Text(row::document(value)?), Completions::None),
            _ => row::read(value)?,
        };
        let letters = letters(&prompt.to_string());
        let whole = digest(&format!("{letters}\0{completions:?}"));
        let answers = completions.answers();
        let lengths = || {
            let answers = answers.iter().map(|answer| length(&prompt, Some(answer))).collect::<Result<_>>()?;
            Ok((length(&prompt, None)?, answers))
        };
        Ok(Content { whole, prompt: digest(&letters), lengths: lengths() })
    };
    let read = |value: &Value, _| -> Result<Row> {
        let format = row::format(value).context("no field of a known format")?;
        Ok(Row { format, content: content(value, format) })
    };
    let (form, outcomes) = file::rows(path, read)?;
    let mut found = Inspection {
        form,
        rows: outcomes.len(),
        formats: BTreeMap::new(),
        bad: 0,
        first_bad: Vec::new(),
        prompt_lengths: Vec::new(),
        answer_lengths: Vec::new(),
        uncounted: 0,
        first_uncounted: None,
        repeated_rows: 0,
        first_repeated: None,
        repeated_prompts: 0,
        prompts: HashMap::new(),
    };
    let mut rows = HashMap::new();
    let mut times: HashMap<[u8; 32], usize> = HashMap::new();
    for (place, outcome) in outcomes {
        if let Ok(Row { format, .. }) = &outcome {
            *found.formats.entry(*format).or_default() += 1;
        }
        let content = match outcome.and_then(|row| row.content) {
            Ok(content) => content,
            Err(error) => {
                found.bad += 1;
                if found.first_bad.len() < SHOWN {
                    found.first_bad.push((place, format!("{error:#}")));
                }
                continue;
            }
        };
        match content.lengths {
            Ok((prompt, answers)) => {
                found.prompt_lengths.push(prompt);
                found.answer_lengths.extend(answers);
            }
            Err(error) => {
                found.uncounted += 1;
                found.first_uncounted.get_or_insert((place, format!("{error:#}")));
            }
        }
        match rows.entry(content.whole) {
            Entry::Occupied(first) => {
                found.repeated_rows += 1;
                found.first_repeated.get_or_insert((place, *first.get()));
            }
            Entry::Vacant(new) => _ = new.insert(place),
        }
        *times.entry(content.prompt).or_default() += 1;
        found.prompts.entry(content.prompt).or_insert(place);
    }
    found.repeated_prompts = times.values().filter(|times| **times > 1).count();
    found.prompt_lengths.par_sort_unstable();
    found.answer_lengths.par_sort_unstable();
    Ok(found)
}

impl Inspection {
    /// The places, here and there, of the prompts that both files have, in the order of this one.
    pub fn shared_with(&self, other: &Inspection) -> Vec<(Place, Place)> {
        let both = self.prompts.iter().filter_map(|(digest, here)| Some((*here, *other.prompts.get(digest)?)));
        let mut both: Vec<(Place, Place)> = both.collect();
        both.sort_unstable();
        both
    }
}

fn digest(text: &str) -> [u8; 32] {
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// The text without differences of case and space: a held-out prompt that differs only in them measures memory.
fn letters(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The smallest value that `share` of the sorted ones do not exceed (nearest rank).
pub fn percentile(sorted: &[usize], share: f64) -> Option<usize> {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}
