//! `kinds`: the table of kinds, one kind in full, and the rule language of gates.

use super::refusal::refused;
use super::terminal;
use crate::gate;
use crate::report::format;
use crate::report::sheet::{Grid, Header, Sheet, Tone, cell, plain};
use anyhow::Result;
use serde_json::Map;
use stages::kinds::KINDS;
use stages::stage::{Accepts, Direction, Gives, Kind, Port};
use std::collections::BTreeSet;

pub fn list(kind: Option<&str>) -> Result<u8> {
    let unknown = |name: &str| {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        refused(format!("there is no kind `{name}`: {}", stages::stage::did_you_mean(name, &names)))
    };
    terminal::show(&match kind {
        None => table(),
        Some(name) => describe(stages::kinds::kind(name).ok_or_else(|| unknown(name))?),
    })?;
    Ok(0)
}

pub fn list_gates() -> Result<u8> {
    terminal::show(&gates())?;
    Ok(0)
}

fn table() -> Vec<Sheet> {
    let mut grid =
        Grid::new([Header::name("kind"), Header::text("from"), Header::name("gives"), Header::text("what it does")]);
    for kind in KINDS {
        let ports: Vec<String> = kind.ports.iter().map(short).collect();
        let ports = if kind.takes_any_port { "any".to_owned() } else { ports.join(", ") };
        grid.add([plain(kind.name), plain(ports), plain(gives(kind.gives)), plain(kind.doc)]);
    }
    let hint = "`?` may be left out, `*` takes a list; `pipeline kinds KIND` has parameters and metrics";
    vec![grid.into(), Sheet::note(hint)]
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
        Gives::Reward | Gives::Scorer => "reward",
        Gives::Nothing => "measurements",
        Gives::Any => "anything",
    }
}

/// The rule language: its grammar, and the table of functions that the parser uses too.
fn gates() -> Vec<Sheet> {
    let mut grid = Grid::new([Header::name("function"), Header::text("what it is")]);
    for function in gate::FUNCTIONS {
        grid.add([plain(function.signature), plain(function.doc)]);
    }
    vec![Sheet::note(gate::GRAMMAR.trim_end()), grid.into()]
}

fn describe(kind: &Kind) -> Vec<Sheet> {
    let heading = format!("{} (version {}): {}", kind.name, kind.version, kind.doc);
    vec![Sheet::heading(heading), ports(kind), parameters(kind).into(), beside_key(kind), metrics(kind)]
}

fn ports(kind: &Kind) -> Sheet {
    if kind.takes_any_port {
        return Sheet::note("from: any ports, each a stage or a path");
    }
    let mut grid =
        Grid::new([Header::name("from"), Header::name("takes"), Header::name(""), Header::text("what it is")]);
    for port in kind.ports {
        let takes = match port.accepts {
            Accepts::Model => "model",
            Accepts::RewardModel => "reward model",
            Accepts::Reward => "reward",
            Accepts::Judge => "judge",
            Accepts::Tokenizer => "tokenizer",
            Accepts::Data(_) => "data",
            Accepts::Criteria => "criteria",
            Accepts::Evaluation => "evaluation with a baseline",
            Accepts::ModelAnswers => "evaluation",
            Accepts::Any => "anything",
        };
        let takes = if port.takes_many { format!("{takes}, or a list") } else { takes.to_owned() };
        let mut notes = Vec::new();
        match port.or {
            Some(other) => notes.push(format!("or `{other}`")),
            None if port.is_optional => notes.push("optional".to_owned()),
            None => {}
        }
        if kind.incumbent == Some(port.name) {
            notes.push("the incumbent of a gate".to_owned());
        }
        grid.add([plain(port.name), plain(takes), cell(notes.join(", "), Tone::Quiet), plain(port.doc)]);
    }
    grid.into()
}

fn parameters(kind: &Kind) -> Grid {
    let defaults = format::parameters(&(kind.defaults)());
    // A parameter without a default is one that an empty block is refused for.
    let required: BTreeSet<String> = match (kind.parse)(&Map::new()) {
        Ok(_) => BTreeSet::new(),
        Err(mistakes) => mistakes.into_iter().map(|mistake| mistake.path).collect(),
    };
    let mut grid = Grid::new([Header::name("with"), Header::text("default"), Header::text("what it does")]);
    for (path, doc) in (kind.docs)() {
        let default = defaults.iter().find(|(known, _)| *known == path).map(|(_, value)| value.as_str());
        let (default, tone) = match default {
            _ if required.contains(&path) => ("required", Tone::Doubtful),
            None | Some("null") => ("–", Tone::Plain),
            Some(value) => (value, Tone::Plain),
        };
        grid.add([plain(path), cell(default, tone), plain(doc)]);
    }
    grid
}

/// Parameters that change nothing that comes of a stage.
fn beside_key(kind: &Kind) -> Sheet {
    let named: Vec<String> = kind.beside_key.iter().map(|path| format!("`{path}`")).collect();
    match named.is_empty() {
        true => Sheet::default(),
        false => Sheet::note(format!("in no key, so that another value runs nothing again: {}", named.join(", "))),
    }
}

fn metrics(kind: &Kind) -> Sheet {
    if kind.is_command() {
        return Sheet::note(
            "metrics: those the stage declares, `metrics: {name: higher|lower|neutral}`, or \
             `{name: {better: higher, bounds: [1, 5]}}` where every item lies between two numbers",
        );
    }
    let names = ["metric", "better is", "mean of", "bounds"].map(Header::name);
    let mut grid = Grid::new(names.into_iter().chain([Header::text("what it is")]));
    for metric in kind.metrics() {
        let better = match metric.direction {
            Direction::Higher => "higher",
            Direction::Lower => "lower",
            Direction::Neutral => "–",
        };
        // The field of the items behind the metric, which rules can use: `median(score)`.
        let field = metric.mean_of.unwrap_or_default();
        // Those of each item, which rules may assume: `assuming bounds`.
        let bounds = metric.bounds.map_or(String::new(), |bounds| format!("{} to {}", bounds.low, bounds.high));
        grid.add([plain(metric.name), plain(better), plain(field), plain(bounds), plain(metric.doc)]);
    }
    grid.into()
}
