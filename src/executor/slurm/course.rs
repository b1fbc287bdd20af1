//! The course of one job: news go in, steps come out; pure. The scheduler says when to look and what kind of failure it was.
//! What decides is the outcome of a start, whatever else is said.

use super::class::{Class, Remains, class, of_remains};
use super::listing::{ListedJob, may_live};
use crate::failure::{Exit, Loss};
use std::path::PathBuf;
use std::time::Duration;

/// The times by which a course is decided.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The time in which what a node wrote is seen here.
    pub visibility: Duration,
    /// The time after which a job that nobody knows was never taken.
    pub grace: Duration,
    /// The time in which a worker ends that has written its outcome.
    pub last_breath: Duration,
    /// The time after which a start whose heart does not beat is dead.
    pub heart: Duration,
}

/// The number of times that a job is submitted again because Slurm knows nothing of it.
const AGAIN: u32 = 3;

/// Times are counted from any one moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// It has no name yet: it may become a task of an array.
    Unnamed,
    /// The name is written down, and nobody was asked yet.
    Named,
    /// `sbatch` is on its way.
    Asked,
    /// Whether it was taken is not known.
    Unsure { since: Duration },
    /// It was in the queue when last seen.
    Taken,
    /// It is not in the queue any more, and no end of it is known.
    Missing { since: Duration },
    /// Slurm says that it has ended, and what it wrote is waited for.
    Ended { since: Duration, job: ListedJob },
}

/// The files of a job as they were seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    /// The directory of a start with an outcome that is the worker's own.
    pub good: Option<PathBuf>,
    /// Whether that start has ended.
    pub is_good_ended: bool,
    /// The directory of the last start.
    pub last: Option<PathBuf>,
    pub remains: Remains,
    /// The time since the last start was seen to live.
    pub silence: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum JobNews {
    /// `sbatch` gave an id.
    Accepted,
    /// `sbatch` refuses what is asked for, whenever it is asked.
    Refused(String),
    /// `sbatch` failed, and may have been heard all the same.
    Unclear,
    /// The queue has no place.
    Full,
    /// The queue was read: the job in it, if it is there.
    Queue(Option<ListedJob>),
    /// The books were read, or there are none: the job in them, if it is there.
    Books(Option<ListedJob>),
    /// The files were looked at.
    Files(Sight),
}

#[derive(Clone, Debug, PartialEq)]
pub enum JobStep {
    /// Tell people that it is submitted again, as what was only named.
    Submit,
    /// Search the books for it.
    AskBooks,
    /// Ask how it ended: the queue alone does not tell.
    AskExit(String),
    /// Tell people where it is.
    Tell(ListedJob),
    End(JobEnding),
}

#[derive(Clone, Debug, PartialEq)]
pub struct JobEnding {
    /// The directory of the start that counts, if there was one.
    pub start: Option<PathBuf>,
    pub how: How,
}

#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// It has an outcome.
    Good,
    Failed(Exit),
    Lost(Loss),
}

#[derive(Clone, Debug)]
pub struct Course {
    pub phase: Phase,
    again: u32,
    /// The first sight of a good outcome whose start had not ended.
    good_since: Option<Duration>,
    told: Option<ListedJob>,
    sight: Sight,
}

impl Course {
    pub fn new(phase: Phase) -> Course {
        Course { phase, again: 0, good_since: None, told: None, sight: Sight::default() }
    }

