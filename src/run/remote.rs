//! The remote of a run: asked for records before work begins, for files before they are read, and given what is made here,
//! all in the background. A run that finds everything at home asks nothing.

use super::errands::{Errand, ErrandReport, Errands, MissingContent, is_here};
use super::{PATIENCE, RESTARTS, Run, Waiter, Work};
use crate::action::{Action, Record};
use crate::event::{Event, RemoteRecord, Table};
use crate::schedule::{Command, Request, Schedule};
use anyhow::Result;
use cache::{Answer, Content, Digest, Push, RemoteFailure};
use serde_json::Value;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Run<'_> {
    /// Asks the remote for a record that is not here; true if the request waits for the answer.
    pub fn asks_remote(&mut self, request: &Request) -> Result<bool> {
        let key = request.action.key;
        let is_forced = self.is_forced(request);
        let Some(errands) = self.errands.as_mut().filter(|_| !is_forced) else { return Ok(false) };
        if let Some(waiting) = errands.open.get_mut(&key) {
            waiting.push(request.clone());
            return Ok(true);
        }
        let is_left_alone = self.store.remote().is_none_or(|remote| remote.is_left_alone());
        if is_left_alone || errands.asked.contains(&key) || self.store.lookup(&key)?.is_some() {
            return Ok(false);
        }
        errands.asked.insert(key);
        errands.open.insert(key, vec![request.clone()]);
        errands.send(Errand::Ask(key));
        Ok(true)
    }

    /// Sends for what a command reads and is not here; the command comes back if all is.
    pub fn fetches_for(&mut self, command: Command) -> Option<Command> {
        let needed = match &command {
            Command::Read(Table { content, file, .. }) => {
                MissingContent { content: content.clone(), file: Some(file.clone()).filter(|file| !file.is_empty()) }
            }
            Command::Labels(worklist) => MissingContent { content: worklist.clone(), file: None },
            _ => return Some(command),
        };
        match self.park(vec![needed], Waiter::Command(command)) {
            Some(Waiter::Command(command)) => Some(command),
            _ => None,
        }
    }

    /// Sends for the inputs of an action that are not here; the work comes back if all are.
    pub fn fetches_inputs(&mut self, work: Work) -> Option<Work> {
        if self.errands.is_none() {
            return Some(work);
        }
        let inputs = match Action::read(&work.request.action.action) {
            Ok(action) => {
                let ours = |content: &Content| self.contents.values().any(|known| known == content);
                let placements = action.placements().into_iter().map(|(.., content)| content.clone());
                placements
                    .filter(|content| !ours(content))
                    .map(|content| MissingContent { content, file: None })
                    .collect()
            }
            // Whoever begins it says what is wrong.
            Err(_) => Vec::new(),
        };
        match self.park(inputs, Waiter::Work(work)) {
            Some(Waiter::Work(work)) => Some(work),
            _ => None,
        }
    }

    /// Lets something wait for the first content that is not here; it comes back if all is.
    fn park(&mut self, needed: Vec<MissingContent>, waiter: Waiter) -> Option<Waiter> {
        let Some(errands) = &mut self.errands else { return Some(waiter) };
        let is_left_alone = self.store.remote().is_none_or(|remote| remote.is_left_alone());
        let missing =
            needed.into_iter().filter(|needed| !errands.tried.contains(needed) && !is_here(self.store, needed));
        let missing: Vec<MissingContent> = missing.collect();
        let Some(first) = missing.first().cloned().filter(|_| !is_left_alone) else { return Some(waiter) };
        for needed in missing {
            if !errands.fetched.contains_key(&needed) {
                errands.fetched.insert(needed.clone(), Vec::new());
                errands.send(Errand::Fetch(needed));
            }
        }
        errands.fetched.entry(first).or_default().push(waiter);
        None
    }

    /// Waits for the remote up to `patience`, and takes what came.
    pub fn reports(&self, patience: Duration) -> Vec<ErrandReport> {
        self.errands.as_ref().map(|errands| errands.reports(patience)).unwrap_or_default()
    }

    /// Carries on with what waited for the remote.
    pub fn hear(&mut self, reports: Vec<ErrandReport>, schedule: &mut Schedule) -> Result<Vec<Command>> {
        let mut commands = Vec::new();
        for report in reports {
            commands.extend(self.heard(report, schedule)?);
        }
        Ok(commands)
    }

    fn heard(&mut self, report: ErrandReport, schedule: &mut Schedule) -> Result<Vec<Command>> {
        let Some(errands) = &mut self.errands else { return Ok(Vec::new()) };
        match report {
            ErrandReport::Asked(key, answer) => {
                let waiting = errands.open.remove(&key).unwrap_or_default();
                let answer = answer?;
                let mut commands = Vec::new();
                // A look keeps nothing: it would be shown otherwise afterwards.
                if let (Answer::Record(_), Some(_)) = (&answer, &self.session)
                    && let Err(error) = self.store.keep_note(&key)
                {
                    tracing::debug!("the record {key} of the remote was not kept: {error:#}");
                }
                for request in waiting {
                    match self.look_up(&request)? {
                        Some(news) => commands.extend(schedule.news(news)),
                        None if self.is_stopping => {}
                        None => self.pending.push_back(Work::new(request)),
                    }
                }
                Ok(commands)
            }
            ErrandReport::Fetched(needed) => {
                let mut commands = Vec::new();
                errands.tried.insert(needed.clone());
                for parked in errands.fetched.remove(&needed).unwrap_or_default() {
                    match parked {
                        Waiter::Command(command) => commands.push(command),
                        Waiter::Work(_) if self.is_stopping => {}
                        Waiter::Work(work) => self.pending.push_front(work),
                    }
                }
                Ok(commands)
            }
            ErrandReport::Pushed(key, pushed) => {
                let request = errands.pushed.remove(&key).flatten();
                match (pushed, request) {
                    (Err(error), _) => {
                        errands.failed_pushes += 1;
                        let remote = self.store.remote().filter(|_| !error.is::<RemoteFailure>());
                        remote
                            .inspect(|remote| remote.warn_once("push", &format!("a result is not pushed: {error:#}")));
                    }
                    (Ok(Push::TooLarge(reason)), Some(request)) => {
                        self.note(&request, format!("it stays here, and is not pushed: {reason}"))?;
                    }
                    (Ok(Push::Different), Some(request)) => {
                        let other = "the remote has another result of it, which stays there; this one is used here";
                        self.note(&request, other.to_owned())?;
                    }
                    _ => {}
                }
                Ok(Vec::new())
            }
        }
    }

    /// Looks for a record that the remote gave, now or before; people are told unless all of its files have come meanwhile.
    pub fn found_there(&mut self, request: &Request) -> Result<Option<Record>> {
        let key = &request.action.key;
        let Some(found) = self.store.noted(key)? else { return Ok(None) };
        let record = match Record::from_store(&found.record) {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!("{}: a record of the remote is of no use: {error:#}", self.named(request));
                if let Err(error) = self.store.refuse(key) {
                    tracing::debug!("{error:#}");
                }
                return Ok(None);
            }
        };
        let Some(errands) = &mut self.errands else { return Ok(Some(record)) };
        let is_told = found.absent.count > 0 || errands.asked.contains(key);
        // A run that starts over finds it again.
        if errands.found.insert(*key) && is_told {
            let (stage, part) = self.name(request);
            let from = self.origin(&found.record.telemetry, found.absent.bytes);
            self.tell(Event::Fetched { stage, part, key: key.to_string(), from: Box::new(from) })?;
        }
        Ok(Some(record))
    }

    fn origin(&self, telemetry: &Value, bytes: u64) -> RemoteRecord {
        let remote = self.store.remote().map(|remote| remote.settings().address.to_string());
        RemoteRecord::of(remote.unwrap_or_default(), telemetry, bytes)
    }

    /// Whether the run may start over because content is lost: a few times, and whenever the remote did not have what it said.
    pub fn may_start_over(&self) -> bool {
        let lost = self.store.remote().map_or(0, |remote| remote.lost_count());
        (self.restarts as usize) < RESTARTS as usize + lost
    }

    /// Forgets what waits: the run starts over.
    pub fn forget_parked(&mut self) {
        if let Some(errands) = &mut self.errands {
            let unanswered: Vec<Digest> = errands.open.drain().map(|(key, _)| key).collect();
            errands.asked.retain(|key| !unanswered.contains(key));
            errands.fetched.clear();
        }
    }

    /// Enters a record that is about to be written as one to be pushed.
    pub fn owe(&self, key: &Digest) {
        if self.store.remote().is_some_and(|remote| remote.may_be_owed())
            && let Err(error) = self.store.owe(key)
        {
            tracing::warn!("a push may be forgotten if this run is killed: {error:#}");
        }
    }

    /// Pushes a record in the background.
    pub fn push(&mut self, key: Digest, request: Option<Request>) {
        let Some(errands) = &mut self.errands else { return };
        if errands.takes_nothing() {
            errands.failed_pushes += usize::from(self.store.remote().is_some_and(|remote| remote.may_be_owed()));
        } else if errands.pushed.insert(key, request).is_none() {
            errands.send(Errand::Push(key));
        }
    }

    /// Pushes what earlier runs were killed before, or what the remote did not take then.
    pub fn push_owed(&mut self) {
        // A look writes nothing, there as here.
        if self.session.is_none() || self.errands.as_ref().is_none_or(Errands::takes_nothing) {
            return;
        }
        match self.store.owed() {
            Ok(owed) => owed.into_iter().for_each(|key| self.push(key, None)),
            Err(error) => tracing::warn!("look for results to push: {error:#}"),
        }
    }

    /// Makes records of this store of those that the remote gave and whose files have all come.
    fn settle_found(&self) {
        for key in self.errands.iter().flat_map(|errands| &errands.found) {
            if let Err(error) = self.store.settle(key) {
                tracing::debug!("the record {key} of the remote was not kept: {error:#}");
            }
        }
    }

    /// Waits until everything is pushed, or the run is interrupted.
    pub fn finish_pushes(&mut self, schedule: &mut Schedule) -> Result<()> {
        if self.session.is_some() {
            self.settle_found();
        }
        let mut is_told = false;
        while let Some(left) = self.errands.as_ref().map(|errands| errands.pushed.len()).filter(|left| *left > 0) {
            if self.interrupt.load(Ordering::Relaxed) {
                break;
            }
            if !std::mem::replace(&mut is_told, true) {
                let results = if left == 1 { "a result" } else { "the last results" };
                tracing::warn!("waits until the remote has {results} ({left}); Ctrl-C leaves the rest to the next run");
            }
            let reports = self.reports(PATIENCE);
            self.hear(reports, schedule)?;
        }
        let Some(errands) = &self.errands else { return Ok(()) };
        let left = errands.pushed.len() + errands.failed_pushes;
        if left > 0 {
            let results = if left == 1 { "a result is".to_owned() } else { format!("{left} results are") };
            tracing::warn!("{results} not in the remote yet; the next run or `pipeline cache push` completes it");
        }
        Ok(())
    }
}
