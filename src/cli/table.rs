//! `table`: the table of a study for a paper.

use super::options::{RunArgument, language_of_environment};
use super::refusal::refused;
use super::report::gathered::gather;
use super::terminal;
use crate::chapter::facts::Facts;
use crate::chapter::paper;
use crate::chapter::words::Language;
use crate::progress;
use anyhow::Result;
use clap::ValueEnum;
use std::path::Path;

/// The form in which the table is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, ValueEnum)]
pub enum TableFormat {
    #[default]
    Md,
    Csv,
    Latex,
    Json,
}

pub struct TableRequest<'a> {
    /// `None`: the last study of the run.
    pub eval: Option<&'a str>,
    pub format: TableFormat,
    pub lang: Option<Language>,
}

pub fn table(asked: &TableRequest, file: Option<&Path>, which: &RunArgument) -> Result<u8> {
    progress::log_errors_only(terminal::stderr_has_color());
    // One word that names a file is the file: `pipeline table rlhf.yaml`.
    let (eval, file) = match (asked.eval, file) {
        (Some(word), None) if Path::new(word).is_file() => (None, Some(Path::new(word))),
        given => given,
    };
    let facts = gather(which.find(file)?);
    let text = text(&facts, eval, asked.format, asked.lang.unwrap_or_else(language_of_environment))?;
    terminal::say(&text)?;
    if !facts.losses.is_empty() {
        let what =
            "something of the run is not in the store, so that intervals may be missing: `pipeline report` says what\n";
        terminal::remark(what);
    }
    Ok(0)
}

/// The table of a study, by default of the last one.
///
/// # Errors
/// The run has no such study.
pub fn text(facts: &Facts, eval: Option<&str>, format: TableFormat, language: Language) -> Result<String> {
    let studies = || facts.run.studies.iter().filter(|study| !study.rows.is_empty());
    let study = match eval {
        None => studies().next_back(),
        Some(name) => studies().find(|study| study.eval == name),
    };
    let study = study.ok_or_else(|| {
        let names: Vec<&str> = studies().map(|study| study.eval.as_str()).collect();
        refused(match names.is_empty() {
            true => format!("{} compared no models: a stage of kind eval does", facts.run.name),
            false => format!("there is no study of that name in {}: there are {}", facts.run.name, names.join(", ")),
        })
    })?;
    let table = paper::table(facts, study, language);
    Ok(match format {
        TableFormat::Md => table.markdown(),
        TableFormat::Csv => table.csv()?,
        TableFormat::Latex => table.latex(),
        TableFormat::Json => table.json(),
    })
}
