//! The rows of all files behind a port, in their order, as what one kind of stage asks for.

use super::columns::Columns;
use super::file::{self, Place};
use super::filter::RowFilter;
use super::overlap::PromptDigest;
use super::row::{self, Content};
use super::said::{best, judged, labels};
use super::source::{DataSource, ReadOptions, files, names};
use crate::unreadable::Reading;
use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::{Path, PathBuf};

/// The place of a row: its file, counted from 0 over the files of a port, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowPlace {
    pub file: u32,
    pub place: Place,
}

impl fmt::Display for RowPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file {
            0 => self.place.fmt(formatter),
            file => write!(formatter, "{} of file {}", self.place, file + 1),
        }
    }
}

/// A row of a file, and how it is read.
pub struct SourceRow<'a> {
    /// As it lies in its file.
    pub raw: &'a Value,
    /// With the fields that `columns` names.
    pub value: &'a Value,
    columns: &'a Columns,
    /// Counted from 1 over all files of the port.
    pub number: usize,
    pub options: &'a ReadOptions,
}

impl SourceRow<'_> {
    /// # Errors
    /// Names the field that is missing or holds the wrong thing.
    pub fn contents(&self) -> Result<Vec<Content>> {
        let contents = row::read(self.value)?;
        Ok(contents.into_iter().map(|content| content.joined(&self.options.join)).collect())
    }

    /// The fields of the file that nobody reads.
    pub fn unread(&self) -> Vec<String> {
        let mut unread = row::unread(self.value);
        if !self.columns.is_empty() {
            let fields = self.raw.as_object().into_iter().flatten();
            let fields = fields.filter(|(name, value)| !value.is_null() && !self.columns.reads(name));
            unread.extend(fields.map(|(name, _)| name.clone()));
        }
        unread
    }

    pub fn id(&self) -> String {
        row::id(self.value, self.number)
    }

    /// The id of one of several contents of the row.
    pub fn id_of(&self, index: usize, of: usize) -> String {
        if of == 1 { self.id() } else { format!("{}/{}", self.id(), index + 1) }
    }
}

/// Reads every row; bad ones are left out as far as the filter allows. Hands the others to `each`, in their order, with
/// their places and weights.
///
/// # Errors
/// A file cannot be read, has more bad rows than may be left out, or nothing is left.
pub fn rows<T: Send>(
    sources: &[DataSource],
    filter: &mut RowFilter,
    read: impl Fn(&SourceRow) -> Result<T> + Sync,
    mut each: impl FnMut(RowPlace, f64, T) -> Result<()>,
) -> Result<()> {
    let mut good = 0;
    outcomes(sources, read, |path, place, weight, outcome| {
        filter.rows += 1;
        let outcome = outcome.with_context(|| place.place.to_string()).reading(path);
        let Some(row) = filter.take(outcome)? else { return Ok(()) };
        good += 1;
        each(place, weight, row)
    })?;
    if good == 0 {
        return Err(anyhow!("every row was left out")).reading(Path::new(&names(sources)));
    }
    Ok(())
}

/// Reads every row, and hands good and bad ones to `each`. Returns the forms of the files.
///
/// # Errors
/// A file cannot be read as a whole, or `each` fails.
pub fn outcomes<T: Send>(
    sources: &[DataSource],
    read: impl Fn(&SourceRow) -> Result<T> + Sync,
    mut each: impl FnMut(&Path, RowPlace, f64, Result<T>) -> Result<()>,
) -> Result<Vec<&'static str>> {
    let mut forms = Vec::new();
    let mut file = 0;
    let mut before = 0;
    for source in sources {
        let options = &source.options;
        let columns = &Columns::of(&options.columns)?;
        let mut room = options.take.map_or(usize::MAX, |take| take.try_into().unwrap_or(usize::MAX));
        // A directory may have come from another stage.
        let files: Vec<PathBuf> =
            source.files.iter().map(|path| files(path)).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        for path in &files {
            if room == 0 {
                break;
            }
            let one = |raw: &Value, number: usize| {
                let value = &columns.apply(raw)?;
                read(&SourceRow { raw, value, columns, number: before + number, options })
            };
            let (form, count) = file::rows(path, room, one, |place, outcome| {
                each(path, RowPlace { file, place }, options.weight, outcome)
            })?;
            if !forms.contains(&form) {
                forms.push(form);
            }
            room -= count;
            before += count;
            file += 1;
        }
    }
    Ok(forms)
}

/// The rows that a stage reads from its data files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataRows {
    Texts,
    Prompts,
    Examples,
    Labelled,
    Preferences {
        with_margins: bool,
    },
    /// Prompts with the answers that people are to judge.
    Answers,
}

/// A row that a stage can read.
pub struct TriedRow {
    /// Whether it has something that the stage wants.
    pub says_something: bool,
    pub prompts: Vec<PromptDigest>,
}

impl DataRows {
    /// Reads a row as a stage would.
    ///
    /// # Errors
    /// Those of the stage.
    pub fn try_row(self, row: &SourceRow) -> Result<TriedRow> {
        if self == DataRows::Texts {
            return row::document(row.value).map(|_| TriedRow { says_something: true, prompts: Vec::new() });
        }
        if self != DataRows::Examples {
            row::group(row.value)?;
        }
        if self == DataRows::Prompts {
            row::label(row.value, "subset")?;
        }
        let contents = row.contents()?;
        let prompts = contents.iter().map(|content| PromptDigest::of(&content.prompt)).collect();
        let says_something = match self {
            DataRows::Texts | DataRows::Prompts => true,
            DataRows::Answers => contents.iter().any(|content| !content.completions.answers().is_empty()),
            DataRows::Examples => {
                let answers = contents.into_iter().map(|content| best(content.completions));
                answers.collect::<Result<Vec<_>>>()?.iter().any(Option::is_some)
            }
            DataRows::Labelled => {
                contents.into_iter().try_for_each(|content| labels(String::new(), content.completions).map(drop))?;
                true
            }
            DataRows::Preferences { with_margins } => {
                if with_margins {
                    row::margin(row.value)?;
                }
                judged(contents)?.iter().any(|content| content.completions.prefers())
            }
        };
        Ok(TriedRow { says_something, prompts })
    }
}

/// The ids of rows so far, as digests.
#[derive(Default)]
pub struct Ids(HashMap<[u8; 16], RowPlace>);

impl Ids {
    /// # Errors
    /// An earlier row has the same id.
    pub fn add(&mut self, id: &str, place: RowPlace, sources: &[DataSource]) -> Result<()> {
        match self.0.entry(short_digest(id)) {
            Entry::Vacant(new) => {
                new.insert(place);
                Ok(())
            }
            Entry::Occupied(first) => {
                let fault = anyhow!(
                    "{} and {place} have the same id `{id}`; answers are compared by it, so drop the field or make it \
                     another one in each row",
                    first.get()
                );
                Err(fault).reading(Path::new(&names(sources)))
            }
        }
    }
}

fn short_digest(text: &str) -> [u8; 16] {
    let digest = blake3::hash(text.as_bytes());
    std::array::from_fn(|at| digest.as_bytes()[at])
}
