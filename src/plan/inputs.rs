//! Checks `from:` of a stage against the ports of its kind: every source is a stage with the right output, or a path
//! that exists and can be read.

mod data;
mod hub;

use super::graph::{Graph, StageId};
use super::source::{
    FileCheck, FileChecks, Input, Reading, Source, SourceLookup, Target, accepted, file_source, nothing_at, stage_of,
    stage_source, takes_file,
};
use crate::diagnostic::Diagnostic;
use crate::hub::is_data;
use crate::spec::{PortSpec, Reference, SourceSpec, StageSpec};
use formats::data::ReadOptions;
use formats::unreadable;
use stages::stage::{Accepts, Kind, Port, did_you_mean};
use std::fs;
use std::path::{Path, PathBuf};

/// The inputs of a stage. Also adds the edges of the graph.
pub fn resolve(
    id: StageId,
    lookup: &SourceLookup,
    graph: &mut Graph,
    files: &mut FileChecks,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<Input> {
    let stage = &lookup.spec.stages[id];
    let kind = lookup.kinds[id];
    let mut inputs = Vec::with_capacity(stage.from.len());
    for from in &stage.from {
        let port = kind.and_then(|kind| kind.port(&from.port.value));
        if let Some(kind) = kind {
            check_port(kind, port, from, mistakes);
        }
        if let Some(Port { accepts: Accepts::Data(rows), .. }) = port {
            let mut target = Target { stage: id, port, graph, files, mistakes };
            inputs.push(data::resolve(&mut target, *rows, from, lookup));
            continue;
        }
        let mut sources = Vec::with_capacity(from.sources.len());
        let is_added_up = port.is_some_and(|port| port.takes_many && port.accepts == Accepts::Reward);
        let mut readings = Vec::new();
        for source in &from.sources {
            let options = source.options.clone().unwrap_or_default();
            let weighs_alone = options == ReadOptions { weight: options.weight, ..ReadOptions::default() };
            if source.options.is_some() && !(is_added_up && weighs_alone) {
                let message = format!("`{}` takes no options", from.port.value);
                let (message, help) = match is_added_up {
                    true => (format!("{message} but `weight`"), "`columns`, `take` and the like are for data"),
                    false => (message, "`columns`, `take` and the like are for data, `weight` for data and rewards"),
                };
                mistakes.push(Diagnostic::error(source.span, message).help(help));
            }
            if from.has_weights() && is_added_up {
                readings.push(Reading { sources: 1, options });
            }
            let found = match &source.reference {
                Reference::Stage { name, pin, file } => {
                    let found = stage_of(id, name, source, lookup, mistakes);
                    found.and_then(|stage| match file {
                        None => stage_source(id, stage, *pin, source, port, lookup, mistakes),
                        Some(_) => file_source(id, stage, source, port, lookup, mistakes),
                    })
                }
                Reference::Path(path) => {
                    // Without a `./` in the middle, for messages.
                    let path: PathBuf = lookup.directory.join(path).components().collect();
                    path_source(port, &path, source, files, mistakes)
                }
                Reference::Hub(text) if takes_any(port) && is_data(text) => {
                    let found = hub::data(text, source, lookup, mistakes);
                    sources.extend(found.into_iter().flatten().map(Source::Path));
                    continue;
                }
                Reference::Hub(text) => match hub::model(text, port, source, lookup, mistakes) {
                    Some(directory) if directory.exists() => path_source(port, &directory, source, files, mistakes),
                    directory => directory.map(Source::Path),
                },
            };
            if let Some(stage) = found.as_ref().and_then(Source::stage) {
                graph.add(stage, id, source.span);
            }
            sources.extend(found);
        }
        let (port, is_list) = (from.port.value.clone(), from.is_list || sources.len() > 1);
        inputs.push(Input { port, sources, is_list, readings });
    }
    for port in kind.map_or(&[][..], |kind| kind.ports) {
        mistakes.extend(port.or.and_then(|other| either(stage, port.name, other)));
        if !port.is_optional && !stage.from.iter().any(|from| from.port.value == port.name) {
            let message = format!("stage `{}` has no input `{}`", stage.name.value, port.name);
            mistakes.push(Diagnostic::error(stage.name.span, message).help(format!("`{}`: {}", port.name, port.doc)));
        }
    }
    inputs
}

/// The mistake where not exactly one of two ports is connected; it is told at the first of them by name.
fn either(stage: &StageSpec, port: &str, other: &str) -> Option<Diagnostic> {
    let typed = |name: &str| stage.from.iter().find(|from| from.port.value == name);
    match (typed(port), typed(other)) {
        _ if port > other => None,
        (None, None) => {
            let message = format!("stage `{}` has neither the input `{port}` nor `{other}`", stage.name.value);
            Some(Diagnostic::error(stage.name.span, message))
        }
        (Some(_), Some(second)) => {
            let message = format!("`{port}` and `{other}` exclude each other");
            Some(Diagnostic::error(second.port.span, message))
        }
        _ => None,
    }
}

fn check_port(kind: &Kind, port: Option<&Port>, from: &PortSpec, mistakes: &mut Vec<Diagnostic>) {
    match port {
        Some(port) if from.is_list && !port.takes_many && !matches!(port.accepts, Accepts::Data(_)) => {
            let message = format!("`{}` takes one source, not a list", port.name);
            mistakes.push(Diagnostic::error(from.port.span, message));
        }
        None if !kind.takes_any_port => {
            let names: Vec<&str> = kind.ports.iter().map(|port| port.name).collect();
            let message = format!("`{}` has no input `{}`", kind.name, from.port.value);
            mistakes.push(Diagnostic::error(from.port.span, message).help(did_you_mean(&from.port.value, &names)));
        }
        _ => check_port_name(from, mistakes),
    }
}

/// Checks a port name: it becomes a file name in the stage's directory.
fn check_port_name(from: &PortSpec, mistakes: &mut Vec<Diagnostic>) {
    let name = &from.port.value;
    if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        let message = format!("`{name}` cannot name an input");
        mistakes.push(Diagnostic::error(from.port.span, message).help("names match [A-Za-z0-9_]+"));
    }
}

