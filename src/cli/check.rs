//! `check`, and the plan of a file for every verb that needs one: read and resolved, with all mistakes shown.

use super::refusal::{Refusal, refused};
use super::{configuration, fetching, terminal};
use crate::diagnostic::{self, Diagnostic, SourceText};
use crate::hub::Asset;
use crate::plan::{self, Plan};
use crate::spec::{self, Spec};
use anyhow::Result;
use stages::kinds::KINDS;
use std::path::Path;

/// The plan of a file; prints its warnings, or fails with all its mistakes. `required` is `(stage, rule)`: the rule
/// replaces everything that the gate of that stage requires.
pub fn understand(file: &Path, set: &[String], required: Option<(&str, &str)>) -> Result<Plan> {
    let (plan, warnings) = plan(file, set, required)?;
    terminal::remark(&warnings);
    Ok(plan)
}

/// The same, with all models and data of hubs on this machine: they are fetched if `fetches`, else a missing one is a
/// mistake.
pub fn understand_whole(file: &Path, set: &[String], fetches: bool) -> Result<Plan> {
    let (source, mut spec) = read(file, set, None)?;
    let mut mistakes = Vec::new();
    let assets = spec.hub_assets();
    if fetches && !assets.iter().all(|(asset, _)| is_here(&mut spec, asset, false).unwrap_or(false)) {
        // Another mistake of the file is told before gigabytes are fetched.
        plan(file, set, None)?;
    }
    for (asset, span) in assets {
        match is_here(&mut spec, &asset, fetches) {
            Ok(true) => {}
            Ok(false) => {
                let message = format!("`{asset}` is not on this machine, so what it holds is not known");
                mistakes.push(Diagnostic::error(span, message).help(asset.way_to_fetch()));
            }
            Err(error) => mistakes.push(Diagnostic::error(span, format!("{error:#}"))),
        }
    }
    if !mistakes.is_empty() {
        mistakes.extend(std::mem::take(&mut spec.mistakes));
        return Err(mistaken(&source, &mistakes).into());
    }
    let (plan, warnings) = resolve(file, &source, spec)?;
    terminal::remark(&warnings);
    Ok(plan)
}

/// Whether a model or data of a hub is on this machine; fetched if missing and if `fetches`. A model takes the place of
/// its reference; where data lies, the plan finds out.
fn is_here(spec: &mut Spec, asset: &Asset, fetches: bool) -> Result<bool> {
    match asset {
        Asset::Model(model) => {
            let found = fetching::model(model, fetches)?;
            Ok(found.map(|snapshot| spec.take_hub_model(model, &snapshot.directory)).is_some())
        }
        Asset::Data(data) => Ok(fetching::data(data, fetches)?.is_some()),
    }
}

/// The plan and its warnings as text.
pub fn plan(file: &Path, set: &[String], required: Option<(&str, &str)>) -> Result<(Plan, String)> {
    let (source, spec) = read(file, set, required)?;
    resolve(file, &source, spec)
}

fn read(file: &Path, set: &[String], required: Option<(&str, &str)>) -> Result<(SourceText, Spec)> {
    let text = std::fs::read_to_string(file).map_err(|error| refused(format!("read {}: {error}", file.display())))?;
    let rule = required.map(|(_, rule)| rule.to_owned());
    let source = SourceText { path: file.to_owned(), text, overrides: set.to_owned(), rule };
    let spec = spec::read(&source, &|name| std::env::var(name).ok());
    let mut spec = spec.map_err(|mistakes| mistaken(&source, &mistakes))?;
    spec.settings = configuration::settings(std::mem::take(&mut spec.settings))?;
    if let Some((stage, _)) = required {
        spec::require(&mut spec, stage, &source);
    }
    Ok((source, spec))
}

fn resolve(file: &Path, source: &SourceText, spec: Spec) -> Result<(Plan, String)> {
    let plan = plan::resolve(spec, file.parent().unwrap_or(Path::new("")), KINDS);
    let plan = plan.map_err(|mistakes| mistaken(source, &mistakes))?;
    let warnings = rendered(source, &plan.warnings);
    Ok((plan, warnings))
}

fn rendered(source: &SourceText, diagnostics: &[Diagnostic]) -> String {
    match diagnostics.is_empty() {
        true => String::new(),
        false => diagnostic::render(source, diagnostics, terminal::stderr_has_color()),
    }
}

fn mistaken(source: &SourceText, mistakes: &[Diagnostic]) -> Refusal {
    Refusal(diagnostic::render(source, mistakes, terminal::stderr_has_color()))
}

pub fn check(file: &Path, set: &[String]) -> Result<u8> {
    let (source, spec) = read(file, set, None)?;
    let (plan, warnings) = resolve(file, &source, spec)?;
    configuration::open(&plan.settings)?;
    terminal::remark(&(warnings + &rendered(&source, &plan.notes)));
    let gates = plan.stages.iter().filter(|stage| stage.gate.is_some()).count();
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let (stages, gates) = (count(plan.stages.len(), "stage"), count(gates, "gate"));
    terminal::say(&format!("{}: no mistakes; {stages}, {gates}\n", file.display()))?;
    // The process ends here, and dropping a large plan first would take a tenth of its time.
    std::mem::forget(plan);
    Ok(0)
}
