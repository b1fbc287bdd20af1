//! Reads the measurements of one artifact in a test: its own metrics and items, and those of each judge.

use super::givens::TestArtifact;
use super::versus::{self, Matchup};
use crate::diagnostic::{Diagnostic, Span};
use crate::gate::{Items, MetricName, Readings, RecordOrigin, RuleScope, Who};
use crate::spec::expect;
use crate::spec::node::{Map, Node, Value};
use serde_json::Value as Json;
use stages::stage::did_you_mean;
use std::path::Path;
use std::sync::Arc;

/// Reads one artifact of a test.
pub struct ArtifactReader<'a> {
    pub scope: &'a RuleScope,
    pub who: Who,
    /// Set for the candidate of an eval: its metrics are the judge's, whether or not they stand under the judge's name.
    pub is_own_judge: bool,
    /// `None` where `versus` is not allowed.
    pub versus: Option<&'a mut Vec<Matchup>>,
    /// The directory of the test file, to which paths are relative.
    pub directory: &'a Path,
}

impl ArtifactReader<'_> {
    fn called(&self) -> String {
        match &self.who {
            Who::Candidate => "the candidate".to_owned(),
            Who::Incumbent => "the incumbent".to_owned(),
            Who::Stage(stage) => format!("`{stage}`"),
        }
    }

    pub fn read(&mut self, node: &Node, mistakes: &mut Vec<Diagnostic>) -> TestArtifact {
        let mut artifact = TestArtifact::default();
        let what = "an artifact: a mapping such as `{accuracy: 0.7}`";
        let Some(map) = expect::map(node, what, mistakes) else { return artifact };
        let scope = self.scope;
        let is_judge = |key: &str| scope.judge(key).is_some();
        let (of_judges, top): (Map, Map) = map.iter().cloned().partition(|(key, _)| is_judge(&key.value));
        if self.is_own_judge {
            let judge = self.readings(&top, RecordOrigin::Judge(0), &self.called(), mistakes);
            if let Some((key, _)) = of_judges.first().filter(|_| !top.is_empty()) {
                let message = format!("`{}` measures by itself, and its candidate is measured twice here", key.value);
                let help = format!("write everything under `{}`, or nothing", key.value);
                mistakes.push(Diagnostic::error(key.span, message).help(help));
            }
            artifact.judged.insert(0, judge);
        } else {
            artifact.own = self.readings(&top, RecordOrigin::Own, &self.called(), mistakes);
        }
        for (key, node) in of_judges {
            let Some(judge) = scope.judge(&key.value) else { continue };
            let what = format!("what `{}` measures: a mapping such as `{{mean_score: 0.6}}`", key.value);
            let Some(map) = expect::map(&node, &what, mistakes) else { continue };
            let called = format!("{} by `{}`", self.called(), key.value);
            let readings = self.readings(map, RecordOrigin::Judge(judge), &called, mistakes);
            artifact.judged.insert(judge, readings);
        }
        artifact
    }

    fn readings(&mut self, map: &Map, origin: RecordOrigin, called: &str, mistakes: &mut Vec<Diagnostic>) -> Readings {
        let metrics = self.scope.measured(&self.who, origin);
        let mut readings = Readings::default();
        let mut compared = None;
        for (key, node) in map {
            match (key.value.as_str(), origin) {
                ("items", _) => readings.items = items(node, self.directory, mistakes).map(Arc::new),
                ("versus", RecordOrigin::Judge(judge)) if self.who == Who::Candidate => match &mut self.versus {
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
                    readings.metrics.extend(number(node, mistakes).map(|number| (name.to_owned(), number)));
                }
                (unknown, _) => mistakes.push(self.unknown(unknown, key.span, origin, called)),
            }
        }
        if let Some(span) = compared.filter(|_| map.iter().any(|(key, _)| key.value == "items")) {
            let message = "`versus` makes up the items, and `items` gives them";
            mistakes.push(Diagnostic::error(span, message).help("leave one of the two out"));
        }
        fill_means(&mut readings, metrics);
        readings
    }

    fn unknown(&self, key: &str, span: Span, origin: RecordOrigin, called: &str) -> Diagnostic {
        let mistake = Diagnostic::error(span, format!("unknown key `{key}` of {called}"));
        let metrics = self.scope.measured(&self.who, origin).iter().map(|metric| metric.name.as_str());
        let is_at_top = origin == RecordOrigin::Own || self.is_own_judge;
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

/// Reads a metric; `Some(None)` means that it is not finite.
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

/// Computes metrics that are left out from the items they are the means of. An item without its number makes a mean
/// that is not finite, as in a record.
fn fill_means(readings: &mut Readings, metrics: &[MetricName]) {
    let Some(items) = &readings.items else { return };
    for metric in metrics {
        let Some(numbers) = metric.field.as_ref().and_then(|field| items.fields.get(field)) else { continue };
        let sum: Option<f64> = numbers.iter().copied().sum();
        let mean = sum.map(|sum| sum / numbers.len() as f64).filter(|mean| mean.is_finite());
        readings.metrics.entry(metric.name.clone()).or_insert(mean);
    }
}

/// Reads items: columns, a list of rows, or a file of rows.
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

type JsonObject = serde_json::Map<String, Json>;

fn row(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<JsonObject> {
    let map = expect::map(node, "a row: a mapping such as `{text: a, score: 0.1}`", mistakes)?;
    Some(map.iter().map(|(key, node)| (key.value.clone(), node.to_json())).collect())
}

fn rows_of(columns: &Map, mistakes: &mut Vec<Diagnostic>) -> Vec<JsonObject> {
    let mut rows: Vec<JsonObject> = Vec::new();
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
        rows.resize_with(count, JsonObject::new);
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
