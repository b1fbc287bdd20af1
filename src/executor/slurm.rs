//! Gives jobs to a Slurm cluster, through the commands that its users type.
//!
//! 1. The scheduler's word decides nothing about success: the outcome of a start does, which holds what only its worker was
//!    told. The scheduler says when to look, and what kind of failure it was.
//! 2. A job is known by its name, which is on the disk before it is submitted, and never by its id, which Slurm may give to
//!    another job. After a doubt it is searched by name, and submitted again only if nobody knows it.
//! 3. Double execution is real: a node that is taken for dead may go on. So each start has a directory of its own, and the
//!    first good outcome counts.
//! 4. A job outlives this process. The next run finds its directory, and attaches.

pub mod array;
pub mod book;
pub mod cancel;
mod class;
mod clients;
mod course;
mod listing;
mod mirror;
pub mod probe;
pub mod ready;
mod request;
mod submission;
mod watch;

pub use request::NODE;

use super::{Executor, ExecutorKind, Job, JobId, Placement, Update, next_id};
use crate::plan::SlurmSettings;
use anyhow::{Context, Result};
use book::JobBook;
use clients::{Clients, SlurmAnswer, SlurmQuestion};
use course::{Course, How, JobEnding, JobNews, JobStep, Patience, Phase};
use listing::ListedJob;
use mirror::Mirror;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant, SystemTime};
use watch::JobWatch;

pub const SLURM: ExecutorKind = ExecutorKind { open, lives: book::lives, close: book::close };

/// The time after which a job that nobody knows was never taken: a controller that hangs takes what it was sent when it wakes.
const GRACE: Duration = Duration::from_secs(60);
/// The time in which a worker ends that has written its outcome.
const LAST_BREATH: Duration = Duration::from_secs(10);
/// The heart of a start beats each minute; a file system may be late.
const HEART: Duration = Duration::from_secs(240);
/// The longest interval at which the files of jobs are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The most tasks of an array: a cluster takes numbers below 1001, unless it says otherwise.
const LARGEST: usize = 100;
/// The time after which people are told that the scheduler does not answer.
const SILENCE: Duration = Duration::from_secs(300);

struct Slurm {
    name: String,
    settings: SlurmSettings,
    clients: Clients,
    jobs: BTreeMap<JobId, JobWatch>,
    patience: Patience,
    /// An hour before this executor was opened: times of a course are counted from it, those before it included.
    epoch: Instant,
    interval: Duration,
    next_question: Instant,
    is_asking: bool,
    next_submission: Instant,
    next_look: Instant,
    /// The most tasks of an array that the cluster takes, as far as is known.
    largest_array: usize,
    /// The most that are submitted at once; fewer where the queue is full.
    at_once: usize,
    /// The last time the scheduler answered, and whether people were told that it does not.
    answered: Instant,
    is_silence_told: bool,
    updates: Vec<Update>,
}

fn open(name: &str, settings: &SlurmSettings) -> Result<Box<dyn Executor>> {
    let now = Instant::now();
    let [shortest, _] = settings.poll;
    let grace = GRACE.min(settings.visibility_wait);
    let patience =
        Patience { visibility: settings.visibility_wait, grace, last_breath: LAST_BREATH.min(grace), heart: HEART };
    Ok(Box::new(Slurm {
        name: name.to_owned(),
        settings: settings.clone(),
        clients: Clients::start()?,
        jobs: BTreeMap::new(),
        patience,
        epoch: now.checked_sub(Duration::from_secs(3600)).unwrap_or(now),
        interval: shortest,
        next_question: now,
        is_asking: false,
        next_submission: now,
        next_look: now,
        largest_array: LARGEST,
        at_once: LARGEST,
        answered: now,
        is_silence_told: false,
        updates: Vec::new(),
    }))
}

impl Executor for Slurm {
    fn submit(&mut self, job: Job) -> Result<JobId> {
        book::write(&job.directory.join(book::SCRIPT), &request::script(&job, &self.settings))?;
        let book = JobBook {
            executor: self.name.clone(),
            name: String::new(),
            pipeline: job.pipeline.clone(),
            title: job.title.clone(),
            timeout: job.timeout.map(|timeout| timeout.as_secs_f64()),
        };
        self.take(&job, book, Phase::Unnamed)
    }

    fn attach(&mut self, job: Job) -> Result<JobId> {
        let book = book::read(&job.directory).context("read the book of a job")?;
        let phase = match files::text(&job.directory.join(book::ID), book::MOST) {
            Ok(_) => Phase::Taken,
            Err(_) => {
                let named = fs::metadata(job.directory.join(book::JOB)).and_then(|file| file.modified()).ok();
                let age = named.and_then(|at| at.elapsed().ok()).unwrap_or_default();
                Phase::Unsure { since: self.epoch.elapsed().saturating_sub(age) }
            }
        };
        self.next_question = Instant::now();
        self.take(&job, book, phase)
    }

