//! What the store and the journals answer at once: records, tables, what rules said, what is new. Knows nothing of
//! workers.

use super::{MENDS, Run, items};
use crate::action::Record;
use crate::event::{Event, RuleVerdict, Table};
use crate::gate::Items;
use crate::journal::History;
use crate::schedule::{News, Request};
use anyhow::{Context, Result};
use cache::{Damaged, Digest};
use std::sync::Arc;

impl Run<'_> {
    /// What the store knows of an action; in a dry run also that it knows nothing.
    pub fn look_up(&mut self, request: &Request) -> Result<Option<News>> {
        let found = self.store.lookup(&request.key)?.and_then(|stored| match Self::known(request, &stored, None) {
            Ok(news) => Some(news),
            Err(error) => {
                tracing::warn!("the record of {} is of no use: {error:#}", self.named(request));
                None
            }
        });
        if let Some(news) = found {
            let (stage, part) = self.name(request);
            let action = serde_json::to_value(&request.action).context("write the action")?;
            self.tell(Event::Hit { stage, part, key: request.key.to_string(), action })?;
            return Ok(Some(news));
        }
        if self.worker.is_none() {
            let because = self.why(request)?;
            return Ok(Some(News::WouldRun { key: request.key, because }));
        }
        Ok(None)
    }

    pub fn known(request: &Request, stored: &cache::Record, seconds: Option<f64>) -> Result<News> {
        let record = Arc::new(Record::from_store(stored)?);
        Ok(News::Known { key: request.key, record, seconds })
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
        if self.worker.is_some() {
            self.store.remember(key, &serde_json::to_value(rules).context("write a verdict")?)?;
        }
        Ok(())
    }

    /// What is new about an action, against the last one under the same name.
    pub fn why(&mut self, request: &Request) -> Result<Vec<String>> {
        if self.history.is_none() {
            self.history = Some(History::open(&self.options.store, &self.plan.name, self.journal.as_ref())?);
        }
        let new = serde_json::to_value(&request.action).context("write the action")?;
        let stage = &self.plan.stages[request.stage].name;
        let last = self.history.as_mut().and_then(|history| history.last(stage, request.part.as_deref()));
        Ok(last
            .map_or_else(|| vec!["it never ran before".to_owned()], |last| last.news(&request.key.to_string(), &new)))
    }
}
