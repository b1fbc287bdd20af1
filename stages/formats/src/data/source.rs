//! The files behind a data port, and how each of them is read.

use super::columns::Columns;
use crate::unreadable::Reading;
use crate::whole;
use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The options beside a source in the pipeline file. Those that differ from their defaults are part of the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadOptions {
    /// Fields by the fields or Jinja texts that they are read from; empty: the fields of the row as they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// The text between a text prompt and its answer. Reading puts it before each answer, so that all who learn from or
    /// judge the row see the same text. A dialogue has its template instead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub join: String,
    /// The number of rows that are read, from the first one on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub take: Option<u64>,
    /// The number of times that each row is learned in an epoch. The fraction is the share of the rows that are learned
    /// once more.
    #[serde(skip_serializing_if = "is_one")]
    pub weight: f64,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions { columns: BTreeMap::new(), join: String::new(), take: None, weight: 1.0 }
    }
}

fn is_one(weight: &f64) -> bool {
    *weight == 1.0
}

/// The keys of [`ReadOptions`], each with what it does.
pub const OPTIONS: [(&str, &str); 4] = [
    ("columns", "fields by the fields of the file, or the Jinja texts, that they are read from: `{prompt: question}`"),
    ("join", "the text between a text prompt and its answer; default: nothing"),
    ("take", "how many rows are read, from the first one on; default: all"),
    ("weight", "how often each row is learned in an epoch: 2, or 0.5 for half of the rows; default: 1"),
];

impl ReadOptions {
    /// # Errors
    /// An option says something impossible.
    pub fn check(&self) -> Result<()> {
        if !(self.weight > 0.0 && self.weight <= 1000.0) {
            bail!("`weight` is {}; it has to be above 0 (of a reward, above or below), and at most 1000", self.weight);
        }
        if self.take == Some(0) {
            bail!("`take: 0` takes no row");
        }
        Columns::of(&self.columns).map(drop)
    }
}

/// Files that are read alike, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSource {
    pub files: Vec<PathBuf>,
    pub options: ReadOptions,
}

impl From<PathBuf> for DataSource {
    /// A file, or a directory of files, read without options.
    fn from(path: PathBuf) -> DataSource {
        DataSource { files: vec![path], options: ReadOptions::default() }
    }
}

/// The names of the files, for messages.
pub fn names(sources: &[DataSource]) -> String {
    let mut files = sources.iter().flat_map(|source| &source.files);
    let first = files.next().map_or_else(String::new, |file| file.display().to_string());
    match files.count() {
        0 => first,
        1 => format!("{first} and another file"),
        more => format!("{first} and {more} other files"),
    }
}

/// Endings of data files in a directory. Other files there, such as a README, are no data.
pub const ENDINGS: [&str; 10] = ["jsonl", "ndjson", "json", "parquet", "csv", "tsv", "txt", "arrow", "feather", "text"];

/// Files with such an ending that describe a data set and hold no rows of it.
const DESCRIPTIONS: [&str; 4] = ["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"];

/// The files behind a path: the file itself; those of a directory and of the directories in it; those that match a
/// pattern (`data/train-*.parquet`, `**` for any directories). In the order of their names.
///
/// # Errors
/// A directory cannot be read, or nothing matches.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if ::files::is_directory(path)? {
        if ::files::is_file(&path.join("config.json"))? {
            return Err(anyhow!("the directory holds a model (config.json), not data")).reading(path);
        }
        let mut found = Vec::new();
        search(path, &mut found).reading(path)?;
        if found.is_empty() {
            return Err(anyhow!("the directory holds no data files ({})", ENDINGS.join(", "))).reading(path);
        }
        found.sort_unstable();
        return Ok(found);
    }
    if ::files::exists(path)? || !is_pattern(path) {
        return Ok(vec![path.to_owned()]);
    }
    let pattern = path.to_str().with_context(|| format!("read {}: the pattern is not UTF-8", path.display()))?;
    let found = glob::glob(pattern).with_context(|| format!("read the pattern {pattern}"))?;
    let found: Vec<PathBuf> = found.collect::<Result<_, _>>().with_context(|| format!("read {pattern}"))?;
    let mut there = Vec::new();
    for path in found {
        // Without one of them fewer rows would be read, in silence.
        if ::files::is_file(&path)? {
            there.push(path);
        }
    }
    let found = there;
    if found.is_empty() {
        return Err(anyhow!("no file matches")).reading(path);
    }
    Ok(found)
}

