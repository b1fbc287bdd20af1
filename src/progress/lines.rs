//! Progress without a terminal: a line at the start, after about ten seconds or a tenth of the work, and at the end.

use super::phrases::{lasting_line, title};
use crate::cause::{EvalPart, on_one_line};
use crate::event::Event;
use crate::report::format::duration;
use stages::io::Progress;
use std::collections::BTreeMap;
use std::time::Duration;

/// The time after which an action gets a line, however little was done.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Lines {
    /// The time that a tenth of the work must take to be worth a line: a short stage only prints start and end.
    interval: Duration,
    /// The last line about each `(stage, part)`.
    running: BTreeMap<(String, Option<EvalPart>), LastLine>,
}

#[derive(Clone, Copy, Debug)]
struct LastLine {
    at: Duration,
    done: u64,
    /// Time and position of the first progress: a resumed stage does not start at zero, and loading a model is not a
    /// step.
    first: Option<(Duration, u64)>,
}

impl Lines {
    pub fn new(interval: Duration) -> Lines {
        Lines { interval, running: BTreeMap::new() }
    }

    /// The line for an event, if it is worth one. `now` is the time since the run began.
    pub fn line(&mut self, event: &Event, now: Duration) -> Option<String> {
        match event {
            Event::Started { stage, part, attempt, why, .. } => {
                let said = LastLine { at: now, done: 0, first: None };
                self.running.insert((stage.clone(), part.clone()), said);
                let again = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                let why = if why.is_empty() { String::new() } else { format!(": {}", on_one_line(why)) };
                Some(format!("{}: started{again}{why}", title(stage, part)))
            }
            Event::Progressed { stage, part, progress: Progress { done, total, unit, message, .. } } => {
                let said = self.running.get_mut(&(stage.clone(), part.clone()))?;
                let (began, first) = *said.first.get_or_insert((now, *done));
                let since = now.saturating_sub(said.at);
                let is_tenth = *total > 0 && done.saturating_sub(said.done) * 10 >= *total;
                if !(since >= PATIENCE || is_tenth && since >= self.interval) {
                    return None;
                }
                (said.at, said.done) = (now, *done);
                let pace =
                    pace(done.saturating_sub(first), total.saturating_sub(*done), now.saturating_sub(began), unit);
                let message = if message.is_empty() { String::new() } else { format!(", {message}") };
                Some(format!("{}: {}{pace}{message}", title(stage, part), far(*done, *total, unit)))
            }
            Event::Finished { stage, part, .. } | Event::Failed { stage, part, .. } => {
                self.running.remove(&(stage.clone(), part.clone()));
                lasting_line(event)
            }
            _ => lasting_line(event),
        }
    }
}

fn far(done: u64, total: u64, unit: &str) -> String {
    match (done * 100).checked_div(total) {
        Some(percent) => format!("{unit} {done}/{total}, {percent} %"),
        None => format!("{unit} {done}"),
    }
}

/// Rate and time left; empty until there is a rate.
fn pace(done: u64, left: u64, elapsed: Duration, unit: &str) -> String {
    let seconds = elapsed.as_secs_f64();
    if done == 0 || seconds <= 0.0 {
        return String::new();
    }
    let rate = done as f64 / seconds;
    let rate_shown = if rate >= 10.0 { format!("{rate:.0}") } else { format!("{rate:.1}") };
    format!(", {rate_shown} {unit}/s, {} left", duration(left as f64 / rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(events: &[(f64, Event)], expected: Expect) {
        let mut lines = Lines::new(Duration::from_secs(2));
        let said: Vec<String> =
            events.iter().filter_map(|(at, event)| lines.line(event, Duration::from_secs_f64(*at))).collect();
        expected.assert_eq(&said.join("\n"));
    }

    fn started(stage: &str) -> Event {
        Event::Started {
            stage: stage.to_owned(),
            part: None,
            key: String::new(),
            action: serde_json::Value::Null.into(),
            attempt: 1,
            why: vec!["parameters.lr: 0.001 -> 0.0005".to_owned().into()],
            log: "log.txt".to_owned(),
            at: None,
        }
    }

    fn progressed(stage: &str, done: u64, message: &str) -> Event {
        Event::Progressed {
            stage: stage.to_owned(),
            part: None,
            progress: Progress {
                done,
                total: 200,
                unit: "step".to_owned(),
                message: message.to_owned(),
                metrics: BTreeMap::new(),
            },
        }
    }

    fn finished(stage: &str, seconds: f64) -> Event {
        Event::Finished {
            stage: stage.to_owned(),
            part: None,
            key: String::new(),
            seconds,
            device: Some("cpu".to_owned()),
            at: None,
        }
    }

    #[test]
    fn a_long_stage_is_heard_of_every_tenth_and_every_ten_seconds() {
        let mut events = vec![(0.0, started("ppo_1"))];
        // One step a second at first, then a stall.
        events.extend((1..=45).map(|step| (step as f64, progressed("ppo_1", step, "reward 0.41"))));
        events.extend([(55.5, progressed("ppo_1", 46, "reward 0.42")), (60.0, finished("ppo_1", 60.0))]);
        check(
            &events,
            expect![[r#"
                ppo_1: started: parameters.lr: 0.001 -> 0.0005
                ppo_1: step 10/200, 5 %, 1.0 step/s, 3 min 10 s left, reward 0.41
                ppo_1: step 20/200, 10 %, 1.0 step/s, 3 min 00 s left, reward 0.41
                ppo_1: step 30/200, 15 %, 1.0 step/s, 2 min 50 s left, reward 0.41
                ppo_1: step 40/200, 20 %, 1.0 step/s, 2 min 40 s left, reward 0.41
                ppo_1: step 46/200, 23 %, 0.8 step/s, 3 min 07 s left, reward 0.42
                ppo_1: finished in 1 min 00 s on cpu"#]],
        );
    }

    #[test]
    fn a_short_stage_says_only_start_and_end() {
        let mut events = vec![(0.0, started("sft"))];
        events.extend((1..=200).map(|step| (step as f64 / 200.0, progressed("sft", step, ""))));
        events.push((1.0, finished("sft", 1.0)));
        check(
            &events,
            expect![[r#"
            sft: started: parameters.lr: 0.001 -> 0.0005
            sft: finished in 1.0 s on cpu"#]],
        );
    }

    #[test]
    fn a_resumed_stage_takes_its_pace_from_the_steps_it_made_itself() {
        check(
            &[(0.0, started("ppo_1")), (0.0, progressed("ppo_1", 100, "")), (10.0, progressed("ppo_1", 120, ""))],
            expect![[r#"
                ppo_1: started: parameters.lr: 0.001 -> 0.0005
                ppo_1: step 120/200, 60 %, 2.0 step/s, 40 s left"#]],
        );
    }
}
