//! Two runs for one page: their difference, and the tables of the same items that both keep.

use super::super::answers::items;
use super::super::diff;
use super::super::find::record_in;
use super::compared::Shelf;
use crate::action::Record;
use crate::chapter::facts::{Facts, MetricGain, RunComparison, SharedAnswers, contest, metric_gain, unscored_contest};
use crate::cli::configuration;
use crate::event::{ArtifactEvidence, Table};
use crate::gate::Items;
use crate::plan::ArtifactName;
use crate::report::diff::{Diff, MetricDiff};
use crate::report::fold::{RunState, StageRun};
use crate::report::measured::{MeasuredModel, measured};
use crate::report::yardstick::{self, DeviceClass};
use crate::run::answers::read_table;
use cache::Store;
use stages::kinds::{self, KINDS};
use stages::stage::Work;
use std::path::Path;

/// Measurements whose answers are shown, and the bytes of all of them.
const SHOWN: usize = 8;
const ROOM: usize = 180_000;

/// One of the runs, with its store.
struct ComparedRun<'a> {
    run: &'a RunState,
    store: &'a Store,
    models: Vec<MeasuredModel>,
}

/// The comparison of two runs whose facts are gathered; a store that cannot be read gives no items.
pub fn gather(facts: [Facts; 2], roots: [&Path; 2]) -> RunComparison {
    let stores = roots.map(|root| root.join("store").is_dir().then(|| configuration::store(root).ok()).flatten());
    let class = diff::class(&stores);
    let runs = facts.each_ref().map(|facts| &facts.run);
    let diff = crate::report::diff::diff(runs[0], runs[1], &class);
    let (mut gains, mut answers, mut unpaired) = (Vec::new(), Vec::new(), Vec::new());
    if let [Some(old), Some(new)] = &stores {
        let sides =
            [(runs[0], old), (runs[1], new)].map(|(run, store)| ComparedRun { run, store, models: measured(run) });
        gains = self::gains(&sides, &diff);
        answers = shared(&sides, &class, &mut unpaired);
    }
    let left_out = answers.len().saturating_sub(SHOWN);
    // What came last is what the runs are about.
    let mut answers = answers.split_off(left_out);
    answers.reverse();
    RunComparison { runs: facts, diff, gains, answers, left_out, unpaired }
}

/// The interval of every metric that one yardstick measured in both runs, of which both have a table of items.
fn gains(sides: &[ComparedRun; 2], diff: &Diff) -> Vec<MetricGain> {
    let [mut old, mut new] = sides.each_ref().map(|side| Shelf::new(side.store, side.run));
    let mut gains = Vec::new();
    for stage in &diff.stages {
        for metric in stage.metrics.iter().filter(|metric| metric.yardstick.is_none()) {
            let fields = fields(&metric.name);
            let read = |side: &ComparedRun, shelf: &mut Shelf| {
                let tables = tables(side, side.run.stage(&stage.name)?, metric);
                joined(shelf, &tables)
            };
            let both = read(&sides[0], &mut old).zip(read(&sides[1], &mut new));
            gains.extend(both.and_then(|(old, new)| metric_gain(&stage.name, metric, &fields, [&old, &new])));
        }
    }
    gains
}

/// The fields of items of which a metric may be the mean: the declared one, else that of its own name. That of a further
/// reward has its number behind it: `score_2` of `mean_score_2`.
fn fields(metric: &str) -> Vec<String> {
    let numbered = metric.rsplit_once('_').filter(|(_, number)| number.parse::<usize>().is_ok_and(|number| number > 1));
    let split = [(metric, "")].into_iter().chain(numbered.map(|(name, _)| (name, &metric[name.len()..])));
    let known = || KINDS.iter().flat_map(|kind| kind.metrics());
    let declared = split.flat_map(|(name, suffix)| {
        let fields = known().filter(move |known| known.name == name).filter_map(|known| known.mean_of);
        fields.map(move |field| format!("{field}{suffix}"))
    });
    let mut fields: Vec<String> = declared.chain([metric.to_owned()]).collect();
    fields.dedup();
    fields
}

/// The tables behind a metric: those by which the gate judged what it chose, else the stage's own, else those of the
/// model that the stage measures.
fn tables(side: &ComparedRun, stage: &StageRun, metric: &MetricDiff) -> Vec<Table> {
    let evidence = stage.verdict.as_deref().map(|verdict| &verdict.evidence);
    let seen: Option<&ArtifactEvidence> = evidence.and_then(|evidence| evidence.candidates.get(evidence.chosen?));
    let judged = seen.and_then(|seen| seen.judged.values().find(|by| by.metrics.contains_key(&metric.name)));
    if let Some(by) = judged {
        return by.tables.clone();
    }
    if let Some(table) = own(side, stage) {
        return vec![table];
    }
    let name = &stage.head.name;
    let model =
        measured_model(stage).and_then(|of| side.models.iter().find(|model| model.label == of && model.by == *name));
    model.map(|model| measured_tables(side, model)).unwrap_or_default()
}

