//! Leaks: rows on which a stage measures, and from whose prompts it or a stage before it learns. Such a measurement shows
//! what was remembered. Known before anything runs, as far as the files are there.

use super::draft::Draft;
use super::gates::Gate;
use super::graph::StageId;
use super::source::{FileChecks, Input, Source, data_text};
use crate::diagnostic::Diagnostic;
use formats::data::{Overlap, PromptDigests};
use stages::stage::Accepts;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// An input of a stage with rows of data.
#[derive(Clone, Copy)]
struct DataPort<'a> {
    stage: StageId,
    /// Its place among the inputs of the stage.
    at: usize,
    input: &'a Input,
    accepts: Accepts,
    is_measured: bool,
}

impl DataPort<'_> {
    /// Alike for ports with the same rows, read for the same purpose.
    fn text(&self) -> (Accepts, String) {
        (self.accepts, data_text(&self.input.files()))
    }

    fn prompts<'a>(&self, files: &'a FileChecks) -> Option<&'a PromptDigests> {
        files.get(&self.text()).map(|check| &check.prompts)
    }

    /// A source that another port has as well: a file, or what a stage makes.
    fn shared_source(&self, other: &DataPort) -> Option<&Source> {
        let real = |source: &Source| match source {
            Source::Path(path) => Source::Path(path.canonicalize().unwrap_or_else(|_| PathBuf::from(path))),
            made => made.clone(),
        };
        let others: Vec<Source> = other.input.sources.iter().map(real).collect();
        self.input.sources.iter().find(|source| others.contains(&real(source)))
    }
}

/// Reports files on which is measured and from which is learned, and prompts that both kinds of files have.
pub fn check(drafts: &[Draft], gates: &[Option<Box<Gate>>], files: &FileChecks, mistakes: &mut Vec<Diagnostic>) {
    let ports: Vec<Vec<DataPort>> = (0..drafts.len()).map(|stage| data_ports(drafts, stage)).collect();
    let mut judged: Vec<Vec<StageId>> = vec![Vec::new(); drafts.len()];
    for (stage, gate) in gates.iter().enumerate() {
        gate.iter().flat_map(|gate| &gate.judges).for_each(|judge| judged[*judge].push(stage));
    }
    // Stages that measure on the same rows, together.
    let mut measured: BTreeMap<(Accepts, String), Vec<DataPort>> = BTreeMap::new();
    for port in ports.iter().flatten().filter(|port| port.is_measured) {
        let is_allowed = drafts[port.stage].spec.allow_overlap.as_ref().is_some_and(|allowed| allowed.value);
        if !is_allowed {
            measured.entry(made_too(drafts, port)).or_default().push(*port);
        }
    }
    for measuring in measured.into_values() {
        let before = before(drafts, &judged, measuring.iter().map(|port| port.stage));
        let learned = before.iter().flat_map(|stage| &ports[*stage]).filter(|port| !port.is_measured);
        let mut alike: BTreeMap<(Accepts, String), Vec<DataPort>> = BTreeMap::new();
        learned.for_each(|port| alike.entry(made_too(drafts, port)).or_default().push(*port));
        for learning in alike.into_values() {
            compare(drafts, files, &measuring, &learning, mistakes);
        }
    }
}

/// The text of a port's rows; those that a stage makes are known by the stage.
fn made_too(drafts: &[Draft], port: &DataPort) -> (Accepts, String) {
    let made = port.input.sources.iter().filter_map(|source| match source {
        Source::File { stage, path, .. } => Some(format!(" {}:{path}", drafts[*stage].spec.name.value)),
        Source::Stage { .. } | Source::Path(_) => None,
    });
    let (accepts, text) = port.text();
    (accepts, text + &made.collect::<String>())
}

fn data_ports<'a>(drafts: &'a [Draft], stage: StageId) -> Vec<DataPort<'a>> {
    let Some(kind) = drafts[stage].kind else { return Vec::new() };
    let port = |(at, input): (usize, &'a Input)| {
        let port = kind.port(&input.port)?;
        matches!(port.accepts, Accepts::Data(_)).then_some(DataPort {
            stage,
            at,
            input,
            accepts: port.accepts,
            is_measured: port.is_measured,
        })
    };
    drafts[stage].inputs.iter().enumerate().filter_map(port).collect()
}

