//! The sources of a data port: files, directories and patterns of them, and stages; each with options of reading.

use super::hub;
use crate::diagnostic::{Diagnostic, Severity};
use crate::plan::source::{
    FileCheck, Input, Reading, Source, SourceLookup, Target, data_text, file_source, nothing_at, stage_of, stage_source,
};
use crate::spec::{PortSpec, Reference, SourceSpec};
use formats::data::{self, DataRows, DataSource, ReadOptions};
use formats::unreadable;
use stages::stage::{Accepts, Port};
use std::path::{Path, PathBuf};

/// The input of a data port. Its files are read as the stage would read them.
pub fn resolve(target: &mut Target, rows: DataRows, from: &PortSpec, lookup: &SourceLookup) -> Input {
    let errors = |mistakes: &[Diagnostic]| mistakes.iter().filter(|mistake| mistake.level == Severity::Error).count();
    let before = errors(target.mistakes);
    let mut sources = Vec::new();
    let mut readings = Vec::new();
    // `None` once there is data that a stage makes.
    let mut read: Option<Vec<DataSource>> = Some(Vec::new());
    for source in &from.sources {
        let options = source.options.clone().unwrap_or_default();
        if let Err(error) = options.check() {
            // Others were reported where they stand.
            if options.weight < 0.0 {
                target.mistakes.push(Diagnostic::error(source.span, format!("{error:#}")));
            }
            read = None;
            continue;
        }
        if target.port.is_some_and(|port| port.is_measured) && options.weight != 1.0 {
            let message =
                format!("`weight` has no effect on `{}`, whose rows are measured, each once", from.port.value);
            target.mistakes.push(Diagnostic::error(source.span, message));
        }
        let found = match &source.reference {
            Reference::Stage { name, pin, file } => {
                read = None;
                let found = stage_of(target.stage, name, source, lookup, target.mistakes);
                let found = found.and_then(|stage| match file {
                    None => stage_source(target.stage, stage, *pin, source, target.port, lookup, target.mistakes),
                    Some(_) => file_source(target.stage, stage, source, target.port, lookup, target.mistakes),
                });
                if let Some(stage) = found.as_ref().and_then(Source::stage) {
                    target.graph.add(stage, target.stage, source.span);
                }
                found.into_iter().collect()
            }
            Reference::Path(path) => {
                // Without a `./` in the middle, for messages.
                let path: PathBuf = lookup.directory.join(path).components().collect();
                let files = files(&path, target.port, source, target.mistakes);
                if let Some(read) = &mut read {
                    read.push(DataSource { files: files.clone(), options: options.clone() });
                }
                files.into_iter().map(Source::Path).collect::<Vec<_>>()
            }
            Reference::Hub(text) => {
                let files = hub::data(text, source, lookup, target.mistakes).unwrap_or_default();
                if let Some(read) = &mut read {
                    // What is not here yet is read once it was fetched; the other sources are read now.
                    let here = files.iter().filter(|file| file.exists()).cloned().collect();
                    read.push(DataSource { files: here, options: options.clone() });
                }
                files.into_iter().map(Source::Path).collect()
            }
        };
        readings.push(Reading { sources: found.len(), options });
        sources.extend(found);
    }
    let read = read.filter(|read| read.iter().any(|source| !source.files.is_empty()));
    if readings.iter().all(|reading| reading.options == ReadOptions::default()) {
        readings.clear();
    }
    let is_list = sources.len() != 1;
    let input = Input { port: from.port.value.clone(), sources, is_list, readings };
    if let (Some(read), true) = (read, errors(target.mistakes) == before) {
        check(target, rows, &input, &read, from, lookup);
    }
    input
}

fn files(path: &Path, port: Option<&Port>, source: &SourceSpec, mistakes: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    if !path.exists() && !data::is_pattern(path) {
        mistakes.push(nothing_at(path, port, source));
        return Vec::new();
    }
    data::files(path).unwrap_or_else(|error| {
        mistakes.push(Diagnostic::error(source.span, unreadable::message(&error, path)));
        Vec::new()
    })
}

/// Reads the rows of an input. `read` are its files, by the sources of `from`.
fn check(
    target: &mut Target,
    rows: DataRows,
    input: &Input,
    read: &[DataSource],
    from: &PortSpec,
    lookup: &SourceLookup,
) {
    let checked = target.files.entry((Accepts::Data(rows), data_text(&input.files())));
    let checked = checked.or_insert_with(|| {
        let error = match stages::kinds::check_data(rows, read, lookup.spec.skip_bad_rows) {
            Ok(prompts) => return FileCheck { mistake: None, prompts },
            Err(error) => error,
        };
        let names = data::names(read);
        // The source with the file that the error is about.
        let path = unreadable::path(&error).unwrap_or(Path::new(&names));
        let source = read.iter().position(|source| source.files.iter().any(|file| file == path));
        let mistake = Some((source.unwrap_or(0), unreadable::message(&error, path)));
        FileCheck { mistake, ..FileCheck::default() }
    });
    if let Some((source, message)) = &checked.mistake {
        target.mistakes.push(Diagnostic::error(from.sources[*source].span, message.clone()));
    }
}
