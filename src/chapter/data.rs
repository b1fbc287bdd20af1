//! The tables of the page for programs: whole, without the words of a language, as CSV and as JSON.

use super::facts::{AnswerContest, Facts, StoredCurve};
use super::paper;
use super::verdict::{LostThing, lost, sentence};
use super::words::Language;
use super::{families, health};
use crate::event::{ArtifactEvidence, Machine, Outcome};
use crate::report::card::StageWork;
use crate::report::fold::{ActionRun, StageRun};
use crate::report::format;
use crate::report::json::word;
use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A table whose rows have a value for each column.
pub struct DataTable {
    pub name: String,
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl DataTable {
    fn new(name: &str, columns: &[&str], rows: Vec<Vec<Value>>) -> DataTable {
        DataTable { name: name.to_owned(), columns: columns.iter().map(|name| (*name).to_owned()).collect(), rows }
    }

    /// Comma-separated values (RFC 4180): an empty cell is null.
    ///
    /// # Errors
    /// None that a writer to memory has.
    pub fn csv(&self) -> Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.columns)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(|value| match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            }))?;
        }
        Ok(String::from_utf8(writer.into_inner()?)?)
    }

    fn objects(&self) -> Vec<Map<String, Value>> {
        let object = |row: &Vec<Value>| self.columns.iter().cloned().zip(row.iter().cloned()).collect();
        self.rows.iter().map(object).collect()
    }
}

/// The document of `report --format json`: a versioned promise. Within a version fields may be added.
#[derive(Serialize)]
struct ReportDocument<'a> {
    schema: &'static str,
    version: u32,
    run: &'a str,
    pipeline: &'a str,
    at: &'a str,
    exit: Option<u8>,
    seconds: Option<f64>,
    machine: Option<&'a Machine>,
    overrides: &'a [String],
    verdict: String,
    lacks: Vec<LostThing>,
    tables: Map<String, Value>,
    studies: Vec<Value>,
    answers: Vec<Value>,
}

/// The facts of the page as one document.
pub fn json(facts: &Facts, language: Language) -> String {
    let run = &facts.run;
    let studies = run.studies.iter().filter(|study| !study.rows.is_empty());
    let document = ReportDocument {
        schema: "pipeline.report",
        version: 1,
        run: &run.name,
        pipeline: &run.pipeline,
        at: &run.at,
        exit: run.finish.as_ref().map(|finish| finish.exit),
        seconds: run.finish.as_ref().map(|finish| finish.seconds),
        machine: run.machine.as_ref(),
        overrides: &run.overrides,
        verdict: sentence(facts, language),
        lacks: lost(facts, language),
        tables: tables(facts).into_iter().map(|table| (table.name.clone(), json!(table.objects()))).collect(),
        studies: studies.map(|study| paper::table(facts, study, language).value()).collect(),
        answers: facts.contests.iter().map(answers).collect(),
    };
    serde_json::to_string_pretty(&document).expect("a report is plain data") + "\n"
}

/// The answers that the page shows of a pair of models.
fn answers(contest: &AnswerContest) -> Value {
    let AnswerContest { of, candidate, other, counts, gain, gain_within, pairs, .. } = contest;
    json!({
        "of": of,
        "model": candidate.to_string(),
        "against": other.to_string(),
        "changed": counts.changed(),
        "all": counts.total(),
        "gain": gain,
        "gain_95": gain_within.map(|within| [within.lower, within.upper]),
        "pairs": pairs,
    })
}

/// Every table of the page but those of studies, which are [`paper`]'s, and of points and answers, which are too many to
/// be held.
pub fn tables(facts: &Facts) -> Vec<DataTable> {
    vec![
        stages(facts),
        parameters(facts),
        measurements(facts),
        metrics(facts),
        across(facts),
        rules(facts),
        evidence(facts),
        health(facts),
        series(facts),
        reliability(facts),
        scores(facts),
        lengths(facts),
        side_by_side(facts),
        notes(facts),
    ]
    .into_iter()
    .map(|(name, columns, rows): DataRows| DataTable::new(name, columns, rows))
    .filter(|table| !table.rows.is_empty())
    .collect()
}

/// The stages of a `for`, a row for each metric of each; what they are together has no stage.
fn across(facts: &Facts) -> DataRows {
    let columns = &["family", "stage", "state", "step", "metric", "value", "stages", "sd", "low_95", "high_95"];
    ("families", columns, families::rows(facts))
}

