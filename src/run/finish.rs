//! Ends attempts: the result is recorded, the action is tried again, or it has failed.

use super::attempt::{self, Attempt};
use super::begin::absolute;
use super::death::death;
use super::{Run, Share, Task, Work, inputs, now, scrub, space};
use crate::action::Record;
use crate::event::Event;
use crate::executor::{self, Update};
use crate::failure::{Death, DeathCause, Exit, Failure, Loss};
use crate::schedule::{News, Request};
use anyhow::{Result, bail};
use cache::{Commit, Digest};
use serde_json::{Value, json};
use stages::io::{Progress, REMARKS, StageResult};
use stages::secret::Secrets;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The number of files that an audit names; more are only counted.
const NAMED: usize = 5;

/// The result of a finished attempt.
struct AttemptResult {
    news: News,
    device: Option<String>,
    notes: Vec<String>,
}

impl Run<'_> {
    pub fn update(&mut self, update: Update) -> Result<Option<News>> {
        match update {
            Update::Progressed(id, progress) => {
                if let Some(task) = self.running.get(&id) {
                    let progress = shown(progress, &self.secrets(&task.work.request));
                    let (stage, part) = self.name(&task.work.request);
                    self.tell(Event::Progressed { stage, part, progress })?;
                }
                Ok(None)
            }
            Update::Ended(id, exit) => match self.running.remove(&id) {
                Some(task) => self.ended(task, exit),
                None => Ok(None),
            },
            Update::Gone { job, worked_in, end } => match self.running.remove(&job) {
                Some(task) => self.gone(task, worked_in, end),
                None => Ok(None),
            },
            Update::Placed(id, placement) => {
                if let Some(request) = self.running.get(&id).map(|task| task.work.request.clone()) {
                    self.placed(&request, placement)?;
                }
                Ok(None)
            }
            Update::Noted(id, message) => {
                if let Some(request) = self.running.get(&id).map(|task| task.work.request.clone()) {
                    self.note(&request, message)?;
                }
                Ok(None)
            }
            Update::Left(id) => {
                self.running.remove(&id);
                Ok(None)
            }
            Update::EndedAfterOthers(id, exit) => match self.running.remove(&id) {
                Some(task) => self.ended_after_others(task, exit),
                None => Ok(None),
            },
        }
    }

    /// Ends an attempt that a cluster worked at. What was said of it counts only where there is no outcome.
    fn gone(&mut self, mut task: Task, worked_in: Option<PathBuf>, end: Result<Exit, Loss>) -> Result<Option<News>> {
        if let Some(worked_in) = worked_in {
            task.attempt.take_start(worked_in, &task.work.request)?;
        }
        match end {
            Err(loss) if !matches!(attempt::outcome(&task.attempt), Ok(Some(_))) => self.lost(task, loss),
            Err(_) => self.ended(task, Exit::Code(0)),
            Ok(exit) => self.ended(task, exit),
        }
    }

    /// Ends an attempt whose worker had done other work before. If the worker died of it, it is tried once more by one of
    /// its own, whatever `retry` says: its driver or its memory may have failed for what the others left behind. If the
    /// worker gave a reason and ended by itself, it would be the same again.
    fn ended_after_others(&mut self, task: Task, exit: Exit) -> Result<Option<News>> {
        let Death { cause, .. } = death(&task.attempt, exit);
        let has_died = matches!(exit, Exit::Signal(_)) || matches!(cause, DeathCause::Silent { .. });
        if !has_died || self.is_stopping || !matches!(attempt::outcome(&task.attempt), Ok(None)) {
            return self.ended(task, exit);
        }
        self.give_back(task.share);
        let log = absolute(&task.attempt.log())?;
        let note = format!(
            "tried once more by a worker of its own, since the one before had done other measurements ({}): {cause}",
            log.display()
        );
        self.note(&task.work.request, note)?;
        self.pending.push_front(Work { is_alone: true, ..task.work });
        Ok(None)
    }

    /// Ends an attempt. The outcome decides, not the exit code: a driver may crash after the work is done.
    fn ended(&mut self, task: Task, exit: Exit) -> Result<Option<News>> {
        let seconds = task.started.elapsed().as_secs_f64();
        let limits = &self.plan.stages[task.work.request.limits_of];
        self.give_back(task.share.clone());
        let (stage, part) = self.name(&task.work.request);
        let key = task.work.request.action.key;
        let scrubbed = scrub::scrub(&task.attempt, &self.secrets(&task.work.request));
        let outcome = scrubbed.and_then(|()| attempt::outcome(&task.attempt));
        if matches!(outcome, Ok(None)) && self.is_stopping {
            // It was asked to stop: neither finished nor failed.
            return Ok(None);
        }
        if let Ok(Some(StageResult { waits: Some(shortfall), .. })) = outcome {
            executor::close(&task.attempt.directory)?;
            space::shed_all(self.store, &task.attempt);
            return Ok(Some(News::Waits { key, shortfall }));
        }
        let action = &task.work.request.action.action;
        let Attempt { of_inputs, stamps, .. } = &task.attempt;
        let inputs = inputs::check(self.store, of_inputs, stamps, action, self.contents);
        let result = match outcome {
            Ok(Some(outcome)) => inputs.and_then(|()| self.commit(&task, outcome, seconds)).map_err(Failure::from),
            Err(error) => Err(Failure::from(error)),
            Ok(None) => {
                // Damaged inputs have left the store by now, and did not cause the failure.
                if let Err(error) = inputs {
                    tracing::warn!("{}: {error:#}", self.named(&task.work.request));
                }
                Err(Failure::Died(Box::new(death(&task.attempt, exit))))
            }
        };
        // Only now nobody needs to attach to it.
        executor::close(&task.attempt.directory)?;
        match result {
            Ok(AttemptResult { news, device, notes }) => {
                space::shed_all(self.store, &task.attempt);
                self.tell(Event::Finished { stage, part, key: key.to_string(), seconds, device, at: Some(now()) })?;
                for note in notes {
                    self.note(&task.work.request, note)?;
                }
                Ok(Some(news))
            }
            Err(cause) => {
                let root = self.work_root(limits)?;
                space::prune(&root, self.store, space::WORK, &task.attempt);
                let log = absolute(&task.attempt.log())?.display().to_string();
                self.tell(Event::Failed { stage, part, key: key.to_string(), cause: cause.clone(), log })?;
                let mut work = task.work;
                work.failed += 1;
                let Some(pause) = limits.retry.pause(work.failed).filter(|_| !self.is_stopping) else {
                    return Ok(Some(News::Failed { key, cause }));
                };
                let (number, of) = (work.failed, limits.retry.times);
                self.note(&work.request, format!("tried again in {pause:?} ({number} of {of})"))?;
                self.retries.push((after(pause), work));
                Ok(None)
            }
        }
    }

    pub fn give_back(&mut self, share: Option<Share>) {
        share.into_iter().for_each(|share| self.slots.give_back(share));
    }

    /// The secrets of a stage. Where one cannot be had, the worker refuses to work.
    fn secrets(&self, request: &Request) -> Secrets {
        let stage = &self.plan.stages[request.limits_of];
        let Some(session) = self.session.as_ref().filter(|_| !stage.secrets.is_empty()) else {
            return Secrets::default();
        };
        Secrets::read(&stage.secrets, |name| session.execution.secrets.get(name).cloned()).unwrap_or_default()
    }

    /// Whether this run disowns results, and one of this key was the same.
    fn is_disowned(&self, key: &Digest, record: &cache::Record) -> Result<bool> {
        if self.session.as_ref().is_none_or(|session| session.execution.disowns.is_none()) {
            return Ok(false);
        }
        let is_same = |one: &cache::Disavowal| {
            (one.key, &one.record.result, &one.record.contents) == (*key, &record.result, &record.contents)
        };
        Ok(self.store.disavowals()?.iter().any(is_same))
    }

    fn commit(&mut self, task: &Task, outcome: StageResult, seconds: f64) -> Result<AttemptResult> {
        let (request, key) = (&task.work.request, &task.work.request.action.key);
        let (record, worker) = attempt::collect(self.store, &task.attempt, outcome)?;
        let device = worker.get("device").and_then(Value::as_str).map(str::to_owned);
        let remarks = worker.get(REMARKS).and_then(Value::as_array).into_iter().flatten();
        let mut notes: Vec<String> = remarks.filter_map(Value::as_str).map(str::to_owned).collect();
        notes.extend(audited(&worker));
        let log = attempt::keep(self.store, &task.attempt.log())?;
        let curve = attempt::keep(self.store, &task.attempt.curve())?;
        let telemetry = json!({
            "at": now(), "seconds": seconds, "attempt": task.attempt.number, "worker": worker,
            "program": env!("CARGO_PKG_VERSION"), "host": cache::host(),
            "log": log, "curve": curve,
        });
        let mut stored = record.to_store(telemetry, log.into_iter().chain(curve).collect())?;
        let is_forced = self.selection.is_forced(request.stage);
        self.forced.insert(*key);
        self.owe(key);
        let committed = self.store.commit(key, &stored)?;
        self.push(*key, Some(request.clone()));
        match committed {
            Commit::Different => {
                let count = self.store.variants(key);
                notes.push(format!(
                    "not deterministic: this result is not the first one, which stays; {count} variant{} noted",
                    if count == 1 { " is" } else { "s are" }
                ));
                match self.store.lookup(key)? {
                    Some(first) => stored = first,
                    None => bail!("read record {key}: it was there a moment ago"),
                }
            }
            Commit::Same if is_forced => notes.push("executed again, with the same result".to_owned()),
            Commit::Written if is_forced && self.is_disowned(key, &stored)? => {
                notes.push("executed again, with the same result as the one that was disowned".to_owned());
            }
            Commit::Same | Commit::Written => {}
        }
        let record = Arc::new(Record::from_store(&stored)?);
        Ok(AttemptResult { news: News::Known { key: *key, record, seconds: Some(seconds) }, device, notes })
    }
}

