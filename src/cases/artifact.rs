//! What a test says was measured of one artifact: its own metrics and items, and those of each judge. Knows which names
//! there are; nothing of what the rules make of them.

use super::versus::{self, Versus};
use crate::diagnostic::{Diagnostic, Span};
use crate::event::{Metrics, Seen, SeenBy, Table};
use crate::gate::{Items, MetricName, Scope, Who, Yardstick};
use crate::schedule::weigh::Tables;
use crate::spec::expect;
use crate::spec::node::{Map, Node, Value};
use cache::{Content, Digest};
use serde_json::Value as Json;
use stages::stage::did_you_mean;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What was measured by one yardstick.
#[derive(Default)]
pub struct Part {
    pub metrics: Metrics,
    pub items: Option<Items>,
}

#[derive(Default)]
pub struct Artifact {
    pub own: Part,
    /// In the order of the gate's judges; those that are spoken of.
    pub judged: BTreeMap<usize, Part>,
}

/// All that a test speaks of.
#[derive(Default)]
pub struct Measured {
    /// In step order; a single `candidate` has no step.
    pub candidates: Vec<(Option<u64>, Artifact)>,
    pub incumbent: Option<Artifact>,
    pub stages: BTreeMap<String, Artifact>,
}

/// Where an artifact is read.
pub struct Reading<'a> {
    pub scope: &'a Scope,
    pub who: Who,
    /// The candidate of an eval: its metrics are the judge's, whether or not they stand under its name.
    pub is_own_judge: bool,
    /// `None`: `versus` has no place here.
    pub versus: Option<&'a mut Vec<Versus>>,
    /// Of the file of tests: paths are relative to it.
    pub directory: &'a Path,
}

impl Reading<'_> {
    fn called(&self) -> String {
        match &self.who {
            Who::Candidate => "the candidate".to_owned(),
            Who::Incumbent => "the incumbent".to_owned(),
            Who::Stage(stage) => format!("`{stage}`"),
        }
    }

    pub fn read(&mut self, node: &Node, mistakes: &mut Vec<Diagnostic>) -> Artifact {
        let mut artifact = Artifact::default();
        let what = "an artifact: a mapping such as `{accuracy: 0.7}`";
        let Some(map) = expect::map(node, what, mistakes) else { return artifact };
        let scope = self.scope;
        let is_judge = |key: &str| scope.judge(key).is_some();
        let (of_judges, top): (Map, Map) = map.iter().cloned().partition(|(key, _)| is_judge(&key.value));
        if self.is_own_judge {
            let judge = self.part(&top, Yardstick::Judge(0), &self.called(), mistakes);
            if let Some((key, _)) = of_judges.first().filter(|_| !top.is_empty()) {
                let message = format!("`{}` measures by itself, and its candidate is measured twice here", key.value);
                let help = format!("write everything under `{}`, or nothing", key.value);
                mistakes.push(Diagnostic::error(key.span, message).help(help));
            }
            artifact.judged.insert(0, judge);
        } else {
            artifact.own = self.part(&top, Yardstick::Own, &self.called(), mistakes);
        }
        for (key, node) in of_judges {
            let Some(judge) = scope.judge(&key.value) else { continue };
            let what = format!("what `{}` measures: a mapping such as `{{mean_score: 0.6}}`", key.value);
            let Some(map) = expect::map(&node, &what, mistakes) else { continue };
            let called = format!("{} by `{}`", self.called(), key.value);
            let part = self.part(map, Yardstick::Judge(judge), &called, mistakes);
            artifact.judged.insert(judge, part);
        }
        artifact
    }

    fn part(&mut self, map: &Map, yardstick: Yardstick, called: &str, mistakes: &mut Vec<Diagnostic>) -> Part {
        let metrics = self.scope.measured(&self.who, yardstick);
        let mut part = Part::default();
        let mut compared = None;
        for (key, node) in map {
            match (key.value.as_str(), yardstick) {
                ("items", _) => part.items = items(node, self.directory, mistakes),
                ("versus", Yardstick::Judge(judge)) if self.who == Who::Candidate => match &mut self.versus {
                    Some(all) => {
                        all.extend(versus::read(node, judge, mistakes));
                        compared = Some(key.span);
                    }
                    None => {
                        let message = "`versus` makes up the answers of one candidate, and there are several";
                        mistakes.push(Diagnostic::error(key.span, message).help("give each its `items`"));
                    }
                },
                (name, _) if metrics.iter().any(|metric| metric.name == name) => {
                    part.metrics.extend(number(node, mistakes).map(|number| (name.to_owned(), number)));
                }
                (unknown, _) => mistakes.push(self.unknown(unknown, key.span, yardstick, called)),
            }
        }
        if let Some(span) = compared.filter(|_| map.iter().any(|(key, _)| key.value == "items")) {
            let message = "`versus` makes up the items, and `items` gives them";
            mistakes.push(Diagnostic::error(span, message).help("leave one of the two out"));
        }
        fill_means(&mut part, metrics);
        part
    }

    fn unknown(&self, key: &str, span: Span, yardstick: Yardstick, called: &str) -> Diagnostic {
        let mistake = Diagnostic::error(span, format!("unknown key `{key}` of {called}"));
        let metrics = self.scope.measured(&self.who, yardstick).iter().map(|metric| metric.name.as_str());
        let is_at_top = yardstick == Yardstick::Own || self.is_own_judge;
        let judges = self.scope.judges.iter().filter(|_| is_at_top).map(|judge| judge.name.as_str());
        let by_judge =
            self.scope.judges.iter().find(|judge| judge.metrics.iter().any(|metric| metric.name == key) && is_at_top);
        match (key, by_judge) {
            ("versus", _) => mistake.help("`versus` stands in what a judge measures of the candidate"),
            (_, Some(judge)) => mistake.help(format!("the judge measures it: write `{}: {{{key}: …}}`", judge.name)),
            _ => mistake.help(did_you_mean(key, &metrics.chain(judges).chain(["items"]).collect::<Vec<_>>())),
        }
    }
}

