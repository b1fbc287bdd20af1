//! Explains why a stage has other inputs in one run than in another, followed upstream to the change: a parameter, a
//! file, a version, a gate.

use super::fold::{ActionRun, RunState, StageRun};
use super::format::short;
use super::sheet::Tone;
use crate::action::differences;
use crate::cause::{ActionDifference, Cause, EvalPart, StageCause};
use crate::event::Outcome;
use crate::plan::ArtifactName;
use std::collections::BTreeSet;

/// The number of causes of a stage that are named; the rest are only counted.
const NAMED: usize = 4;

/// The number of named links in a chain of stages; a longer chain is summarised.
const LINKS: usize = 2;

/// Follows causes upstream, from an old run to a new one.
pub struct Trail<'a> {
    old: &'a RunState,
    new: &'a RunState,
    /// Stages already explained: each is explained once, so that a diamond of stages stays short.
    told: BTreeSet<String>,
}

pub fn trail<'a>(old: &'a RunState, new: &'a RunState) -> Trail<'a> {
    Trail { old, new, told: BTreeSet::new() }
}

impl<'a> Trail<'a> {
    /// The causes of a stage's action, each with the reason behind it if that lies upstream.
    pub fn followed(&mut self, stage: &str, causes: &[StageCause]) -> Vec<String> {
        self.told.clear();
        causes.iter().map(|cause| self.line(stage, cause)).collect()
    }

    fn line(&mut self, stage: &str, cause: &StageCause) -> String {
        let part = cause.part.as_ref();
        match &cause.cause {
            Cause::Upstream(upstream) => {
                let chain = self.chain(upstream);
                if let [.., root] = chain[..]
                    && chain.len() > LINKS
                {
                    let roots = self.would_run(root);
                    return format!("{cause}, as does all up to `{root}` ({} stages further up): {roots}", chain.len());
                }
                let roots = self.would_run(upstream);
                if roots.is_empty() { cause.to_string() } else { format!("{cause}: {roots}") }
            }
            Cause::Changed(difference) => match self.version(stage, part, difference) {
                Some(version) => version,
                None => match self.reason(stage, part, difference) {
                    Some(reason) => format!("{cause} ({reason})"),
                    None => cause.to_string(),
                },
            },
            _ => cause.to_string(),
        }
    }

    /// The stages upstream, nearest first, while each would run only because of the next.
    fn chain(&self, stage: &str) -> Vec<&'a str> {
        let new: &'a RunState = self.new;
        let only_reason = |stage: &str| match new.stage(stage).map(|stage| &stage.outcome) {
            Some(Some(Outcome::WouldRun { because })) => match &because[..] {
                [StageCause { part: None, cause: Cause::Upstream(upstream) }] => Some(upstream.as_str()),
                _ => None,
            },
            _ => None,
        };
        std::iter::successors(only_reason(stage), |stage| only_reason(stage)).collect()
    }

    /// Names the kind: `version: 2 -> 3` alone says nothing to a reader.
    fn version(&self, stage: &str, part: Option<&EvalPart>, difference: &ActionDifference) -> Option<String> {
        let stage = self.new.stage(stage).filter(|_| difference.path == "version")?;
        let kind = part.map_or(&stage.head.kind, |part| &part.kind);
        let before = part.map_or(String::new(), |part| format!("{part}: "));
        Some(format!("{before}`{kind}` is of version {} now, it was of {}", difference.new, difference.old))
    }

    /// The reason why an upstream stage would run, for a line about a downstream stage.
    fn would_run(&mut self, stage: &str) -> String {
        if !self.told.insert(stage.to_owned()) {
            return String::new();
        }
        let because = match self.new.stage(stage).map(|stage| &stage.outcome) {
            Some(Some(Outcome::WouldRun { because })) => because,
            _ => return String::new(),
        };
        let lines: Vec<String> = because.iter().take(NAMED).map(|cause| self.line(stage, cause)).collect();
        joined(lines, because.len())
    }

    /// The reason behind a changed input.
    fn reason(&mut self, stage: &str, part: Option<&EvalPart>, difference: &ActionDifference) -> Option<String> {
        let (port, at) = difference.input()?;
        let from = |run: &RunState| {
            run.stage(stage).and_then(|stage| {
                let (_, sources) = stage.head.from.iter().find(|(name, _)| name == port)?;
                sources.get(at).cloned()
            })
        };
        let carries = |run: &RunState, content: &str| {
            let mut outputs =
                run.stages.iter().filter(|stage| output(stage).is_some_and(|output| short(output) == content));
            outputs.next().map(|stage| ArtifactName::open(&stage.head.name))
        };
        // The inputs of a part, and those in journals without source names, are known by their content.
        let told = if part.is_none() { (from(self.old), from(self.new)) } else { (None, None) };
        let (was, is) = match told {
            (_, Some(is)) => (told.0, is),
            (was, None) => (was.or_else(|| carries(self.old, &difference.old)), carries(self.new, &difference.new)?),
        };
        match was {
            Some(was) if was != is => Some(format!("{is} in the place of {was}")),
            was => match self.new.stage(&is.name) {
                Some(upstream) => self.changed(&upstream.head.name),
                // An older journal does not name the previous source on the port.
                None => Some(was.map_or_else(|| format!("{is} now"), |_| format!("{is} was changed"))),
            },
        }
    }

    /// The reason why a stage gives another result than before.
    fn changed(&mut self, name: &str) -> Option<String> {
        if !self.told.insert(name.to_owned()) {
            return Some(format!("`{name}` changed"));
        }
        let (old, new) = (self.old.stage(name)?, self.new.stage(name)?);
        // The stage's own changes come before those upstream, which have lists of their own.
        let (mut lines, mut upstream) = (Vec::new(), Vec::new());
        for action in makes(new) {
            let Some(before) = makes(old).find(|before| before.part == action.part && before.key != action.key) else {
                continue;
            };
            for difference in differences(&before.action, &action.action) {
                let part = action.part.as_ref();
                // The source of an input says more than its digest.
                let (line, to) = match self.reason(name, part, &difference) {
                    Some(reason) => (reason, &mut upstream),
                    None => {
                        let version = self.version(name, part, &difference);
                        (version.unwrap_or_else(|| difference.to_string()), &mut lines)
                    }
                };
                if !to.contains(&line) {
                    to.push(line);
                }
            }
        }
        lines.extend(upstream);
        if lines.is_empty() {
            lines.extend(self.chosen(old, new));
        }
        let count = lines.len();
        lines.truncate(NAMED);
        Some(format!("`{name}` changed: {}", joined(lines, count)))
    }

    /// A change without new work: the gate chose another result.
    fn chosen(&self, old: &StageRun, new: &StageRun) -> Option<String> {
        let carried = |stage: &StageRun| stage.verdict.as_ref().map(|verdict| verdict.carries.clone());
        match (carried(old), carried(new)) {
            (Some(before), Some(now)) if before != now => Some(format!("its gate lets {now} go on, it was {before}")),
            (None, Some(now)) => Some(format!("its gate lets {now} go on, it had none")),
            _ if output(old) != output(new) => Some("it was made again and came out different".to_owned()),
            _ => None,
        }
    }
}

