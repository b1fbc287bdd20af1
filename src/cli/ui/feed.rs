//! Follows the newest run of a pipeline, and has the sections of its page ready. The sections of the report are made by what
//! makes the report, of the same facts; they are made anew only when something in them can have changed, and seldom enough that
//! the run does not feel it.

use super::super::find::{self, RunQuery};
use super::super::report::facts_of;
use super::super::terminal;
use super::stop::{Stop, tell_interrupted};
use crate::approvals;
use crate::chapter::facts::Facts;
use crate::chapter::live::{self, LiveFacts, Stopping, WorkNow};
use crate::chapter::page::Section;
use crate::chapter::words::Language;
use crate::journal;
use crate::live::{Live, follow};
use crate::report::fold::{ActionState, RunFold, RunState};
use anyhow::{Context, Result};
use cache::Digest;
use rustix::process::{Signal, kill_process};
use serde_json::json;
use stages::work;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The interval at which the journal is looked at, and that at which a newer run is looked for.
const TICK: Duration = Duration::from_millis(100);
const SEARCH: Duration = Duration::from_secs(1);

/// The rest after the sections were made, in times of what that took: after an event of the run, and after points of a curve.
/// The second bounds what watching costs a stage that trains to less than a hundredth of a core.
const REST: u32 = 4;
const LONG_REST: u32 = 150;

/// The time between two looks at what is at work: each is sent to every reader.
const WORK_TICK: Duration = Duration::from_millis(300);

/// The end of a log that is shown.
const LOG_LINES: usize = 12;
const LOG_BYTES: u64 = 4096;

/// The person before the page.
pub struct PageReader {
    pub language: Language,
    /// The name under which decisions are written, unless another is typed.
    pub person: String,
}

pub struct RunNews {
    file: Option<PathBuf>,
    root: PathBuf,
    stop: Stop,
    reader: PageReader,
    /// The runs that were told to stop from a page.
    told: Mutex<BTreeSet<String>>,
    news: watch::Sender<Arc<PageSnapshot>>,
}

/// The page at one moment.
#[derive(Debug)]
pub struct PageSnapshot {
    /// The bytes of the journal that it tells.
    pub position: u64,
    pipeline: String,
    sections: Vec<Section>,
    contents: String,
    digests: Vec<(&'static str, String)>,
    language: Language,
}

impl RunNews {
    /// Begins to follow, in a thread of its own.
    pub fn start(file: Option<&Path>, root: PathBuf, stop: Stop, reader: PageReader) -> Result<Arc<RunNews>> {
        let (news, _) = watch::channel(Arc::new(PageSnapshot::of("", Vec::new(), 0, reader.language)));
        let file = file.map(Path::to_owned);
        let feed = Arc::new(RunNews { file, root, stop, reader, told: Mutex::default(), news });
        let own = Arc::clone(&feed);
        let watch = move || FollowThread::default().run(&own);
        std::thread::Builder::new().name("feed".to_owned()).spawn(watch).context("follow the run")?;
        Ok(feed)
    }

    pub fn now(&self) -> Arc<PageSnapshot> {
        Arc::clone(&self.news.borrow())
    }

    pub fn follow(&self) -> watch::Receiver<Arc<PageSnapshot>> {
        self.news.subscribe()
    }

    pub fn language(&self) -> Language {
        self.reader.language
    }

    pub fn stop(&self) -> Stop {
        self.stop
    }

    /// The runs among which the newest is shown.
    pub fn query(&self) -> RunQuery<'_> {
        RunQuery {
            file: self.file.as_deref(),
            store: Some(self.root.clone()),
            tells_damage: true,
            ..RunQuery::default()
        }
    }