/// `Some(None)`: it came out as no finite number.
fn number(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<Option<f64>> {
    match &node.value {
        Value::Int(value) => Some(Some(*value as f64)),
        Value::Float(value) => Some(Some(*value)),
        Value::Null => Some(None),
        Value::String(text) if ["nan", "inf", "-inf"].contains(&text.to_lowercase().as_str()) => {
            let message = format!("expected a number, found the text `{text}`");
            mistakes.push(Diagnostic::error(node.span, message).help("write `null` or `.nan`"));
            None
        }
        _ => {
            expect::wrong(node, "a number", mistakes);
            None
        }
    }
}

/// Metrics that are left out, from the items they are the means of. An item without its number makes a mean that is
/// none, as in a record.
fn fill_means(part: &mut Part, metrics: &[MetricName]) {
    let Some(items) = &part.items else { return };
    for metric in metrics {
        let Some(numbers) = metric.field.as_ref().and_then(|field| items.fields.get(field)) else { continue };
        let sum: Option<f64> = numbers.iter().copied().sum();
        let mean = sum.map(|sum| sum / numbers.len() as f64).filter(|mean| mean.is_finite());
        part.metrics.entry(metric.name.clone()).or_insert(mean);
    }
}

/// Columns, a list of rows, or a file of rows.
fn items(node: &Node, directory: &Path, mistakes: &mut Vec<Diagnostic>) -> Option<Items> {
    let before = mistakes.len();
    let rows = match &node.value {
        Value::List(rows) => rows.iter().filter_map(|row| self::row(row, mistakes)).collect(),
        Value::Map(columns) => rows_of(columns, mistakes),
        Value::String(name) if name.ends_with(".jsonl") => return items_of_file(name, node.span, directory, mistakes),
        _ => {
            let expected = "items: columns `{score: [0.1, 0.3]}`, a list of rows, or the path of a .jsonl file";
            expect::wrong(node, expected, mistakes);
            return None;
        }
    };
    if mistakes.len() > before {
        return None;
    }
    Items::of_rows(rows).map_err(|reason| mistakes.push(Diagnostic::error(node.span, reason))).ok()
}

type Row = serde_json::Map<String, Json>;

fn row(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<Row> {
    let map = expect::map(node, "a row: a mapping such as `{text: a, score: 0.1}`", mistakes)?;
    Some(map.iter().map(|(key, node)| (key.value.clone(), node.to_json())).collect())
}

fn rows_of(columns: &Map, mistakes: &mut Vec<Diagnostic>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut first: Option<(&str, usize)> = None;
    for (name, column) in columns {
        let Value::List(cells) = &column.value else {
            expect::wrong(column, "a column: a list with a cell for every item", mistakes);
            continue;
        };
        let (other, count) = *first.get_or_insert((&name.value, cells.len()));
        if cells.len() != count {
            let message = format!("columns of different lengths: `{}` {}, `{other}` {count}", name.value, cells.len());
            mistakes.push(Diagnostic::error(name.span, message).help("every column has a cell for every item"));
            continue;
        }
        rows.resize_with(count, Row::new);
        for (row, cell) in rows.iter_mut().zip(cells) {
            row.insert(name.value.clone(), cell.to_json());
        }
    }
    rows
}

fn items_of_file(name: &str, span: Span, directory: &Path, mistakes: &mut Vec<Diagnostic>) -> Option<Items> {
    let text = std::fs::read_to_string(directory.join(name)).map_err(|error| error.to_string());
    let items = text.and_then(|text| Items::read(&text));
    items.map_err(|reason| mistakes.push(Diagnostic::error(span, format!("read {name}: {reason}")))).ok()
}

/// The artifact as a gate sees it; its items are put among the tables, under names that are made up.
pub fn seen(artifact: Artifact, label: &str, step: Option<u64>, judges: &[String], tables: &mut Tables) -> Seen {
    let content = |what: &str| Content::File {
        format: "jsonl".to_owned(),
        blob: Digest::of(format!("{label}\n{what}").as_bytes()),
    };
    let mut table = |items: Option<Items>, what: &str| {
        let table = Table { content: content(what), file: String::new(), suffix: String::new() };
        items.map(|items| {
            tables.insert(table.clone(), Arc::new(items));
            table
        })
    };
    let own = table(artifact.own.items, "");
    let judged = artifact.judged.into_iter().map(|(judge, part)| {
        let name = judges[judge].clone();
        let tables = table(part.items, &name).into_iter().collect();
        (name, SeenBy { metrics: part.metrics, tables })
    });
    let judged = judged.collect();
    Seen { label: label.to_owned(), step, content: content(""), metrics: artifact.own.metrics, table: own, judged }
}