fn search(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if name.starts_with('.') {
            continue;
        }
        if ::files::is_directory(&path)? {
            search(&path, found)?;
        } else if is_data(&name) {
            found.push(path);
        } else if whole::finished_name(&name).is_some_and(is_data) {
            // Without it fewer rows would be read, in silence.
            bail!("`{}` is a download that has not ended; end it, or take it away", path.display());
        }
    }
    Ok(())
}

/// The files that a path names among `names`, which are relative to one directory: as [`files`] finds them on a disk.
/// An empty path names the data files of the directory.
///
/// # Errors
/// The pattern is none.
pub fn select<'a>(names: &[&'a str], path: &str) -> Result<Vec<&'a str>> {
    if names.contains(&path) {
        return Ok(names.iter().filter(|name| **name == path).copied().collect());
    }
    let below = |name: &str| match path {
        "" => Some(name.to_owned()),
        _ => name.strip_prefix(path)?.strip_prefix('/').map(str::to_owned),
    };
    let is_row_file = |name: &str| {
        below(name).is_some_and(|below| {
            let below = below.to_lowercase();
            let is_shown = below.split('/').all(|part| !part.starts_with('.'));
            is_shown && below.rsplit('/').next().is_some_and(is_data)
        })
    };
    if !is_pattern(Path::new(path)) {
        return Ok(names.iter().filter(|name| is_row_file(name)).copied().collect());
    }
    let pattern = glob::Pattern::new(path).with_context(|| format!("read the pattern {path}"))?;
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    Ok(names.iter().filter(|name| pattern.matches_with(name, options)).copied().collect())
}

/// Names of files with such an ending that speak of the data.
const ABOUT: [&str; 5] = ["readme", "license", "licence", "notice", "changelog"];

/// Whether a file of this name, in lower case, is data.
pub fn is_data(name: &str) -> bool {
    let unpacked = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    let Some((stem, ending)) = unpacked.rsplit_once('.') else { return false };
    ENDINGS.contains(&ending) && !DESCRIPTIONS.contains(&unpacked) && !ABOUT.contains(&stem)
}

/// Whether a path is a pattern of names where no file has that very name.
pub fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_and_a_pattern_are_their_data_files_in_the_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        let names = [
            "b.jsonl",
            "a.parquet",
            "README.md",
            "more/c.csv.gz",
            ".cache/d.jsonl",
            "dataset_info.json",
            "e.JSONL",
            "Readme.txt",
        ];
        for name in names {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let shown = |path: &Path| -> Vec<String> {
            let short = |file: &PathBuf| file.strip_prefix(dir.path()).unwrap().display().to_string();
            files(path).unwrap().iter().map(short).collect()
        };
        assert_eq!(shown(dir.path()), ["a.parquet", "b.jsonl", "e.JSONL", "more/c.csv.gz"]);
        assert_eq!(shown(&dir.path().join("*.jsonl")), ["b.jsonl"]);
        assert_eq!(shown(&dir.path().join("**/*.gz")), ["more/c.csv.gz"]);
        assert_eq!(shown(&dir.path().join("absent.jsonl")), ["absent.jsonl"], "the reader says that it is not there");
        // Of names alone, as a hub lists them, the same.
        for path in ["", "*.jsonl", "**/*.gz", "more", "b.jsonl", "README.md", "**/*", "[ab].*", "absent"] {
            let full = dir.path().join(path);
            let on_disk = if is_pattern(Path::new(path)) || full.exists() { shown(&full) } else { Vec::new() };
            let mut of_names = select(&names, path).unwrap();
            of_names.sort_unstable_by_key(|name| Path::new(*name));
            assert_eq!(of_names, on_disk, "{path}");
        }
        let error = format!("{:#}", files(&dir.path().join("x-*.jsonl")).unwrap_err());
        assert!(error.ends_with("x-*.jsonl: no file matches"), "{error}");
        fs::write(dir.path().join("more/f.parquet.incomplete"), "PAR1").unwrap();
        let error = format!("{:#}", files(dir.path()).unwrap_err());
        let error = error.replace(&dir.path().display().to_string(), "DIR");
        let half = "DIR/more/f.parquet.incomplete";
        assert_eq!(error, format!("read DIR: `{half}` is a download that has not ended; end it, or take it away"));
    }
}
