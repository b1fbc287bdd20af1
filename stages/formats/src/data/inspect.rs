//! A summary of data files for people: formats, lengths, repetitions, bad rows, fields that nobody reads, and the
//! prompts that they share with other files.

use super::overlap::PromptDigest;
use super::read::{DataRows, RowPlace, SourceRow, outcomes};
use super::row::{self, Completions, Content};
use super::source::DataSource;
use crate::dialogue::Prompt;
use anyhow::{Context, Result};
use rayon::prelude::*;
use serde_json::Value;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

/// The number of bad rows that are shown one by one.
const SHOWN: usize = 5;

/// The number of good rows that are kept whole, as examples.
const EXAMPLES: usize = 10;

#[derive(Debug, Default)]
pub struct Inspection {
    /// JSON, JSONL, CSV, Parquet, …: of each file, without repetition.
    pub forms: Vec<&'static str>,
    pub rows: usize,
    /// The files with rows, in their order.
    pub files: Vec<PathBuf>,
    /// Rows by the name of their format, as far as their fields show one.
    pub formats: BTreeMap<&'static str, usize>,
    pub bad: usize,
    /// The first bad rows, each with its error.
    pub first_bad: Vec<(RowPlace, String)>,
    /// The reason why a stage refuses files without a bad row.
    pub refused: Option<String>,
    /// Good rows that say nothing to the stage: nothing that was wanted, or no preference.
    pub idle: usize,
    /// Fields that nobody reads, and the number of rows with each.
    pub unread: BTreeMap<String, usize>,
    /// Sorted lengths of the prompts (or documents), in the caller's unit.
    pub prompt_lengths: Vec<usize>,
    /// Sorted lengths of all answers.
    pub answer_lengths: Vec<usize>,
    /// Good rows whose lengths could not be counted.
    pub uncounted: usize,
    /// The first of them, and its error.
    pub first_uncounted: Option<(RowPlace, String)>,
    /// Rows that are an earlier row again, in every field but `id`.
    pub repeated_rows: usize,
    /// The first of them, and the row that it repeats.
    pub first_repeated: Option<(RowPlace, RowPlace)>,
    /// Prompts of more than one row.
    pub repeated_prompts: usize,
    pub votes: Votes,
    /// The first good rows.
    pub examples: Vec<(RowPlace, Content)>,
    /// The first row of each prompt, by its digest.
    prompts: HashMap<u64, RowPlace>,
}

/// The votes of rows that several people judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Votes {
    pub all: usize,
    /// Those for what most people of the row said.
    pub of_most: usize,
}

impl Votes {
    /// The share of the votes that are as those of most people.
    pub fn agreement(self) -> Option<f64> {
        (self.all > 0).then(|| self.of_most as f64 / self.all as f64)
    }

    fn add(&mut self, completions: &Completions) {
        if let Completions::Voted { votes: [first, second], ties, .. } = completions {
            self.all += first + second + ties;
            self.of_most += first.max(second).max(ties);
        }
    }
}

/// A row that was read.
struct Read {
    format: &'static str,
    unread: Vec<String>,
    whole: [u8; 32],
    content: Result<Good>,
}

struct Good {
    says_something: bool,
    contents: Vec<Content>,
    prompts: Vec<u64>,
    /// The lengths of the prompts, and those of the answers.
    lengths: Result<[Vec<usize>; 2]>,
}