    /// Tells a run to stop, once; false where there is nothing to tell.
    pub fn stop_run(&self, name: &str) -> bool {
        let Ok(found) = find::run(Path::new("."), RunQuery { run: Some(name), ..self.query() }) else { return false };
        if found.run.name != name || !found.is_alive || found.run.finish.is_some() {
            return false;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.contains(name) {
            return false;
        }
        let is_told = match self.stop {
            Stop::Here(flag) => {
                let is_first = !flag.swap(true, Ordering::SeqCst);
                if is_first {
                    tell_interrupted();
                }
                is_first
            }
            Stop::Elsewhere => {
                journal::writer(&found.journal).is_some_and(|process| kill_process(process, Signal::INT).is_ok())
            }
        };
        if is_told {
            told.insert(name.to_owned());
        }
        is_told
    }

    /// Whether the process of a run can be told to stop.
    fn reaches(&self, journal: &Path) -> bool {
        matches!(self.stop, Stop::Here(_)) || journal::writer(journal).is_some()
    }

    fn is_stopping(&self, run: &str) -> bool {
        let is_set = matches!(self.stop, Stop::Here(flag) if flag.load(Ordering::SeqCst));
        is_set || self.told.lock().unwrap_or_else(PoisonError::into_inner).contains(run)
    }

    /// The file of people's decisions on the pipeline of a run.
    fn approvals(&self, run: &RunState) -> PathBuf {
        let file = self.file.clone().unwrap_or_else(|| {
            let name = Path::new(&run.file).file_name().map(PathBuf::from).unwrap_or_default();
            self.root.with_file_name(name)
        });
        approvals::path(&file)
    }
}

impl PageSnapshot {
    fn of(pipeline: &str, sections: Vec<Section>, position: u64, language: Language) -> PageSnapshot {
        let contents = live::contents_of(&sections, language);
        let digest = |text: &str| Digest::of(text.as_bytes()).short();
        let digests = std::iter::once(("contents", digest(&contents)));
        let digests = digests.chain(sections.iter().map(|section| (section.name, digest(&section.html)))).collect();
        let pipeline = pipeline.to_owned();
        PageSnapshot { position, pipeline, sections, contents, digests, language }
    }

    pub fn page(&self) -> String {
        live::page(&self.pipeline, &self.sections, &self.state(), self.language)
    }

    /// A section, or the list of them, by its name.
    pub fn fragment(&self, name: &str) -> Option<String> {
        match name {
            "contents" => Some(self.contents.clone()),
            name => self.sections.iter().find(|section| section.name == name).map(|section| section.html.clone()),
        }
    }

    /// The names of the sections in their order, each with the digest of its text.
    pub fn state(&self) -> String {
        json!({ "sections": self.digests }).to_string()
    }
}

/// The thread that follows.
#[derive(Default)]
struct FollowThread {
    searched: Option<Instant>,
    journals: Vec<PathBuf>,
    followed: Option<RunPage>,
    last_error: String,
}

/// A run that is followed.
struct RunPage {
    journal: PathBuf,
    name: String,
    live: Live,
    fold: RunFold,
    goes_on: bool,
    /// Whether its process was found, so that it can be told to stop.
    is_within_reach: bool,
    facts: LiveFacts,
    report: Vec<Section>,
    /// The lengths of what the sections were made of.
    seen: SourceLengths,
    /// The length of the file of decisions, to which lines are only added.
    decided: u64,
    made: Instant,
    cost: Duration,
    /// When what is at work was last looked at.
    looked: Option<Instant>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct SourceLengths {
    journal: u64,
    goes_on: bool,
    curves: BTreeMap<PathBuf, u64>,
}

impl FollowThread {
    fn run(mut self, feed: &RunNews) {
        loop {
            if let Err(error) = self.step(feed) {
                let message = format!("{error:#}");
                if message != self.last_error {
                    terminal::remark(&format!("the live page: {message}\n"));
                    self.last_error = message;
                }
            }
            std::thread::sleep(TICK);
        }
    }

