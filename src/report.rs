//! The report of a run. Each file folds events into sections, which are data ([`sheet`]); [`page`] alone prints them.

pub mod card;
pub mod cause;
pub mod diff;
pub mod explain;
pub mod fold;
pub mod format;
pub mod gate;
pub mod graph;
pub mod json;
pub mod page;
pub mod reliability;
pub mod sheet;
pub mod stages;
pub mod study;

use crate::event::Outcome;
use fold::{RunState, StageRun};
use format::{duration, moment};
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
                     `--reject`) and run again; `pipeline gate show {first} {file}{options}` has every number",
                    file = run.file,
                    options = run.options
                );
            }
            let stopped = names(run, |outcome| matches!(outcome, Outcome::Stopped { .. }));
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

/// `5 run, 2 cached, 1 kept the incumbent`; counts of zero are left out.
fn counts(run: &RunState) -> String {
    let count = |is: fn(&Outcome) -> bool| {
        run.stages.iter().filter_map(|stage| stage.outcome.as_ref()).filter(|o| is(o)).count()
    };
    let phrases = [
        (count(|o| matches!(o, Outcome::WouldRun { .. })), "would run"),
        (count(|o| o.executed_in().is_some()), "run"),
        (count(Outcome::is_cached), "cached"),
        (count(|o| matches!(o, Outcome::Done { kept: true, .. })), "kept the incumbent"),
        (count(|o| matches!(o, Outcome::Stopped { .. })), "stopped"),
        (count(|o| matches!(o, Outcome::Held { .. })), "held"),
        (count(|o| matches!(o, Outcome::Failed { .. })), "failed"),
        (count(|o| matches!(o, Outcome::Skipped { .. })), "skipped"),
        (count(|o| matches!(o, Outcome::Interrupted)), "interrupted"),
    ];
    let said: Vec<String> =
        phrases.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")).collect();
    if said.is_empty() { "no stage was reached".to_owned() } else { said.join(", ") }
}

fn names(run: &RunState, is: fn(&Outcome) -> bool) -> Vec<&str> {
    let stages = run.stages.iter().filter(|stage| stage.outcome.as_ref().is_some_and(is));
    stages.map(|stage| stage.head.name.as_str()).collect()
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
