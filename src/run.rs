//! The only loop: the schedule, the store, the executor and the journal meet only here.

pub mod answers;
pub mod attempt;
mod begin;
pub mod death;
pub mod devices;
mod errands;
mod finish;
mod foreign;
mod foretold;
pub mod gpus;
mod head;
mod inputs;
pub mod labelled;
mod losses;
mod lost;
pub mod machine;
pub mod places;
mod prefetch;
mod remote;
mod scrub;
mod session;
pub mod slots;
pub mod space;
mod telling;

use crate::event::{Event, LOOK, Outcome};
use crate::executor::JobId;
use crate::journal::{self, History};
use crate::ledger::file::LedgerSession;
use crate::plan::selection::{Role, Selection};
use crate::plan::{Plan, StageId};
use crate::schedule::{Command, News, Request, Schedule};
use anyhow::{Context, Result};
use attempt::Attempt;
use cache::{Claim, Content, Digest, Store, is_interruption};
use errands::Errands;
use gpus::RunDevices;
use head::head;
use losses::Losses;
use prefetch::{Prefetch, prefetch};
use session::Session;
pub use session::{ExecutionOptions, Options};
use slots::{Share, Slots};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The number of times a run may start over because needed content was damaged.
const RESTARTS: u32 = 3;
/// The longest time until an interrupt is noticed.
const PATIENCE: Duration = Duration::from_millis(100);
/// The longest time until this run notices that another run finished, or gave up, an action it waits for.
const IMPATIENCE: Duration = Duration::from_millis(20);
/// The interval of the heartbeat that tells other machines that this run is alive.
const BEAT: Duration = Duration::from_secs(10);

/// Runs everything that is not done yet. Returns the exit code: 130 interrupted, 1 a stage failed or a gate erred, 3
/// stopped by a gate, 0 all done.
pub fn run(
    plan: &Plan,
    selection: &Selection,
    options: &Options,
    execution: &ExecutionOptions,
    interrupt: &'static AtomicBool,
    sink: &mut dyn FnMut(&Event),
) -> Result<u8> {
    let program = std::env::current_exe().context("find this program")?;
    let worker = [program.into(), "worker".into()];
    let store = with_remote(Store::open(&options.store)?, options);
    let store = if execution.is_durable { store } else { store.without_fsync() };
    let contents = match inputs::identify(plan, selection, &store.interruptible(interrupt)) {
        Err(error) if is_interruption(&error) => return Ok(CODES[0]),
        contents => contents?,
    };
    let session = Session::open(&options.store, plan, &worker, execution)?;
    let run = Run { interrupt, ..Run::new(plan, selection, options, &store, &contents, sink) };
    let exit = run.with(session).finish();
    store.save_stats();
    exit
}

/// Runs the same loop without workers or a journal: what is not in the store would run.
pub fn look(plan: &Plan, selection: &Selection, options: &Options, sink: &mut dyn FnMut(&Event)) -> Result<u8> {
    // If nothing was ever run here, nothing is created either.
    let is_there = files::exists(&options.store).context("look for the store")?;
    let empty = (!is_there).then(tempfile::tempdir).transpose().context("make an empty store")?;
    let store = Store::open(empty.as_ref().map_or(&options.store, |directory| directory.path()))?;
    let store = with_remote(store, options);
    let contents = inputs::identify(plan, selection, &store)?;
    Run::new(plan, selection, options, &store, &contents, sink).finish()
}

fn with_remote(store: Store, options: &Options) -> Store {
    options.remote.as_ref().map_or_else(|| store.clone(), |remote| store.with_remote(remote.clone()))
}

/// The time in RFC 3339, to the second.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

struct Run<'a> {
    plan: &'a Plan,
    selection: &'a Selection,
    store: &'a Store,
    options: &'a Options,
    contents: &'a BTreeMap<PathBuf, Content>,
    /// `None` for a look, which executes and writes nothing.
    session: Option<Session<'a>>,
    interrupt: &'static AtomicBool,
    sink: &'a mut dyn FnMut(&Event),
    /// `None` if it is not worthwhile or no longer reliable.
    prefetch: Option<Prefetch>,
    /// Opened when an action is new: a run that finds everything reads no journal.
    history: Option<History>,
    /// Opened by the first gate that looks at items.
    ledger: Option<LedgerSession>,
    slots: Slots,
    /// Found out when an action needs to know: a run of commands, or one that finds everything, asks no driver. The text is
    /// why there are none.
    devices: Option<Result<RunDevices, String>>,
    /// Work that can begin when resources are free and no other run is doing it.
    pending: VecDeque<Work>,
    /// Failed work, and the time of the next attempt.
    retries: Vec<(Instant, Work)>,
    running: HashMap<JobId, Task>,
    /// Actions named by `--force` that were executed already: once is enough.
    forced: HashSet<Digest>,
    /// The first stage that failed.
    failed: Option<String>,
    /// Set after an interrupt: running jobs are asked to end, and nothing begins.
    is_stopping: bool,
    /// The way to the remote, if there is one.
    errands: Option<Errands<Request, Waiter>>,
    /// Needed content is gone from the store.
    is_content_lost: bool,
    /// The stages of which a look told what they will ask for.
    foretold: Vec<StageId>,
    restarts: u32,
    /// The number of stages that ended with each exit code of [`CODES`].
    codes: [usize; 4],
    /// The number of unfinished stages. Too low after a restart, but good enough for deciding on spare workers.
    remaining: usize,
}

