//! The remote of a run: asked for records before work begins, for files before they are read, and given what is made here,
//! all in the background. A run that finds everything at home asks nothing.

use super::{PATIENCE, RESTARTS, Run, Work};
use crate::action::Action;
use crate::event::{Event, RemoteRecord, Table};
use crate::schedule::{Command, Request, Schedule};
use anyhow::Result;
use cache::{Answer, Content, Digest, Push, Store};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The number of questions and of pushes that are on their way at a time.
const ASKERS: usize = 6;
const PUSHERS: usize = 2;

/// A content that is needed, or one file of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MissingContent {
    content: Content,
    file: Option<String>,
}

enum Errand {
    Ask(Digest),
    Fetch(MissingContent),
    Push(Digest),
}

/// What came of an errand.
pub enum ErrandReport {
    Asked(Digest, Result<Answer>),
    Fetched(MissingContent),
    Pushed(Digest, Result<Push>),
}

/// A queue of errands with its threads, which are started by the first one.
struct Porters {
    queue: Option<Sender<Errand>>,
    count: usize,
}

/// What a run waits for.
enum Waiter {
    Command(Command),
    Work(Work),
}

/// The errands of a run to its remote.
pub struct Errands {
    store: Store,
    asking: Porters,
    pushing: Porters,
    report: Sender<ErrandReport>,
    reports: Receiver<ErrandReport>,
    /// The keys that were asked about, whatever was answered.
    asked: BTreeSet<Digest>,
    /// Those that no answer came about yet, and who asks.
    open: HashMap<Digest, Vec<Request>>,
    /// What was sent for, and who needs it.
    fetched: HashMap<MissingContent, Vec<Waiter>>,
    /// What was sent for before: it is here, or cannot be had.
    tried: HashSet<MissingContent>,
    /// The keys of which a push is on its way, with what asked for them.
    pushed: HashMap<Digest, Option<Request>>,
    failed_pushes: usize,
}

impl Errands {
    /// `None` without a remote.
    pub fn new(store: &Store) -> Option<Errands> {
        store.remote()?;
        let (report, reports) = channel();
        Some(Errands {
            store: store.clone(),
            asking: Porters { queue: None, count: ASKERS },
            pushing: Porters { queue: None, count: PUSHERS },
            report,
            reports,
            asked: BTreeSet::new(),
            open: HashMap::new(),
            fetched: HashMap::new(),
            tried: HashSet::new(),
            pushed: HashMap::new(),
            failed_pushes: 0,
        })
    }

    /// Whether the schedule may hear something from the remote.
    pub fn is_awaited(&self) -> bool {
        !self.open.is_empty() || !self.fetched.is_empty()
    }

    fn send(&mut self, errand: Errand) {
        let porters = if matches!(errand, Errand::Push(_)) { &mut self.pushing } else { &mut self.asking };
        let queue = porters.queue.get_or_insert_with(|| start(porters.count, &self.store, &self.report));
        // Without a thread nothing would be heard: then it is done here.
        if let Err(errand) = queue.send(errand) {
            let _ = self.report.send(carry_out(&self.store, errand.0));
        }
    }

    fn takes_nothing(&self) -> bool {
        self.store.remote().is_none_or(|remote| remote.takes_nothing())
    }
}

fn start(count: usize, store: &Store, report: &Sender<ErrandReport>) -> Sender<Errand> {
    let (queue, errands) = channel::<Errand>();
    let errands = Arc::new(Mutex::new(errands));
    for _ in 0..count {
        let (store, report, errands) = (store.clone(), report.clone(), errands.clone());
        let porter = move || {
            loop {
                let next = errands.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(errand) = next else { return };
                if report.send(carry_out(&store, errand)).is_err() {
                    return;
                }
            }
        };
        let _ = thread::Builder::new().spawn(porter);
    }
    queue
}

fn carry_out(store: &Store, errand: Errand) -> ErrandReport {
    match errand {
        Errand::Ask(key) => ErrandReport::Asked(key, store.ask(&key)),
        Errand::Fetch(needed) => {
            // A failure shows when the content is read.
            let _ = match &needed.file {
                None => store.fetch(&needed.content),
                Some(file) => store.read(&needed.content, file).map(drop),
            };
            ErrandReport::Fetched(needed)
        }
        Errand::Push(key) => ErrandReport::Pushed(key, store.push(&key, false)),
    }
}

/// Whether it is here, or cannot be had.
fn is_here(store: &Store, MissingContent { content, file }: &MissingContent) -> bool {
    match file {
        None => store.has(content),
        Some(file) => store.file(content, file).is_ok_and(|file| store.has(&file)),
    }
}