    pub fn hear(&mut self, news: JobNews, now: Duration, patience: &Patience) -> Vec<JobStep> {
        match news {
            JobNews::Accepted => self.phase = Phase::Taken,
            JobNews::Refused(why) => return vec![end(None, How::Lost(Loss::Impossible(why)))],
            JobNews::Unclear => self.phase = Phase::Unsure { since: now },
            JobNews::Full => self.phase = Phase::Named,
            JobNews::Queue(Some(job)) if may_live(&job.state) => {
                self.phase = Phase::Taken;
                if self.told.as_ref() != Some(&job) {
                    self.told = Some(job.clone());
                    return vec![JobStep::Tell(job)];
                }
            }
            JobNews::Queue(Some(job)) => return self.has_ended(job, now),
            JobNews::Queue(None) => match self.phase {
                Phase::Unnamed | Phase::Named | Phase::Asked | Phase::Ended { .. } => {}
                Phase::Taken => {
                    self.phase = Phase::Missing { since: now };
                    return vec![JobStep::AskBooks];
                }
                Phase::Unsure { .. } | Phase::Missing { .. } => return vec![JobStep::AskBooks],
            },
            // The books are late: what still runs there may have ended.
            JobNews::Books(Some(job)) if !may_live(&job.state) => return self.has_ended(job, now),
            JobNews::Books(found) => return self.is_unknown(found.is_some(), now, patience),
            JobNews::Files(sight) => {
                self.sight = sight;
                return self.decide(now, patience);
            }
        }
        Vec::new()
    }

    fn has_ended(&mut self, job: ListedJob, now: Duration) -> Vec<JobStep> {
        let asks = (job.exit.is_none() && job.state != "COMPLETED").then(|| JobStep::AskExit(job.id.clone()));
        let since = match self.phase {
            Phase::Ended { since, .. } => since,
            _ => now,
        };
        match &mut self.phase {
            // How it ended is known already, and the queue says less.
            Phase::Ended { job: known, .. } if known.exit.is_some() && job.exit.is_none() => return Vec::new(),
            phase => *phase = Phase::Ended { since, job },
        }
        asks.into_iter().collect()
    }

    /// The job is in no list: it was never taken, or it was forgotten.
    fn is_unknown(&mut self, is_in_books: bool, now: Duration, patience: &Patience) -> Vec<JobStep> {
        let (Phase::Unsure { since } | Phase::Missing { since }) = self.phase else { return Vec::new() };
        if is_in_books || now.saturating_sub(since) < patience.grace || self.sight.remains.has_started {
            return Vec::new();
        }
        if self.again == AGAIN {
            let said = format!("Slurm lost it {} times", AGAIN + 1);
            return vec![end(None, How::Lost(Loss::Infrastructure(said)))];
        }
        self.again += 1;
        self.phase = Phase::Named;
        vec![JobStep::Submit]
    }

    /// Decides by the files, and only then by what is said.
    fn decide(&mut self, now: Duration, patience: &Patience) -> Vec<JobStep> {
        let sight = &self.sight;
        if let Some(good) = &sight.good {
            let since = *self.good_since.get_or_insert(now);
            let is_over =
                matches!(self.phase, Phase::Ended { .. }) || now.saturating_sub(since) >= patience.last_breath;
            if sight.is_good_ended || is_over {
                return vec![end(Some(good.clone()), How::Good)];
            }
            return Vec::new();
        }
        let (since, class) = match &self.phase {
            Phase::Ended { since, job } if job.exit.is_some() || job.state == "COMPLETED" => {
                (*since, class(job, &sight.remains))
            }
            // Nobody says how it ended. A start that nobody hears of any more has ended with its node.
            Phase::Ended { since, job } if now.saturating_sub(*since) >= patience.visibility => {
                (*since, class(job, &sight.remains))
            }
            Phase::Missing { since } if sight.remains.has_started => match sight.silence {
                Some(silence) if sight.remains.end.is_none() && silence < patience.heart => return Vec::new(),
                _ => (*since, of_remains(&sight.remains)),
            },
            _ => return Vec::new(),
        };
        let has_waited = now.saturating_sub(since) >= patience.visibility;
        let is_told = match (&class, &self.phase) {
            // A node says it by a file, which is seen late; a prelude that fails leaves none.
            (Class::Failed(_), _) => sight.remains.end.is_some() || has_waited,
            (Class::Lost(Loss::Output), _) | (_, Phase::Missing { .. }) => has_waited,
            (Class::Lost(_), _) => true,
            (Class::Alive, _) => false,
        };
        if !is_told {
            return Vec::new();
        }
        let start = sight.last.clone();
        match class {
            Class::Alive => Vec::new(),
            Class::Lost(loss) => vec![end(start, How::Lost(loss))],
            Class::Failed(exit) => vec![end(start, How::Failed(exit))],
        }
    }
}

