//! The words for events, shared by bars and lines.

use crate::event::{Decision, Event, Outcome, Verdict};
use crate::report::format::duration;

/// The one line that stays of an event, where one stays; the beginning and the course of an action are not said here.
pub fn lasting_line(event: &Event) -> Option<String> {
    match event {
        Event::Finished { stage, part, seconds, device, .. } => {
            let device = device.as_deref().map_or(String::new(), |device| format!(" on {device}"));
            Some(format!("{}: finished in {}{device}", title(stage, part), duration(*seconds)))
        }
        Event::Failed { stage, part, cause, log, .. } => {
            // What never began has no log.
            let log = if log.is_empty() { String::new() } else { format!(" (log: {log})") };
            Some(format!("{}: failed{log}: {cause}", title(stage, part)))
        }
        Event::Noted { stage, part, message } => Some(format!("{}: {message}", title(stage, part))),
        // Of what was judged before the report has the table.
        Event::Judged { stage, verdict } => Some(format!("{stage}: {}", judged(verdict))),
        // Of other ends nothing stays: what is cached is counted at the end, since of a thousand stages nobody wants a line
        // each; what was run has had its line when it finished, and what failed when it failed. An interrupt ends every
        // stage that had not ended: the report counts them.
        Event::Ended { stage, outcome: Outcome::Skipped { because } } => Some(format!("{stage}: skipped: {because}")),
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
    if verdict.carries.is_empty() { word.to_owned() } else { format!("{word}, {} goes on", verdict.carries) }
}

pub fn title(stage: &str, part: &Option<String>) -> String {
    match part {
        Some(part) => format!("{stage}: {part}"),
        None => stage.to_owned(),
    }
}
