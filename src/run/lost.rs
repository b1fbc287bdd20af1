//! Work that a cluster lost: it is begun again on a budget of its own, by the kind of loss.

use super::begin::absolute;
use super::finish::after;
use super::{Run, Task, attempt, space};
use crate::event::Event;
use crate::executor::{self, Placement};
use crate::failure::{Failure, Loss};
use crate::plan::SlurmSettings;
use crate::schedule::{News, Request};
use anyhow::Result;
use std::time::Duration;

/// The number of attempts at an action that were lost, by the kind of loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    infrastructure: u64,
    preempted: u64,
    output: u64,
    time_limit: u64,
}

/// What follows from a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It is begun again, for this time of so many.
    Again {
        number: u64,
        of: Option<u64>,
    },
    GivenUp,
}

/// The pause before work is begun again; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest of them.
const LONGEST: Duration = Duration::from_secs(60);

impl Losses {
    /// Counts a loss. `goes_on` says whether there is a checkpoint to go on from.
    fn count(&mut self, loss: &Loss, settings: &SlurmSettings, goes_on: bool) -> Way {
        let retries = settings.retries;
        let (number, of) = match loss {
            // It is nobody's fault, and costs only time.
            Loss::Preempted => (&mut self.preempted, None),
            Loss::Infrastructure(_) => (&mut self.infrastructure, Some(retries.infrastructure)),
            Loss::Output => (&mut self.output, Some(retries.lost_output)),
            Loss::TimeLimit if goes_on => (&mut self.time_limit, Some(retries.time_limit)),
            Loss::TimeLimit | Loss::Memory(_) | Loss::Cancelled(_) | Loss::Impossible(_) => return Way::GivenUp,
        };
        *number += 1;
        let number = *number;
        if of.is_some_and(|of| number > of) { Way::GivenUp } else { Way::Again { number, of } }
    }
}

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
                space::prune(&self.options.store, self.store, space::WORK, &attempt);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_loss_has_its_own_budget() {
        let settings = SlurmSettings::default();
        let mut losses = Losses::default();
        let mut begun = |loss: Loss, goes_on| {
            (0..20).take_while(|_| losses.count(&loss, &settings, goes_on) != Way::GivenUp).count()
        };
        let said = || "NODE_FAIL".to_owned();
        assert_eq!(begun(Loss::Infrastructure(said()), false), 5);
        assert_eq!(begun(Loss::Output, false), 1);
        assert_eq!(begun(Loss::TimeLimit, false), 0, "it would not get further");
        assert_eq!(begun(Loss::TimeLimit, true), 10);
        assert_eq!(begun(Loss::Preempted, false), 20);
        for own in [Loss::Memory(said()), Loss::Cancelled(said()), Loss::Impossible(said())] {
            assert_eq!(begun(own, true), 0);
        }
    }
}
