//! Begins actions once resources are free, no other run is doing the action, and its inputs are placed.

use super::session::Session;
use super::{RESTARTS, Run, Task, Work, attempt, now, space};
use crate::cause::{Cause, SkipReason};
use crate::event::Event;
use crate::executor::Job;
use crate::failure::Failure;
use crate::schedule::News;
use anyhow::{Context, Result};
use cache::{ClaimResult, Damage, Owner};
use stages::io::Host;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The result of trying to begin an action.
enum Start {
    Running,
    /// Another run has finished it in the meantime.
    Found(News),
    /// Another run is doing it, or this run is to stop.
    Elsewhere(Box<Work>),
    Failed(Failure),
    Lost,
}

impl Run<'_> {
    /// Begins the work that fits the free resources, in the order it was asked for; work that waits for many resources
    /// lets smaller work pass.
    pub fn begin_what_fits(&mut self) -> Result<Vec<News>> {
        let mut news = Vec::new();
        let now = Instant::now();
        let due = self.retries.extract_if(.., |(at, _)| *at <= now).map(|(_, work)| work);
        self.pending.extend(due);
        let keeps_going = self.session.as_ref().is_some_and(|session| session.execution.keeps_going);
        if let (Some(failed), false) = (&self.failed, keeps_going) {
            let because = SkipReason::NotBegun(failed.clone());
            let left = self.pending.drain(..).chain(self.retries.drain(..).map(|(_, work)| work));
            news.extend(left.map(|work| News::LeftOut { key: work.request.action.key, because: because.clone() }));
        }
        let mut waiting = Vec::new();
        while self.slots.has_job() && !self.is_content_lost {
            let Some(work) = self.pending.pop_front() else { break };
            let wanted = self.plan.stages[work.request.limits_of].resources;
            if !self.slots.take(wanted) {
                waiting.push(work);
                continue;
            }
            let request = work.request.clone();
            match self.begin(work)? {
                Start::Running => continue,
                Start::Found(found) => news.push(found),
                Start::Elsewhere(work) => waiting.push(*work),
                Start::Failed(cause) => {
                    let (key, (stage, part)) = (request.action.key, self.name(&request));
                    let (told, log) = (cause.clone(), String::new());
                    self.tell(Event::Failed { stage, part, key: key.to_string(), cause: told, log })?;
                    news.push(News::Failed { key, cause });
                }
                Start::Lost => self.is_content_lost = true,
            }
            self.slots.give_back(wanted);
        }
        if self.is_content_lost {
            self.pending.clear();
            self.retries.clear();
        } else {
            waiting.into_iter().rev().for_each(|work| self.pending.push_front(work));
        }
        Ok(news)
    }

    /// Starts an attempt. A fault of this machine (no space, no permission) fails the stage, not the run.
    fn begin(&mut self, mut work: Work) -> Result<Start> {
        let Some(Session { worker, execution, .. }) = self.session.as_ref() else {
            return Ok(Start::Failed("nothing is executed by a look".to_owned().into()));
        };
        let (worker, device) = (*worker, execution.device);
        let request = work.request.clone();
        let key = request.action.key;
        if work.claim.is_none() {
            match self.store.claim(&key) {
                Ok(ClaimResult::Mine(claim)) => work.claim = Some(claim),
                Ok(ClaimResult::Theirs(owner)) => {
                    if !std::mem::replace(&mut work.is_told, true) {
                        self.note(&request, waits_for(&owner))?;
                    }
                    return Ok(Start::Elsewhere(Box::new(work)));
                }
                Err(error) => return Ok(Start::Failed(error.context("claim the action").into())),
            }
            // The previous owner of the claim may have done the work.
            if let Some(news) = self.look_up(&request)? {
                return Ok(Start::Found(news));
            }
        }
        let stage = &self.plan.stages[request.limits_of];
        let host =
            Host { device, secrets: stage.secrets.clone(), audit: stage.audit, skip_bad_rows: self.plan.skip_bad_rows };
        let attempt = match attempt::prepare(&self.options.store, self.store, &request.action, host, self.contents) {
            Ok(attempt) => attempt,
            Err(error) if error.is::<Damage>() && self.restarts < RESTARTS => {
                tracing::warn!("{error:#}; it is made again");
                return Ok(Start::Lost);
            }
            Err(error) => return Ok(Start::Failed(error.context("prepare the stage").into())),
        };
        space::shed_earlier(self.store, &attempt);
        // Preparing may take seconds, and nothing begins after an interrupt.
        if self.interrupt.load(Ordering::Relaxed) {
            return Ok(Start::Elsewhere(Box::new(work)));
        }
        let mut why = match work.failed {
            0 => self.why(&request)?,
            _ => vec![Cause::Retried],
        };
        if attempt.is_resumed {
            why.push(Cause::Resumed);
        }
        let (name, part) = self.name(&request);
        self.tell(Event::Started {
            stage: name,
            part,
            key: key.to_string(),
            action: request.action.action.clone(),
            attempt: attempt.number,
            why,
            log: absolute(&attempt.log())?.display().to_string(),
            at: Some(now()),
        })?;
        let directory = absolute(&attempt.directory)?;
        let job = Job { directory, command: worker.to_vec(), timeout: stage.timeout };
        let session = self.session.as_mut().expect("it was there above");
        match session.executor.submit(job) {
            Ok(id) => {
                self.running.insert(id, Task { work, attempt, started: Instant::now() });
                if self.remaining > self.running.len() {
                    session.executor.expect(worker, &attempt::directory(&self.options.store));
                }
                Ok(Start::Running)
            }
            Err(error) => Ok(Start::Failed(error.into())),
        }
    }
}

/// A path that is valid from any directory.
pub fn absolute(path: &Path) -> Result<std::path::PathBuf> {
    std::path::absolute(path).with_context(|| format!("find {}", path.display()))
}

fn waits_for(owner: &Owner) -> String {
    format!("waits: process {} on {} is at it, and its result will be taken", owner.pid, owner.host)
}
