//! One stage: the templated tree under its name → [`StageSpec`]. Knows the keys of a stage, not the kinds.

use crate::diagnostic::{Diagnostic, Span};
use crate::spec::expect;
use crate::spec::gate::{self, GateSpec};
use crate::spec::limits::{self, Resources, Retry};
use crate::spec::node::{Map, Node, Value, WithSpan};
use crate::spec::template::is_identifier;
use formats::data::{OPTIONS, ReadOptions};
use stages::stage::{Bounds, Direction, did_you_mean};
use std::path::PathBuf;
use std::time::Duration;

pub const KEYS: &[&str] = &[
    "kind",
    "from",
    "with",
    "gate",
    "for",
    "seed",
    "metrics",
    "incumbent",
    "resources",
    "executor",
    "timeout",
    "retry",
    "secret",
    "audit",
    "allow_overlap",
];

/// A stage as typed. A key with a reported mistake is left empty.
pub struct StageSpec {
    pub name: WithSpan<String>,
    /// `None` after a reported mistake.
    pub kind: Option<WithSpan<String>>,
    pub from: Vec<PortSpec>,
    pub with: Node,
    pub gate: Option<Box<GateSpec>>,
    pub seed: Option<WithSpan<u64>>,
    pub metrics: Vec<MetricSpec>,
    pub incumbent: Option<WithSpan<String>>,
    pub resources: Resources,
    pub executor: Option<WithSpan<String>>,
    pub timeout: Option<Duration>,
    pub retry: Retry,
    /// Names of environment variables.
    pub secrets: Vec<WithSpan<String>>,
    pub audit: Option<WithSpan<bool>>,
    /// Whether it may measure on prompts from which was learned.
    pub allow_overlap: Option<WithSpan<bool>>,
}

impl StageSpec {
    /// Takes the parameters out, because they are most of a long file.
    pub fn take_parameters(&mut self) -> Node {
        let nothing = Node::new(self.with.span, Value::Null);
        std::mem::replace(&mut self.with, nothing)
    }
}

pub struct PortSpec {
    pub port: WithSpan<String>,
    pub sources: Vec<SourceSpec>,
    pub is_list: bool,
}

impl PortSpec {
    /// Whether its sources are added up by their weights.
    pub fn has_weights(&self) -> bool {
        self.sources.iter().any(|source| source.options.is_some())
    }
}

pub struct SourceSpec {
    pub reference: Reference,
    /// The options with which its rows are read; `None` where only the source is named.
    pub options: Option<ReadOptions>,
    pub span: Span,
    /// The variables in its `${…}`: `vars.stories`.
    pub variables: Box<[String]>,
}

/// A metric that a stage of kind `exec` declares.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSpec {
    pub name: WithSpan<String>,
    pub direction: Direction,
    /// The bounds that the number of every item keeps.
    pub bounds: Option<Bounds>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reference {
    Stage {
        name: String,
        pin: Pin,
        /// A file of the stage's output, instead of all of it: its path from the top.
        file: Option<String>,
    },
    /// As written.
    Path(PathBuf),
    Hub(String),
}

/// A candidate of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pin {
    /// The one its gate let through.
    Open,
    /// The last one, before the gate.
    Last,
    Step(u64),
}

pub fn lower(name: WithSpan<String>, mut node: Node, mistakes: &mut Vec<Diagnostic>) -> StageSpec {
    let mut stage = StageSpec {
        with: Node::new(name.span, Value::Map(Vec::new())),
        name,
        kind: None,
        from: Vec::new(),
        gate: None,
        seed: None,
        metrics: Vec::new(),
        incumbent: None,
        resources: Resources::default(),
        executor: None,
        timeout: None,
        retry: Retry::NEVER,
        secrets: Vec::new(),
        audit: None,
        allow_overlap: None,
    };
    // Moved, not copied: parameters are most of a long file.
    if let Some((key, given)) = node.take("with") {
        stage.with = with(key, given, mistakes);
    }
    let Some(map) = expect::map(&node, "a stage: a mapping with `kind` and `from`", mistakes) else { return stage };
    expect::known_keys(map, "a stage", KEYS, mistakes);
    let is_misspelt_with = |key: &str| !KEYS.contains(&key) && did_you_mean(key, KEYS) == did_you_mean("with", KEYS);
    if let Some((key, _)) = map.iter().find(|(key, _)| is_misspelt_with(&key.value)) {
        // Nothing is reported as missing from parameters that could not be read.
        stage.with = Node::new(key.span, Value::Broken);
    }
    if node.get("kind").is_none() {
        let message = format!("stage `{}` has no `kind`", stage.name.value);
        mistakes.push(Diagnostic::error(stage.name.span, message).help("`pipeline kinds` lists them"));
    }
    for (key, value) in map {
        match key.value.as_str() {
            "kind" => stage.kind = expect::text(value, mistakes),
            "from" => stage.from = ports(value, mistakes),
            "gate" => stage.gate = gate::lower(key.span, value, mistakes).map(Box::new),
            "seed" => {
                stage.seed =
                    expect::whole_number(value, mistakes).map(|seed| WithSpan { value: seed, span: value.span });
            }
            "metrics" => stage.metrics = metrics(value, mistakes),
            "incumbent" => stage.incumbent = expect::text(value, mistakes),
            "resources" => stage.resources = limits::resources(value, mistakes),
            "executor" => stage.executor = expect::text(value, mistakes),
            "timeout" => stage.timeout = expect::duration(value, mistakes),
            "retry" => stage.retry = limits::retry(value, mistakes),
            "secret" => stage.secrets = secrets(value, mistakes),
            "audit" => {
                stage.audit = expect::boolean(value, mistakes).map(|audit| WithSpan { value: audit, span: key.span });
            }
            "allow_overlap" => {
                let allowed = expect::boolean(value, mistakes);
                stage.allow_overlap = allowed.map(|value| WithSpan { value, span: key.span });
            }
            _ => {}
        }
    }
    stage
}

