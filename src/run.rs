//! The only loop: the schedule, the store, the executor and the journal meet here and nowhere else. Knows nothing of
//! terminals, YAML or what any stage computes.

mod answers;
pub mod attempt;
mod begin;
pub mod death;
mod finish;
mod foresight;
pub mod items;
pub mod slots;

use crate::cause::EvalPart;
use crate::event::{Decided, Event, Outcome, StageHead};
use crate::executor::local::{Local, local};
use crate::executor::{Executor, JobId};
use crate::journal::{self, History, Journal};
use crate::plan::selection::{Role, Selection};
use crate::plan::{Plan, Resources, Source, Stage, StageId};
use crate::schedule::{Command, News, Request, Schedule};
use anyhow::{Context, Result};
use attempt::Attempt;
use cache::{Claim, Content, Digest, Store};
use foresight::{Foresight, foresee};
use slots::Slots;
use stages::io::DeviceChoice;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a run begins anew because content it needed turned out damaged.
const MENDS: u32 = 3;
/// How soon an interrupt is noticed.
const PATIENCE: Duration = Duration::from_millis(100);
/// How soon it is noticed that another run has finished, or given up, what this one waits for.
const IMPATIENCE: Duration = Duration::from_millis(20);
/// How often other machines are told that this run still lives.
const BEAT: Duration = Duration::from_secs(10);

pub struct Options {
    /// The pipeline file and the `--set` arguments, as typed.
    pub file: PathBuf,
    pub overrides: Vec<String>,
    /// `.pipeline`, where `store/`, `work/` and `runs/` lie.
    pub store: PathBuf,
    /// What a person decided, by the question of the evidence.
    pub decisions: BTreeMap<String, Decided>,
}

/// With what the work is done: never part of a key.
pub struct Means {
    pub device: DeviceChoice,
    /// Workers at a time.
    pub jobs: usize,
    /// What they may take together.
    pub capacity: Resources,
    /// Whether what is written is on the disk before anything builds on it.
    pub is_durable: bool,
    /// Whether a failure leaves branches beside it untouched; else nothing more is begun after one.
    pub keeps_going: bool,
}

/// Runs what is not done yet. The exit code: 130 interrupted, 1 a stage failed or a gate erred, 3 stopped by a gate,
/// 0 all done.
pub fn run(
    plan: &Plan,
    selection: &Selection,
    options: &Options,
    means: &Means,
    interrupt: &AtomicBool,
    sink: &mut dyn FnMut(&Event),
) -> Result<u8> {
    let program = std::env::current_exe().context("find this program")?;
    let worker = [program.into(), "worker".into()];
    let store = Store::open(&options.store)?;
    let store = if means.is_durable { store } else { store.without_fsync() };
    let contents = contents(plan, selection, &store)?;
    let journal = Journal::create(&options.store, &plan.name, jiff::Timestamp::now())?;
    let doing = Doing { journal, worker: &worker, means };
    let exit = execute(plan, selection, options, (&store, &contents), Some(doing), interrupt, sink);
    store.save_stats();
    exit
}

/// The same loop with no worker and no journal: what is not in the store would run.
pub fn look(plan: &Plan, selection: &Selection, options: &Options, sink: &mut dyn FnMut(&Event)) -> Result<u8> {
    // Where nothing was ever run nothing is made either.
    let empty = match options.store.exists() {
        true => None,
        false => Some(tempfile::tempdir().context("make an empty store")?),
    };
    let store = Store::open(empty.as_ref().map_or(&options.store, |directory| directory.path()))?;
    let contents = contents(plan, selection, &store)?;
    execute(plan, selection, options, (&store, &contents), None, &AtomicBool::new(false), sink)
}

/// What looking has not.
struct Doing<'a> {
    journal: Journal,
    /// The command that works in a directory, which is its last argument.
    worker: &'a [OsString],
    means: &'a Means,
}

fn execute(
    plan: &Plan,
    selection: &Selection,
    options: &Options,
    (store, contents): (&Store, &BTreeMap<PathBuf, Content>),
    doing: Option<Doing>,
    interrupt: &AtomicBool,
    sink: &mut dyn FnMut(&Event),
) -> Result<u8> {
    let started = Instant::now();
    let slots = doing.as_ref().map_or_else(Slots::none, |doing| Slots::new(doing.means.jobs, doing.means.capacity));
    let mut run = Run {
        plan,
        selection,
        store,
        options,
        contents,
        doing,
        interrupt,
        sink,
        foresight: None,
        history: None,
        executor: local(),
        slots,
        pending: VecDeque::new(),
        resting: Vec::new(),
        running: HashMap::new(),
        forced: HashSet::new(),
        failed: None,
        is_stopping: false,
        lost: false,
        mends: 0,
        codes: [0; 4],
        left: 0,
    };
    let is_part = |id: &usize| selection.role(*id) != Role::Leave;
    run.left = (0..plan.stages.len()).filter(is_part).count();
    run.tell(Event::RunStarted {
        run: run.doing.as_ref().map_or_else(|| "look".to_owned(), |doing| doing.journal.run()),
        pipeline: plan.name.clone(),
        file: options.file.display().to_string(),
        at: now(),
        stages: (0..plan.stages.len()).filter(is_part).map(|id| head(plan, &plan.stages[id])).collect(),
        overrides: options.overrides.clone(),
        selection: selection.typed().to_owned(),
    })?;
    while !run.pass()? {}
    let exit = run.exit();
    run.tell(Event::RunFinished { exit, seconds: started.elapsed().as_secs_f64(), at: now() })?;
    run.write_journal()?;
    Ok(exit)
}