    fn has_room(&self) -> bool {
        (self.jobs.len() as u64) < self.settings.max_in_queue
    }

    fn poll(&mut self, _patience: Duration) -> Result<Vec<Update>> {
        let answers: Vec<SlurmAnswer> = self.clients.answers().collect();
        answers.into_iter().for_each(|answer| self.hear(answer));
        self.look()?;
        self.submit_some();
        self.name_new();
        self.ask();
        let is_named = |running: &JobWatch| running.course.phase != Phase::Unnamed;
        for running in self.jobs.iter_mut().filter(|(_, running)| !running.is_told && is_named(running)) {
            let (job, running) = running;
            running.is_told = true;
            self.updates.push(Update::Placed(*job, running.placement.clone()));
        }
        Ok(std::mem::take(&mut self.updates))
    }

    fn stop_all(&mut self) {
        for (job, running) in std::mem::take(&mut self.jobs) {
            if matches!(running.course.phase, Phase::Unnamed | Phase::Named) {
                // Nobody has heard of it.
                if let Err(error) = book::close(&running.directory) {
                    tracing::warn!("{error:#}");
                }
            } else {
                let named = if running.placement.id.is_empty() { &running.book.name } else { &running.placement.id };
                let note = format!(
                    "goes on as job {named} on `{}`; the next run takes its result, `run --cancel` ends it",
                    self.name
                );
                self.updates.push(Update::Noted(job, note));
            }
            self.updates.push(Update::Left(job));
        }
    }
}

impl Slurm {
    fn take(&mut self, job: &Job, book: JobBook, phase: Phase) -> Result<JobId> {
        let handover = stages::io::Handover::read(&job.handover).context("read the handover of a job")?;
        let id = next_id();
        let known = files::text(&job.directory.join(book::ID), book::MOST).unwrap_or_default();
        let placement = Placement { job: book.name.clone(), id: known.trim().to_owned(), ..Placement::default() };
        let running = JobWatch {
            wanted: request::wanted(job, &self.settings),
            directory: job.directory.clone(),
            handover: job.handover.clone(),
            nonce: handover.nonce,
            course: Course::new(phase),
            mirror: Mirror::new(&job.directory)?,
            placement,
            is_told: false,
            heart: (None, Instant::now()),
            is_end_asked: false,
            book,
        };
        self.jobs.insert(id, running);
        Ok(id)
    }

    fn named(&self, name: &str) -> Option<JobId> {
        self.jobs.iter().find(|(_, running)| running.book.name == name).map(|(job, _)| *job)
    }

    fn hear(&mut self, answer: SlurmAnswer) {
        match answer {
            SlurmAnswer::Submitted { names, answer } => {
                let jobs: Vec<JobId> = names.iter().filter_map(|name| self.named(name)).collect();
                self.submitted(&jobs, answer);
            }
            SlurmAnswer::Queue(Ok(listed)) => {
                self.is_asking = false;
                (self.answered, self.is_silence_told) = (Instant::now(), false);
                let jobs: Vec<(JobId, String)> =
                    self.jobs.iter().map(|(job, running)| (*job, running.book.name.clone())).collect();
                let mut has_changed = false;
                for (job, name) in jobs {
                    let before = self.jobs.get(&job).map(|running| running.course.phase.clone());
                    let left = || match &self.jobs.get(&job)?.course.phase {
                        Phase::Taken | Phase::Missing { .. } => {
                            listing::left_its_array(&listed, &name, &self.jobs.get(&job)?.placement.id)
                        }
                        _ => None,
                    };
                    let row = listing::of_name(&listed, &name).cloned().or_else(left);
                    self.news(job, JobNews::Queue(row));
                    has_changed |= before != self.jobs.get(&job).map(|running| running.course.phase.clone());
                }
                let [shortest, longest] = self.settings.poll;
                self.interval = if has_changed { shortest } else { self.interval.mul_f64(1.5).min(longest) };
                self.next_question = Instant::now() + with_jitter(self.interval);
            }
            SlurmAnswer::Queue(Err(error)) => self.is_silent(&error),
            SlurmAnswer::Books { names, found: Ok(found) } => {
                for name in names {
                    if let Some(job) = self.named(&name) {
                        self.news(job, JobNews::Books(listing::of_name(&found, &name).cloned()));
                    }
                }
            }
            SlurmAnswer::Books { found: Err(error), .. } => self.is_silent(&error),
            // An id may be that of another job by now.
            SlurmAnswer::Exit(Some(shown)) => {
                if let Some(job) = self.named(&shown.name) {
                    self.news(job, JobNews::Queue(Some(shown)));
                }
            }
            SlurmAnswer::Exit(None) | SlurmAnswer::Cancelled => {}
        }
    }

