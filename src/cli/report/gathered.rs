//! The facts of a run for its page: gathered from its journal and its store.

use super::super::curves::{self, CurveFile};
use super::super::export::work_of;
use super::super::find::{self, StoredRun};
use super::compared::{self, Comparisons};
use crate::chapter::charts::COLUMNS;
use crate::chapter::facts::{Absence, Facts, ScorePairs, StoredCurve, StoredStage, trace};
use crate::cli::configuration;
use crate::event::{Outcome, Table};
use crate::report::curves::read_bytes;
use crate::report::fold::StageRun;
use crate::run::answers::read_table;
use anyhow::Result;
use cache::Store;
use rayon::prelude::*;
use std::path::Path;

/// Everything that the page is made of. What cannot be read is a loss, never an error: the rest of the page is worth having.
pub fn gather(found: StoredRun) -> Facts {
    let StoredRun { root, run, is_alive, unread, .. } = found;
    let mut facts = Facts::of(run, is_alive);
    let find::UnreadLines { damaged, newer, is_torn } = unread;
    facts.losses.extend(is_torn.then_some(Absence::TornLine));
    facts.losses.extend((damaged > 0).then_some(Absence::DamagedLines(damaged)));
    facts.losses.extend((newer > 0).then_some(Absence::NewerLines(newer)));
    // Opening a store makes its folders: one that is gone must not come back empty.
    let store = match root.join("store").is_dir() {
        true => configuration::store(&root).map_err(|error| error.root_cause().to_string()),
        false => Err("it is not there".to_owned()),
    };
    let store = match store {
        Ok(store) => store,
        Err(reason) => {
            facts.losses.push(Absence::Store(reason));
            return facts;
        }
    };
    let run = &facts.run;
    let of_stages = || run.stages.par_iter().map(|stage| stored(&store, &root, stage, facts.is_alive)).collect();
    let (stages, Comparisons { contests, tastes, left_out, absences: lost }): (Vec<(StoredStage, Vec<Absence>)>, _) =
        rayon::join(of_stages, || compared::gather(&store, run));
    let keys = run.stages.iter().flat_map(|stage| &stage.actions).map(|action| action.key.clone());
    let works = keys.filter_map(|key| Some((key.clone(), work_of(&store, &key)?))).collect();
    let (stages, absences): (Vec<StoredStage>, Vec<Vec<Absence>>) = stages.into_iter().unzip();
    let losses: Vec<Absence> = absences.into_iter().flatten().chain(lost).collect();
    let names = run.stages.iter().map(|stage| stage.head.name.clone());
    let stages = names.zip(stages).collect();
    facts.losses.extend(losses);
    Facts { stages, works, contests, tastes, left_out, ..facts }
}

/// The results that the store keeps of a stage, and those it has lost.
fn stored(store: &Store, root: &Path, stage: &StageRun, is_alive: bool) -> (StoredStage, Vec<Absence>) {
    let (mut stored, mut absences) = (StoredStage::default(), Vec::new());
    let name = &stage.head.name;
    let Some(action) = stage.own_action() else {
        stored.curve = curves::of_parts(store, root, stage).map_or(StoredCurve::NotAsked, |bytes| traces(&bytes));
        return (stored, absences);
    };
    let has_ended =
        matches!(stage.outcome, Some(Outcome::Done { .. } | Outcome::Stopped { .. } | Outcome::Held { .. }));
    match find::checkpoints_in(store, &stage.head.kind, &action.key) {
        Some(checkpoints) => stored.checkpoints = checkpoints,
        None if has_ended => absences.push(Absence::Record(name.clone())),
        None => {}
    }
    stored.curve = match curves::file(store, root, &action.key) {
        Ok(CurveFile::Bytes(bytes)) => traces(&bytes),
        Ok(CurveFile::NotWritten) => StoredCurve::NotWritten,
        // An exported or failed stage, or one that has only begun, has no record to keep one.
        Ok(CurveFile::NotKept) if stored.checkpoints.is_empty() || is_alive => StoredCurve::NotAsked,
        Ok(CurveFile::NotKept) => StoredCurve::NotKept,
        Ok(CurveFile::Lost) | Err(_) => {
            absences.push(Absence::Curve(name.clone()));
            StoredCurve::Lost
        }
    };
    if stages::kinds::kind(&stage.head.kind).is_some_and(|kind| kind.reliability.is_some()) {
        match pairs(store, stage) {
            Ok(pairs) => stored.pairs = pairs,
            Err(error) => absences.push(Absence::Items(name.clone(), error.root_cause().to_string())),
        }
    }
    (stored, absences)
}

fn traces(bytes: &[u8]) -> StoredCurve {
    let curves = read_bytes(bytes);
    let traces = curves.names.iter().map(|name| trace(&curves, name, COLUMNS)).collect();
    let samples = curves.shown_samples().into_iter().cloned().collect();
    StoredCurve::Traces { points: curves.len(), unreadable: curves.unreadable, traces, samples }
}

/// The scores of held-out pairs under the checkpoint of a reward model that goes on, else under the last.
fn pairs(store: &Store, stage: &StageRun) -> Result<Option<ScorePairs>> {
    let key = stage.own_action().map(|action| &action.key);
    let Some(record) = key.and_then(|key| find::record_in(store, key)) else { return Ok(None) };
    let step = stage.judged_step();
    let candidate = record.candidates.iter().find(|candidate| Some(candidate.step) == step);
    let Some(table) = Table::of(candidate.unwrap_or(record.last())) else { return Ok(None) };
    let items = read_table(store, &table)?;
    let field = |name: &str| items.fields.get(name).map(|numbers| numbers.iter().flatten().copied().collect());
    Ok(field("score_chosen").zip(field("score_rejected")).map(|(chosen, rejected)| ScorePairs { chosen, rejected }))
}