/// The time in RFC 3339, to the second.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn head(plan: &Plan, stage: &crate::plan::Stage) -> Arc<StageHead> {
    Arc::new(StageHead {
        name: stage.name.clone(),
        kind: stage.kind.name.to_owned(),
        has_gate: stage.gate.is_some(),
        metrics: stage.metrics.iter().map(|metric| (metric.name.clone(), metric.direction)).collect(),
        from: stage.inputs.iter().map(|input| (input.port.clone(), plan.sources(input))).collect(),
    })
}

/// What lies at every path that is an input. Nothing is copied: a path goes into the store when a worker needs it.
fn contents(plan: &Plan, selection: &Selection, store: &Store) -> Result<BTreeMap<PathBuf, Content>> {
    let mut contents = BTreeMap::new();
    let stages = plan.stages.iter().enumerate().filter(|(id, _)| selection.role(*id) != Role::Leave);
    // A judge measures for others, also where it is left out itself.
    let judges = |stage: &Stage| stage.gate.iter().flat_map(|gate| gate.judges.clone()).collect::<Vec<_>>();
    let stages = stages.flat_map(|(id, stage)| [vec![id], judges(stage)].concat());
    let sources = stages.flat_map(|id| &plan.stages[id].inputs).flat_map(|input| &input.sources);
    for source in sources {
        if let Source::Path(path) = source
            && !contents.contains_key(path)
        {
            contents.insert(path.clone(), store.identify(path)?);
        }
    }
    Ok(contents)
}

struct Run<'a> {
    plan: &'a Plan,
    selection: &'a Selection,
    store: &'a Store,
    options: &'a Options,
    contents: &'a BTreeMap<PathBuf, Content>,
    /// `None`: nothing is executed, and nothing written.
    doing: Option<Doing<'a>>,
    interrupt: &'a AtomicBool,
    sink: &'a mut dyn FnMut(&Event),
    /// None when it is not worth it, or no longer to be relied on.
    foresight: Option<Foresight>,
    /// Opened when something is new: a run that finds everything reads no journal.
    history: Option<History>,
    executor: Local,
    slots: Slots,
    /// What can begin when there is room, and nobody else is at it.
    pending: VecDeque<Work>,
    /// What failed, and when it is tried again.
    resting: Vec<(Instant, Work)>,
    running: HashMap<JobId, Task>,
    /// Actions that `--force` names and that were executed: once is enough.
    forced: HashSet<Digest>,
    /// The first stage that failed.
    failed: Option<String>,
    /// Interrupted: what runs is asked to end, nothing begins.
    is_stopping: bool,
    /// Content that was needed is gone from the store.
    lost: bool,
    mends: u32,
    /// How many stages ended with each exit code, those of [`CODES`].
    codes: [usize; 4],
    /// Stages that have not ended. None once the run began anew, which is good enough for what it is needed for.
    left: usize,
}

/// From so many stages on it is worth waking another processor.
const MANY: usize = 64;

/// By weight.
const CODES: [u8; 4] = [130, 1, 3, 0];

/// An action to be executed.
struct Work {
    request: Request,
    /// Attempts of this run that failed.
    failed: u32,
    /// Whether it was said that another run is at it.
    is_told: bool,
    /// Held from the first attempt to the last.
    claim: Option<Claim>,
}

struct Task {
    work: Work,
    attempt: Attempt,
    started: Instant,
}