    /// The scheduler does not answer: nothing is known of any job, and nothing follows.
    fn is_silent(&mut self, error: &anyhow::Error) {
        self.is_asking = false;
        self.interval = (self.interval * 2).min(self.settings.poll[1]);
        self.next_question = Instant::now() + with_jitter(self.interval);
        let since = self.answered.elapsed();
        tracing::debug!("{error:#}");
        if since >= SILENCE && !std::mem::replace(&mut self.is_silence_told, true) {
            let note = format!("Slurm has not answered for {} min: {error:#}", since.as_secs() / 60);
            self.updates.extend(self.jobs.keys().map(|job| Update::Noted(*job, note.clone())));
        }
    }

    fn news(&mut self, job: JobId, news: JobNews) {
        let Some(running) = self.jobs.get_mut(&job) else { return };
        for step in running.course.hear(news, self.epoch.elapsed(), &self.patience) {
            match step {
                JobStep::Submit => {
                    let note = format!("submitted again: Slurm knows no job `{}`", running.book.name);
                    self.updates.push(Update::Noted(job, note));
                }
                // Asked for all at once.
                JobStep::AskBooks => {}
                JobStep::AskExit(id) => self.clients.ask(SlurmQuestion::Exit { id }),
                JobStep::Tell(listed) => {
                    let ListedJob { id, reason, node, .. } = listed;
                    let waits = if node.is_empty() { reason } else { String::new() };
                    if class::may_wait_for_ever(&waits) && waits != running.placement.waits {
                        let note = format!("job {id} waits ({waits}), and may do so until somebody changes that");
                        self.updates.push(Update::Noted(job, note));
                    }
                    let placement = Placement { id, node, waits, ..running.placement.clone() };
                    // A start may have told it already.
                    if placement != running.placement {
                        running.placement = placement.clone();
                        self.updates.push(Update::Placed(job, placement));
                    }
                }
                JobStep::End(ending) => {
                    self.end(job, ending);
                    return;
                }
            }
        }
        if let Some(JobWatch {
            course: Course { phase: Phase::Unsure { .. } | Phase::Missing { .. }, .. }, book, ..
        }) = self.jobs.get(&job)
        {
            tracing::debug!("{} is in no queue", book.name);
        }
    }

    fn end(&mut self, job: JobId, ending: JobEnding) {
        let Some(mut running) = self.jobs.remove(&job) else { return };
        let start = ending.start.as_deref();
        if let Err(error) = running.mirror.show(start) {
            tracing::warn!("{error:#}");
        }
        // Whatever else of this name may live is of no more use.
        let is_over = matches!(running.course.phase, Phase::Ended { .. });
        let is_alone = ending.how == How::Good && book::starts(&running.directory).len() == 1;
        if !is_over && !is_alone {
            self.clients.ask(SlurmQuestion::Cancel { name: running.book.name.clone() });
        }
        let end = match ending.how {
            How::Good => Ok(crate::failure::Exit::Code(0)),
            How::Failed(exit) => Ok(exit),
            How::Lost(loss) => Err(loss),
        };
        self.updates.push(Update::Gone { job, worked_in: ending.start, end });
    }

    /// Looks at the files of every job.
    fn look(&mut self) -> Result<()> {
        let now = Instant::now();
        if now < self.next_look {
            return Ok(());
        }
        self.next_look = now + LOOK.min(self.settings.poll[0]);
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        for job in jobs {
            let Some(running) = self.jobs.get_mut(&job) else { continue };
            if matches!(running.course.phase, Phase::Unnamed | Phase::Named) {
                continue;
            }
            let sight = running.sight();
            if let Some(progress) = running.mirror.show(sight.last.as_deref())? {
                self.updates.push(Update::Progressed(job, progress));
            }
            if let Some(place) = running.place_of_start() {
                self.updates.push(Update::Placed(job, place));
            }
            if sight.remains.end.is_some() && !std::mem::replace(&mut running.is_end_asked, true) {
                self.next_question = now;
            }
            self.news(job, JobNews::Files(sight));
        }
        Ok(())
    }

    /// Asks for the queue, and then for what is not in it.
    fn ask(&mut self) {
        let is_due = Instant::now() >= self.next_question && !self.is_asking;
        let is_asked_for =
            |running: &JobWatch| !matches!(running.course.phase, Phase::Unnamed | Phase::Named | Phase::Asked);
        if !is_due || !self.jobs.values().any(is_asked_for) {
            return;
        }
        self.is_asking = true;
        self.clients.ask(SlurmQuestion::Queue);
        let is_missing =
            |running: &&JobWatch| matches!(running.course.phase, Phase::Unsure { .. } | Phase::Missing { .. });
        let names: Vec<String> =
            self.jobs.values().filter(is_missing).map(|running| running.book.name.clone()).collect();
        if !names.is_empty() {
            // A job of a run before may be days old.
            self.clients.ask(SlurmQuestion::Books { names, days: 60 });
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("it said nothing")
}

/// An interval that is not the same for everybody who asks.
fn with_jitter(interval: Duration) -> Duration {
    let part = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos() % 1000;
    interval.mul_f64(0.9 + f64::from(part) / 5000.0)
}