/// The time after a pause; one that is beyond the clock's comes in a year.
pub fn after(pause: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(pause).unwrap_or(now + YEAR)
}

/// Progress without secrets, whoever reported it.
fn shown(progress: Progress, secrets: &Secrets) -> Progress {
    if secrets.is_empty() {
        return progress;
    }
    let text = |text: &str| secrets.redacted(text);
    let metrics = progress.metrics.iter().map(|(name, value)| (text(name), *value)).collect();
    Progress { unit: text(&progress.unit), message: text(&progress.message), metrics, ..progress }
}

/// The files that an audited stage read without declaring them, or the reason why they are unknown.
fn audited(worker: &BTreeMap<String, Value>) -> Vec<String> {
    let reads = worker.get("undeclared_reads");
    let count = reads.and_then(|reads| reads["count"].as_u64()).unwrap_or_default();
    let paths = reads.and_then(|reads| reads["paths"].as_array()).into_iter().flatten().filter_map(Value::as_str);
    let named: Vec<&str> = paths.take(NAMED).collect();
    let more = count.saturating_sub(named.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let read = (count > 0).then(|| format!("read and not declared: {}{more}", named.join(", ")));
    let gap = worker.get("audit").and_then(Value::as_str).map(|gap| format!("audit: {gap}"));
    read.into_iter().chain(gap).collect()
}
