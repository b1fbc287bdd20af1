//! The answers of models to the same prompts, read from the tables that gates and evals compared.

use super::super::find::record_in;
use crate::chapter::facts::{Absence, AnswerContest, Taste, contest};
use crate::event::{ArtifactEvidence, Outcome, Table};
use crate::gate::Items;
use crate::plan::{ArtifactName, Pin};
use crate::report::fold::{RunState, StageRun, Study};
use crate::run::answers::read_table;
use cache::Store;
use stages::stage::{Part, Work};
use std::sync::Arc;

/// Pairs of models that are compared answer by answer, and rewards whose taste for length is shown: each reads two tables.
const CONTESTS: usize = 8;
const REWARDS: usize = 6;

/// The bytes of all answers on the page.
const ROOM: usize = 180_000;

/// Tables that are held at once: a baseline is compared with several models.
const HELD: usize = 4;

/// Tables of items as they were last read.
struct Shelf<'a> {
    store: &'a Store,
    held: Vec<(Table, Arc<Items>)>,
}

impl Shelf<'_> {
    fn read(&mut self, table: &Table) -> Result<Arc<Items>, String> {
        if let Some((_, items)) = self.held.iter().find(|(known, _)| known == table) {
            return Ok(items.clone());
        }
        let items = read_table(self.store, table).map_err(|error| error.root_cause().to_string())?;
        let items = Arc::new(items);
        if self.held.len() == HELD {
            self.held.remove(0);
        }
        self.held.push((table.clone(), items.clone()));
        Ok(items)
    }
}

/// Two models with their tables.
struct Match {
    of: String,
    names: [ArtifactName; 2],
    tables: [Table; 2],
}

/// The parts of the page that tables of answers give.
pub struct Comparisons {
    pub contests: Vec<AnswerContest>,
    pub tastes: Vec<Taste>,
    /// Tables that cannot be read.
    pub absences: Vec<Absence>,
}

pub fn gather(store: &Store, run: &RunState) -> Comparisons {
    let mut matches: Vec<Match> = run.stages.iter().filter_map(|stage| of_gate(run, stage)).collect();
    let (mut contests, mut absences) = (Vec::new(), Vec::new());
    matches.extend(run.studies.iter().flat_map(|study| of_study(store, run, study, &mut absences)));
    // An eval may compare what a gate has compared before: of two the last one stays.
    let is_repeated = |at: usize| matches[at + 1..].iter().any(|other| other.tables == matches[at].tables);
    let repeated: Vec<bool> = (0..matches.len()).map(is_repeated).collect();
    let mut repeated = repeated.into_iter();
    matches.retain(|_| !repeated.next().unwrap_or_default());
    // What came last is what the run is about.
    matches.drain(..matches.len().saturating_sub(CONTESTS));
    let mut shelf = Shelf { store, held: Vec::new() };
    let room = ROOM / matches.len().max(1);
    for Match { of, names: [mine, other], tables } in &matches {
        match shelf.read(&tables[0]).and_then(|mine| Ok([mine, shelf.read(&tables[1])?])) {
            // Tables without texts or scores are no answers.
            Ok([a, b]) => contests.extend(contest(of, [mine, other], [&a, &b], room).ok()),
            Err(reason) => absences.push(Absence::Items(mine.to_string(), reason)),
        }
    }
    absences.dedup();
    let tastes = run.studies.iter().flat_map(|study| tastes(store, run, study, &mut shelf, &mut absences));
    let tastes = tastes.take(REWARDS).collect();
    Comparisons { contests, tastes, absences }
}

/// The candidate that a gate judged, and the model before it.
fn of_gate(run: &RunState, stage: &StageRun) -> Option<Match> {
    let evidence = &stage.verdict.as_deref()?.evidence;
    let (mine, other) = (evidence.candidates.get(evidence.chosen?)?, evidence.incumbent.as_ref()?);
    let tables = [compared_table(run, mine)?, compared_table(run, other)?];
    Some(Match { of: stage.head.name.clone(), names: [mine.label.clone(), other.label.clone()], tables })
}

/// The table of an artifact that has its texts and scores: the one by which its first judge compares, else its own.
fn compared_table(run: &RunState, seen: &ArtifactEvidence) -> Option<Table> {
    let judged = seen.judged.iter().find_map(|(judge, by)| {
        let part = compared_part(run.stage(judge)?)?;
        by.tables.iter().find(|table| table.file == part.table && table.suffix.is_empty())
    });
    judged.or(seen.table.as_ref()).cloned()
}

/// The part of a measuring stage whose rows are compared.
fn compared_part(stage: &StageRun) -> Option<&'static Part> {
    match stages::kinds::kind(&stage.head.kind)?.work {
        Work::Measure(measure) => measure.comparison.map(|comparison| &measure.parts[comparison.part]),
        Work::Run(_) => None,
    }
}

