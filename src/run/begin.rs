//! How an action begins: when there is room for it, no other run is at it, and its inputs lie in place. Knows nothing
//! of how it ends.

use super::{Doing, MENDS, Run, Task, Work, attempt, now};
use crate::cause::{Cause, SkipReason};
use crate::event::Event;
use crate::executor::{Executor, Job};
use crate::schedule::News;
use anyhow::{Context, Result};
use cache::{Claiming, Damaged, Owner};
use stages::io::Host;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What became of an attempt to begin.
enum Begun {
    Running,
    /// Another run finished it meanwhile.
    Found(News),
    /// Another run is at it, or this one is to stop.
    Elsewhere(Box<Work>),
    Failed(String),
    Lost,
}

impl Run<'_> {
    /// Begins what there is room for, in the order it was asked for; a large one that has to wait lets smaller ones
    /// pass.
    pub fn begin_what_fits(&mut self) -> Result<Vec<News>> {
        let mut news = Vec::new();
        let now = Instant::now();
        let rested = self.resting.extract_if(.., |(at, _)| *at <= now).map(|(_, work)| work);
        self.pending.extend(rested);
        let keeps_going = self.doing.as_ref().is_some_and(|doing| doing.means.keeps_going);
        if let (Some(failed), false) = (&self.failed, keeps_going) {
            let because = SkipReason::NotBegun(failed.clone());
            let left = self.pending.drain(..).chain(self.resting.drain(..).map(|(_, work)| work));
            news.extend(left.map(|work| News::LeftOut { key: work.request.action.key, because: because.clone() }));
        }
        let mut waiting = Vec::new();
        while self.slots.has_job() && !self.lost {
            let Some(work) = self.pending.pop_front() else { break };
            let wanted = self.plan.stages[work.request.limits_of].resources;
            if !self.slots.take(wanted) {
                waiting.push(work);
                continue;
            }
            let request = work.request.clone();
            match self.begin(work)? {
                Begun::Running => continue,
                Begun::Found(found) => news.push(found),
                Begun::Elsewhere(work) => waiting.push(*work),
                Begun::Failed(cause) => {
                    let (key, (stage, part)) = (request.action.key, self.name(&request));
                    let (told, log) = (cause.clone(), String::new());
                    self.tell(Event::Failed { stage, part, key: key.to_string(), cause: told, log })?;
                    news.push(News::Failed { key, cause });
                }
                Begun::Lost => self.lost = true,
            }
            self.slots.give_back(wanted);
        }
        if self.lost {
            self.pending.clear();
            self.resting.clear();
        } else {
            waiting.into_iter().rev().for_each(|work| self.pending.push_front(work));
        }
        Ok(news)
    }

    /// Starts an attempt. A fault of this machine (no space, no permission) fails the stage, not the run.
    fn begin(&mut self, mut work: Work) -> Result<Begun> {
        let Some(Doing { worker, means, .. }) = self.doing.as_ref() else {
            return Ok(Begun::Failed("nothing is executed by a look".to_owned()));
        };
        let (worker, device) = (*worker, means.device);
        let request = work.request.clone();
        let key = request.action.key;
        if work.claim.is_none() {
            match self.store.claim(&key) {
                Ok(Claiming::Mine(claim)) => work.claim = Some(claim),
                Ok(Claiming::Theirs(owner)) => {
                    if !std::mem::replace(&mut work.is_told, true) {
                        self.note(&request, waits_for(&owner))?;
                    }
                    return Ok(Begun::Elsewhere(Box::new(work)));
                }
                Err(error) => return Ok(Begun::Failed(format!("claim the action: {error:#}"))),
            }
            // Whoever had the claim before may have done the work.
            if let Some(news) = self.look_up(&request)? {
                return Ok(Begun::Found(news));
            }
        }
        let stage = &self.plan.stages[request.limits_of];
        let host =
            Host { device, secrets: stage.secrets.clone(), audit: stage.audit, skip_bad_rows: self.plan.skip_bad_rows };
        let attempt = match attempt::prepare(&self.options.store, self.store, &request.action, host, self.contents) {
            Ok(attempt) => attempt,
            Err(error) if error.is::<Damaged>() && self.mends < MENDS => {
                tracing::warn!("{error:#}; it is made again");
                return Ok(Begun::Lost);
            }
            Err(error) => return Ok(Begun::Failed(format!("prepare the stage: {error:#}"))),
        };
        // To make ready may take seconds, and nothing begins after an interrupt.
        if self.interrupt.load(Ordering::Relaxed) {
            return Ok(Begun::Elsewhere(Box::new(work)));
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
        match self.executor.submit(job) {
            Ok(id) => {
                self.running.insert(id, Task { work, attempt, started: Instant::now() });
                if self.left > self.running.len() {
                    self.executor.expect(worker, &self.options.store.join("work"));
                }
                Ok(Begun::Running)
            }
            Err(error) => Ok(Begun::Failed(format!("{error:#}"))),
        }
    }
}

/// Good from anywhere.
pub fn absolute(path: &Path) -> Result<std::path::PathBuf> {
    std::path::absolute(path).with_context(|| format!("find {}", path.display()))
}

fn waits_for(owner: &Owner) -> String {
    format!("waits: process {} on {} is at it, and its result will be taken", owner.pid, owner.host)
}
