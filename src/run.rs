//! The only loop: the schedule, the store, the executor and the journal meet here and nowhere else. Knows nothing of
//! terminals, YAML or what any stage computes.

mod answers;
pub mod attempt;
pub mod items;

use crate::event::{Decided, Event, Outcome, StageHead};
use crate::executor::local::{Local, local};
use crate::executor::{Executor, Exit, Job, JobId, Update};
use crate::journal::{History, Journal};
use crate::plan::{Plan, Source};
use crate::schedule::{Command, News, Request, Schedule};
use anyhow::{Context, Result, bail};
use attempt::Attempt;
use cache::{Commit, Content, Damaged, Store};
use serde_json::{Value, json};
use stages::io::{DeviceChoice, Host};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a run begins anew because content it needed turned out damaged.
const MENDS: u32 = 3;
/// How soon an interrupt is noticed.
const PATIENCE: Duration = Duration::from_millis(100);

pub struct Options {
    /// The pipeline file and the `--set` arguments, as typed.
    pub file: PathBuf,
    pub overrides: Vec<String>,
    /// `.pipeline`, where `store/`, `work/` and `runs/` lie.
    pub store: PathBuf,
    pub device: DeviceChoice,
    /// Workers at a time.
    pub jobs: usize,
    /// What a person decided, by the question of the evidence.
    pub decisions: BTreeMap<String, Decided>,
}

/// Runs what is not done yet. The exit code: 130 interrupted, 1 a stage failed or a gate erred, 3 stopped by a gate,
/// 0 all done.
pub fn run(plan: &Plan, options: &Options, interrupt: &AtomicBool, sink: &mut dyn FnMut(&Event)) -> Result<u8> {
    let program = std::env::current_exe().context("find this program")?;
    let worker = [program.into(), "worker".into()];
    let store = Store::open(&options.store)?;
    let journal = Journal::create(&options.store, &plan.name, jiff::Timestamp::now())?;
    execute(plan, options, &store, Some((journal, &worker)), interrupt, sink)
}

/// The same loop with no worker and no journal: what is not in the store would run.
pub fn look(plan: &Plan, options: &Options, sink: &mut dyn FnMut(&Event)) -> Result<u8> {
    // Where nothing was ever run nothing is made either.
    let empty = match options.store.exists() {
        true => None,
        false => Some(tempfile::tempdir().context("make an empty store")?),
    };
    let store = Store::open(empty.as_ref().map_or(&options.store, |directory| directory.path()))?;
    execute(plan, options, &store, None, &AtomicBool::new(false), sink)
}

fn execute(
    plan: &Plan,
    options: &Options,
    store: &Store,
    doing: Option<(Journal, &[OsString])>,
    interrupt: &AtomicBool,
    sink: &mut dyn FnMut(&Event),
) -> Result<u8> {
    let started = Instant::now();
    let contents = contents(plan, store)?;
    let (journal, worker) = doing.unzip();
    let mut run = Run {
        plan,
        store,
        options,
        contents: &contents,
        worker,
        interrupt,
        sink,
        journal,
        history: None,
        executor: local(),
        pending: VecDeque::new(),
        running: HashMap::new(),
        lost: false,
        mends: 0,
        codes: BTreeMap::new(),
    };
    run.tell(Event::RunStarted {
        run: run.journal.as_ref().map_or_else(|| "look".to_owned(), Journal::run),
        pipeline: plan.name.clone(),
        file: options.file.display().to_string(),
        at: stamp(jiff::Timestamp::now()),
        stages: plan.stages.iter().map(head).collect(),
        overrides: options.overrides.clone(),
    })?;
    while !run.pass()? {}
    let exit = run.exit();
    run.tell(Event::RunFinished { exit, seconds: started.elapsed().as_secs_f64(), at: stamp(jiff::Timestamp::now()) })?;
    Ok(exit)
}

/// The log's path, good from anywhere.
fn shown(attempt: &Attempt) -> Result<String> {
    let log = attempt.log();
    let log = std::path::absolute(&log).with_context(|| format!("find {}", log.display()))?;
    Ok(log.display().to_string())
}