/// Reads all files; with `wanted`, as a stage that asks for such rows. `length(prompt, answer)` counts an answer, or
/// without one the prompt.
///
/// # Errors
/// A file cannot be read as a whole.
pub fn inspect(
    sources: &[DataSource],
    wanted: Option<DataRows>,
    length: impl Fn(&Prompt, Option<&str>) -> Result<usize> + Sync,
) -> Result<Inspection> {
    let good = |row: &SourceRow| -> Result<Good> {
        let format = row::format(row.value).context("no field of a known format")?;
        let is_text = format.name == "text" || wanted == Some(DataRows::Texts);
        let tried = wanted.map(|wanted| wanted.try_row(row)).transpose()?;
        let says_something = tried.is_none_or(|tried| tried.says_something);
        let contents = match is_text {
            true => vec![Content { prompt: Prompt::Text(row::document(row.value)?), completions: Completions::None }],
            false => row.contents()?,
        };
        let prompts = contents.iter().map(|content| PromptDigest::of(&content.prompt).normalised).collect();
        let lengths = || {
            let [mut of_prompts, mut of_answers] = [Vec::new(), Vec::new()];
            for Content { prompt, completions } in &contents {
                of_prompts.push(length(prompt, None)?);
                for answer in completions.answers() {
                    of_answers.push(length(prompt, Some(answer))?);
                }
            }
            Ok([of_prompts, of_answers])
        };
        let lengths = lengths();
        Ok(Good { says_something, contents, prompts, lengths })
    };
    let read = |row: &SourceRow| {
        let format = row::format(row.value).map_or("", |format| format.name);
        Ok(Read { format, unread: row.unread(), whole: whole(row.raw), content: good(row) })
    };
    let mut found = Inspection::default();
    let mut rows = HashMap::new();
    let mut times: HashMap<u64, usize> = HashMap::new();
    let forms = outcomes(sources, read, |path, place, _, outcome| {
        found.rows += 1;
        if found.files.len() <= place.file as usize {
            found.files.push(path.to_owned());
        }
        if let Ok(Read { format, unread, whole, .. }) = &outcome {
            if !format.is_empty() {
                *found.formats.entry(*format).or_default() += 1;
            }
            unread.iter().for_each(|field| *found.unread.entry(field.clone()).or_default() += 1);
            match rows.entry(*whole) {
                Entry::Occupied(first) => {
                    found.repeated_rows += 1;
                    found.first_repeated.get_or_insert((place, *first.get()));
                }
                Entry::Vacant(new) => _ = new.insert(place),
            }
        }
        match outcome.and_then(|row| row.content) {
            Ok(good) => found.add(place, good, &mut times),
            Err(error) => {
                found.bad += 1;
                if found.first_bad.len() < SHOWN {
                    found.first_bad.push((place, format!("{error:#}")));
                }
            }
        }
        Ok(())
    })?;
    found.forms = forms;
    found.repeated_prompts = times.values().filter(|times| **times > 1).count();
    found.prompt_lengths.par_sort_unstable();
    found.answer_lengths.par_sort_unstable();
    if let (Some(wanted), 0) = (wanted, found.bad) {
        found.refused = super::check(wanted, sources, 0).err().map(|error| format!("{error:#}"));
    }
    Ok(found)
}

impl Inspection {
    fn add(&mut self, place: RowPlace, good: Good, times: &mut HashMap<u64, usize>) {
        self.idle += usize::from(!good.says_something);
        match good.lengths {
            Ok([prompts, answers]) => {
                self.prompt_lengths.extend(prompts);
                self.answer_lengths.extend(answers);
            }
            Err(error) => {
                self.uncounted += 1;
                self.first_uncounted.get_or_insert((place, format!("{error:#}")));
            }
        }
        for prompt in good.prompts {
            *times.entry(prompt).or_default() += 1;
            self.prompts.entry(prompt).or_insert(place);
        }
        good.contents.iter().for_each(|content| self.votes.add(&content.completions));
        let room = EXAMPLES - self.examples.len();
        self.examples.extend(good.contents.into_iter().take(room).map(|content| (place, content)));
    }

    /// The place of a row, with the name of its file where there are several.
    pub fn at(&self, place: RowPlace) -> String {
        match self.files.get(place.file as usize) {
            Some(path) if self.files.len() > 1 => format!("{} {}", path.display(), place.place),
            _ => place.place.to_string(),
        }
    }

    /// The places, here and there, of the prompts that both have, in the order of this one.
    pub fn shared_with(&self, other: &Inspection) -> Vec<(RowPlace, RowPlace)> {
        let both = self.prompts.iter().filter_map(|(digest, here)| Some((*here, *other.prompts.get(digest)?)));
        let mut both: Vec<(RowPlace, RowPlace)> = both.collect();
        both.sort_unstable();
        both
    }
}

/// The digest of a whole row, without its `id`.
fn whole(row: &Value) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    match row {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| *name != "id") {
                hasher.update(format!("{name:?}: {value},").as_bytes());
            }
        }
        other => drop(hasher.update(other.to_string().as_bytes())),
    }
    *hasher.finalize().as_bytes()
}

/// The smallest value that `share` of the sorted ones do not exceed (nearest rank).
pub fn percentile(sorted: &[usize], share: f64) -> Option<usize> {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}