/// Every model of a study, with its baseline.
fn of_study(store: &Store, run: &RunState, study: &Study, absences: &mut Vec<Absence>) -> Vec<Match> {
    let Some(baseline) = study.rows.iter().find_map(|row| row.versus.as_ref()).map(|versus| &versus.baseline) else {
        return Vec::new();
    };
    let Some(theirs) = measured_table(store, run, study, baseline, None, absences) else { return Vec::new() };
    let others = study.rows.iter().filter(|row| row.model != *baseline);
    let of = others.filter_map(|row| {
        let names = [row.model.clone(), baseline.clone()];
        let mine = measured_table(store, run, study, &row.model, None, absences)
            .or_else(|| judged_table(run, study, &row.model))?;
        Some(Match { of: study.eval.clone(), names, tables: [mine, theirs.clone()] })
    });
    of.collect()
}

/// The table by which the gate of a stage compared a checkpoint, which its study knows under another name.
fn judged_table(run: &RunState, study: &Study, model: &ArtifactName) -> Option<Table> {
    let evidence = &run.stage(&model.name)?.verdict.as_deref()?.evidence;
    let seen = match model.pin {
        Pin::Step(step) => evidence.candidates.iter().find(|seen| seen.step == Some(step))?,
        Pin::Open | Pin::Last => evidence.candidates.get(evidence.chosen?)?,
    };
    let part = compared_part(run.stage(&study.eval)?)?;
    let by = seen.judged.get(&study.eval)?;
    by.tables.iter().find(|table| table.file == part.table && table.suffix.is_empty()).cloned()
}

/// The table of a model's scores by one reward of a study; `None` for the first.
fn measured_table(
    store: &Store,
    run: &RunState,
    study: &Study,
    model: &ArtifactName,
    by: Option<&str>,
    absences: &mut Vec<Absence>,
) -> Option<Table> {
    let eval = run.stage(&study.eval)?;
    let part = compared_part(eval)?;
    // The eval's own actions come first: they are of its own rewards.
    let actions = eval.actions.iter().chain(run.stages.iter().flat_map(|stage| &stage.actions));
    let key = actions.into_iter().find_map(|action| {
        let of = action.part.as_ref()?;
        let is_it = of.kind == part.kind.name
            && of.model.as_ref() == Some(model)
            && of.by.as_ref().map(ArtifactName::to_string).as_deref() == by
            && of.judge.as_ref().is_none_or(|judge| *judge == study.eval);
        is_it.then_some(&action.key)
    })?;
    let Some(record) = record_in(store, key) else {
        let lost = Absence::Items(format!("{} ({model})", study.eval), "their record is not in the store".to_owned());
        if !absences.contains(&lost) {
            absences.push(lost);
        }
        return None;
    };
    let content = record.last().content.clone();
    Some(Table { content, file: part.table.to_owned(), suffix: String::new() })
}

/// The scores of each reward of a study by the length of the answer: those of the last model that goes on, and the baseline's.
fn tastes(store: &Store, run: &RunState, study: &Study, shelf: &mut Shelf, absences: &mut Vec<Absence>) -> Vec<Taste> {
    let goes_on = |model: &ArtifactName| {
        run.stage(&model.name).is_none_or(|stage| matches!(stage.outcome, Some(Outcome::Done { .. })))
    };
    let last = study.rows.iter().rfind(|row| !row.is_rejected && row.versus.is_some() && goes_on(&row.model));
    let last = last.or(study.rows.last());
    let baseline = last.and_then(|row| row.versus.as_ref()).map(|versus| versus.baseline.clone());
    let models: Vec<ArtifactName> = last.map(|row| row.model.clone()).into_iter().chain(baseline).collect();
    let of_reward = |(at, reward): (usize, &String)| {
        let by = (at > 0).then_some(reward.as_str());
        let of_model = |model: &ArtifactName| {
            let items = shelf.read(&measured_table(store, run, study, model, by, absences)?).ok()?;
            let scores = items.fields.get("score")?;
            let point = |(row, score): (&crate::gate::Item, &Option<f64>)| {
                Some([row.text.as_ref()?.chars().count() as f64, (*score)?])
            };
            let points: Vec<[f64; 2]> = items.rows.iter().zip(scores).filter_map(point).collect();
            (!points.is_empty()).then(|| (model.clone(), points))
        };
        let models: Vec<_> = models.iter().filter_map(of_model).collect();
        (!models.is_empty()).then(|| Taste { reward: reward.clone(), models })
    };
    study.rewards.iter().enumerate().filter_map(of_reward).collect()
}