impl Run<'_> {
    /// Asks the remote for a record that is not here; true if the request waits for the answer.
    pub fn asks_remote(&mut self, request: &Request) -> Result<bool> {
        let key = request.action.key;
        let is_forced = self.is_forced(request);
        let Some(errands) = self.errands.as_mut().filter(|_| !is_forced) else { return Ok(false) };
        if let Some(waiting) = errands.open.get_mut(&key) {
            waiting.push(request.clone());
            return Ok(true);
        }
        let is_left_alone = self.store.remote().is_none_or(|remote| remote.is_left_alone());
        if is_left_alone || errands.asked.contains(&key) || self.store.lookup(&key)?.is_some() {
            return Ok(false);
        }
        errands.asked.insert(key);
        errands.open.insert(key, vec![request.clone()]);
        errands.send(Errand::Ask(key));
        Ok(true)
    }

    /// Sends for the table that a command reads, unless it is here; the command comes back, if it waits.
    pub fn fetches_for(&mut self, command: Command) -> Option<Command> {
        let needed = match &command {
            Command::Read(Table { content, file, .. }) => {
                MissingContent { content: content.clone(), file: Some(file.clone()).filter(|file| !file.is_empty()) }
            }
            Command::Labels(worklist) => MissingContent { content: worklist.clone(), file: None },
            _ => return Some(command),
        };
        let is_parked = self.parks(vec![needed], Waiter::Command(command));
        match is_parked {
            Ok(()) => None,
            Err(Waiter::Command(command)) => Some(command),
            Err(Waiter::Work(_)) => None,
        }
    }

    /// Sends for the inputs of an action, unless they are here; the work comes back, if it waits.
    pub fn fetches_inputs(&mut self, work: Work) -> Option<Work> {
        let inputs = match Action::read(&work.request.action.action) {
            Ok(action) if self.errands.is_some() => {
                let ours = |content: &Content| self.contents.values().any(|known| known == content);
                let placements = action.placements().into_iter().map(|(.., content)| content.clone());
                placements
                    .filter(|content| !ours(content))
                    .map(|content| MissingContent { content, file: None })
                    .collect()
            }
            _ => Vec::new(),
        };
        match self.parks(inputs, Waiter::Work(work)) {
            Ok(()) | Err(Waiter::Command(_)) => None,
            Err(Waiter::Work(work)) => Some(work),
        }
    }

    /// Lets something wait for the first content that is not here. `Err` gives it back: all is.
    fn parks(&mut self, needed: Vec<MissingContent>, parked: Waiter) -> Result<(), Waiter> {
        let Some(errands) = &mut self.errands else { return Err(parked) };
        let is_left_alone = self.store.remote().is_none_or(|remote| remote.is_left_alone());
        let missing =
            needed.into_iter().filter(|needed| !errands.tried.contains(needed) && !is_here(self.store, needed));
        let missing: Vec<MissingContent> = missing.collect();
        let Some(first) = missing.first().cloned().filter(|_| !is_left_alone) else { return Err(parked) };
        for needed in missing {
            if !errands.fetched.contains_key(&needed) {
                errands.fetched.insert(needed.clone(), Vec::new());
                errands.send(Errand::Fetch(needed));
            }
        }
        errands.fetched.entry(first).or_default().push(parked);
        Ok(())
    }

    /// Waits for the remote up to `patience`, and takes what came.
    pub fn reports(&self, patience: Duration) -> Vec<ErrandReport> {
        let Some(errands) = &self.errands else { return Vec::new() };
        let first = errands.reports.recv_timeout(patience);
        first.into_iter().chain(errands.reports.try_iter()).collect()
    }

    /// Carries on with what waited for the remote.
    pub fn hear(&mut self, reports: Vec<ErrandReport>, schedule: &mut Schedule) -> Result<Vec<Command>> {
        let mut commands = Vec::new();
        for report in reports {
            commands.extend(self.heard(report, schedule)?);
        }
        Ok(commands)
    }

    fn heard(&mut self, report: ErrandReport, schedule: &mut Schedule) -> Result<Vec<Command>> {
        let Some(errands) = &mut self.errands else { return Ok(Vec::new()) };
        match report {
            ErrandReport::Asked(key, answer) => {
                let waiting = errands.open.remove(&key).unwrap_or_default();
                let answer = answer?;
                let mut commands = Vec::new();
                for request in waiting {
                    if let Answer::Record(found) = &answer {
                        let (stage, part) = self.name(&request);
                        let from = self.found(&found.record.telemetry, found.absent.bytes);
                        self.tell(Event::Fetched { stage, part, key: key.to_string(), from: Box::new(from) })?;
                    }
                    match self.look_up(&request)? {
                        Some(news) => commands.extend(schedule.news(news)),
                        None if self.is_stopping => {}
                        None => self.pending.push_back(Work::new(request)),
                    }
                }
                Ok(commands)
            }
            ErrandReport::Fetched(needed) => {
                let mut commands = Vec::new();
                errands.tried.insert(needed.clone());
                for parked in errands.fetched.remove(&needed).unwrap_or_default() {
                    match parked {
                        Waiter::Command(command) => commands.push(command),
                        Waiter::Work(_) if self.is_stopping => {}
                        Waiter::Work(work) => self.pending.push_front(work),
                    }
                }
                Ok(commands)
            }
            ErrandReport::Pushed(key, pushed) => {
                let request = errands.pushed.remove(&key).flatten();
                match (pushed, request) {
                    (Err(_), _) => errands.failed_pushes += 1,
                    (Ok(Push::Different), Some(request)) => {
                        let other = "the remote has another result of it, which stays there; this one is used here";
                        self.note(&request, other.to_owned())?;
                    }
                    _ => {}
                }
                Ok(Vec::new())
            }
        }
    }

    fn found(&self, telemetry: &Value, bytes: u64) -> RemoteRecord {
        let text =
            |name: &str| telemetry.get(name).and_then(Value::as_str).map(|text| text.chars().take(200).collect());
        let remote = self.store.remote().map(|remote| remote.settings().address.to_string());
        RemoteRecord { remote: remote.unwrap_or_default(), host: text("host"), made: text("at"), bytes }
    }

    /// Whether the run may start over because content is lost: a few times, and whenever the remote did not have what it said.
    pub fn may_start_over(&self) -> bool {
        let lost = self.store.remote().map_or(0, |remote| remote.lost_count());
        (self.restarts as usize) < RESTARTS as usize + lost
    }

    /// Forgets what waits: the run starts over.
    pub fn forget_parked(&mut self) {
        if let Some(errands) = &mut self.errands {
            let unanswered: Vec<Digest> = errands.open.drain().map(|(key, _)| key).collect();
            errands.asked.retain(|key| !unanswered.contains(key));
            errands.fetched.clear();
        }
    }

    /// Enters a record that is about to be written as one to be pushed.
    pub fn owe(&self, key: &Digest) {
        if self.store.remote().is_some_and(|remote| remote.may_be_owed())
            && let Err(error) = self.store.owe(key)
        {
            tracing::warn!("a push may be forgotten if this run is killed: {error:#}");
        }
    }

    /// Pushes a record in the background.
    pub fn push(&mut self, key: Digest, request: Option<Request>) {
        let Some(errands) = &mut self.errands else { return };
        if errands.takes_nothing() {
            errands.failed_pushes += usize::from(self.store.remote().is_some_and(|remote| remote.may_be_owed()));
        } else if errands.pushed.insert(key, request).is_none() {
            errands.send(Errand::Push(key));
        }
    }

    /// Pushes what earlier runs were killed before, or what the remote did not take then.
    pub fn push_owed(&mut self) {
        if self.errands.as_ref().is_none_or(Errands::takes_nothing) {
            return;
        }
        match self.store.owed() {
            Ok(owed) => owed.into_iter().for_each(|key| self.push(key, None)),
            Err(error) => tracing::warn!("look for results to push: {error:#}"),
        }
    }

    /// Waits until everything is pushed, or the run is interrupted.
    pub fn finish_pushes(&mut self, schedule: &mut Schedule) -> Result<()> {
        let mut is_told = false;
        while let Some(left) = self.errands.as_ref().map(|errands| errands.pushed.len()).filter(|left| *left > 0) {
            if self.interrupt.load(std::sync::atomic::Ordering::Relaxed) {
                break;
            }
            if !std::mem::replace(&mut is_told, true) {
                tracing::info!("waits until the remote has {left} more results");
            }
            let reports = self.reports(PATIENCE);
            self.hear(reports, schedule)?;
        }
        let Some(errands) = &self.errands else { return Ok(()) };
        let left = errands.pushed.len() + errands.failed_pushes;
        if left > 0 {
            let results = if left == 1 { "a result is".to_owned() } else { format!("{left} results are") };
            tracing::warn!("{results} not in the remote yet; the next run or `pipeline cache push` completes it");
        }
        Ok(())
    }
}
