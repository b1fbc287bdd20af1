//! `log`: the output of a stage, from whichever run executed it.

use super::find::{self, StoredRun};
use super::gates::stage_of;
use super::options::RunArgument;
use super::refusal::refused;
use super::terminal;
use crate::cause::EvalPart;
use crate::cli::configuration;
use crate::event::{Event, Outcome};
use crate::live::{TICK, follow};
use crate::progress;
use crate::report::fold::{ActionRun, ActionState, StageRun};
use crate::report::format::moment;
use crate::run::attempt;
use crate::tail::tail;
use anyhow::Result;
use cache::{Content, Digest};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub struct LogRequest<'a> {
    pub stage: &'a str,
    pub part: Option<&'a str>,
    pub attempt: Option<u32>,
    pub follows: bool,
}

pub fn log(asked: &LogRequest, file: Option<&Path>, which: &RunArgument) -> Result<u8> {
    progress::log_only(terminal::stderr_has_color());
    let mut found = which.find_with(asked.stage, file)?;
    let mut shown: Vec<LogLocation> = Vec::new();
    loop {
        let stage = stage_of(&found, asked.stage)?;
        let goes_on = asked.follows && found.is_alive && stage.outcome.is_none();
        let actions = chosen(stage, asked.part, goes_on)?;
        for action in &actions {
            let log = find_log(&found, stage, action, asked.attempt)?;
            if shown.contains(&log.location) {
                continue;
            }
            terminal::remark(&format!("{}\n", log.said));
            if let (Some(part), None) = (&action.part, asked.part) {
                let gap = if shown.is_empty() { "" } else { "\n" };
                terminal::say(&format!("{gap}==> {part} <==\n"))?;
            }
            if !show(&log, &found, action, asked)? {
                return Ok(0);
            }
            shown.push(log.location);
        }
        if !goes_on {
            return match shown.is_empty() {
                true => Err(nothing(&found, stage)),
                false => Ok(0),
            };
        }
        std::thread::sleep(TICK);
        found = find::again(&found)?;
    }
}

/// The stage's own action, or all parts of an eval, which has no action of its own.
fn chosen<'a>(stage: &'a StageRun, part: Option<&str>, may_come: bool) -> Result<Vec<&'a ActionRun>> {
    let parts = stage.actions.iter().filter_map(|action| action.part.as_ref());
    let parts: Vec<String> = parts.map(EvalPart::to_string).collect();
    let has_own = stage.actions.iter().any(|action| action.part.is_none());
    let is_meant = |action: &&ActionRun| match part {
        Some(part) => action.part.as_ref().is_some_and(|known| known.to_string() == part),
        None => action.part.is_none() == has_own,
    };
    let chosen: Vec<&ActionRun> = stage.actions.iter().filter(is_meant).collect();
    match part {
        Some(part) if chosen.is_empty() && !may_come => {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let help = stages::stage::did_you_mean(part, &parts);
            Err(refused(format!("`{}` has no part `{part}` in this run: {help}", stage.head.name)))
        }
        _ => Ok(chosen),
    }
}

/// The refusal for a stage that was neither executed nor found in this run.
fn nothing(found: &StoredRun, stage: &StageRun) -> anyhow::Error {
    let why = match &stage.outcome {
        Some(Outcome::Skipped { because }) => format!("it was skipped: {because}"),
        Some(Outcome::Failed { cause }) => format!("it failed before it had one: {cause}"),
        _ => "the run did not reach it".to_owned(),
    };
    refused(format!("`{}` has no log in {}: {why}", stage.head.name, found.run.name))
}

struct Log {
    location: LogLocation,
    /// The description of the attempt for a reader.
    said: String,
    /// Whether the log may still grow.
    is_running: bool,
}

#[derive(PartialEq)]
enum LogLocation {
    File(PathBuf),
    Stored(Content),
}

/// The attempt that made a result, as its record holds it.
#[derive(Default)]
struct Provenance {
    log: Option<Content>,
    attempt: Option<u32>,
    at: Option<String>,
}

