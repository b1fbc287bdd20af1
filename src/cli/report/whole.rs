//! Everything that a page thins out or leaves to others, in a directory: every table as CSV with all its rows, or every
//! figure.

use super::super::answers::items;
use super::super::curves::{self, CurveFile};
use super::super::find::record_in;
use super::compared::{Match, Shelf, matches};
use crate::chapter::facts::Facts;
use crate::chapter::figures::{self, file_name};
use crate::chapter::words::Language;
use crate::chapter::{data, paper};
use crate::cli::configuration;
use crate::event::Table;
use crate::report::answers::{self, AnswerRow};
use crate::report::curves::read_bytes;
use crate::report::measured::measured;
use crate::run::answers::read_table;
use anyhow::{Context, Result};
use cache::Store;
use stages::kinds;
use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// A directory that is written file by file.
struct Folder<'a> {
    at: &'a Path,
    names: HashSet<String>,
}

impl Folder<'_> {
    fn write(&mut self, name: &str, text: &str) -> Result<()> {
        // Two names that differ only in what a file cannot be called have files of their own.
        let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
        let numbered = (2..).map(|n| format!("{stem}-{n}.{ending}"));
        let free = |name: &String| !self.names.contains(name);
        let name = [name.to_owned()].into_iter().chain(numbered).find(free).expect("some number is free");
        let path = self.at.join(&name);
        self.names.insert(name);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).with_context(|| format!("create {}", above.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }
}

/// Writes every figure and returns their number.
pub fn write_figures(facts: &Facts, at: &Path, language: Language) -> Result<usize> {
    let mut folder = Folder { at, names: HashSet::new() };
    for file in figures::files(facts, language) {
        folder.write(&file.name, &file.svg)?;
    }
    Ok(folder.names.len())
}

/// Writes every table, all points of all curves and all answers, and returns the number of files.
pub fn write_tables(facts: &Facts, root: &Path, at: &Path, language: Language) -> Result<usize> {
    let mut folder = Folder { at, names: HashSet::new() };
    for table in data::tables(facts) {
        folder.write(&format!("{}.csv", table.name), &table.csv()?)?;
    }
    for study in facts.run.studies.iter().filter(|study| !study.rows.is_empty()) {
        let table = paper::table(facts, study, language);
        folder.write(&format!("study-{}.csv", file_name(&study.eval)), &table.csv()?)?;
    }
    // Opening a store makes its folders: one that is gone must not come back empty.
    let store = root.join("store").is_dir().then(|| configuration::store(root).ok()).flatten();
    if let Some(store) = &store {
        write_curves(facts, store, root, &mut folder)?;
        write_answers(facts, store, &mut folder)?;
    }
    Ok(folder.names.len())
}

fn write_curves(facts: &Facts, store: &Store, root: &Path, folder: &mut Folder) -> Result<()> {
    for stage in &facts.run.stages {
        // What cannot be read is among the losses.
        let own = stage.own_action().map(|action| curves::file(store, root, &action.key));
        let written = match own {
            Some(Ok(CurveFile::Bytes(bytes))) => Some(bytes),
            Some(_) => None,
            None => curves::of_parts(store, root, stage),
        };
        if let Some(bytes) = written {
            folder.write(&format!("curves/{}.csv", file_name(&stage.head.name)), &read_bytes(&bytes).csv()?)?;
        }
    }
    Ok(())
}

/// The answers of every model that was measured, with their scores by each reward, and of every two that were compared.
fn write_answers(facts: &Facts, store: &Store, folder: &mut Folder) -> Result<()> {
    let mut write = |name: String, rows: Vec<AnswerRow>| {
        folder.write(&format!("answers/{}.csv", file_name(&name)), &answers::csv(&rows)?)
    };
    for model in measured(&facts.run) {
        let name = format!("{}.{}", model.by, model.label);
        let rows = items(store, &model).ok().and_then(|items| answers::rows(&items, None).ok());
        rows.map_or(Ok(()), |rows| write(name.clone(), rows))?;
        for part in &model.parts {
            let Some(reward) = &part.reward else { continue };
            let Some((record, kind)) = record_in(store, &part.key).zip(kinds::part(&part.kind)) else { continue };
            let content = record.last().content.clone();
            let table = Table { content, file: kind.table.to_owned(), suffix: String::new() };
            let rows = read_table(store, &table).ok().and_then(|items| answers::rows(&items, None).ok());
            rows.map_or(Ok(()), |rows| write(format!("{name}.by.{reward}"), rows))?;
        }
    }
    let mut shelf = Shelf::new(store, &facts.run);
    for Match { of, names: [mine, other], tables } in matches(&mut shelf) {
        let both = tables.each_ref().map(|table| shelf.read(table).ok());
        let [Some(one), Some(two)] = both else { continue };
        let rows = answers::rows(&one, Some(&two)).ok();
        rows.map_or(Ok(()), |rows| write(format!("{of}.{mine}.against.{other}"), rows))?;
    }
    Ok(())
}
