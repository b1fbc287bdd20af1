//! The words for events, used by bars and lines.

use crate::cause::EvalPart;
use crate::event::{Event, Outcome, Verdict, place};
use crate::gate::Decision;
use crate::report::format::duration;

/// The line that an event leaves on the screen, if any. Start and progress of an action are left to the caller.
pub fn lasting_line(event: &Event) -> Option<String> {
    match event {
        Event::Finished { stage, part, seconds, device, .. } => {
            let device = device.as_deref().map_or(String::new(), |device| format!(" on {device}"));
            Some(format!("{}: finished in {}{device}", title(stage, part), duration(*seconds)))
        }
        Event::Failed { stage, part, cause, log, .. } => {
            // An action that never started has no log.
            let log = if log.is_empty() { String::new() } else { format!(" (log: {log})") };
            Some(format!("{}: failed{log}: {cause}", title(stage, part)))
        }
        Event::Placed { stage, part, executor, id, node, waits, .. } if !node.is_empty() || !waits.is_empty() => {
            Some(format!("{}: {}", title(stage, part), place(executor, id, node, waits)))
        }
        Event::Noted { stage, part, message } => Some(format!("{}: {message}", title(stage, part))),
        Event::Fetched { stage, part, from, .. } => Some(format!("{}: found in {}", title(stage, part), from.origin())),
        // Earlier verdicts are in the table of the report.
        Event::Judged { stage, verdict } => Some(format!("{stage}: {}", judged(verdict))),
        // Other outcomes leave no line: cached stages are counted at the end, because there may be a thousand; executed
        // and failed ones have had theirs; those that an interrupt ended are counted by the report.
        Event::Ended { stage, outcome: Outcome::Skipped { because }, .. } => {
            Some(format!("{stage}: skipped: {because}"))
        }
        _ => None,
    }
}

fn judged(verdict: &Verdict) -> String {
    let word = match verdict.decision {
        Decision::Pass => "gate passed",
        Decision::Fail => "gate failed",
        Decision::Unsure => "gate is unsure",
        Decision::Error => "gate erred",
    };
    let carries = if verdict.carries.is_empty() { String::new() } else { format!(", {} goes on", verdict.carries) };
    format!("{word}{carries}{}", verdict.despite())
}

pub fn title(stage: &str, part: &Option<EvalPart>) -> String {
    match part {
        Some(part) => format!("{stage}: {part}"),
        None => stage.to_owned(),
    }
}
