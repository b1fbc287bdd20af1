//! `report`: a run as one HTML file. The page is made by [`chapter`], of facts that are gathered here.

mod compared;
pub mod gathered;
mod two;
mod whole;

use super::find::{self, RunQuery};
use super::options::{RunArgument, language_of_environment};
use super::refusal::refused;
use super::table::{self, TableFormat};
use super::terminal;
use crate::chapter::facts::{Absence, Facts};
use crate::chapter::verdict::{LostThing, lost};
use crate::chapter::words::Language;
use crate::chapter::{comparison, data, page};
use crate::progress;
use crate::report::format;
use anyhow::{Context, Result};
use cache::Digest;
use clap::ValueEnum;
use gathered::gather;
use std::fs;
use std::path::{Path, PathBuf};

/// The form of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, ValueEnum)]
pub enum ReportFormat {
    #[default]
    Html,
    Md,
    Csv,
    Latex,
    Json,
    Svg,
}

impl ReportFormat {
    /// The file or directory that is written unless another is named.
    fn usual(self) -> &'static str {
        match self {
            ReportFormat::Html => "report.html",
            ReportFormat::Md => "report.md",
            ReportFormat::Csv => "report.csv",
            ReportFormat::Latex => "report.tex",
            ReportFormat::Json => "report.json",
            ReportFormat::Svg => "report-figures",
        }
    }
}

/// A report as it is asked for.
pub struct ReportRequest<'a> {
    /// Two runs that are compared, instead of one that is told.
    pub compare: Option<[&'a str; 2]>,
    pub format: ReportFormat,
    /// The place of what is made; `None`: that of the format.
    pub out: Option<&'a Path>,
    /// A directory for all tables, instead of a page.
    pub csv: Option<&'a Path>,
    pub lang: Option<Language>,
    /// Whether a page that lacks something is a failure.
    pub is_strict: bool,
}

pub fn report(file: Option<&Path>, asked: &ReportRequest, which: &RunArgument) -> Result<u8> {
    // The page names what is missing, once: the store would warn of each record.
    progress::log_errors_only(terminal::stderr_has_color());
    let wanted = RunQuery { tells_damage: true, ..which.wanted(file) };
    let language = asked.lang.unwrap_or_else(language_of_environment);
    let losses = match asked.compare {
        None => one(&wanted, asked, language)?,
        Some(runs) => two(&wanted, runs, asked, language)?,
    };
    if !losses.is_empty() {
        let way = |lost: &LostThing| lost.way_back.as_ref().map(|command| format!(" `{command}`")).unwrap_or_default();
        let things: Vec<String> = losses.iter().map(|lost| format!("  {}{}\n", lost.what, way(lost))).collect();
        terminal::remark(&format!("something is missing:\n{}", things.concat()));
    }
    Ok(u8::from(asked.is_strict && !losses.is_empty()))
}

/// Tells one run, and returns what is missing.
fn one(wanted: &RunQuery, asked: &ReportRequest, language: Language) -> Result<Vec<LostThing>> {
    let found = find::run(Path::new("."), wanted.clone())?;
    let root = found.root.clone();
    let facts = facts_of(found, wanted.run.is_some());
    let out = asked.out.unwrap_or(Path::new(asked.format.usual()));
    let table = |format| table::text(&facts, None, format, language);
    match (asked.csv, asked.format) {
        (Some(directory), _) => folder(directory, whole::write_tables(&facts, &root, directory, language)?)?,
        (None, ReportFormat::Svg) => folder(out, whole::write_figures(&facts, out, language)?)?,
        (None, ReportFormat::Html) => write(out, &page::page(&facts, language))?,
        (None, ReportFormat::Md) => write(out, &table(TableFormat::Md)?)?,
        (None, ReportFormat::Csv) => write(out, &table(TableFormat::Csv)?)?,
        (None, ReportFormat::Latex) => write(out, &table(TableFormat::Latex)?)?,
        (None, ReportFormat::Json) => write(out, &data::json(&facts, language))?,
    }
    Ok(lost(&facts, language))
}

/// The facts of the page of a run. One that was asked for by its name is the one that is meant, whatever is newer.
pub fn facts_of(found: find::StoredRun, is_named: bool) -> Facts {
    let newer = if is_named { Vec::new() } else { find::newer_unreadable(&found) };
    let mut facts = gather(found);
    facts.losses.extend(newer.into_iter().map(Absence::Journal));
    facts
}

/// Compares two runs on a page, and returns what is missing of either.
fn two(wanted: &RunQuery, runs: [&str; 2], asked: &ReportRequest, language: Language) -> Result<Vec<LostThing>> {
    if asked.format != ReportFormat::Html {
        return Err(refused("a comparison is a page: `pipeline diff --json` has its facts for programs".to_owned()));
    }
    let found = find::two(Path::new("."), runs, wanted)?;
    let roots = found.each_ref().map(|found| found.root.clone());
    let comparison = two::gather(found.map(gather), roots.each_ref().map(PathBuf::as_path));
    let out = asked.out.unwrap_or(Path::new(asked.format.usual()));
    write(out, &comparison::page(&comparison, language))?;
    Ok(comparison.runs.iter().flat_map(|facts| lost(facts, language)).collect())
}

fn write(out: &Path, text: &str) -> Result<()> {
    fs::write(out, text).with_context(|| format!("write {}", out.display()))?;
    let (size, digest) = (format::bytes(text.len() as u64), Digest::of(text.as_bytes()));
    terminal::say(&format!("{}: {size}, blake3 {digest}\n", out.display()))?;
    Ok(())
}

fn folder(out: &Path, files: usize) -> Result<()> {
    terminal::say(&format!("{}: {files} files\n", out.display()))?;
    Ok(())
}
