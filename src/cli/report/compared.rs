//! The answers of models to the same prompts, read from the tables that gates and evals compared.

use super::super::find::record_in;
use crate::chapter::facts::{Absence, AnswerContest, LeftOut, Taste, contest};
use crate::event::{ArtifactEvidence, Outcome, Table};
use crate::gate::Items;
use crate::plan::{ArtifactName, Pin};
use crate::report::fold::{RunState, StageRun, Study};
use crate::report::measured::{MeasuredModel, measured};
use crate::report::study::baseline;
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

/// The models that a run measured, and tables of items as they were last read.
pub struct Shelf<'a> {
    store: &'a Store,
    run: &'a RunState,
    models: Vec<MeasuredModel>,
    held: Vec<(Table, Arc<Items>)>,
    /// Measurements that cannot be read.
    absences: Vec<Absence>,
}

impl<'a> Shelf<'a> {
    pub fn new(store: &'a Store, run: &'a RunState) -> Shelf<'a> {
        Shelf { store, run, models: measured(run), held: Vec::new(), absences: Vec::new() }
    }

    pub fn read(&mut self, table: &Table) -> Result<Arc<Items>, String> {
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

    /// The table of a model's scores by one reward of a study; `None` for the first.
    fn table(&mut self, study: &Study, model: &ArtifactName, by: Option<&str>) -> Option<Table> {
        let part = compared_part(self.run.stage(&study.eval)?)?;
        let of = self.models.iter().find(|of| of.label == *model && of.by == study.eval)?;
        let Some(record) = record_in(self.store, of.key(part.kind.name, by)?) else {
            self.lack(Absence::Items(
                format!("{} ({model})", study.eval),
                "their record is not in the store".to_owned(),
            ));
            return None;
        };
        let content = record.last().content.clone();
        Some(Table { content, file: part.table.to_owned(), suffix: String::new() })
    }

    fn lack(&mut self, lost: Absence) {
        if !self.absences.contains(&lost) {
            self.absences.push(lost);
        }
    }
}

/// Two models with their tables.
pub struct Match {
    pub of: String,
    pub names: [ArtifactName; 2],
    pub tables: [Table; 2],
}

/// The parts of the page that tables of answers give.
pub struct Comparisons {
    pub contests: Vec<AnswerContest>,
    pub tastes: Vec<Taste>,
    pub left_out: LeftOut,
    /// Tables that cannot be read.
    pub absences: Vec<Absence>,
}

/// Every pair of models that a gate or an eval compared, in the order of the run.
pub fn matches(shelf: &mut Shelf) -> Vec<Match> {
    let run = shelf.run;
    let mut matches: Vec<Match> = run.stages.iter().filter_map(|stage| of_gate(run, stage)).collect();
    matches.extend(run.studies.iter().flat_map(|study| of_study(shelf, study)));
    // An eval may compare what a gate has compared before: of two the last one stays.
    let is_repeated = |at: usize| matches[at + 1..].iter().any(|other| other.tables == matches[at].tables);
    let repeated: Vec<bool> = (0..matches.len()).map(is_repeated).collect();
    let mut repeated = repeated.into_iter();
    matches.retain(|_| !repeated.next().unwrap_or_default());
    matches
}

pub fn gather(store: &Store, run: &RunState) -> Comparisons {
    let mut shelf = Shelf::new(store, run);
    let mut matches = matches(&mut shelf);
    let mut contests = Vec::new();
    // What came last is what the run is about.
    let of_contests = matches.drain(..matches.len().saturating_sub(CONTESTS)).count();
    let room = ROOM / matches.len().max(1);
    for Match { of, names: [mine, other], tables } in &matches {
        match shelf.read(&tables[0]).and_then(|mine| Ok([mine, shelf.read(&tables[1])?])) {
            // Tables without texts or scores are no answers.
            Ok([a, b]) => contests.extend(contest(of, [mine, other], [&a, &b], room).ok()),
            Err(reason) => shelf.lack(Absence::Items(mine.to_string(), reason)),
        }
    }
    let mut tastes: Vec<Taste> = run.studies.iter().flat_map(|study| tastes(&mut shelf, study)).collect();
    let left_out = LeftOut { contests: of_contests, rewards: tastes.drain(REWARDS.min(tastes.len())..).count() };
    Comparisons { contests, tastes, left_out, absences: shelf.absences }
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
        Work::Run(_) | Work::Ask(_) | Work::Draw(_) | Work::Choose { .. } => None,
    }
}

/// Every model of a study, with its baseline.
fn of_study(shelf: &mut Shelf, study: &Study) -> Vec<Match> {
    let Some(baseline) = baseline(study) else { return Vec::new() };
    let Some(theirs) = shelf.table(study, baseline, None) else { return Vec::new() };
    let others = study.rows.iter().filter(|row| row.model != *baseline);
    let of = others.filter_map(|row| {
        let names = [row.model.clone(), baseline.clone()];
        let mine = shelf.table(study, &row.model, None).or_else(|| judged_table(shelf.run, study, &row.model))?;
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

/// The scores of each reward of a study by the length of the answer: those of the last model that goes on, and the baseline's.
fn tastes(shelf: &mut Shelf, study: &Study) -> Vec<Taste> {
    let run = shelf.run;
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
            let table = shelf.table(study, model, by)?;
            let items = shelf.read(&table).ok()?;
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