/// RFC 3339, to the second.
pub fn stamp(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn head(stage: &crate::plan::Stage) -> StageHead {
    StageHead {
        name: stage.name.clone(),
        kind: stage.kind.name.to_owned(),
        has_gate: stage.gate.is_some(),
        metrics: stage.metrics.iter().map(|metric| (metric.name.clone(), metric.direction)).collect(),
    }
}

/// What lies at every path that is an input. Nothing is copied: a path goes into the store when a worker needs it.
fn contents(plan: &Plan, store: &Store) -> Result<BTreeMap<PathBuf, Content>> {
    let mut contents = BTreeMap::new();
    let sources = plan.stages.iter().flat_map(|stage| &stage.inputs).flat_map(|input| &input.sources);
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
    store: &'a Store,
    options: &'a Options,
    contents: &'a BTreeMap<PathBuf, Content>,
    /// The command that works in a directory, which is its last argument. `None`: nothing is executed.
    worker: Option<&'a [OsString]>,
    interrupt: &'a AtomicBool,
    sink: &'a mut dyn FnMut(&Event),
    journal: Option<Journal>,
    /// Opened when something is new: a run that finds everything reads no journal.
    history: Option<History>,
    executor: Local,
    pending: VecDeque<Request>,
    running: HashMap<JobId, Task>,
    /// Content that was needed is gone from the store.
    lost: bool,
    mends: u32,
    /// What each stage adds to the exit code.
    codes: BTreeMap<String, u8>,
}

struct Task {
    request: Request,
    attempt: Attempt,
    tries: u32,
    started: Instant,
}

/// What became of an attempt to begin.
enum Begun {
    Running,
    Failed(String),
    Lost,
}

impl Run<'_> {
    /// Works until nothing is left to do. False: content was lost on the way, and the schedule has to begin anew;
    /// what is still good is found again at once.
    fn pass(&mut self) -> Result<bool> {
        let mut schedule = Schedule::new(self.plan, self.contents, &self.options.decisions);
        let mut commands: VecDeque<Command> = schedule.begin().into();
        loop {
            if self.interrupt.load(Ordering::Relaxed) {
                return self.interrupted(&schedule);
            }
            match commands.pop_front() {
                Some(Command::Tell(event)) => {
                    self.tell(event)?;
                    continue;
                }
                Some(Command::Read(table)) => {
                    if let Some(items) = self.items(&table)? {
                        commands.extend(schedule.news(News::Items(table, items)));
                    }
                    continue;
                }
                Some(Command::Recall(key)) => {
                    let rules = self.store.recall(&key).and_then(|rules| serde_json::from_value(rules).ok());
                    commands.extend(schedule.news(News::Recalled(key, rules)));
                    continue;
                }
                Some(Command::Remember(key, rules)) => {
                    self.remember(&key, &rules)?;
                    continue;
                }
                Some(Command::Obtain(request)) => {
                    match self.look_up(&request)? {
                        Some(news) => commands.extend(schedule.news(news)),
                        None => self.pending.push_back(request),
                    }
                    continue;
                }
                None => {}
            }
            while self.running.len() < self.options.jobs.max(1) && !self.lost {
                let Some(request) = self.pending.pop_front() else { break };
                let key = request.key;
                match self.begin(request, 0)? {
                    Begun::Running => {}
                    Begun::Failed(cause) => commands.extend(schedule.news(News::Failed { key, cause })),
                    Begun::Lost => self.lost = true,
                }
            }
            if !commands.is_empty() {
                continue;
            }
            if self.running.is_empty() {
                let is_lost = std::mem::take(&mut self.lost);
                self.pending.clear();
                self.mends += u32::from(is_lost);
                return Ok(!is_lost);
            }
            for update in self.executor.poll(PATIENCE)? {
                if let Some(news) = self.update(update)? {
                    commands.extend(schedule.news(news));
                }
            }
        }
    }

    fn interrupted(&mut self, schedule: &Schedule) -> Result<bool> {
        self.executor.cancel_all();
        for id in schedule.unfinished() {
            let stage = self.plan.stages[id].name.clone();
            self.tell(Event::Ended { stage, outcome: Outcome::Interrupted })?;
        }
        Ok(true)
    }

    fn exit(&self) -> u8 {
        [130, 1, 3].into_iter().find(|code| self.codes.values().any(|known| known == code)).unwrap_or(0)
    }

    fn tell(&mut self, event: Event) -> Result<()> {
        if let Event::Ended { stage, outcome } = &event {
            let code = match outcome {
                Outcome::Done { .. } | Outcome::Skipped { .. } | Outcome::WouldRun { .. } => 0,
                Outcome::Stopped { .. } | Outcome::Held { .. } => 3,
                Outcome::Failed { .. } => 1,
                Outcome::Interrupted => 130,
            };
            self.codes.insert(stage.clone(), code);
        }
        if let Some(journal) = &mut self.journal {
            journal.append(&event)?;
        }
        (self.sink)(&event);
        Ok(())
    }

    /// Starts an attempt. A fault of this machine (no space, no permission) fails the stage, not the run.
    fn begin(&mut self, request: Request, tries: u32) -> Result<Begun> {
        let host = Host { device: self.options.device };
        let (root, key, action) = (&self.options.store, &request.key, &request.action);
        let attempt = match attempt::prepare(root, self.store, key, action, host, self.contents) {
            Ok(attempt) => attempt,
            Err(error) if error.is::<Damaged>() && self.mends < MENDS => {
                tracing::warn!("{error:#}; it is made again");
                return Ok(Begun::Lost);
            }
            Err(error) => return Ok(Begun::Failed(format!("prepare the stage: {error:#}"))),
        };
        let mut why = if tries == 0 { self.why(&request)? } else { vec!["the attempt before failed".to_owned()] };
        if attempt.is_resumed {
            why.push("it goes on from a checkpoint".to_owned());
        }
        let (stage, part) = self.name(&request);
        self.tell(Event::Started {
            stage,
            part,
            key: request.key.to_string(),
            action: serde_json::to_value(&request.action).context("write the action")?,
            attempt: attempt.number,
            why,
            log: shown(&attempt)?,
        })?;
        let directory =
            std::path::absolute(&attempt.directory).with_context(|| format!("find {}", attempt.directory.display()))?;
        let command = self.worker.unwrap_or_default().iter().cloned().chain([directory.clone().into()]).collect();
        let timeout = self.plan.stages[request.limits_of].timeout;
        match self.executor.submit(Job { directory, command, timeout }) {
            Ok(id) => {
                self.running.insert(id, Task { request, attempt, tries, started: Instant::now() });
                Ok(Begun::Running)
            }
            Err(error) => Ok(Begun::Failed(format!("{error:#}"))),
        }
    }

    fn update(&mut self, update: Update) -> Result<Option<News>> {
        match update {
            Update::Progressed(id, progress) => {
                if let Some(task) = self.running.get(&id) {
                    let (stage, part) = self.name(&task.request);
                    let stages::io::Progress { done, total, unit, message } = progress;
                    self.tell(Event::Progressed { stage, part, done, total, unit, message })?;
                }
                Ok(None)
            }
            Update::Ended(id, exit) => match self.running.remove(&id) {
                Some(task) => self.ended(task, exit),
                None => Ok(None),
            },
        }
    }

    /// The outcome decides, not the exit code: a driver may crash after the work is done.
    fn ended(&mut self, task: Task, exit: Exit) -> Result<Option<News>> {
        let seconds = task.started.elapsed().as_secs_f64();
        let (stage, part) = self.name(&task.request);
        let key = task.request.key;
        let result = match attempt::has_outcome(&task.attempt) {
            true => self.commit(&task, seconds).map_err(|error| format!("{error:#}")),
            false => Err(attempt::cause(&task.attempt, exit)),
        };
        match result {
            Ok((news, device)) => {
                attempt::tidy(&task.attempt);
                self.tell(Event::Finished { stage, part, key: key.to_string(), seconds, device })?;
                Ok(Some(news))
            }
            Err(cause) => {
                let log = shown(&task.attempt)?;
                self.tell(Event::Failed { stage, part, key: key.to_string(), cause: cause.clone(), log })?;
                if task.tries >= self.plan.stages[task.request.limits_of].retry {
                    return Ok(Some(News::Failed { key, cause }));
                }
                match self.begin(task.request, task.tries + 1)? {
                    Begun::Running => Ok(None),
                    Begun::Failed(cause) => Ok(Some(News::Failed { key, cause })),
                    Begun::Lost => {
                        self.lost = true;
                        Ok(None)
                    }
                }
            }
        }
    }

    fn commit(&self, task: &Task, seconds: f64) -> Result<(News, Option<String>)> {
        let (record, worker) = attempt::collect(self.store, &task.attempt)?;
        let device = worker.get("device").and_then(Value::as_str).map(str::to_owned);
        let telemetry = json!({
            "at": stamp(jiff::Timestamp::now()), "seconds": seconds, "attempt": task.attempt.number, "worker": worker,
        });
        let mut stored = record.to_store(telemetry)?;
        let key = &task.request.key;
        if self.store.commit(key, &stored)? == Commit::Different {
            tracing::warn!("{}: not deterministic: the first of its results is kept", self.named(&task.request));
            match self.store.lookup(key)? {
                Some(first) => stored = first,
                None => bail!("read record {key}: it was there a moment ago"),
            }
        }
        Ok((Self::known(&task.request, &stored, Some(seconds))?, device))
    }

    fn name(&self, request: &Request) -> (String, Option<String>) {
        (self.plan.stages[request.stage].name.clone(), request.part.clone())
    }

    fn named(&self, request: &Request) -> String {
        let stage = &self.plan.stages[request.stage].name;
        request.part.as_ref().map_or_else(|| stage.clone(), |part| format!("{stage}: {part}"))
    }
}

#[cfg(test)]
mod tests;