fn takes_any(port: Option<&Port>) -> bool {
    port.is_none_or(|port| port.accepts == Accepts::Any)
}

fn path_source(
    port: Option<&'static Port>,
    path: &Path,
    source: &SourceSpec,
    files: &mut FileChecks,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Source> {
    let shown = path.display();
    let Ok(metadata) = fs::metadata(path) else {
        mistakes.push(nothing_at(path, port, source));
        return None;
    };
    let is_good = match port.map(|port| port.accepts) {
        Some(Accepts::Any) | None => true,
        Some(accepts) if metadata.is_file() => takes_file(accepts, path),
        Some(accepts) => !matches!(accepts, Accepts::Data(_)),
    };
    if let (Some(port), false) = (port, is_good) {
        let what = if metadata.is_dir() { "a directory" } else { "a file" };
        let message = format!("`{shown}` is {what}");
        let help = format!("`{}` takes {}", port.name, accepted(port.accepts));
        mistakes.push(Diagnostic::error(source.span, message).help(help));
        return None;
    }
    if let Some(port) = port {
        let checked = files.entry((port.accepts, path.display().to_string()));
        let checked = checked.or_insert_with(|| {
            let found = stages::kinds::check_input(port, path).err();
            let mistake = found.map(|error| (0, unreadable::message(&error, path)));
            FileCheck { mistake, ..FileCheck::default() }
        });
        mistakes.extend(checked.mistake.iter().map(|(_, message)| Diagnostic::error(source.span, message.clone())));
    }
    Some(Source::Path(path.to_owned()))
}