/// The number of stages from which prefetching is worth another thread.
const MANY: usize = 64;

/// Exit codes, most important first.
const CODES: [u8; 4] = [130, 1, 3, 0];

/// A part of the run that waits for files of the remote.
enum Waiter {
    Command(Command),
    Work(Work),
}

/// An action to execute.
struct Work {
    request: Request,
    /// The number of failed attempts in this run.
    failed: u32,
    /// The number of those that a cluster lost.
    lost: Losses,
    /// The worker that it shared died of it: it is tried once more by one of its own.
    is_alone: bool,
    /// Whether people were told that another run is doing it.
    is_told: bool,
    /// Held from the first attempt to the last.
    claim: Option<Claim>,
}

impl Work {
    fn new(request: Request) -> Work {
        Work { request, failed: 0, lost: Losses::default(), is_alone: false, is_told: false, claim: None }
    }

    /// Whether this run has not tried it yet.
    fn is_first(&self) -> bool {
        self.failed == 0 && self.lost == Losses::default() && !self.is_alone
    }
}

struct Task {
    work: Work,
    attempt: Attempt,
    /// Its resources on this machine; `None`: a cluster works it.
    share: Option<Share>,
    started: Instant,
}

impl<'a> Run<'a> {
    /// Makes a look; [`Run::with`] a session it becomes a run.
    fn new(
        plan: &'a Plan,
        selection: &'a Selection,
        options: &'a Options,
        store: &'a Store,
        contents: &'a BTreeMap<PathBuf, Content>,
        sink: &'a mut dyn FnMut(&Event),
    ) -> Run<'a> {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Run {
            plan,
            selection,
            store,
            options,
            contents,
            session: None,
            interrupt: &NEVER,
            sink,
            prefetch: None,
            history: None,
            ledger: None,
            slots: Slots::none(),
            devices: None,
            pending: VecDeque::new(),
            retries: Vec::new(),
            running: HashMap::new(),
            forced: HashSet::new(),
            failed: None,
            is_stopping: false,
            errands: Errands::new(store),
            is_content_lost: false,
            foretold: Vec::new(),
            restarts: 0,
            codes: [0; 4],
            remaining: plan.stages.len(),
        }
    }

    fn with(self, session: Session<'a>) -> Run<'a> {
        let slots = Slots::new(session.execution.jobs, session.execution.capacity);
        Run { session: Some(session), slots, ..self }
    }

    fn finish(mut self) -> Result<u8> {
        let started = Instant::now();
        let (plan, selection) = (self.plan, self.selection);
        let stages = plan.stages.iter().enumerate().filter(|(id, _)| selection.role(*id) != Role::Leave);
        let stages: Vec<_> = stages.map(|(_, stage)| head(plan, stage)).collect();
        self.remaining = stages.len();
        self.tell(Event::RunStarted {
            run: self.session.as_ref().map_or_else(|| LOOK.to_owned(), |session| session.journal.run()),
            pipeline: plan.name.clone(),
            file: self.options.file.display().to_string(),
            at: now(),
            stages,
            overrides: self.options.overrides.clone(),
            selection: selection.typed().to_owned(),
            machine: self.session.as_ref().map(|_| machine::here()),
        })?;
        loop {
            match self.pass() {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    // Otherwise the journal would be that of a run which was killed.
                    self.tell(Event::RunFinished { exit: 2, seconds: started.elapsed().as_secs_f64(), at: now() })?;
                    self.write_journal()?;
                    return Err(error);
                }
            }
        }
        self.remember_looks()?;
        let exit = self.exit();
        let seconds = started.elapsed().as_secs_f64();
        self.tell(Event::RunFinished { exit, seconds, at: now() })?;
        self.write_journal()?;
        Ok(exit)
    }

    /// Works until nothing is left to do. Returns false if content was lost, and the schedule must start over; what is
    /// still good is found again at once.
    fn pass(&mut self) -> Result<bool> {
        let mut schedule = Schedule::new(self.plan, self.selection, self.contents, &self.options.decisions);
        let mut commands: VecDeque<Command> = schedule.begin().into();
        let mut beaten = Instant::now();
        self.forget_parked();
        // The lock is released only while the run does nothing but wait. Garbage may be collected then, and by that
        // time the journal names everything that this run needs.
        let mut held = self.hold()?;
        if self.restarts == 0 && self.plan.stages.len() >= MANY {
            let own = self.session.as_ref().map(|session| &session.journal);
            let last = journal::earlier(&self.options.store, &self.plan.name, own)?.pop();
            self.prefetch = last.map(|last| prefetch(last, self.store));
        }
        self.push_owed();
        while held.is_some() {
            self.obey(&mut schedule, &mut commands)?;
            if self.interrupt.load(Ordering::Relaxed) && !self.is_stopping {
                self.is_stopping = true;
                self.pending.clear();
                self.retries.clear();
                self.session.iter_mut().for_each(Session::stop_all);
            }
            commands.extend(self.begin_what_fits()?.into_iter().flat_map(|news| schedule.news(news)));
            let reports = self.reports(Duration::ZERO);
            commands.extend(self.hear(reports, &mut schedule)?);
            if !commands.is_empty() {
                continue;
            }
            self.write_journal()?;
            self.prefetch = None;
            drop(held.take());
            let has_work = !(self.running.is_empty() && self.pending.is_empty() && self.retries.is_empty());
            let awaits_remote = self.errands.as_ref().is_some_and(Errands::is_awaited) && !self.is_stopping;
            if !has_work && awaits_remote {
                let reports = self.reports(PATIENCE);
                held = self.hold()?;
                commands.extend(self.hear(reports, &mut schedule)?);
                continue;
            }
            if !has_work {
                break;
            }
            // A look never has to wait.
            let Some(session) = &mut self.session else { break };
            let is_calm = self.pending.is_empty() && !awaits_remote;
            let updates = session.poll(if is_calm { PATIENCE } else { IMPATIENCE })?;
            held = self.hold()?;
            if held.is_none() {
                // What ended meanwhile is done again by the next run.
                break;
            }
            for update in updates {
                commands.extend(self.update(update)?.into_iter().flat_map(|news| schedule.news(news)));
            }
            if beaten.elapsed() > BEAT {
                beaten = Instant::now();
                self.beat();
            }
        }
        if !self.is_content_lost {
            self.finish_pushes(&mut schedule)?;
        }
        if self.is_stopping {
            for id in schedule.unfinished() {
                self.end(id, Outcome::Interrupted)?;
            }
            return Ok(true);
        }
        // The process is about to end, and freeing thousands of results would take a twentieth of its time.
        std::mem::forget(schedule);
        let is_lost = std::mem::take(&mut self.is_content_lost);
        self.restarts += u32::from(is_lost);
        Ok(!is_lost)
    }

    /// Sends the heartbeat of every claim. If another run took a claim over, work is only done twice: the first record
    /// stays.
    fn beat(&self) {
        let retries = self.retries.iter().map(|(_, work)| work);
        for work in self.running.values().map(|task| &task.work).chain(retries) {
            if let Some(Err(error)) = work.claim.as_ref().map(Claim::beat) {
                tracing::warn!("{}: {error:#}", self.named(&work.request));
            }
        }
    }

    /// Carries out the schedule's commands until none are left or the run is interrupted.
    fn obey(&mut self, schedule: &mut Schedule, commands: &mut VecDeque<Command>) -> Result<()> {
        while let Some(command) = commands.pop_front() {
            let Some(command) = self.fetches_for(command) else { continue };
            match command {
                Command::Tell(event) => self.tell(event)?,
                Command::End(stage, outcome) => self.end(stage, outcome)?,
                Command::Read(table) => {
                    if let Some(items) = self.items(&table)? {
                        commands.extend(schedule.news(News::Items(table, items)));
                    }
                }
                Command::Open(file) => {
                    if let Some(content) = self.file(&file)? {
                        commands.extend(schedule.news(News::Opened(file, content)));
                    }
                }
                Command::Class(key) => commands.extend(schedule.news(News::Classed(key, self.class(&key)))),
                Command::Recall(key) => {
                    let rules = self.store.recall(&key).and_then(|rules| serde_json::from_value(rules).ok());
                    commands.extend(schedule.news(News::Recalled(key, rules)));
                }
                Command::Remember(key, rules) => self.remember(&key, &rules),
                Command::Look(asked) => {
                    let permission = self.take_look(&asked).map_err(|error| format!("{error:#}"));
                    commands.extend(schedule.news(News::Looked(asked.need(), permission)));
                }
                Command::Labels(worklist) => {
                    if let Some(labels) = self.labels(&worklist)? {
                        commands.extend(schedule.news(News::Labelled(worklist, labels)));
                    }
                }
                Command::Judged(judged) => self.ledger()?.judged(judged)?,
                Command::Obtain(request) if self.asks_remote(&request)? => {}
                Command::Obtain(request) => match self.look_up(&request)? {
                    Some(news) => commands.extend(schedule.news(news)),
                    None if self.is_stopping => {}
                    None => self.pending.push_back(Work::new(request)),
                },
            }
            if self.interrupt.load(Ordering::Relaxed) && !self.is_stopping {
                break;
            }
        }
        Ok(())
    }

    fn exit(&self) -> u8 {
        CODES.iter().zip(self.codes).find(|(_, count)| *count > 0).map_or(0, |(code, _)| *code)
    }
}

#[cfg(test)]
mod tests;