/// The stages, those that they judge, and all stages before these, in the order of the file.
fn before(drafts: &[Draft], judged: &[Vec<StageId>], stages: impl Iterator<Item = StageId>) -> BTreeSet<StageId> {
    let mut found = BTreeSet::new();
    let mut left: Vec<StageId> = stages.flat_map(|stage| [&[stage][..], &judged[stage]].concat()).collect();
    while let Some(stage) = left.pop() {
        if found.insert(stage) {
            let sources = drafts[stage].inputs.iter().flat_map(|input| &input.sources);
            left.extend(sources.filter_map(Source::stage));
        }
    }
    found
}

/// Compares the rows on which some stages measure with those from which others learn.
fn compare(
    drafts: &[Draft],
    files: &FileChecks,
    measuring: &[DataPort],
    learning: &[DataPort],
    mistakes: &mut Vec<Diagnostic>,
) {
    let (Some(measured), Some(learned)) = (measuring.first(), learning.first()) else { return };
    let span = drafts[measured.stage].spec.from[measured.at].port.span;
    let [measures, learns] = [measuring, learning].map(|ports| names(drafts, ports));
    let is_one = measures == learns;
    let allow = format!("`allow_overlap: true` in the stage `{}`", drafts[measured.stage].spec.name.value);
    let by_heart =
        format!("what was learned by heart looks like an improvement: measure on other prompts; {allow} lets it pass");
    if let Some(source) = measured.shared_source(learned) {
        let what = match source {
            Source::Path(path) => format!("`{}`", path.display()),
            Source::Stage { stage, .. } => format!("what `{}` makes", drafts[*stage].spec.name.value),
            Source::File { stage, path, .. } => format!("`{}:{path}`", drafts[*stage].spec.name.value),
        };
        let message =
            format!("{measures} measures on {what}, from which {} learns", if is_one { "it" } else { &learns });
        mistakes.push(Diagnostic::error(span, message).help(by_heart));
        return;
    }
    let (Some(here), Some(there)) = (measured.prompts(files), learned.prompts(files)) else { return };
    if here.is_copy(there) {
        let [there, here] = [learned, measured].map(|port| formats::data::names(&port.input.files()));
        let message = format!(
            "`{here}`, on which {measures} measures, has the same prompts as `{there}`, from which {} learns",
            if is_one { "it" } else { &learns }
        );
        mistakes.push(Diagnostic::error(span, message).help(by_heart));
        return;
    }
    let Overlap { all, shared, exact } = here.overlap(there);
    if shared == 0 {
        return;
    }
    let letters = match exact {
        all if all == shared => String::new(),
        0 => " (in other letters, or with another text of the system)".to_owned(),
        some => format!(" ({some} letter by letter)"),
    };
    let message = format!(
        "{learns} learns from {shared} of the {all} prompts on which {} measures{letters}",
        if is_one { "it" } else { &measures }
    );
    let shows =
        inspection(learned.input, measured.input).map_or(String::new(), |command| format!("`{command}` shows them; "));
    let help = format!("{shows}leave them out of one file, or say {allow}");
    mistakes.push(Diagnostic::warning(span, message).help(help));
}

/// The command that lists the prompts that two inputs share, if each is one file.
fn inspection(learned: &Input, measured: &Input) -> Option<String> {
    let part = |input: &Input, option: &str| {
        let files = input.files();
        let [source] = &files[..] else { return None };
        let [file] = &source.files[..] else { return None };
        let columns = source.options.columns.iter();
        let columns: String = columns.map(|(field, from)| format!(" {option} '{field}={from}'")).collect();
        Some(format!("{}{columns}", file.display()))
    };
    let (learned, measured) = (part(learned, "--column")?, part(measured, "--heldout-column")?);
    Some(format!("pipeline data inspect {learned} --heldout {measured}"))
}

/// The stages of ports, for a message: "`ppo_1` and 2 other stages".
fn names(drafts: &[Draft], ports: &[DataPort]) -> String {
    let stages: BTreeSet<StageId> = ports.iter().map(|port| port.stage).collect();
    let first = ports.first().map_or("", |port| drafts[port.stage].spec.name.value.as_str());
    match stages.len() - 1 {
        0 => format!("`{first}`"),
        1 => format!("`{first}` (and another stage)"),
        more => format!("`{first}` (and {more} other stages)"),
    }
}