fn end(start: Option<PathBuf>, how: How) -> JobStep {
    JobStep::End(JobEnding { start, how })
}

#[cfg(test)]
mod tests {
    use super::super::book::StartEnd;
    use super::*;

    const PATIENCE: Patience = Patience {
        visibility: Duration::from_secs(60),
        grace: Duration::from_secs(50),
        last_breath: Duration::from_secs(10),
        heart: Duration::from_secs(180),
    };

    /// A course that hears one thing a second.
    struct Told {
        course: Course,
        at: u64,
    }

    impl Told {
        fn new(phase: Phase) -> Told {
            Told { course: Course::new(phase), at: 0 }
        }

        fn hears(&mut self, news: JobNews) -> Vec<JobStep> {
            self.at += 1;
            self.course.hear(news, Duration::from_secs(self.at), &PATIENCE)
        }

        fn sees(&mut self, sight: Sight) -> Option<How> {
            match self.hears(JobNews::Files(sight)).pop() {
                Some(JobStep::End(ending)) => Some(ending.how),
                _ => None,
            }
        }
    }

    fn job(state: &str, exit: Option<[i32; 2]>) -> ListedJob {
        ListedJob {
            id: "7".into(),
            name: "pl-a".into(),
            state: state.into(),
            exit,
            node: "n1".into(),
            ..ListedJob::default()
        }
    }

    fn good(is_good_ended: bool) -> Sight {
        Sight { good: Some("start".into()), is_good_ended, ..started(None) }
    }

    fn started(end: Option<Exit>) -> Sight {
        let end = end.map(|exit| StartEnd { exit, is_warned: false });
        let remains = Remains { has_started: true, end, tells_of_memory: false };
        Sight { last: Some("start".into()), remains, silence: Some(Duration::ZERO), ..Sight::default() }
    }

    fn unsure() -> Told {
        Told::new(Phase::Unsure { since: Duration::ZERO })
    }

    #[test]
    fn an_outcome_decides_whatever_slurm_says() {
        for state in ["RUNNING", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL"] {
            let mut told = Told::new(Phase::Taken);
            told.hears(JobNews::Queue(Some(job(state, Some([1, 0])))));
            assert_eq!(told.sees(good(true)), Some(How::Good), "{state}");
        }
        let mut told = Told::new(Phase::Taken);
        assert_eq!(told.sees(good(false)), None, "the worker is about to end");
        told.at += 10;
        assert_eq!(told.sees(good(false)), Some(How::Good));
    }

    #[test]
    fn a_job_that_may_have_been_taken_is_submitted_again_only_after_both_lists_are_empty_and_a_grace() {
        let mut told = Told::new(Phase::Asked);
        told.hears(JobNews::Unclear);
        assert_eq!(told.hears(JobNews::Queue(None)), [JobStep::AskBooks]);
        assert_eq!(told.hears(JobNews::Books(None)), []);
        told.at += 60;
        // The queue alone says nothing, and neither does the time.
        assert_eq!(told.hears(JobNews::Queue(None)), [JobStep::AskBooks]);
        assert_eq!(told.hears(JobNews::Books(None)), [JobStep::Submit]);
        assert_eq!(told.course.phase, Phase::Named);
        // The books that come late do not submit it once more.
        assert_eq!(told.hears(JobNews::Books(None)), []);
    }

