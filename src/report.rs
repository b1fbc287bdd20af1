//! The report of a run. Each file folds events into sections, which are data ([`sheet`]); [`page`] alone prints them.

pub mod answers;
pub mod card;
pub mod cause;
pub mod curves;
pub mod diff;
pub mod explain;
pub mod families;
pub mod fold;
pub mod format;
pub mod gate;
pub mod graph;
pub mod json;
pub mod lineage;
pub mod measured;
pub mod page;
pub mod reliability;
pub mod runs;
pub mod sheet;
pub mod stages;
pub mod study;
pub mod tensorboard;
pub mod visible;
pub mod yardstick;

use crate::event::{Outcome, WaitReason};
use fold::{RunState, StageRun};
use format::{bytes, duration, moment};
use runs::counts;
use sheet::Sheet;

/// The whole report: stages, their gates and failures, the tables of the study, answers side by side, and a last line.
/// `is_alive`: whether the process that writes the events still exists; it matters only until the run has ended.
pub fn report(run: &RunState, is_alive: bool) -> Vec<Sheet> {
    let mut sheets =
        vec![stages::table(run, is_alive), stages::gates(run), stages::notes_of_actions(run), stages::failures(run)];
    for study in &run.studies {
        sheets.push(study::table(study));
        sheets.extend(study::side_by_side(study));
    }
    sheets.extend(families::families(run, is_alive).iter().map(families::table));
    sheets.push(Sheet::note(last_line(run, is_alive)));
    sheets
}

/// The first line of `status` and `explain`: which run is shown.
pub fn heading(run: &RunState) -> String {
    let mut text = format!("{} ({}), started {}", run.pipeline, run.file, moment(&run.at));
    for set in &run.overrides {
        text.push_str(" --set ");
        text.push_str(set);
    }
    if !run.selection.is_empty() {
        text.push_str(&format!("; only a part: {}", run.selection));
    }
    text
}

/// The end of the run, and what to do next if it did not end well.
fn last_line(run: &RunState, is_alive: bool) -> String {
    let Some(finish) = &run.finish else {
        return match is_alive {
            true => format!("running since {}", moment(&run.at)),
            false => format!(
                "broken off: the process that ran it is gone; `pipeline run {}` continues from the finished stages",
                run.file
            ),
        };
    };
    let after = duration(finish.seconds);
    let counts = counts(run);
    match finish.exit {
        0 if run.stages.iter().any(StageRun::would_run) => {
            let lasted = run.stages.iter().filter_map(|stage| run.last_time(stage)).reduce(|one, other| one + other);
            let lasted = lasted.map(|seconds| format!("; last time that took {}", duration(seconds)));
            format!("nothing was run: {counts}{}", lasted.unwrap_or_default())
        }
        0 if run.is_look() && run.stages.iter().any(|stage| stage.fetched.is_some()) => {
            let most = run.stages.iter().filter_map(|stage| stage.fetched).sum();
            format!("nothing was run or fetched: {counts}, {} at most", bytes(most))
        }
        0 if !run.stages.iter().any(StageRun::was_executed) => format!("nothing to do: {counts}"),
        0 => format!("done in {after}: {counts}"),
        1 => {
            let failed = names(run, |outcome| matches!(outcome, Outcome::Failed { .. })).join(", ");
            format!("failed after {after}: {failed}; fix the cause and run again: finished stages stay cached")
        }
        3 => {
            let held = names(run, |outcome| matches!(outcome, Outcome::Held { .. }));
            if let [first, ..] = held[..] {
                let held = held.join(", ");
                return format!(
                    "held after {after}: {held}; decide with `pipeline approve {first} {file}{options} --reason TEXT` (or \
                     `--reject`) and run again; `pipeline gate show {first} {file}{options}` has every number, \
                     `pipeline answers {first} {file}{options} --changed` the answers",
                    file = run.file,
                    options = run.options
                );
            }
            let waits = [WaitReason::Labels, WaitReason::Budget].map(|reason| waiting(run, reason, &after));
            let stopped = names(run, |outcome| matches!(outcome, Outcome::Stopped { .. }));
            let waits: Vec<String> = waits.into_iter().flatten().collect();
            if !waits.is_empty() && stopped.is_empty() {
                return format!("{}, and run again", waits.join("; "));
            }
            let first = stopped.first().copied().unwrap_or_default();
            let stopped = stopped.join(", ");
            format!(
                "stopped by a gate after {after}: {stopped}; `pipeline explain {first} {}` has every number; \
                 change the stage or the rule and run again",
                run.file
            )
        }
        130 => format!("interrupted after {after}: {counts}; the same command resumes from here"),
        exit => format!("ended with exit code {exit} after {after}"),
    }
}

/// The stages that wait for the same thing, and the way on; `None` if none does.
fn waiting(run: &RunState, reason: WaitReason, after: &str) -> Option<String> {
    let stages = names(run, |outcome| matches!(outcome, Outcome::Waits { on, .. } if *on == reason));
    let (first, all) = (stages.first()?, stages.join(", "));
    Some(format!("waits for {} after {after}: {all}; {}", reason.wanted(), reason.way_on(&run.file, first)))
}

fn names(run: &RunState, is: impl Fn(&Outcome) -> bool) -> Vec<&str> {
    let stages = run.stages.iter().filter(|stage| stage.outcome.as_ref().is_some_and(&is));
    stages.map(|stage| stage.head.name.as_str()).collect()
}

#[cfg(test)]
pub mod sample;
#[cfg(test)]
mod tests;
