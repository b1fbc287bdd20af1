//! `label --ui`: the server of the page on which people label. A choice is answered when it is on the disk. Nothing that it
//! sends says who wrote an answer; a task is named by a hash that only this store can make.

use super::label::{self, LabelArguments};
use super::terminal;
use super::web::{self, Site, answered};
use crate::chapter::labelling::{self as pages, PageOfLabels};
use crate::chapter::words::Language;
use crate::labels;
use crate::labels::book::{LabelBook, SaidLabel, is_pseudonym};
use anyhow::{Context, Result, bail};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use stages::people::form::Form;
use stages::people::label::{Judgement, LabelEntry, Withdrawal};
use stages::people::progress::LabelCount;
use stages::people::sitting::Task;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The port, if no other is asked for and nobody has it.
const PORT: u16 = 7422;

/// The tasks that a page is given at once.
const AHEAD: usize = 8;

/// The time after which an item that somebody was shown, and did not judge, is shown to others.
const LEASE: Duration = Duration::from_mins(10);

/// The most times that an item is shown to one person.
const ROUNDS: u32 = 2;

/// The labels of a stage on their way from pages to the disk.
struct Desk {
    stage: String,
    /// The pseudonym of the only person, if one was named.
    person: Option<String>,
    language: Language,
    queue: String,
    secret: [u8; 32],
    book: LabelBook,
    /// By item: who was shown it, and when.
    leases: BTreeMap<usize, (String, Instant)>,
    /// The tasks that were handed out, by their names.
    handed: HashMap<String, (usize, u32)>,
}

type DeskState = Arc<Mutex<Desk>>;

/// Serves the page until Ctrl-C.
///
/// # Errors
/// As [`label::open`]; or the port is taken.
pub fn serve(arguments: &LabelArguments) -> Result<u8> {
    let LabelArguments { asked, stage, person, page, .. } = arguments;
    if let Some(person) = person.as_ref().filter(|person| !is_pseudonym(person)) {
        return Err(super::refusal::refused(format!(
            "`{person}` is no pseudonym: letters, digits, `_` and `.`, at most 40"
        )));
    }
    let (book, _) = label::open(asked, stage, &label::session())?;
    let root = asked.store.beside(&asked.file);
    let language = page.lang.unwrap_or_else(super::options::language_of_environment);
    // Kept, so that what a page chose before a restart is still understood.
    let secret = blake3::derive_key("pipeline: names of labelling tasks", web::guard::token(&root)?.as_bytes());
    let file = std::path::absolute(&asked.file).with_context(|| format!("find {}", asked.file.display()))?;
    let queue = short_name(&secret, &file.to_string_lossy());
    let person = person.clone();
    let (leases, handed) = (BTreeMap::new(), HashMap::new());
    let desk = Desk { stage: stage.to_owned(), person, language, queue, secret, book, leases, handed };
    let router = Router::new()
        .route("/", get(page_of))
        .route("/tasks", get(tasks))
        .route("/label", post(take))
        .route("/undo", post(undo))
        .with_state(Arc::new(Mutex::new(desk)));
    let link = web::serve(Site { root: &root, usual_port: PORT, policy: pages::policy(), router }, page)?;
    terminal::remark(&format!("page for labels: {link}\n"));
    loop {
        std::thread::park();
    }
}

fn lock(desk: &DeskState) -> MutexGuard<'_, Desk> {
    // What panicked wrote a whole line or none.
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn page_of(State(desk): State<DeskState>) -> Html<String> {
    let desk = lock(&desk);
    let (stage, person, queue) = (&*desk.stage, desk.person.as_deref(), desk.queue.clone());
    Html(pages::page(&PageOfLabels { stage, person, queue }, &desk.book.worklist.asked, desk.language))
}

#[derive(Deserialize)]
struct Asking {
    #[serde(rename = "as")]
    person: String,
}

/// A task as a page gets it.
#[derive(Serialize)]
struct GivenTask {
    task: String,
    order: Vec<usize>,
    prompt: String,
    answers: Vec<String>,
    /// The answers as they are, where they are edited.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    texts: Vec<String>,
}

#[derive(Serialize)]
struct TaskBatch {
    done: usize,
    needed: usize,
    own: usize,
    tasks: Vec<GivenTask>,
}

async fn tasks(State(desk): State<DeskState>, Query(Asking { person }): Query<Asking>) -> Response {
    answered(move || match lock(&desk).next(&person, Instant::now()) {
        Ok(given) => Json(given).into_response(),
        Err(error) => refused(&error),
    })
    .await
}

/// A choice as a page sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelChoice {
    person: String,
    task: String,
    order: Vec<usize>,
    judgement: Judgement,
    seconds: f64,
    client: String,
    note: Option<String>,
}