fn find_log(found: &StoredRun, stage: &StageRun, action: &ActionRun, attempt: Option<u32>) -> Result<Log> {
    let title = match &action.part {
        Some(part) => format!("{}, {part}", stage.head.name),
        None => stage.head.name.clone(),
    };
    let attempts = attempt::attempts(&attempt::directory_of(&found.root, &action.key))?;
    let mut there: Vec<_> = attempts.iter().map(|attempt| (attempt.number, attempt.log())).collect();
    there.retain(|(_, log)| log.is_file());
    let in_run = match &action.state {
        ActionState::Hit => None,
        ActionState::Running { log, .. } | ActionState::Finished { log, .. } | ActionState::Failed { log, .. } => {
            number(Path::new(log)).map(|number| (number, PathBuf::from(log)))
        }
    };
    let is_running = matches!(action.state, ActionState::Running { .. }) && found.is_alive;
    let kept = kept(found, action);
    // After a hit this is the attempt that made the result; the last attempt only if that is unknown.
    let wanted = attempt
        .or(in_run.as_ref().map(|(number, _)| *number))
        .or(kept.attempt)
        .or(there.last().map(|(number, _)| *number));
    let of_this_run = in_run.as_ref().filter(|(number, _)| wanted == Some(*number));
    // The store may have been moved since the run.
    let here = there.iter().find(|(number, _)| wanted == Some(*number));
    let paths = of_this_run.into_iter().chain(here).map(|(_, path)| path.clone());
    let location = paths.into_iter().find(|path| path.is_file()).map(LogLocation::File).or_else(|| {
        let log = kept.log.clone().filter(|_| attempt.is_none() || kept.attempt == attempt)?;
        Some(LogLocation::Stored(log))
    });
    // A worker starts a moment after its event.
    let location =
        location.or_else(|| of_this_run.filter(|_| is_running).map(|(_, path)| LogLocation::File(path.clone())));
    let Some(location) = location else {
        let kept = kept.attempt.filter(|_| kept.log.is_some());
        let numbers: BTreeSet<u32> = there.iter().map(|(number, _)| *number).chain(kept).collect();
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        return Err(refused(match (attempt, numbers.is_empty()) {
            (Some(attempt), false) => {
                format!("{title} has no log of an attempt {attempt}: there are {}", numbers.join(", "))
            }
            _ => format!("the log of {title} is gone: its attempts were removed, and its record keeps none"),
        }));
    };
    let number = match &location {
        LogLocation::File(path) => number(path),
        LogLocation::Stored(_) => kept.attempt,
    };
    let is_of_this_run = of_this_run.is_some();
    let made_in = match (is_of_this_run, number) {
        (true, _) => Some(found.run.name.clone()),
        (false, number) => number.and_then(|number| find::began(found, &action.key, number)),
    };
    let number = number.map_or("its log".to_owned(), |number| format!("attempt {number}"));
    let origin = match (made_in, &kept.at) {
        (Some(run), _) if is_running && is_of_this_run => format!("{number}, running in {run}"),
        (Some(run), _) => format!("{number} of {run}"),
        // The journal of that run is gone.
        (None, Some(at)) if wanted == kept.attempt => format!("{number}, made {}", moment(at)),
        (None, _) => format!("{number} of an earlier run"),
    };
    let hit = if in_run.is_none() { format!(", cached in {}", found.run.name) } else { String::new() };
    let said = format!("{title}: {origin}{hit}");
    Ok(Log { location, said, is_running: is_running && of_this_run.is_some() })
}

/// The number of an attempt, from the path `work/<key>/<attempt>/log.txt`.
fn number(log: &Path) -> Option<u32> {
    log.parent()?.file_name()?.to_str()?.parse().ok()
}

/// The provenance in the record of an action; empty, with a warning, if the record cannot be read.
fn kept(found: &StoredRun, action: &ActionRun) -> Provenance {
    let read = || -> Result<Option<Provenance>> {
        let Some(record) = configuration::store(&found.root)?.lookup(&action.key.parse::<Digest>()?)? else {
            return Ok(None);
        };
        let text = |name: &str| record.telemetry.get(name).and_then(|value| value.as_str());
        let attempt = record.telemetry.get("attempt").and_then(|value| value.as_u64());
        Ok(Some(Provenance {
            log: text("log").and_then(|log| log.parse().ok()),
            attempt: attempt.and_then(|number| number.try_into().ok()),
            at: text("at").map(str::to_owned),
        }))
    };
    read().inspect_err(|error| tracing::warn!("{error:#}")).ok().flatten().unwrap_or_default()
}

/// Prints a log unchanged; false if stdout was closed.
fn show(log: &Log, found: &StoredRun, action: &ActionRun, asked: &LogRequest) -> Result<bool> {
    let path = match &log.location {
        LogLocation::File(path) => path,
        LogLocation::Stored(content) => {
            let bytes = configuration::store(&found.root)?.read(content, "")?;
            remark_if_empty(bytes.is_empty(), log);
            return terminal::pass_on(&bytes);
        }
    };
    let follows = log.is_running && asked.follows;
    let (mut tail, mut live) = (tail(path), follow(&found.journal));
    let is_its_end = |event: &Event| match event {
        Event::Finished { stage, part, key, .. } | Event::Failed { stage, part, key, .. } => {
            stage == asked.stage && *part == action.part && *key == action.key
        }
        _ => false,
    };
    let is_begin = |event: &Event| matches!(event, Event::Started { log, .. } if Path::new(log) == path);
    // The end of an earlier attempt in this run does not count.
    let (mut has_begun, mut goes_on, mut is_empty) = (false, follows, true);
    loop {
        // The journal is read before the log: once it names the end, the log is complete.
        if goes_on {
            let (events, is_alive) = live.events()?;
            for event in &events {
                has_begun |= is_begin(event);
                goes_on &= !(has_begun && is_its_end(event));
            }
            goes_on &= is_alive;
        }
        loop {
            let bytes = tail.bytes()?;
            if bytes.is_empty() {
                break;
            }
            is_empty = false;
            if !terminal::pass_on(&bytes)? {
                return Ok(false);
            }
        }
        if !goes_on {
            break;
        }
        std::thread::sleep(TICK);
    }
    remark_if_empty(is_empty, log);
    Ok(true)
}

fn remark_if_empty(is_empty: bool, log: &Log) {
    if is_empty {
        terminal::remark(if log.is_running { "nothing was printed so far\n" } else { "the log is empty\n" });
    }
}