fn joined(mut lines: Vec<String>, of: usize) -> String {
    if of > lines.len() {
        lines.push(format!("and {} more", of - lines.len()));
    }
    lines.join("; ")
}

/// The artifact that carries the stage's name.
fn output(stage: &StageRun) -> Option<&str> {
    match &stage.outcome {
        Some(Outcome::Done { content, .. }) => Some(content),
        _ => None,
    }
}

/// The actions that make a stage's output: its own, or the parts of a measurement.
fn makes(stage: &StageRun) -> impl Iterator<Item = &ActionRun> {
    let has_own = stage.actions.iter().any(|action| action.part.is_none());
    stage.actions.iter().filter(move |action| action.part.is_none() == has_own)
}

/// The work that a run would do for a stage now.
#[derive(Clone, Debug, PartialEq)]
pub struct Now {
    pub said: String,
    pub tone: Tone,
    pub because: Vec<String>,
}

impl Now {
    pub fn unknown(because: String) -> Now {
        Now { said: "not known".to_owned(), tone: Tone::Quiet, because: vec![because] }
    }
}

/// `now` is a look at the store without executing anything; `before` is the last run in which the stage did anything.
pub fn now(before: Option<&RunState>, now: &RunState, stage: &StageRun) -> Now {
    let name = &stage.head.name;
    let mut because = Vec::new();
    let (said, tone) = match &stage.outcome {
        Some(Outcome::WouldRun { because: causes }) => {
            because = match before {
                Some(before) => trail(before, now).followed(name, causes),
                None => causes.iter().map(StageCause::to_string).collect(),
            };
            ("would run".to_owned(), Tone::Doubtful)
        }
        Some(Outcome::Done { kept: true, .. }) => ("up to date; its gate keeps the incumbent".to_owned(), Tone::Good),
        Some(Outcome::Done { .. }) => ("up to date".to_owned(), Tone::Good),
        Some(Outcome::Stopped { .. }) => ("up to date; its gate stops it".to_owned(), Tone::Doubtful),
        Some(Outcome::Held { .. }) => ("up to date; it waits for a person to decide".to_owned(), Tone::Doubtful),
        Some(Outcome::Waits { done, needed, on }) => (on.progress(*done, *needed), Tone::Doubtful),
        Some(Outcome::Failed { cause }) => (format!("would fail: {cause}"), Tone::Bad),
        Some(Outcome::Skipped { because }) => (format!("would be skipped: {because}"), Tone::Doubtful),
        Some(Outcome::Interrupted) | None => {
            return Now::unknown("the look at the store did not get so far".to_owned());
        }
    };
    Now { said, tone, because }
}

#[cfg(test)]
mod tests;
