//! What a run came to, as text: pure folds of events. Knows nothing of terminals, journals or how a run is made;
//! the width of the page and whether it takes colour are arguments.

pub mod card;
pub mod cause;
pub mod diff;
pub mod explain;
pub mod fold;
pub mod gate;
pub mod graph;
pub mod json;
pub mod page;
pub mod reliability;
pub mod stages;
pub mod study;

use crate::event::Outcome;
use fold::{Run, StageRun};
use page::{Page, duration, moment};

/// The whole report: stages, their gates and failures, the tables of the study, answers side by side, and one last
/// line. `is_alive` says whether the process that writes the events is still there; it counts only while the run has
/// no end.
pub fn report(run: &Run, is_alive: bool, page: Page) -> String {
    let mut sections = vec![
        stages::table(run, is_alive, page),
        stages::gates(run, page),
        stages::notes_of_actions(run, page),
        stages::failures(run, page),
    ];
    for study in &run.studies {
        sections.push(study::table(study, page));
        sections.push(study::side_by_side(study, page));
    }
    sections.push(last_line(run, is_alive));
    sections.retain(|section| !section.is_empty());
    sections.join("\n")
}

/// Which run this is: the first line of `status` and `explain`.
pub fn heading(run: &Run) -> String {
    let mut text = format!("{} ({}), started {}", run.pipeline, run.file, moment(&run.at));
    for set in &run.overrides {
        text.push_str(" --set ");
        text.push_str(set);
    }
    if !run.selection.is_empty() {
        text.push_str(&format!("; only a part: {}", run.selection));
    }
    text.push('\n');
    text
}

/// How the run ended, and what to do next where it did not end well.
pub fn last_line(run: &Run, is_alive: bool) -> String {
    let Some(finish) = &run.finish else {
        return match is_alive {
            true => format!("running since {}\n", moment(&run.at)),
            false => format!(
                "broken off: the process that ran it is gone; `pipeline run {}` goes on from what is finished\n",
                run.file
            ),
        };
    };
    let after = duration(finish.seconds);
    let counts = counts(run);
    match finish.exit {
        0 if run.stages.iter().any(would_run) => {
            let lasted = run.stages.iter().filter_map(|stage| last_time(run, stage)).reduce(|one, other| one + other);
            let lasted = lasted.map(|seconds| format!("; last time that took {}", duration(seconds)));
            format!("nothing was run: {counts}{}\n", lasted.unwrap_or_default())
        }
        0 if !run.stages.iter().any(was_executed) => format!("nothing to do: {counts}\n"),
        0 => format!("done in {after}: {counts}\n"),
        1 => {
            let failed = named(run, |outcome| matches!(outcome, Outcome::Failed { .. }));
            format!("failed after {after}: {failed}; mend the cause and run again: what is finished stays cached\n")
        }
        3 => {
            let held = named(run, |outcome| matches!(outcome, Outcome::Held { .. }));
            if !held.is_empty() {
                let first = held.split(", ").next().unwrap_or_default();
                return format!(
                    "held after {after}: {held}; decide with `pipeline approve {first} {file}{options} --reason TEXT` (or \
                     `--reject`) and run again; `pipeline gate show {first} {file}{options}` has every number\n",
                    file = run.file,
                    options = run.options
                );
            }
            let stopped = named(run, |outcome| matches!(outcome, Outcome::Stopped { .. }));
            let first = stopped.split(", ").next().unwrap_or_default();
            format!(
                "stopped by a gate after {after}: {stopped}; `pipeline explain {first} {}` has every number; \
                 change the stage or the rule and run again\n",
                run.file
            )
        }
        130 => format!("interrupted after {after}: {counts}; the same command goes on from here\n"),
        exit => format!("ended with exit code {exit} after {after}\n"),
    }
}

fn was_executed(stage: &StageRun) -> bool {
    stage.outcome.as_ref().is_some_and(|outcome| outcome.executed_in().is_some())
}

pub fn would_run(stage: &StageRun) -> bool {
    matches!(stage.outcome, Some(Outcome::WouldRun { .. }))
}

/// How long a stage that would run took when it last did.
fn last_time(run: &Run, stage: &StageRun) -> Option<f64> {
    would_run(stage).then(|| run.lasted.get(&stage.head.name).copied()).flatten()
}

/// `5 run, 2 cached, 1 kept the incumbent`; what does not occur is not said.
fn counts(run: &Run) -> String {
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

fn named(run: &Run, is: fn(&Outcome) -> bool) -> String {
    let names: Vec<&str> = run
        .stages
        .iter()
        .filter(|stage| stage.outcome.as_ref().is_some_and(is))
        .map(|stage| stage.head.name.as_str())
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
