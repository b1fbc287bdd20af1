//! `curves`: the points that a training stage wrote while it learned, from its record or, before it has one, from its
//! work directory.

use super::find::StoredRun;
use super::gates::stage_of;
use super::options::RunArgument;
use super::refusal::refused;
use super::terminal;
use crate::action::Record;
use crate::cli::configuration;
use crate::progress;
use crate::report::curves::{self, Curves};
use crate::report::fold::{ActionState, StageRun};
use crate::report::heading;
use crate::report::sheet::Sheet;
use crate::run::attempt;
use anyhow::{Context, Result};
use cache::{Content, Digest, Store};
use serde_json::{Value, json};
use stages::curve::STEP;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub fn curves(stage: &str, file: Option<&Path>, which: &RunArgument, as_csv: bool) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let found = which.find_with(stage, file)?;
    let curves = of(&found, stage)?;
    if as_csv {
        terminal::pass_on(curves.csv()?.as_bytes())?;
    } else {
        let title = Sheet::heading(format!("{stage}: {} points", curves.len()));
        terminal::show(&[Sheet::heading(heading(&found.run)), title, curves.table(), curves.samples()])?;
    }
    Ok(0)
}

/// The curves of a stage of a run.
///
/// # Errors
/// The stage trains nothing, or wrote none that is still there.
pub fn of(found: &StoredRun, name: &str) -> Result<Curves> {
    let stage = stage_of(found, name)?;
    let store = configuration::store(&found.root)?;
    let Some(action) = stage.own_action() else {
        if let Some(bytes) = of_parts(&store, &found.root, stage) {
            return Ok(curves::read_bytes(&bytes));
        }
        let measures = !stage.actions.is_empty();
        return Err(refused(match measures {
            true => format!("`{name}` has no curves: it trains nothing"),
            false => format!("`{name}` has no curves: the run did not reach it"),
        }));
    };
    if let CurveFile::Bytes(bytes) =
        file(&store, &found.root, &action.key).with_context(|| format!("curves of `{name}`"))?
    {
        let mut curves = curves::read_bytes(&bytes);
        if let Some(record) = store.result::<Record>(&action.key.parse::<Digest>()?)? {
            curves.add_candidates(record.candidates.iter().map(|candidate| (candidate.step, &candidate.metrics)));
        }
        return Ok(curves);
    }
    let kind = &stage.head.kind;
    Err(refused(match action.state {
        ActionState::Running { .. } if found.is_alive => format!("`{name}` has written no point yet"),
        _ => format!(
            "`{name}` has no curves: either a stage of kind {kind} wrote none, or its record is of a version that kept none \
             and its work directory is gone; it runs again, to the same result, and its work directory then holds them, with \
             `pipeline run {file}{options} --force {name}`",
            file = found.run.file,
            options = found.run.options,
        ),
    }))
}

/// The points of the parts of a stage that has no action of its own, as one curve: each series by the model that it is of, and
/// by the reward if that is not the one that judges. `None` if no part wrote any.
pub fn of_parts(store: &Store, root: &Path, stage: &StageRun) -> Option<Vec<u8>> {
    let mut points: BTreeMap<u64, BTreeMap<String, BTreeMap<String, Value>>> = BTreeMap::new();
    for action in stage.own_action().is_none().then_some(&stage.actions).into_iter().flatten() {
        let Some((part, model)) = action.part.as_ref().and_then(|part| Some((part, part.model.as_ref()?))) else {
            continue;
        };
        let Ok(CurveFile::Bytes(bytes)) = file(store, root, &action.key) else { continue };
        let label = part.by.as_ref().map_or_else(|| model.to_string(), |by| format!("{model} by {by}"));
        for line in String::from_utf8_lossy(&bytes).lines() {
            let Ok(mut point) = serde_json::from_str::<BTreeMap<String, Value>>(line) else { continue };
            let Some(step) = point.remove(STEP).and_then(|step| step.as_u64()) else { continue };
            let all = points.entry(step).or_default();
            point.into_iter().for_each(|(name, value)| drop(all.entry(name).or_default().insert(label.clone(), value)));
        }
    }
    let line = |(step, series): (u64, BTreeMap<String, BTreeMap<String, Value>>)| {
        let mut line = json!(series);
        line[STEP] = json!(step);
        format!("{line}\n")
    };
    let text: String = points.into_iter().map(line).collect();
    (!text.is_empty()).then(|| text.into_bytes())
}

/// The points of an action as it wrote them.
pub enum CurveFile {
    Bytes(Vec<u8>),
    /// Its record names a file that the store no longer has.
    Lost,
    /// Its record says that it wrote none.
    NotWritten,
    /// There is no record, or one of a version that kept none.
    NotKept,
}

/// The curve of the action with this key: in its record, else in its work directory.
pub fn file(store: &Store, root: &Path, key: &str) -> Result<CurveFile> {
    let record = store.lookup(&key.parse::<Digest>()?)?;
    let kept = match record.as_ref().and_then(|record| record.telemetry.get("curve")) {
        None => CurveFile::NotKept,
        Some(Value::Null) => CurveFile::NotWritten,
        Some(curve) => match curve.as_str().and_then(|curve| curve.parse::<Content>().ok()) {
            Some(curve) if store.bring(&curve) => CurveFile::Bytes(store.read(&curve, "").context("read the curve")?),
            _ => CurveFile::Lost,
        },
    };
    if matches!(kept, CurveFile::Bytes(_) | CurveFile::NotWritten) {
        return Ok(kept);
    }
    let attempts = attempt::attempts(&attempt::directory_of(root, key))?;
    let written = attempts.iter().rev().map(attempt::Attempt::curve).find(|path| path.is_file());
    Ok(match written {
        Some(path) => CurveFile::Bytes(fs::read(&path).with_context(|| format!("read {}", path.display()))?),
        None => kept,
    })
}