    fn step(&mut self, feed: &RunNews) -> Result<()> {
        if self.searched.is_none_or(|searched| searched.elapsed() >= SEARCH) {
            self.searched = Some(Instant::now());
            self.search(feed)?;
        }
        let Some(followed) = &mut self.followed else { return Ok(()) };
        if followed.look(feed)? {
            let sections = followed.sections(feed.language());
            let pipeline = &followed.facts.facts.run.pipeline;
            let fresh = PageSnapshot::of(pipeline, sections, followed.seen.journal, feed.language());
            feed.news.send_if_modified(|last| {
                let is_news = last.digests != fresh.digests;
                if is_news {
                    *last = Arc::new(fresh);
                }
                is_news
            });
        }
        Ok(())
    }

    /// Looks for a run that is newer than the one that is followed.
    fn search(&mut self, feed: &RunNews) -> Result<()> {
        let journals = journal::all(&feed.root)?;
        if journals == self.journals {
            return Ok(());
        }
        let found = find::run(Path::new("."), feed.query()).ok();
        // A run that has only begun has no event yet, perhaps not even its lock, and is looked for again.
        let newest = journals.last().filter(|newest| found.as_ref().is_none_or(|found| found.journal != **newest));
        let is_unread = |newest: &PathBuf| journal::read(newest).map_or(true, |events| events.is_empty());
        if !newest.is_some_and(is_unread) {
            self.journals = journals;
        }
        let Some(found) = found else { return Ok(()) };
        if self.followed.as_ref().is_none_or(|followed| followed.journal != found.journal) {
            self.followed = Some(RunPage::begin(feed, found));
        }
        Ok(())
    }
}

impl RunPage {
    /// The first look makes the sections.
    fn begin(feed: &RunNews, found: find::StoredRun) -> RunPage {
        let (journal, name, live) = (found.journal.clone(), found.run.name.clone(), follow(&found.journal));
        let facts = LiveFacts {
            facts: Facts::of(found.run, found.is_alive),
            work: Vec::new(),
            approvals: Vec::new(),
            person: feed.reader.person.clone(),
            stopping: Stopping::Impossible,
        };
        RunPage {
            journal,
            name,
            live,
            fold: RunFold::default(),
            goes_on: true,
            is_within_reach: false,
            facts,
            report: Vec::new(),
            seen: SourceLengths::default(),
            decided: 0,
            made: Instant::now(),
            cost: Duration::ZERO,
            looked: None,
        }
    }

    /// Looks at what has changed; true where the page may be another one.
    fn look(&mut self, feed: &RunNews) -> Result<bool> {
        let (events, goes_on) = self.live.events()?;
        events.iter().for_each(|event| self.fold.add(event));
        self.goes_on = goes_on;
        let now = self.seen_now();
        let is_rested = |times: u32| self.made.elapsed() >= self.cost * times;
        let has_grown_alone = SourceLengths { curves: self.seen.curves.clone(), ..now.clone() } == self.seen;
        let is_due = now != self.seen && is_rested(if has_grown_alone { LONG_REST } else { REST });
        if is_due {
            let started = Instant::now();
            let found = find::run(Path::new("."), RunQuery { run: Some(&self.name), ..feed.query() })?;
            self.facts.facts = facts_of(found, false);
            self.report = live::report_sections(&self.facts.facts, feed.language());
            (self.cost, self.made, self.seen) = (started.elapsed(), Instant::now(), now);
        }
        if !is_due && self.looked.is_some_and(|looked| looked.elapsed() < WORK_TICK) {
            return Ok(false);
        }
        self.looked = Some(Instant::now());
        let work = self.fold.run.as_ref().filter(|_| goes_on).map(at_work).unwrap_or_default();
        self.is_within_reach |= goes_on && feed.reaches(&self.journal);
        let stopping = match goes_on && self.is_within_reach {
            true if feed.is_stopping(&self.name) => Stopping::UnderWay,
            true => Stopping::Possible,
            false => Stopping::Impossible,
        };
        let path = feed.approvals(&self.facts.facts.run);
        let decided = length(&path);
        let is_same = work == self.facts.work && stopping == self.facts.stopping && decided == self.decided;
        if decided != self.decided {
            (self.facts.approvals, self.decided) = (approvals::read(&path)?, decided);
        }
        (self.facts.work, self.facts.stopping) = (work, stopping);
        Ok(is_due || !is_same || feed.now().sections.is_empty())
    }