/// The name of a table, its columns and its rows.
type DataRows = (&'static str, &'static [&'static str], Vec<Vec<Value>>);

fn each<'a>(facts: &'a Facts, rows: impl Fn(&'a StageRun) -> Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    facts.run.stages.iter().flat_map(rows).collect()
}

fn stages(facts: &Facts) -> DataRows {
    let columns = &[
        "stage",
        "kind",
        "from",
        "state",
        "seconds",
        "gate",
        "goes_on",
        "step",
        "content",
        "key",
        "version",
        "seed",
        "device",
        "program",
        "finished_at",
        "cause",
    ];
    let row = |stage: &StageRun| {
        let from =
            stage.head.from.iter().flat_map(|(port, sources)| sources.iter().map(move |of| format!("{port}: {of}")));
        let action = stage.own_action();
        let of_action = |name: &str| action.map(|action| action.action.value()[name].clone()).unwrap_or_default();
        let work = action.and_then(|action| facts.works.get(&action.key));
        let (content, step) = match &stage.outcome {
            Some(Outcome::Done { content, step, .. }) => (json!(content), json!(step)),
            _ => (Value::Null, json!(stage.judged_step())),
        };
        let cause = match &stage.outcome {
            Some(Outcome::Failed { cause }) => json!(cause.to_string()),
            Some(Outcome::Skipped { because }) => json!(because.to_string()),
            _ => Value::Null,
        };
        vec![vec![
            json!(stage.head.name),
            json!(stage.head.kind),
            json!(from.collect::<Vec<_>>().join("; ")),
            json!(word(stage, facts.is_alive)),
            json!(stage.outcome.as_ref().and_then(Outcome::executed_in)),
            json!(stage.verdict.as_ref().map(|verdict| verdict.decision)),
            json!(stage.verdict.as_ref().map(|verdict| &verdict.carries)),
            step,
            content,
            json!(action.map(|action| &action.key)),
            of_action("version"),
            of_action("seed"),
            json!(work.and_then(|work| work.device.as_ref())),
            json!(work.and_then(|work| work.program.as_ref())),
            json!(work.map(|work| &work.at)),
            cause,
        ]]
    };
    ("stages", columns, each(facts, row))
}

fn parameters(facts: &Facts) -> DataRows {
    let rows = |stage: &StageRun| {
        let Some(action) = stage.own_action() else { return Vec::new() };
        let of = |name: &'static str| {
            let values = action.action.value().get(name).filter(|value| !value.is_null()).map(format::parameters);
            values.unwrap_or_default().into_iter().map(move |(path, value)| (format!("{name}.{path}"), value))
        };
        of("inputs")
            .chain(of("parameters"))
            .map(|(path, value)| vec![json!(stage.head.name), json!(path), json!(value)])
            .collect()
    };
    ("parameters", &["stage", "parameter", "value"], each(facts, rows))
}

fn measurements(facts: &Facts) -> DataRows {
    let rows = |stage: &StageRun| {
        let row = |action: &ActionRun| {
            let part = action.part.as_ref()?;
            let work: Option<&StageWork> = facts.works.get(&action.key);
            Some(vec![
                json!(stage.head.name),
                json!(part.to_string()),
                json!(action.key),
                json!(work.map(|work| work.seconds)),
                json!(work.and_then(|work| work.device.as_ref())),
            ])
        };
        stage.actions.iter().filter_map(row).collect()
    };
    ("measurements", &["stage", "measurement", "key", "seconds", "device"], each(facts, rows))
}

/// The metrics of every checkpoint of a record, and those with which a stage ended.
fn metrics(facts: &Facts) -> DataRows {
    let rows = |stage: &StageRun| {
        let ended = match &stage.outcome {
            Some(Outcome::Done { metrics, .. } | Outcome::Stopped { metrics, .. } | Outcome::Held { metrics, .. }) => {
                Some((None, metrics))
            }
            _ => None,
        };
        let stored = facts.stored(stage).map(|stored| stored.checkpoints.as_slice()).unwrap_or_default();
        let all = ended.into_iter().chain(stored.iter().map(|checkpoint| (Some(checkpoint.step), &checkpoint.metrics)));
        all.flat_map(|(step, metrics)| {
            metrics
                .iter()
                .map(move |(name, value)| vec![json!(stage.head.name), json!(step), json!(name), json!(value)])
        })
        .collect()
    };
    ("metrics", &["stage", "checkpoint", "metric", "value"], each(facts, rows))
}

fn rules(facts: &Facts) -> DataRows {
    let rows = |stage: &StageRun| {
        let rules = stage.verdict.iter().flat_map(|verdict| &verdict.rules);
        rules
            .map(|rule| {
                vec![
                    json!(stage.head.name),
                    json!(rule.role),
                    json!(rule.text),
                    json!(rule.decision),
                    json!(rule.explanation),
                    json!(rule.nearest),
                    json!(rule.is_within_noise),
                ]
            })
            .collect()
    };
    ("rules", &["stage", "role", "rule", "decision", "explanation", "nearest", "is_within_noise"], each(facts, rows))
}

/// Every number that a gate saw.
fn evidence(facts: &Facts) -> DataRows {
    let rows = |stage: &StageRun| {
        let Some(evidence) = stage.verdict.as_deref().map(|verdict| &verdict.evidence) else { return Vec::new() };
        let candidates = evidence
            .candidates
            .iter()
            .enumerate()
            .map(|(at, seen)| (if evidence.chosen == Some(at) { "chosen" } else { "candidate" }.to_owned(), seen));
        let incumbent = evidence.incumbent.iter().map(|seen| ("incumbent".to_owned(), seen));
        let others = evidence.stages.iter().map(|(name, seen)| (name.clone(), seen));
        candidates.chain(incumbent).chain(others).flat_map(|(role, seen)| seen_by(stage, &role, seen)).collect()
    };
    ("evidence", &["stage", "role", "model", "step", "content", "judge", "metric", "value"], each(facts, rows))
}

fn seen_by(stage: &StageRun, role: &str, seen: &ArtifactEvidence) -> Vec<Vec<Value>> {
    let own = seen.metrics.iter().map(|metric| (None, metric));
    let judged = seen.judged.iter().flat_map(|(judge, by)| by.metrics.iter().map(move |metric| (Some(judge), metric)));
    own.chain(judged)
        .map(|(judge, (name, value))| {
            let content = seen.content.to_string();
            vec![
                json!(stage.head.name),
                json!(role),
                json!(seen.label.to_string()),
                json!(seen.step),
                json!(content),
                json!(judge),
                json!(name),
                json!(value),
            ]
        })
        .collect()
}

/// A row for each light.
fn health(facts: &Facts) -> DataRows {
    ("health", &["light", "state", "reading", "rules", "numbers"], health::rows(facts))
}

/// A row for each series of a curve; all points are in files of their own.
fn series(facts: &Facts) -> DataRows {
    let rows = |stage: &StageRun| {
        let Some(StoredCurve::Traces { traces, .. }) = facts.stored(stage).map(|stored| &stored.curve) else {
            return Vec::new();
        };
        traces
            .iter()
            .map(|trace| {
                let extreme = |point: Option<[f64; 2]>| json!(point.map(|point| point[1]));
                vec![
                    json!(stage.head.name),
                    json!(trace.name),
                    json!(trace.points),
                    json!(trace.gaps),
                    json!(trace.first),
                    json!(trace.last),
                    extreme(trace.lowest),
                    extreme(trace.highest),
                ]
            })
            .collect()
    };
    ("series", &["stage", "series", "points", "not_finite", "first", "last", "lowest", "highest"], each(facts, rows))
}

fn reliability(facts: &Facts) -> DataRows {
    let rows = |stage: &StageRun| {
        let checkpoints = facts.stored(stage).map(|stored| stored.checkpoints.as_slice()).unwrap_or_default();
        let bins =
            checkpoints.iter().flat_map(|checkpoint| checkpoint.reliability.iter().map(|bin| (checkpoint.step, bin)));
        bins.map(|(step, bin)| {
            vec![
                json!(stage.head.name),
                json!(step),
                json!(bin.low),
                json!(bin.high),
                json!(bin.count),
                json!(bin.predicted),
                json!(bin.happened),
            ]
        })
        .collect()
    };
    ("reliability", &["stage", "checkpoint", "low", "high", "count", "predicted", "happened"], each(facts, rows))
}

/// The scores of held-out pairs.
fn scores(facts: &Facts) -> DataRows {
    let rows = |stage: &StageRun| {
        let pairs = facts.stored(stage).and_then(|stored| stored.pairs.as_ref());
        let row = |(at, (chosen, rejected)): (usize, (&f64, &f64))| {
            vec![json!(stage.head.name), json!(at + 1), json!(chosen), json!(rejected)]
        };
        pairs.iter().flat_map(|pairs| pairs.chosen.iter().zip(&pairs.rejected).enumerate().map(row)).collect()
    };
    ("pair_scores", &["stage", "pair", "chosen", "rejected"], each(facts, rows))
}

fn lengths(facts: &Facts) -> DataRows {
    let rows = facts.tastes.iter().flat_map(|taste| {
        taste.models.iter().flat_map(move |(model, points)| {
            let row = move |[length, score]: &[f64; 2]| {
                vec![json!(taste.reward), json!(model.to_string()), json!(length), json!(score)]
            };
            points.iter().map(row)
        })
    });
    ("lengths", &["reward", "model", "characters", "score"], rows.collect())
}

/// The answers that the journal itself holds.
fn side_by_side(facts: &Facts) -> DataRows {
    let rows = facts.run.studies.iter().flat_map(|study| {
        study.comparisons.iter().flat_map(move |(prompt, answers)| {
            answers.iter().map(move |answer| {
                vec![
                    json!(study.eval),
                    json!(prompt),
                    json!(answer.model.to_string()),
                    json!(answer.text),
                    json!(answer.score),
                ]
            })
        })
    });
    ("journal_answers", &["study", "prompt", "model", "answer", "score"], rows.collect())
}

fn notes(facts: &Facts) -> DataRows {
    let rows = |stage: &StageRun| {
        let notes = stage.notes.iter();
        notes
            .map(|(part, note)| {
                vec![json!(stage.head.name), json!(part.as_ref().map(ToString::to_string)), json!(note)]
            })
            .collect()
    };
    ("notes", &["stage", "measurement", "note"], each(facts, rows))
}
