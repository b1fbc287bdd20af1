//! The budgets of work that a cluster loses, by the kind of loss.

use crate::failure::Loss;
use crate::plan::SlurmSettings;

/// The number of attempts at an action that were lost, by the kind of loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    infrastructure: u64,
    preempted: u64,
    output: u64,
    time_limit: u64,
}

/// The way on after a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is begun again, for this time of so many.
    Again {
        number: u64,
        of: Option<u64>,
    },
    GivenUp,
}

impl Losses {
    /// Counts a loss. `goes_on` says whether there is a checkpoint to go on from.
    pub fn count(&mut self, loss: &Loss, settings: &SlurmSettings, goes_on: bool) -> Way {
        let retries = settings.retries;
        let (number, of) = match loss {
            // It is nobody's fault, and costs only time.
            Loss::Preempted => (&mut self.preempted, None),
            Loss::Infrastructure(_) => (&mut self.infrastructure, Some(retries.infrastructure)),
            Loss::Output => (&mut self.output, Some(retries.lost_output)),
            Loss::TimeLimit if goes_on => (&mut self.time_limit, Some(retries.time_limit)),
            Loss::TimeLimit | Loss::Memory(_) | Loss::Cancelled(_) | Loss::Impossible(_) | Loss::Unprepared(_) => {
                return Way::GivenUp;
            }
        };
        *number += 1;
        let number = *number;
        if of.is_some_and(|of| number > of) { Way::GivenUp } else { Way::Again { number, of } }
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