    fn seen_now(&self) -> SourceLengths {
        let logs = self.fold.run.iter().flat_map(running).map(|(.., log)| Path::new(log).with_file_name(work::CURVE));
        let curves = logs.map(|path| (path.clone(), length(&path))).collect();
        SourceLengths { journal: length(&self.journal), goes_on: self.goes_on, curves }
    }

    /// The verdict first, then what is live, then the rest of the report.
    fn sections(&self, language: Language) -> Vec<Section> {
        let mut sections = self.report.clone();
        let at = sections.len().min(1);
        sections.splice(at..at, live::live_sections(&self.facts, language));
        sections
    }
}

/// The length of a file that grows; 0 where there is none.
fn length(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.len())
}

/// The actions of a run that are at work: the stage, the part, and the log.
fn running(run: &RunState) -> impl Iterator<Item = (&str, Option<String>, &ActionState, &str)> {
    let actions = run.stages.iter().flat_map(|stage| stage.actions.iter().map(|action| (&*stage.head.name, action)));
    actions.filter_map(|(stage, action)| match &action.state {
        ActionState::Running { log, .. } => {
            Some((stage, action.part.as_ref().map(ToString::to_string), &action.state, log.as_str()))
        }
        _ => None,
    })
}

fn at_work(run: &RunState) -> Vec<WorkNow> {
    let shown = |(stage, part, state, log): (&str, Option<String>, &ActionState, &str)| {
        let ActionState::Running { done, total, message, .. } = state else { return None };
        let (stage, message) = (stage.to_owned(), message.clone());
        Some(WorkNow { stage, part, done: *done, total: *total, message, log: end_of(Path::new(log)) })
    };
    running(run).filter_map(shown).collect()
}

/// The last lines of a log; empty where there is none yet.
fn end_of(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let (mut file, metadata) = files::inside(log)?;
        file.seek(SeekFrom::Start(metadata.len().saturating_sub(LOG_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // It is only shown: one that cannot be read now can be a moment later.
    let text = read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;
    use crate::report::sample::run_started;

    #[test]
    fn a_run_that_has_only_begun_is_looked_for_again() {
        let place = tempfile::tempdir().unwrap();
        let (news, _) = watch::channel(Arc::new(PageSnapshot::of("", Vec::new(), 0, Language::English)));
        let reader = PageReader { language: Language::English, person: String::new() };
        let (root, told) = (place.path().to_owned(), Mutex::default());
        let feed = RunNews { file: None, root, stop: Stop::Elsewhere, reader, told, news };
        let begin = |at: &str| Journal::create(place.path(), "rlhf", at.parse().unwrap()).unwrap();
        let mut first = begin("2026-11-30T01:00:00Z");
        first.append(&run_started(&[("sft", "sft")])).unwrap();
        first.flush().unwrap();
        let mut thread = FollowThread::default();
        let mut followed = |feed: &RunNews| {
            thread.search(feed).unwrap();
            thread.followed.as_ref().map(|run| run.journal.parent().unwrap().file_name().unwrap().to_owned())
        };
        assert_eq!(followed(&feed).unwrap(), first.run().as_str());
        let mut second = begin("2026-11-30T02:00:00Z");
        assert_eq!(followed(&feed).unwrap(), first.run().as_str());
        second.append(&run_started(&[("sft", "sft")])).unwrap();
        second.flush().unwrap();
        assert_eq!(followed(&feed).unwrap(), second.run().as_str());
    }
}