fn ports(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Vec<PortSpec> {
    if node.value == Value::Null {
        return Vec::new();
    }
    let Some(map) = expect::map(node, "a mapping of inputs such as `{model: base, data: data/sft.jsonl}`", mistakes)
    else {
        return Vec::new();
    };
    let mut ports = Vec::with_capacity(map.len());
    for (port, value) in map {
        let (items, is_list) = match &value.value {
            Value::List(items) => (items.as_slice(), true),
            _ => (std::slice::from_ref(value), false),
        };
        if is_list && items.is_empty() {
            mistakes.push(Diagnostic::error(value.span, format!("`{}` is connected to nothing", port.value)));
        }
        let mut sources = Vec::with_capacity(items.len());
        sources.extend(items.iter().filter_map(|item| source(item, mistakes)));
        ports.push(PortSpec { port: port.clone(), sources, is_list });
    }
    ports
}

fn source(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<SourceSpec> {
    let (named, options) = match &node.value {
        Value::Map(map) => {
            let mut keys = SOURCES.to_vec();
            keys.extend(OPTIONS.map(|(key, _)| key));
            expect::known_keys(map, "a source", &keys, mistakes);
            let mut named = SOURCES.iter().filter_map(|key| node.get(key));
            let (first, second) = (named.next(), named.next());
            if let Some(second) = second {
                mistakes.push(Diagnostic::error(second.span, "`path` and `from` mean the same: write one of them"));
            }
            let Some(first) = first else {
                let help = "`{path: data/a.jsonl, columns: {prompt: question}}`, `{from: rm_1, weight: 0.5}`";
                mistakes.push(Diagnostic::error(node.span, "the source has no `path`, and no `from`").help(help));
                return None;
            };
            (first, Some(options(map, mistakes)))
        }
        _ => (node, None),
    };
    let Value::String(text) = &named.value else {
        expect::wrong(named, "a stage or a path", mistakes);
        return None;
    };
    let reference = match reference(text) {
        Ok(reference) => reference,
        Err((message, help)) => {
            mistakes.push(Diagnostic::error(named.span, message).help(help));
            return None;
        }
    };
    Some(SourceSpec { reference, options, span: named.span, variables: named.variables.clone() })
}

/// The keys of a source beside its options: `path` of data, `from` of what else a stage makes.
pub const SOURCES: [&str; 2] = ["path", "from"];

/// The options with which the rows of a source are read.
fn options(map: &Map, mistakes: &mut Vec<Diagnostic>) -> ReadOptions {
    let mut options = ReadOptions::default();
    for (key, value) in map {
        match key.value.as_str() {
            "columns" => {
                let columns = expect::map(value, "a mapping such as `{prompt: question}`", mistakes);
                for (field, from) in columns.into_iter().flatten() {
                    let from = expect::text(from, mistakes);
                    options.columns.extend(from.map(|from| (field.value.clone(), from.value)));
                }
            }
            "join" => options.join = expect::text(value, mistakes).map_or_else(String::new, |join| join.value),
            "take" => options.take = expect::whole_number(value, mistakes),
            "weight" => match &value.value {
                Value::Int(weight) => options.weight = *weight as f64,
                Value::Float(weight) => options.weight = *weight,
                _ => expect::wrong(value, "a number", mistakes),
            },
            _ => continue,
        }
        // Each option alone, so that the mistake is shown where it stands.
        let mut one = ReadOptions::default();
        match key.value.as_str() {
            "columns" => one.columns.clone_from(&options.columns),
            "take" => one.take = options.take,
            // Rewards may count against; rows may not, which the port knows.
            "weight" => one.weight = options.weight.abs(),
            _ => {}
        }
        if let Err(error) = one.check() {
            mistakes.push(Diagnostic::error(value.span, format!("{error:#}")));
        }
    }
    options
}

/// Reads a source: a plain identifier is a stage, followed by `:` and a path it is a file that the stage made; anything
/// else with `/`, `.` or `://` is a path, or a model or data of a hub.
fn reference(text: &str) -> Result<Reference, (String, String)> {
    if text.contains("://") {
        return Ok(Reference::Hub(text.to_owned()));
    }
    if let Some((stage, file)) = text.split_once(':')
        && let Ok(Reference::Stage { name, pin, .. }) = reference(stage)
    {
        let file = made_file(&name, file)?;
        return Ok(Reference::Stage { name, pin, file: Some(file) });
    }
    if text.contains(['/', '.']) {
        return Ok(Reference::Path(PathBuf::from(text)));
    }
    let (name, pin) = match text.split_once('@') {
        None => (text, Pin::Open),
        Some((name, "last")) => (name, Pin::Last),
        Some((name, step)) => match step.parse() {
            Ok(step) => (name, Pin::Step(step)),
            Err(_) => {
                let message = format!("`@{step}` pins no checkpoint");
                return Err((message, format!("`{name}@150` takes the one of step 150, `{name}@last` the last one")));
            }
        },
    };
    if !is_identifier(name) {
        let help = format!("stages match [A-Za-z_][A-Za-z0-9_]*; a path holds a `/` or `.`: `./{text}`");
        return Err((format!("`{text}` is neither a stage nor a path"), help));
    }
    Ok(Reference::Stage { name: name.to_owned(), pin, file: None })
}

/// The path of a file in what a stage made, as the store spells it.
fn made_file(stage: &str, path: &str) -> Result<String, (String, String)> {
    let parts: Vec<&str> = path.split('/').filter(|part| *part != ".").collect();
    match parts.iter().all(|part| !part.is_empty() && *part != "..") {
        true => Ok(parts.join("/")),
        false => Err((
            format!("`{path}` names no file in what `{stage}` makes"),
            format!("the path of a file, from the top of its output: `{stage}:rows.jsonl`, `{stage}:data/rows.jsonl`"),
        )),
    }
}

fn with(key: Span, node: Node, mistakes: &mut Vec<Diagnostic>) -> Node {
    match &node.value {
        Value::Map(_) => node,
        Value::Null => Node::new(key, Value::Map(Vec::new())),
        _ => {
            expect::wrong(&node, "a mapping of parameters", mistakes);
            Node::new(key, Value::Broken)
        }
    }
}

pub fn metrics(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Vec<MetricSpec> {
    let mut metrics = Vec::new();
    let map = expect::map(node, "a mapping such as `{mean_score: higher, loss: lower}`", mistakes);
    for (name, value) in map.into_iter().flatten() {
        if !is_identifier(&name.value) || crate::gate::is_word(&name.value) {
            let message = format!("`{}` cannot name a metric", name.value);
            let help = "names match [A-Za-z_][A-Za-z0-9_]* and are no words of the rule language";
            mistakes.push(Diagnostic::error(name.span, message).help(help));
        }
        metrics.push(metric(name.clone(), value, mistakes));
    }
    metrics
}

/// `higher`, or `{better: higher, bounds: [1, 5]}`.
fn metric(name: WithSpan<String>, value: &Node, mistakes: &mut Vec<Diagnostic>) -> MetricSpec {
    const HELP: &str = "{better: higher, bounds: [1, 5]}";
    let words = [("higher", Direction::Higher), ("lower", Direction::Lower), ("neutral", Direction::Neutral)];
    // A metric of unknown direction is still declared, so that rules which use it are not mistakes too.
    let mut word = |node: &Node| expect::word(node, &words, mistakes).unwrap_or(Direction::Neutral);
    let Value::Map(map) = &value.value else {
        return MetricSpec { name, direction: word(value), bounds: None };
    };
    let direction = value.get("better").map(&mut word);
    expect::known_keys(map, "a metric", &["better", "bounds"], mistakes);
    if direction.is_none() {
        mistakes
            .push(Diagnostic::error(name.span, format!("`{}` does not say which is better", name.value)).help(HELP));
    }
    let bounds = value.get("bounds").and_then(|node| bounds(node, mistakes));
    MetricSpec { name, direction: direction.unwrap_or(Direction::Neutral), bounds }
}

/// `[1, 5]`.
fn bounds(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<Bounds> {
    const EXPECTED: &str = "the least and the largest number of an item, such as [1, 5]";
    let number = |node: &Node| match node.value {
        Value::Int(number) => Some(number as f64),
        Value::Float(number) => Some(number).filter(|number| number.is_finite()),
        _ => None,
    };
    let numbers: Option<Vec<f64>> = match &node.value {
        Value::List(items) => items.iter().map(number).collect(),
        _ => None,
    };
    match numbers.as_deref() {
        Some([low, high]) if low < high => Some(Bounds { low: *low, high: *high }),
        Some([low, high]) => {
            let message = format!("the bounds {low} and {high} leave nothing between them");
            mistakes.push(Diagnostic::error(node.span, message).help(format!("write {EXPECTED}")));
            None
        }
        _ => {
            expect::wrong(node, EXPECTED, mistakes);
            None
        }
    }
}

/// One name, or a list of them.
fn secrets(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Vec<WithSpan<String>> {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    items.iter().filter_map(|item| expect::text(item, mistakes)).collect()
}