    #[test]
    fn a_job_that_turns_up_is_taken_and_not_submitted_again() {
        let mut told = unsure();
        told.at += 60;
        assert_eq!(told.hears(JobNews::Books(Some(job("RUNNING", None)))), []);
        let steps = told.hears(JobNews::Queue(Some(job("RUNNING", None))));
        assert_eq!(steps, [JobStep::Tell(job("RUNNING", None))]);
        assert_eq!(told.course.phase, Phase::Taken);
        assert_eq!(told.hears(JobNews::Queue(Some(job("RUNNING", None)))), [], "it is told once");
        // One that works is known by its files.
        let mut told = unsure();
        told.sees(started(None));
        told.at += 60;
        assert_eq!(told.hears(JobNews::Books(None)), []);
    }

    #[test]
    fn a_job_that_slurm_loses_again_and_again_is_given_up() {
        let mut told = unsure();
        for _ in 0..AGAIN {
            told.at += 60;
            assert_eq!(told.hears(JobNews::Books(None)), [JobStep::Submit]);
            told.hears(JobNews::Accepted);
            assert_eq!(told.hears(JobNews::Queue(None)), [JobStep::AskBooks]);
        }
        told.at += 60;
        let steps = told.hears(JobNews::Books(None));
        assert!(
            matches!(&steps[..], [JobStep::End(JobEnding { how: How::Lost(Loss::Infrastructure(_)), .. })]),
            "{steps:?}"
        );
    }

    #[test]
    fn the_end_of_work_that_failed_is_told_when_its_files_are_seen() {
        let mut told = Told::new(Phase::Taken);
        assert_eq!(told.hears(JobNews::Queue(Some(job("FAILED", None)))), [JobStep::AskExit("7".to_owned())]);
        assert_eq!(told.sees(started(Some(Exit::Code(3)))), None, "its exit is asked for");
        told.hears(JobNews::Books(Some(job("FAILED", Some([3, 0])))));
        // The queue repeats itself, and knows less.
        assert_eq!(told.hears(JobNews::Queue(Some(job("FAILED", None)))), []);
        assert_eq!(told.sees(Sight::default()), None, "the file may be seen late");
        assert_eq!(told.sees(started(Some(Exit::Code(3)))), Some(How::Failed(Exit::Code(3))));
        // A prelude that fails leaves no file.
        told.at += 60;
        assert_eq!(told.sees(Sight::default()), Some(How::Failed(Exit::Code(3))));
    }

    #[test]
    fn a_job_that_completed_without_an_outcome_is_waited_for_and_then_lost() {
        let mut told = Told::new(Phase::Taken);
        told.hears(JobNews::Queue(Some(job("COMPLETED", None))));
        assert_eq!(told.sees(started(Some(Exit::Code(0)))), None);
        told.at += 60;
        assert_eq!(told.sees(started(Some(Exit::Code(0)))), Some(How::Lost(Loss::Output)));
        assert_eq!(told.sees(good(true)), Some(How::Good));
    }

    #[test]
    fn a_job_that_is_started_again_lives_on() {
        let mut told = Told::new(Phase::Taken);
        told.hears(JobNews::Queue(Some(job("RUNNING", None))));
        told.hears(JobNews::Queue(Some(job("PENDING", None))));
        assert_eq!(told.sees(started(None)), None);
        assert_eq!(told.course.phase, Phase::Taken);
    }

    #[test]
    fn a_job_that_was_forgotten_while_nobody_looked_is_known_by_its_files() {
        let dead = |end: Option<Exit>| Sight { silence: Some(Duration::from_secs(600)), ..started(end) };
        let mut told = Told::new(Phase::Taken);
        told.hears(JobNews::Queue(None));
        told.hears(JobNews::Books(None));
        told.at += 60;
        assert_eq!(told.sees(started(None)), None, "its heart beats");
        assert_eq!(told.sees(started(Some(Exit::Code(3)))), Some(How::Failed(Exit::Code(3))));
        assert!(matches!(told.sees(dead(None)), Some(How::Lost(Loss::Infrastructure(_)))));
    }
}