async fn take(State(desk): State<DeskState>, Json(choice): Json<LabelChoice>) -> Response {
    answered(move || acknowledged(lock(&desk).take(choice))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Undoing {
    person: String,
    of: String,
    client: String,
}

async fn undo(State(desk): State<DeskState>, Json(Undoing { person, of, client }): Json<Undoing>) -> Response {
    let withdrawal = Withdrawal { of, by: person, at: labels::now(), client };
    answered(move || acknowledged(lock(&desk).write(LabelEntry::Withdrawal(withdrawal)))).await
}

fn acknowledged(written: Result<()>) -> Response {
    match written {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refused(&error),
    }
}

/// The page says in its own words what has happened; the terminal says why, since the message may tell of this machine.
fn refused(error: &anyhow::Error) -> Response {
    terminal::remark(&format!("a request of the page was refused: {error:#}\n"));
    let is_of_disk = error.chain().any(|cause| cause.is::<std::io::Error>());
    let status = if is_of_disk { StatusCode::INSUFFICIENT_STORAGE } else { StatusCode::UNPROCESSABLE_ENTITY };
    status.into_response()
}

/// A name that tells nothing of what it stands for, and that only this store can make.
fn short_name(secret: &[u8; 32], of: &str) -> String {
    blake3::keyed_hash(secret, of.as_bytes()).to_hex()[..24].to_owned()
}

impl Desk {
    /// The next tasks of a person, which are theirs for a while.
    fn next(&mut self, person: &str, at: Instant) -> Result<TaskBatch> {
        self.check(person)?;
        self.book.refresh()?;
        self.leases.retain(|_, (_, since)| at.duration_since(*since) < LEASE);
        let of_others = self.leases.iter().filter(|(_, (by, _))| by != person);
        let taken: BTreeSet<usize> = of_others.map(|(item, _)| *item).collect();
        let next = self.book.next_tasks(person, &taken, AHEAD);
        let tasks = next.into_iter().map(|task| self.give(person, task, at)).collect();
        let LabelCount { done, needed } = self.book.count();
        let own = self.book.count_of(person);
        Ok(TaskBatch { done, needed, own, tasks })
    }

    fn give(&mut self, person: &str, Task { item, round, order }: Task, at: Instant) -> GivenTask {
        self.leases.insert(item, (person.to_owned(), at));
        let task = self.name(person, item, round);
        self.handed.insert(task.clone(), (item, round));
        let shown = &self.book.worklist.items[item];
        let texts: Vec<String> = order.iter().map(|place| shown.answers[*place].clone()).collect();
        let answers = texts.iter().map(|text| pages::answer(text)).collect();
        let texts = if self.book.worklist.asked.form == Form::Edit { texts } else { Vec::new() };
        GivenTask { task, order, prompt: pages::prompt(&shown.prompt), answers, texts }
    }

    /// The name of a task.
    fn name(&self, person: &str, item: usize, round: u32) -> String {
        let item = &self.book.worklist.items[item].digest;
        short_name(&self.secret, &format!("{person}\n{item}\n{round}"))
    }

    /// The task of a name: one that was handed out, by this process or by one before it.
    fn task(&self, person: &str, name: &str) -> Option<(usize, u32)> {
        let is_theirs = |(item, round): &(usize, u32)| self.name(person, *item, *round) == name;
        self.handed.get(name).copied().filter(is_theirs).or_else(|| {
            let rounds =
                (0..self.book.worklist.items.len()).flat_map(|item| (0..ROUNDS).map(move |round| (item, round)));
            rounds.into_iter().find(is_theirs)
        })
    }

    fn take(&mut self, choice: LabelChoice) -> Result<()> {
        let LabelChoice { person, task, order, judgement, seconds, client, note } = choice;
        self.check(&person)?;
        let Some((item, round)) = self.task(&person, &task) else { bail!("there is no such task in the worklist") };
        let said = SaidLabel { by: person, judgement, seconds, client, note };
        let label = self.book.label(Task { item, round, order }, said);
        self.write(LabelEntry::Label(label))?;
        self.leases.remove(&item);
        Ok(())
    }

    fn write(&mut self, entry: LabelEntry) -> Result<()> {
        self.check(entry.by())?;
        self.book.refresh()?;
        self.book.write(entry).context("take a label")?;
        Ok(())
    }

    fn check(&self, person: &str) -> Result<()> {
        if !is_pseudonym(person) || self.person.as_ref().is_some_and(|only| only != person) {
            bail!("`{person}` is not a pseudonym of this page");
        }
        Ok(())
    }
}
