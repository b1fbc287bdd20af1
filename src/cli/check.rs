//! `check`, and the plan of a file for every verb that needs one: read, resolved, its mistakes shown. Knows nothing of
//! the store.

use super::{Refused, refused, terminal};
use crate::diagnostic::{self, Source};
use crate::plan::{self, Plan};
use crate::spec;
use anyhow::Result;
use std::path::Path;

/// The plan of a file, its warnings printed; all its mistakes at once when it has any. `required` stands in the place
/// of all that the gate of a stage requires.
pub fn understand(file: &Path, set: &[String], required: Option<(&str, &str)>) -> Result<Plan> {
    let (plan, warnings) = plan(file, set, required)?;
    terminal::remark(&warnings);
    Ok(plan)
}

/// The plan and its warnings as text.
pub fn plan(file: &Path, set: &[String], required: Option<(&str, &str)>) -> Result<(Plan, String)> {
    let text = std::fs::read_to_string(file).map_err(|error| refused(format!("read {}: {error}", file.display())))?;
    let rule = required.map(|(_, rule)| rule.to_owned());
    let source = Source { path: file.to_owned(), text, overrides: set.to_owned(), rule };
    let has_color = terminal::stderr_has_color();
    let mistaken = |mistakes: &[diagnostic::Diagnostic]| Refused(diagnostic::render(&source, mistakes, has_color));
    let mut spec = spec::read(&source, &|name| std::env::var(name).ok()).map_err(|mistakes| mistaken(&mistakes))?;
    if let Some((stage, _)) = required {
        spec::require(&mut spec, stage, &source);
    }
    let plan = plan::resolve(spec, file.parent().unwrap_or(Path::new(""))).map_err(|mistakes| mistaken(&mistakes))?;
    let warnings = match plan.warnings.is_empty() {
        true => String::new(),
        false => diagnostic::render(&source, &plan.warnings, has_color),
    };
    Ok((plan, warnings))
}

pub fn check(file: &Path, set: &[String]) -> Result<u8> {
    let plan = understand(file, set, None)?;
    let gates = plan.stages.iter().filter(|stage| stage.gate.is_some()).count();
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let (stages, gates) = (count(plan.stages.len(), "stage"), count(gates, "gate"));
    terminal::say(&format!("{}: no mistakes; {stages}, {gates}\n", file.display()))?;
    // The process ends here: to take a large plan apart first would be a tenth of its time.
    std::mem::forget(plan);
    Ok(0)
}
