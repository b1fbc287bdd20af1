//! Errands to a remote, which threads of their own run: questions, files that are fetched, records that are pushed. They know
//! nothing of a run but what it gives them to keep meanwhile.

use anyhow::Result;
use cache::{Answer, Content, Digest, Push, Store};
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
    pub content: Content,
    pub file: Option<String>,
}

/// Something to be done at the remote.
pub enum Errand {
    Ask(Digest),
    Fetch(MissingContent),
    Push(Digest),
}

/// The end of an errand.
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

/// The errands of a run to its remote: `A` asks, `W` waits.
pub struct Errands<A, W> {
    store: Store,
    asking: Porters,
    pushing: Porters,
    report: Sender<ErrandReport>,
    reports: Receiver<ErrandReport>,
    /// The keys that were asked about, whatever was answered.
    pub asked: BTreeSet<Digest>,
    /// Those that no answer came about yet, and who asks.
    pub open: HashMap<Digest, Vec<A>>,
    /// The content that was sent for, and who needs it.
    pub fetched: HashMap<MissingContent, Vec<W>>,
    /// The content that was sent for before: it is here, or cannot be had.
    pub tried: HashSet<MissingContent>,
    /// The keys of which a push is on its way, with what asked for them.
    pub pushed: HashMap<Digest, Option<A>>,
    pub failed_pushes: usize,
    /// The keys whose records are the remote's, as people were told.
    pub found: BTreeSet<Digest>,
}

impl<A, W> Errands<A, W> {
    /// `None` without a remote.
    pub fn new(store: &Store) -> Option<Errands<A, W>> {
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
            found: BTreeSet::new(),
        })
    }

    /// Whether the schedule may hear something from the remote.
    pub fn is_awaited(&self) -> bool {
        !self.open.is_empty() || !self.fetched.is_empty()
    }

    /// Waits up to `patience`, and takes what came.
    pub fn reports(&self, patience: Duration) -> Vec<ErrandReport> {
        let first = self.reports.recv_timeout(patience);
        first.into_iter().chain(self.reports.try_iter()).collect()
    }

    pub fn send(&mut self, errand: Errand) {
        let porters = if matches!(errand, Errand::Push(_)) { &mut self.pushing } else { &mut self.asking };
        let queue = porters.queue.get_or_insert_with(|| start(porters.count, &self.store, &self.report));
        // Without a thread nothing would be heard: then it is done here.
        if let Err(errand) = queue.send(errand) {
            let _ = self.report.send(carry_out(&self.store, errand.0));
        }
    }

    pub fn takes_nothing(&self) -> bool {
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
pub fn is_here(store: &Store, MissingContent { content, file }: &MissingContent) -> bool {
    match file {
        None => store.has(content),
        Some(file) => store.file(content, file).is_ok_and(|file| store.has(&file)),
    }
}
