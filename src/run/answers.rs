//! What the store and the journals answer at once: records, tables, what rules said, what is new. Knows nothing of
//! workers.

use super::{MENDS, Run, items};
use crate::action::Record;
use crate::cause::Cause;
use crate::event::{Event, RuleVerdict, Table};
use crate::gate::Items;
use crate::journal::History;
use crate::plan::selection::Role;
use crate::schedule::{News, Request};
use anyhow::{Context, Result};
use cache::{Damaged, Digest};
use std::sync::Arc;

impl Run<'_> {
    /// What the store knows of an action; in a dry run also that it knows nothing.
    pub fn look_up(&mut self, request: &Request) -> Result<Option<News>> {
        let key = &request.action.key;
        let foreseen = self.foresight.as_mut().and_then(|foresight| foresight.take(key));
        let found = match foreseen {
            _ if self.is_forced(request) => None,
            Some(record) => Some(record),
            None => self.store.result::<Record>(key)?,
        };
        let found = found.and_then(|record| {
            let checked = record.checked();
            checked.inspect_err(|error| tracing::warn!("{}: {error:#}", self.named(request))).ok()
        });
        if let Some(record) = found {
            let (stage, part) = self.name(request);
            self.tell(Event::Hit { stage, part, key: key.to_string(), action: request.action.action.clone() })?;
            return Ok(Some(News::Known { key: *key, record: Arc::new(record), seconds: None }));
        }
        if self.selection.role(request.stage) == Role::Find {
            let cause = "it is not done, and `--only` and `--from` leave it out: run it first".to_owned();
            return Ok(Some(News::Failed { key: *key, cause }));
        }
        if self.doing.is_none() {
            let because = self.why(request)?;
            return Ok(Some(News::WouldRun { key: *key, because }));
        }
        Ok(None)
    }

    /// Whether it is to be executed though there may be a result.
    fn is_forced(&self, request: &Request) -> bool {
        self.selection.is_forced(request.stage) && !self.forced.contains(&request.action.key)
    }

    /// A per-item table. None when its bytes turned out damaged: the run then begins anew, and what gave them is made
    /// again.
    pub fn items(&mut self, table: &Table) -> Result<Option<Result<Arc<Items>, String>>> {
        match items::read(self.store, table) {
            Ok(items) => Ok(Some(Ok(Arc::new(items)))),
            Err(error) if error.is::<Damaged>() && self.mends < MENDS => {
                tracing::warn!("{error:#}; it is made again");
                self.lost = true;
                Ok(None)
            }
            Err(error) => Ok(Some(Err(format!("{error:#}")))),
        }
    }

    /// Looking leaves nothing behind.
    pub fn remember(&self, key: &Digest, rules: &[RuleVerdict]) -> Result<()> {
        if self.doing.is_some() {
            self.store.remember(key, &serde_json::to_value(rules).context("write a verdict")?)?;
        }
        Ok(())
    }

    /// What is new about an action, against the last one under the same name.
    pub fn why(&mut self, request: &Request) -> Result<Vec<Cause>> {
        if self.is_forced(request) {
            return Ok(vec![Cause::Forced]);
        }
        if self.history.is_none() {
            self.history = Some(History::open(
                &self.options.store,
                &self.plan.name,
                self.doing.as_ref().map(|doing| &doing.journal),
            )?);
        }
        let (stage, action) = (&self.plan.stages[request.stage].name, &request.action);
        let last = self.history.as_mut().and_then(|history| history.last(stage, request.part.as_ref()));
        Ok(last.map_or_else(|| vec![Cause::New], |last| last.news(&action.key.to_string(), &action.action)))
    }
}
