//! Answers that need no worker: records, tables and verdicts from the store, and from the journals the reasons why an
//! action is new.

use super::{Run, now};
use crate::action::Record;
use crate::cause::Cause;
use crate::event::{Event, RuleVerdict, Table};
use crate::failure::Failure;
use crate::gate::Items;
use crate::journal::History;
use crate::ledger::file::LedgerSession;
use crate::ledger::{LookNotes, LookQuestion, Permission};
use crate::plan::selection::Role;
use crate::schedule::{AskedLook, FileInTree, News, Request};
use anyhow::{Context, Result, anyhow};
use cache::{Content, Damage, Digest, Store};
use std::path::Path;
use std::sync::Arc;

/// Reads a per-item table from the store.
pub fn read_table(store: &Store, table: &Table) -> Result<Items> {
    let name = if table.file.is_empty() { "a table of items" } else { &table.file };
    let text = String::from_utf8(store.read(&table.content, &table.file)?).with_context(|| format!("read {name}"))?;
    Items::read(&text).map_err(|reason| anyhow!("read {name}: {reason}"))
}

/// The device class in the record of an action; `None` where there is no record, or it names none.
pub fn device_class(store: &Store, key: &Digest) -> Option<String> {
    let telemetry = store.lookup(key).ok()??.telemetry;
    Some(telemetry.pointer("/worker/device")?.as_str()?.to_owned())
}

impl Run<'_> {
    /// Looks an action up in the store. In a look, an action that is not in the store would run.
    pub fn look_up(&mut self, request: &Request) -> Result<Option<News>> {
        let key = &request.action.key;
        let prefetched = self.prefetch.as_mut().and_then(|prefetch| prefetch.take(key));
        let here = match prefetched {
            _ if self.is_forced(request) => None,
            Some(record) => Some(record),
            None => self.store.result_here::<Record>(key)?,
        };
        let here = here.and_then(|record| {
            let checked = record.checked();
            checked.inspect_err(|error| tracing::warn!("{}: {error:#}", self.named(request))).ok()
        });
        let found = match here {
            None if !self.is_forced(request) => self.found_there(request)?,
            here => here,
        };
        if let Some(record) = found {
            let (stage, part) = self.name(request);
            self.tell(Event::Hit { stage, part, key: key.to_string(), action: request.action.action.clone() })?;
            return Ok(Some(News::Known { key: *key, record: Arc::new(record), seconds: None }));
        }
        if self.selection.role(request.stage) == Role::Find {
            return Ok(Some(News::Failed { key: *key, cause: Failure::LeftOut }));
        }
        if self.session.is_none() {
            self.foretell(request)?;
            let because = self.why(request)?;
            return Ok(Some(News::WouldRun { key: *key, because }));
        }
        Ok(None)
    }

    /// Whether to execute an action even if it has a result.
    pub fn is_forced(&self, request: &Request) -> bool {
        self.selection.is_forced(request.stage) && !self.forced.contains(&request.action.key)
    }

    /// Reads a per-item table; `None` as [`Run::told`] says.
    pub fn items(&mut self, table: &Table) -> Result<Option<Result<Arc<Items>, String>>> {
        self.told(read_table(self.store, table).map(Arc::new))
    }

    /// Finds the content of one file of an artifact; `None` as [`Run::told`] says.
    pub fn file(&mut self, file: &FileInTree) -> Result<Option<Result<Content, String>>> {
        self.told(self.store.file(&file.tree, &file.path))
    }

    /// The device class in the record of an action.
    pub fn class(&self, key: &Digest) -> Option<String> {
        device_class(self.store, key)
    }

    /// Turns what the store answered into news. `None` if bytes are damaged: the run then starts over, and the action
    /// that made them is executed again.
    pub fn told<T>(&mut self, answer: Result<T>) -> Result<Option<Result<T, String>>> {
        match answer {
            Ok(answer) => Ok(Some(Ok(answer))),
            Err(error) if error.is::<Damage>() && self.may_start_over() => {
                tracing::warn!("{error:#}; it is made again");
                self.is_content_lost = true;
                Ok(None)
            }
            Err(error) => Ok(Some(Err(format!("{error:#}")))),
        }
    }

    /// Remembers verdicts in the store; a look writes nothing.
    pub fn remember(&self, key: &Digest, rules: &[RuleVerdict]) {
        if self.session.is_none() {
            return;
        }
        let written = serde_json::to_value(rules).context("write a verdict");
        // It is remembered to save time alone.
        if let Err(error) = written.and_then(|rules| self.store.remember(key, &rules)) {
            tracing::warn!("remember a verdict: {error:#}");
        }
    }

    /// Takes a look, or finds the permission of one that was taken; `None` if it was not and has no items.
    pub fn take_look(&mut self, asked: &AskedLook) -> Result<Option<Permission>> {
        let run = self.session.as_ref().map_or_else(String::new, |session| session.journal.run());
        let AskedLook { key, is_growing, after, items, count, stage, candidate, content, rules } = asked.clone();
        let ledger = self.ledger()?;
        let Some(items) = items else { return ledger.known(&key) };
        let question = LookQuestion { key, items, count, is_growing, after };
        let notes = LookNotes { at: now(), run, stage, candidate, content, rules };
        ledger.take(&question, notes).map(Some)
    }

    /// The ledger of this run. A plan reads it and writes nothing.
    pub fn ledger(&mut self) -> Result<&mut LedgerSession> {
        if self.ledger.is_none() {
            let run = self.session.as_ref().map(|session| session.journal.run());
            self.ledger = Some(match &self.options.looks {
                None => LedgerSession::none(),
                Some(folder) => {
                    let index = self.store.recall(&index_key(folder));
                    let index = index.and_then(|index| serde_json::from_value(index).ok()).unwrap_or_default();
                    LedgerSession::open(folder, run.as_deref().unwrap_or("plan"), run.is_some(), index)
                }
            });
        }
        Ok(self.ledger.as_mut().expect("it was opened above"))
    }

    /// Keeps an index of the looks of this run, if it had to read the ledger.
    pub fn remember_looks(&self) -> Result<()> {
        let index = self.ledger.as_ref().and_then(LedgerSession::index);
        match (index, &self.options.looks) {
            (Some(index), Some(folder)) => self
                .store
                .remember(&index_key(folder), &serde_json::to_value(index).context("write the index of looks")?),
            _ => Ok(()),
        }
    }

    /// The reasons why an action is new, compared with the last one under the same name.
    pub fn why(&mut self, request: &Request) -> Result<Vec<Cause>> {
        if self.is_forced(request) {
            return Ok(vec![Cause::Forced]);
        }
        if self.history.is_none() {
            self.history = Some(History::open(
                &self.options.store,
                &self.plan.name,
                self.session.as_ref().map(|session| &session.journal),
            )?);
        }
        let (stage, action) = (&self.plan.stages[request.stage].name, &request.action);
        let last = self.history.as_mut().and_then(|history| history.last(stage, request.part.as_ref()));
        Ok(last.map_or_else(|| vec![Cause::New], |last| last.news(&action.key.to_string(), &action.action)))
    }
}

/// The key under which the index of a folder of looks is remembered.
fn index_key(folder: &Path) -> Digest {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    Digest::of(format!("looks of {}", folder.display()).as_bytes())
}