/// The table that a stage wrote itself, of the checkpoint that goes on.
fn own(side: &ComparedRun, stage: &StageRun) -> Option<Table> {
    let record: Record = record_in(side.store, &stage.own_action()?.key)?;
    let step = stage.judged_step();
    Table::of(record.candidates.iter().find(|candidate| Some(candidate.step) == step).unwrap_or(record.last()))
}

/// The model that a measuring stage measures.
fn measured_model(stage: &StageRun) -> Option<ArtifactName> {
    let Work::Measure(measure) = kinds::kind(&stage.head.kind)?.work else { return None };
    stage.head.from.iter().find(|(port, _)| port == measure.port)?.1.first().cloned()
}

fn measured_tables(side: &ComparedRun, model: &MeasuredModel) -> Vec<Table> {
    let (mut rewards, mut tables) = (vec![None], Vec::from_iter(model.own.clone()));
    for part in &model.parts {
        let reward = part.reward.as_ref();
        if !rewards.contains(&reward) {
            rewards.push(reward);
        }
        let nth = rewards.iter().position(|known| *known == reward).unwrap_or_default();
        let suffix = if nth == 0 { String::new() } else { format!("_{}", nth + 1) };
        let Some((record, of)) = record_in(side.store, &part.key).zip(kinds::part(&part.kind)) else { continue };
        tables.push(Table { content: record.last().content.clone(), file: of.table.to_owned(), suffix });
    }
    tables
}

fn joined(shelf: &mut Shelf, tables: &[Table]) -> Option<Items> {
    let (first, others) = tables.split_first()?;
    let mut items = (*shelf.read(first).ok()?).clone();
    for table in others {
        let other = shelf.read(table).ok()?;
        items.join(&other, &table.suffix).ok()?;
    }
    Some(items)
}

/// A model with its answers in both runs, which lie in different tables.
struct SharedModel<'a> {
    label: ArtifactName,
    by: &'a str,
    read: Box<dyn Fn() -> Option<[Items; 2]> + 'a>,
}

/// The models that both runs measured by the same stage, and the stages that wrote answers themselves, where answers changed.
fn shared(sides: &[ComparedRun; 2], class: DeviceClass, unpaired: &mut Vec<String>) -> Vec<SharedAnswers> {
    let [old, new] = sides;
    let mut models: Vec<SharedModel> = Vec::new();
    for model in &new.models {
        let other = old.models.iter().find(|other| other.label == model.label && other.by == model.by);
        let Some(other) = other.filter(|other| other.parts != model.parts) else { continue };
        let read = || Some([items(old.store, other).ok()?, items(new.store, model).ok()?]);
        models.push(SharedModel { label: model.label.clone(), by: &model.by, read: Box::new(read) });
    }
    for stage in &new.run.stages {
        let Some(before) = old.run.stage(&stage.head.name) else { continue };
        let Some((one, other)) = own(old, before).zip(own(new, stage)).filter(|(one, other)| one != other) else {
            continue;
        };
        let read = move || {
            let both = [read_table(old.store, &one).ok()?, read_table(new.store, &other).ok()?];
            let has_texts = |items: &Items| items.rows.iter().any(|row| row.text.is_some());
            both.iter().all(has_texts).then_some(both)
        };
        let name = &stage.head.name;
        models.push(SharedModel { label: ArtifactName::open(name), by: name, read: Box::new(read) });
    }
    let room = ROOM / models.len().clamp(1, SHOWN);
    let shared = models.iter().filter_map(|model| paired(sides, model, class, room, unpaired));
    shared.collect()
}

/// The answers of a model in both runs, if any changed.
fn paired(
    sides: &[ComparedRun; 2],
    shared: &SharedModel,
    class: DeviceClass,
    room: usize,
    unpaired: &mut Vec<String>,
) -> Option<SharedAnswers> {
    let SharedModel { label: model, by, read } = shared;
    let [old, new] = read()?;
    let stages = sides.each_ref().map(|side| side.run.stage(by));
    // All metrics of scores have one yardstick: the first that is a mean of them stands for all.
    let change = match stages {
        [Some(before), Some(after)] => {
            let is_score = |(name, _): &&(String, _)| fields(name).iter().any(|field| field == "score");
            let metric = after.head.metrics.iter().find(is_score).map(|(name, _)| name);
            metric.and_then(|metric| yardstick::change([before, after], metric, class))
        }
        _ => None,
    };
    let names = [model, model];
    let scored = match change {
        Some(change) => Err(change),
        None => contest(by, names, [&new, &old], room),
    };
    let shared = match scored {
        Ok(contest) => Ok(SharedAnswers { contest, unscored: None }),
        Err(why) => unscored_contest(by, names, [&new, &old], room)
            .map(|contest| SharedAnswers { contest, unscored: Some(why) }),
    };
    match shared {
        Ok(shared) => Some(shared).filter(|shared| shared.contest.counts.changed() > 0),
        Err(reason) => {
            unpaired.push(format!("{model} ({by}): {reason}"));
            None
        }
    }
}
