//! `explain`: everything a run and the store know about one stage, and what a run would do with it now.

use super::find::{self, StoredRun};
use super::options::RunArgument;
use super::{check, gates, terminal};
use crate::cli::configuration;
use crate::progress;
use crate::report::cause::{self, Now};
use crate::report::explain::{self, StoreFacts};
use crate::report::fold::StageRun;
use crate::report::heading;
use crate::report::sheet::Sheet;
use anyhow::Result;
use std::path::Path;

pub fn explain(name: &str, file: Option<&Path>, which: &RunArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let found = which.find_with(name, file)?;
    let run = &found.run;
    let stage = gates::stage_of(&found, name)?;
    let executed = |key: &str| find::execution(&found, key);
    let own = stage.own_action();
    let stored = StoreFacts {
        checkpoints: own.and_then(|action| find::checkpoints(&found, &stage.head.kind, &action.key)),
        variants: variants(&found, stage),
        // While the run goes on, this would only describe the run itself.
        now: (!found.is_alive).then(|| now(&found, name).unwrap_or_else(Now::unknown)),
    };
    let mut sheets = vec![Sheet::heading(heading(run))];
    sheets.extend(explain::explain(run, stage, executed, &stored));
    terminal::show(&sheets)?;
    Ok(0)
}

/// The number of different results of each key, for keys with more than one.
fn variants(found: &StoredRun, stage: &StageRun) -> std::collections::BTreeMap<String, usize> {
    let Ok(store) = configuration::store(&found.root) else { return Default::default() };
    let of = |key: &String| Some((key.clone(), store.variants(&key.parse().ok()?)));
    let noted = stage.actions.iter().filter_map(|action| of(&action.key)).filter(|(_, others)| *others > 0);
    noted.map(|(key, others)| (key, others + 1)).collect()
}

/// The file of today, with the overrides of that run, against the store of today. `Err` says why this cannot be known;
/// the rest of the explanation is printed all the same.
fn now(found: &StoredRun, name: &str) -> Result<Now, String> {
    let typed = &found.run.file;
    let file = gates::pipeline_file(found).map_err(|_| format!("{typed} is gone"))?;
    let shown = file.display();
    let (plan, _) = check::plan(&file, &found.run.overrides, None)
        .map_err(|_| format!("{shown} has mistakes now: `pipeline check {shown}` lists them"))?;
    let today = gates::look(&plan, &file, found).map_err(|error| format!("{error:#}"))?;
    let stage = today.stage(name).ok_or_else(|| format!("{shown} has no stage `{name}` any more"))?;
    let mut runs = find::runs(&found.root, &plan.name).map_err(|error| format!("{error:#}"))?;
    let before = runs.find(|run| run.stage(name).is_some_and(|stage| !stage.actions.is_empty()));
    let mut now = cause::now(before.as_ref(), &today, stage);
    if !found.run.overrides.is_empty() {
        // Without them `run` may do something else.
        now.said += &format!(", with `--set {}` as in that run", found.run.overrides.join(" --set "));
    }
    Ok(now)
}
