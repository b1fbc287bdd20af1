//! The table of kinds, and one kind in full. Knows nothing of pipelines.

use super::{refused, terminal};
use crate::gate;
use crate::report::explain::flatten;
use crate::report::page::{self, Page, Tone, cell};
use anyhow::Result;
use serde_json::Map;
use stages::kinds::KINDS;
use stages::stage::{Accepts, Direction, Gives, Kind, Port};
use std::collections::BTreeSet;

pub fn list(kind: Option<&str>) -> Result<u8> {
    let page = terminal::page();
    let unknown = |name: &str| {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        refused(format!("there is no kind `{name}`: {}", stages::stage::did_you_mean(name, &names)))
    };
    let text = match kind {
        None => table(page),
        Some(name) => describe(stages::kinds::kind(name).ok_or_else(|| unknown(name))?, page),
    };
    terminal::say(&text)?;
    Ok(0)
}

pub fn list_gates() -> Result<u8> {
    terminal::say(&gates(terminal::page()))?;
    Ok(0)
}

fn table(page: Page) -> String {
    let mut table = page::table(page, &["kind", "from", "gives", "what it does"]);
    for kind in KINDS {
        let ports: Vec<String> = kind.ports.iter().map(short).collect();
        let ports = if kind.takes_any_port { "any".to_owned() } else { ports.join(", ") };
        table.add_row([
            cell(kind.name, Tone::Plain),
            cell(ports, Tone::Plain),
            cell(gives(kind.gives), Tone::Plain),
            cell(kind.doc, Tone::Plain),
        ]);
    }
    page::keep_whole(&mut table, [0, 2]);
    let hint = "\n`?` may be left out, `*` takes a list; `pipeline kinds KIND` has parameters and metrics\n";
    format!("{}{hint}", page::print(table))
}

fn short(port: &Port) -> String {
    let mark = match (port.is_optional, port.takes_many) {
        (true, true) => "?*",
        (true, false) => "?",
        (false, true) => "*",
        (false, false) => "",
    };
    format!("{}{mark}", port.name)
}

fn gives(gives: Gives) -> &'static str {
    match gives {
        Gives::Model => "model",
        Gives::Reward => "reward",
        Gives::Nothing => "measurements",
        Gives::Any => "anything",
    }
}

/// The rule language: one table of its functions, from which the parser works as well.
fn gates(page: Page) -> String {
    let mut table = page::table(page, &["function", "what it is"]);
    for function in gate::FUNCTIONS {
        table.add_row([cell(function.signature, Tone::Plain), cell(function.doc, Tone::Plain)]);
    }
    page::keep_whole(&mut table, [0]);
    format!("{}\n{}", gate::GRAMMAR, page::print(table))
}

fn describe(kind: &Kind, page: Page) -> String {
    let head = format!("{} (version {}): {}\n", kind.name, kind.version, kind.doc);
    let mut sections = vec![head, ports(kind, page), parameters(kind, page), metrics(kind, page)];
    sections.retain(|section| !section.is_empty());
    sections.join("\n")
}

fn ports(kind: &Kind, page: Page) -> String {
    if kind.takes_any_port {
        return "from: any ports, each a stage or a path\n".to_owned();
    }
    let mut table = page::table(page, &["from", "takes", "", "what it is"]);
    for port in kind.ports {
        let takes = match port.accepts {
            Accepts::Model => "model",
            Accepts::RewardModel => "reward model",
            Accepts::Reward => "reward",
            Accepts::Data => "data",
            Accepts::Any => "anything",
        };
        let takes = if port.takes_many { format!("{takes}, or a list") } else { takes.to_owned() };
        let mut notes = Vec::new();
        if port.is_optional {
            notes.push("optional");
        }
        if kind.incumbent == Some(port.name) {
            notes.push("the incumbent of a gate");
        }
        table.add_row([
            cell(port.name, Tone::Plain),
            cell(takes, Tone::Plain),
            cell(notes.join(", "), Tone::Quiet),
            cell(port.doc, Tone::Plain),
        ]);
    }
    page::keep_whole(&mut table, 0..3);
    page::print(table)
}

fn parameters(kind: &Kind, page: Page) -> String {
    let mut defaults = Vec::new();
    flatten("", &(kind.defaults)(), &mut defaults);
    // What an empty block is refused for has no default.
    let required: BTreeSet<String> = match (kind.parse)(&Map::new()) {
        Ok(_) => BTreeSet::new(),
        Err(mistakes) => mistakes.into_iter().map(|mistake| mistake.path).collect(),
    };
    let documented = kind.parameter_docs.iter().copied().flatten().map(|(path, doc)| ((*path).to_owned(), *doc));
    let others = defaults
        .iter()
        .filter(|(path, _)| kind.parameter_docs.iter().copied().flatten().all(|(known, _)| known != path));
    let rows = documented.chain(others.map(|(path, _)| (path.clone(), "")));
    let mut table = page::table(page, &["with", "default", "what it does"]);
    for (path, doc) in rows {
        let default = defaults.iter().find(|(known, _)| *known == path).map(|(_, value)| value.as_str());
        let (default, tone) = match default {
            _ if required.contains(&path) => ("required", Tone::Doubtful),
            None | Some("null") => ("–", Tone::Plain),
            Some(value) => (value, Tone::Plain),
        };
        table.add_row([cell(path, Tone::Plain), cell(default, tone), cell(doc, Tone::Plain)]);
    }
    page::keep_whole(&mut table, [0]);
    if table.is_empty() { String::new() } else { page::print(table) }
}

fn metrics(kind: &Kind, page: Page) -> String {
    let mut table = page::table(page, &["metric", "better is", "mean of", "what it is"]);
    for metric in kind.metrics {
        let better = match metric.direction {
            Direction::Higher => "higher",
            Direction::Lower => "lower",
            Direction::Neutral => "–",
        };
        // The field of the items, which rules can ask for: `median(score)`.
        let field = kind.means.iter().find(|(name, _)| *name == metric.name).map_or("", |(_, field)| field);
        table.add_row([
            cell(metric.name, Tone::Plain),
            cell(better, Tone::Plain),
            cell(field, Tone::Plain),
            cell(metric.doc, Tone::Plain),
        ]);
    }
    page::keep_whole(&mut table, 0..3);
    match () {
        () if kind.takes_any_port => {
            "metrics: those the stage declares, `metrics: {name: higher|lower|neutral}`\n".to_owned()
        }
        () if table.is_empty() => String::new(),
        () => page::print(table),
    }
}
