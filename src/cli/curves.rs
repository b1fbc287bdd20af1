//! `curves`: the points that a training stage wrote while it learned, from its record or, before it has one, from its
//! work directory.

use super::find::StoredRun;
use super::gates::stage_of;
use super::options::RunArgument;
use super::refusal::refused;
use super::terminal;
use crate::action::Record;
use crate::progress;
use crate::report::curves::{self, Curves};
use crate::report::fold::ActionState;
use crate::report::heading;
use crate::report::sheet::Sheet;
use crate::run::attempt;
use anyhow::{Context, Result};
use cache::{Content, Digest, Store};
use serde_json::Value;
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
    let Some(action) = stage.own_action() else {
        let measures = !stage.actions.is_empty();
        return Err(refused(match measures {
            true => format!("`{name}` has no curves: it trains nothing"),
            false => format!("`{name}` has no curves: the run did not reach it"),
        }));
    };
    let store = Store::open(&found.root)?;
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
            Some(curve) if store.has(&curve) => CurveFile::Bytes(store.read(&curve, "").context("read the curve")?),
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
