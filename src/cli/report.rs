//! `report`: a run as one HTML file. The facts are gathered here; the page is made of them by [`chapter`].

mod compared;

use super::curves::{self, CurveFile};
use super::export::work_of;
use super::find::{self, RunQuery, StoredRun};
use super::options::RunArgument;
use super::terminal;
use crate::chapter::charts::COLUMNS;
use crate::chapter::facts::{Absence, Facts, Loss, ScorePairs, StoredCurve, StoredStage, judged_step, trace};
use crate::chapter::page;
use crate::chapter::words::Language;
use crate::event::{Outcome, Table};
use crate::progress;
use crate::report::curves::read_bytes;
use crate::report::fold::StageRun;
use crate::report::format;
use crate::run::answers::read_table;
use anyhow::{Context, Result};
use cache::{Digest, Store};
use compared::Comparisons;
use rayon::prelude::*;
use std::fs;
use std::path::Path;

/// The form of the page that is asked for.
pub struct ReportRequest<'a> {
    pub out: &'a Path,
    pub lang: Option<Language>,
    /// Whether a page that lacks something is a failure.
    pub is_strict: bool,
}

pub fn report(file: Option<&Path>, asked: &ReportRequest, which: &RunArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let found = find::run(Path::new("."), RunQuery { takes_damage: true, ..which.wanted(file) })?;
    // A run that was asked for by its name is the one that is meant.
    let newer = if which.run.is_none() { find::newer_unreadable(&found) } else { Vec::new() };
    let mut facts = gather(found);
    let losses = newer.into_iter().map(|run| Loss { what: Absence::Journal(run), way_back: facts.command("run") });
    facts.losses.extend(losses.collect::<Vec<_>>());
    let page = page::page(&facts, asked.lang.unwrap_or_else(of_environment));
    let out = asked.out;
    fs::write(out, &page).with_context(|| format!("write {}", out.display()))?;
    let (size, digest) = (format::bytes(page.len() as u64), Digest::of(page.as_bytes()));
    terminal::say(&format!("{}: {size}, blake3 {digest}\n", out.display()))?;
    if !facts.losses.is_empty() {
        terminal::remark(&format!("the page lacks {} and says so at its beginning\n", count(facts.losses.len())));
    }
    Ok(u8::from(asked.is_strict && !facts.losses.is_empty()))
}

fn count(losses: usize) -> String {
    if losses == 1 { "1 thing".to_owned() } else { format!("{losses} things") }
}

/// The language of the environment, in the order in which programs ask for it.
pub fn of_environment() -> Language {
    let names = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(|name| std::env::var(name).ok());
    names.into_iter().find(|locale| !locale.is_empty()).map_or(Language::English, |locale| Language::of_locale(&locale))
}

/// Everything that the page is made of. What cannot be read is a loss, never an error: the rest of the page is worth having.
pub fn gather(found: StoredRun) -> Facts {
    let StoredRun { root, run, is_alive, unread, .. } = found;
    let mut facts = Facts::of(run, is_alive);
    if unread > 0 {
        facts.losses.push(Loss { what: Absence::Lines(unread), way_back: String::new() });
    }
    // Opening a store makes its folders: one that is gone must not come back empty.
    let store = match root.join("store").is_dir() {
        true => Store::open(&root).map_err(|error| error.root_cause().to_string()),
        false => Err("it is not there".to_owned()),
    };
    let store = match store {
        Ok(store) => store,
        Err(reason) => {
            facts.losses.push(Loss { what: Absence::Store(reason), way_back: facts.command("run") });
            return facts;
        }
    };
    let run = &facts.run;
    let of_stages = || run.stages.par_iter().map(|stage| stored(&store, &root, stage, facts.is_alive)).collect();
    let (stages, comparisons): (Vec<(StoredStage, Vec<Absence>)>, Comparisons) =
        rayon::join(of_stages, || compared::gather(&store, run));
    let keys = run.stages.iter().flat_map(|stage| &stage.actions).map(|action| action.key.clone());
    let works = keys.filter_map(|key| Some((key.clone(), work_of(&store, &key)?))).collect();
    let (stages, absences): (Vec<StoredStage>, Vec<Vec<Absence>>) = stages.into_iter().unzip();
    let losses = absences.into_iter().flatten().chain(comparisons.absences).map(|what| {
        let again = match &what {
            Absence::Curve(stage) => format!(" --force {stage}"),
            _ => String::new(),
        };
        Loss { what, way_back: facts.command("run") + &again }
    });
    let losses: Vec<Loss> = losses.collect();
    let names = run.stages.iter().map(|stage| stage.head.name.clone());
    let stages = names.zip(stages).collect();
    facts.losses.extend(losses);
    Facts { stages, works, contests: comparisons.contests, tastes: comparisons.tastes, ..facts }
}

/// The results that the store keeps of a stage, and those it has lost.
fn stored(store: &Store, root: &Path, stage: &StageRun, is_alive: bool) -> (StoredStage, Vec<Absence>) {
    let (mut stored, mut absences) = (StoredStage::default(), Vec::new());
    let name = &stage.head.name;
    let Some(action) = stage.own_action() else { return (stored, absences) };
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
    StoredCurve::Traces { points: curves.len(), unreadable: curves.unreadable, traces }
}

/// The scores of held-out pairs under the checkpoint of a reward model that goes on, else under the last.
fn pairs(store: &Store, stage: &StageRun) -> Result<Option<ScorePairs>> {
    let key = stage.own_action().map(|action| &action.key);
    let Some(record) = key.and_then(|key| find::record_in(store, key)) else { return Ok(None) };
    let step = judged_step(stage);
    let candidate = record.candidates.iter().find(|candidate| Some(candidate.step) == step);
    let Some(table) = Table::of(candidate.unwrap_or(record.last())) else { return Ok(None) };
    let items = read_table(store, &table)?;
    let field = |name: &str| items.fields.get(name).map(|numbers| numbers.iter().flatten().copied().collect());
    Ok(field("score_chosen").zip(field("score_rejected")).map(|(chosen, rejected)| ScorePairs { chosen, rejected }))
}