impl Run<'_> {
    /// Works until nothing is left to do. False: content was lost on the way, and the schedule has to begin anew;
    /// what is still good is found again at once.
    fn pass(&mut self) -> Result<bool> {
        let mut schedule = Schedule::new(self.plan, self.selection, self.contents, &self.options.decisions);
        let mut commands: VecDeque<Command> = schedule.begin().into();
        let mut beaten = Instant::now();
        // Given back only while there is nothing to do but wait: whoever removes what nobody needs does it then, and
        // what this run needs stands in its journal by that time.
        let mut held = Some(self.store.hold()?);
        if self.mends == 0 && self.plan.stages.len() >= MANY {
            let own = self.doing.as_ref().map(|doing| &doing.journal);
            let last = journal::earlier(&self.options.store, &self.plan.name, own)?.pop();
            self.foresight = last.map(|last| foresee(last, self.store));
        }
        loop {
            self.obey(&mut schedule, &mut commands)?;
            if self.interrupt.load(Ordering::Relaxed) && !self.is_stopping {
                self.is_stopping = true;
                self.pending.clear();
                self.resting.clear();
                self.executor.stop_all();
            }
            commands.extend(self.begin_what_fits()?.into_iter().flat_map(|news| schedule.news(news)));
            if !commands.is_empty() {
                continue;
            }
            self.write_journal()?;
            self.foresight = None;
            drop(held.take());
            if self.running.is_empty() && self.pending.is_empty() && self.resting.is_empty() {
                break;
            }
            let patience = if self.pending.is_empty() { PATIENCE } else { IMPATIENCE };
            let updates = self.executor.poll(patience)?;
            held = Some(self.store.hold()?);
            for update in updates {
                commands.extend(self.update(update)?.into_iter().flat_map(|news| schedule.news(news)));
            }
            if beaten.elapsed() > BEAT {
                beaten = Instant::now();
                self.beat();
            }
        }
        if self.is_stopping {
            for id in schedule.unfinished() {
                self.end(id, Outcome::Interrupted)?;
            }
            return Ok(true);
        }
        // The process is about to end: to take thousands of ends apart first would take a twentieth of its time.
        std::mem::forget(schedule);
        let is_lost = std::mem::take(&mut self.lost);
        self.mends += u32::from(is_lost);
        Ok(!is_lost)
    }

    /// A claim that another run took over costs nothing but work done twice: the first record stays.
    fn beat(&self) {
        let resting = self.resting.iter().map(|(_, work)| work);
        for work in self.running.values().map(|task| &task.work).chain(resting) {
            if let Some(Err(error)) = work.claim.as_ref().map(Claim::beat) {
                tracing::warn!("{}: {error:#}", self.named(&work.request));
            }
        }
    }

    /// Does what the schedule says, until it says nothing more or the run is interrupted.
    fn obey(&mut self, schedule: &mut Schedule, commands: &mut VecDeque<Command>) -> Result<()> {
        while let Some(command) = commands.pop_front() {
            match command {
                Command::Tell(event) => self.tell(event)?,
                Command::End(stage, outcome) => self.end(stage, outcome)?,
                Command::Read(table) => {
                    if let Some(items) = self.items(&table)? {
                        commands.extend(schedule.news(News::Items(table, items)));
                    }
                }
                Command::Recall(key) => {
                    let rules = self.store.recall(&key).and_then(|rules| serde_json::from_value(rules).ok());
                    commands.extend(schedule.news(News::Recalled(key, rules)));
                }
                Command::Remember(key, rules) => self.remember(&key, &rules)?,
                Command::Obtain(request) => match self.look_up(&request)? {
                    Some(news) => commands.extend(schedule.news(news)),
                    None if self.is_stopping => {}
                    None => self.pending.push_back(Work { request, failed: 0, is_told: false, claim: None }),
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

    /// A stage has ended: it is counted, and told with the time.
    fn end(&mut self, stage: StageId, outcome: Outcome) -> Result<()> {
        let stage = self.plan.stages[stage].name.clone();
        let code = match &outcome {
            Outcome::Done { .. } | Outcome::Skipped { .. } | Outcome::WouldRun { .. } => 0,
            Outcome::Stopped { .. } | Outcome::Held { .. } => 3,
            Outcome::Failed { .. } => 1,
            Outcome::Interrupted => 130,
        };
        if code == 1 {
            self.failed.get_or_insert_with(|| stage.clone());
        }
        let at = CODES.iter().position(|known| *known == code);
        self.codes[at.expect("every code is in the table")] += 1;
        self.left = self.left.saturating_sub(1);
        self.tell(Event::Ended { stage, outcome, at: Some(now()) })
    }

    fn tell(&mut self, event: Event) -> Result<()> {
        if let Some(doing) = &mut self.doing {
            doing.journal.append(&event)?;
            // Whoever hears of it must find it in the journal.
            if matches!(event, Event::RunStarted { .. } | Event::Started { .. } | Event::Noted { .. }) {
                doing.journal.flush()?;
            }
        }
        (self.sink)(&event);
        Ok(())
    }

    fn write_journal(&mut self) -> Result<()> {
        self.doing.as_mut().map_or(Ok(()), |doing| doing.journal.flush())
    }

    fn note(&mut self, request: &Request, message: String) -> Result<()> {
        let (stage, part) = self.name(request);
        self.tell(Event::Noted { stage, part, message })
    }

    fn name(&self, request: &Request) -> (String, Option<EvalPart>) {
        (self.plan.stages[request.stage].name.clone(), request.part.clone())
    }

    fn named(&self, request: &Request) -> String {
        let stage = &self.plan.stages[request.stage].name;
        request.part.as_ref().map_or_else(|| stage.clone(), |part| format!("{stage}: {part}"))
    }
}

#[cfg(test)]
mod tests;
