//! Work that a cluster lost: it is begun again on a budget of its own, by the kind of loss.

use super::begin::absolute;
use super::finish::after;
use super::losses::Way;
use super::{Run, Task, attempt, space};
use crate::event::Event;
use crate::executor::{self, Placement};
use crate::failure::{Failure, Loss};
use crate::schedule::{News, Request};
use anyhow::Result;
use std::time::Duration;

/// The pause before work is begun again; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest of them.
const LONGEST: Duration = Duration::from_secs(60);

impl Run<'_> {
    pub fn lost(&mut self, task: Task, loss: Loss) -> Result<Option<News>> {
        let Task { mut work, attempt, .. } = task;
        let (request, key) = (work.request.clone(), work.request.action.key);
        executor::close(&attempt.directory)?;
        let stage = &self.plan.stages[request.limits_of];
        let settings =
            self.session.as_mut().and_then(|session| session.cluster(stage)).map(|cluster| cluster.settings.clone());
        let goes_on = attempt::has_checkpoint(&attempt);
        let way = settings.map_or(Way::GivenUp, |settings| work.lost.count(&loss, &settings, goes_on));
        match way {
            Way::Again { number, of } if !self.is_stopping => {
                let of = of.map_or_else(String::new, |of| format!(" of {of}"));
                let from = if goes_on { ", from its checkpoint" } else { "" };
                self.note(&request, format!("{loss}; begun again{from} ({number}{of})"))?;
                let pause = PAUSE.saturating_mul(1 << number.min(10)).min(LONGEST);
                self.retries.push((after(pause), work));
                Ok(None)
            }
            _ => {
                let root = self.work_root(stage)?;
                space::prune(&root, self.store, space::WORK, &attempt);
                let (stage, part) = self.name(&request);
                let log = absolute(&attempt.log())?.display().to_string();
                let cause = match loss {
                    Loss::TimeLimit if !goes_on => {
                        Failure::Error(format!("{loss}; it had written no checkpoint to go on from"))
                    }
                    loss => Failure::Lost(loss),
                };
                self.tell(Event::Failed { stage, part, key: key.to_string(), cause: cause.clone(), log })?;
                Ok(Some(News::Failed { key, cause }))
            }
        }
    }

    pub fn placed(&mut self, work: &Request, placement: Placement) -> Result<()> {
        let (stage, part) = self.name(work);
        let executor = self.plan.stages[work.limits_of].executor.clone().unwrap_or_default();
        let Placement { job, id, node, waits } = placement;
        self.tell(Event::Placed { stage, part, executor, job, id, node, waits })
    }
}
