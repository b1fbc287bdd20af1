//! `label`: the labels of a stage that asks people: how far they are, whether the files are whole, and later ones taken
//! in.

use super::check::understand;
use super::configuration;
use super::exchange::{self, LabelsForm};
use super::gates::who;
use super::options::FileArguments;
use super::refusal::refused;
use super::terminal;
use super::web::PageArguments;
use crate::action::Record;
use crate::event::Event;
use crate::gate::Rule;
use crate::labels;
use crate::labels::book::{LabelBook, LabelProgress, Outlook, SaidLabel, is_pseudonym};
use crate::labels::folder::LabelFolder;
use crate::plan::{Plan, selection};
use crate::report::format::duration;
use crate::run::labelled::read_worklist;
use crate::{approvals, progress, run};
use anyhow::{Context, Result};
use cache::{Digest, Store};
use clap::Args;
use formats::dialogue::Prompt;
use serde::{Deserialize, Serialize};
use stages::people::criteria::Sheet;
use stages::people::form::Form;
use stages::people::label::{Judgement, LabelEntry};
use stages::people::measure::fallen_apart;
use stages::people::sitting::Task;
use stages::stage::Work;
use std::collections::BTreeSet;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Args)]
pub struct LabelArguments {
    #[command(flatten)]
    pub asked: FileArguments,
    /// The name of the stage
    pub stage: String,
    /// Check that every label file is as it was written, and name the line of one that is not
    #[arg(long, conflicts_with = "adopt")]
    pub verify: bool,
    /// Take in the labels that came after enough were there; until then they change nothing
    #[arg(long)]
    pub adopt: bool,
    /// The person who adopts; default: GIT_AUTHOR_NAME, else USER
    #[arg(long, value_name = "NAME", requires = "adopt")]
    pub by: Option<String>,
    /// Print what would be shown to a person, and read `{"judgement": …}` from stdin, one JSON object a line: for programs
    #[arg(long, requires = "person", conflicts_with_all = ["adopt", "verify"])]
    pub json: bool,
    /// Take judgements out of a file of rows: pairs, rankings, or an export of Argilla or Label Studio, in any form that data
    /// has; those of items of the worklist become labels
    #[arg(long, value_name = "FILE", requires = "person", conflicts_with_all = ["adopt", "verify", "json"])]
    pub import: Option<PathBuf>,
    /// Write the labels that count for other tools: `pairs`, `rankings` (which keep ties) and `kto` as JSON Lines, `csv` as a table for
    /// Excel, with everything but notes
    #[arg(long, value_name = "FORM", requires = "to", conflicts_with_all = ["adopt", "verify", "json", "import", "ui", "terminal"])]
    pub export: Option<LabelsForm>,
    /// The file of `--export`
    #[arg(long, value_name = "FILE", requires = "export")]
    pub to: Option<PathBuf>,
    /// The pseudonym of the person who labels
    #[arg(long = "as", value_name = "NAME", id = "person")]
    pub person: Option<String>,
    /// Serve a page on which people label; without `--as` each types a pseudonym
    #[arg(long, conflicts_with_all = ["adopt", "verify", "json"])]
    pub ui: bool,
    /// Ask the person of `--as` in this terminal, by the keys of the page
    #[arg(long, requires = "person", conflicts_with_all = ["adopt", "verify", "json", "import", "ui"])]
    pub terminal: bool,
    #[command(flatten)]
    pub page: PageArguments,
}

/// A request about the labels of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LabelRequest<'a> {
    /// Telling how many there are.
    Progress,
    /// Checking that every file is as it was written.
    Verify,
    /// Labelling by a program, in the name of this person: tasks go out, judgements come in, each a JSON object a line.
    Converse(&'a str),
    /// Taking judgements out of a file of rows, in the name of this person.
    Import(&'a Path, &'a str),
    /// Writing those that count to a file.
    Export(LabelsForm, &'a Path),
    /// Taking in those that came after the close, by this person.
    Adopt(Option<&'a str>),
}

pub fn label(arguments: &LabelArguments) -> Result<u8> {
    let LabelArguments { asked, stage, verify, adopt, by, json, import, export, to, person, .. } = arguments;
    let name = person.as_deref().unwrap_or_default();
    let request = match (verify, adopt) {
        _ if *json => LabelRequest::Converse(name),
        _ if let Some(file) = import => LabelRequest::Import(file, name),
        _ if let (Some(form), Some(file)) = (export, to) => LabelRequest::Export(*form, file),
        (true, _) => LabelRequest::Verify,
        (_, true) => LabelRequest::Adopt(by.as_deref()),
        _ => LabelRequest::Progress,
    };
    progress::log_only(terminal::stderr_has_color());
    let folder = labels::folder(&asked.file);
    if request == LabelRequest::Verify {
        let found = LabelFolder::read(&folder).map_err(|error| refused(format!("{error:#}")))?;
        let lines: usize = found.files.values().map(|file| file.lines.len()).sum();
        let notes: String = found.notes().iter().map(|note| format!("note: {note}\n")).collect();
        terminal::remark(&notes);
        let files = found.files.len();
        terminal::say(&format!("{}: {files} files with {lines} lines, every chain is whole\n", folder.display()))?;
        return Ok(0);
    }
    let (mut book, floors) = open(&LabelPlace::of(asked), stage, &session())?;
    if let LabelRequest::Converse(by) = request {
        return converse(&mut book, by);
    }
    if let LabelRequest::Import(file, by) = request {
        return exchange::import(&mut book, file, by);
    }
    if let LabelRequest::Export(form, file) = request {
        return exchange::export(&book, form, file);
    }
    if let LabelRequest::Adopt(by) = request {
        let by = who(by.map(str::to_owned))?;
        let said = match book.adopt(&by, labels::now())? {
            true => format!("adopted; `pipeline run {}` goes on with them\n", asked.file.display()),
            false => "there are no later labels to adopt\n".to_owned(),
        };
        terminal::say(&said)?;
        return Ok(0);
    }
    let settling = floors.iter().filter_map(|(rule, metric, bound)| settles(&book, rule, metric, *bound));
    terminal::say(&(told(stage, &book.progress()?) + &settling.collect::<String>()))?;
    Ok(0)
}

/// A line about a rule that asks for confidence of people.
fn settles(book: &LabelBook, rule: &str, metric: &str, bound: f64) -> Option<String> {
    let Outlook { share, items, more } = book.outlook(metric, bound)?;
    let more = match more {
        Some(0) => "that is enough for".to_owned(),
        Some(more) => format!("{more} more would settle"),
        None => "no number of labels would settle".to_owned(),
    };
    Some(format!("  {metric} {share:.2} of {items}; {more} `{rule}`\n"))
}

fn told(stage: &str, progress: &LabelProgress) -> String {
    let LabelProgress { count, people, is_closed, later, disconnected, of_other_sheets } = progress;
    let closed = if *is_closed { ", closed" } else { "" };
    let later = if *later > 0 { format!("; {later} later ones wait for `--adopt`") } else { String::new() };
    let mut said = format!("{stage}: {} of {} labels{closed}{later}\n", count.done, count.needed);
    for person in people {
        let doubts: String = person.doubts.iter().map(|doubt| format!("; {doubt}")).collect();
        said += &format!("  {}: {} labels, {} each{doubts}\n", person.by, person.labels, duration(person.seconds));
    }
    let notes = fallen_apart(*disconnected).into_iter().chain(of_other_sheets.iter().cloned());
    said + &notes.map(|note| format!("  {note}\n")).collect::<String>()
}

/// A task as a program is shown it: blind, as a page shows it to a person.
#[derive(Serialize)]
struct ShownTask<'a> {
    form: Form,
    prompt: &'a Prompt,
    answers: Vec<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    criteria: Option<&'a Sheet>,
}

/// The answer of a program. Answers are named by the places in which they were shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramAnswer {
    judgement: Judgement,
    /// The time that it took; default: that until it was read.
    seconds: Option<f64>,
    note: Option<String>,
}

/// The most bytes of an answer.
const MOST: u64 = 4 << 20;

fn converse(book: &mut LabelBook, by: &str) -> Result<u8> {
    let mut answers = std::io::stdin().lock();
    let nobody = BTreeSet::new();
    for number in 1_u64.. {
        book.refresh()?;
        let Some(Task { item, round, order }) = book.next_tasks(by, &nobody, 1).pop() else { break };
        let shown = &book.worklist.items[item];
        let (form, criteria) = (book.worklist.asked.form, book.worklist.asked.criteria.as_ref());
        let answers_shown = order.iter().map(|place| &shown.answers[*place]).collect();
        let task = ShownTask { form, prompt: &shown.prompt, answers: answers_shown, criteria };
        let began = Instant::now();
        terminal::say_json(&(serde_json::to_string(&task).context("write a task")? + "\n"))?;
        let mut line = String::new();
        answers.by_ref().take(MOST).read_line(&mut line).context("read an answer")?;
        if line.is_empty() {
            break;
        }
        let said: ProgramAnswer =
            serde_json::from_str(&line).map_err(|error| refused(format!("read answer {number}: {error}")))?;
        let seconds = said.seconds.unwrap_or_else(|| began.elapsed().as_secs_f64());
        let (by, client) = (by.to_owned(), format!("{by}-{}-{number}", book.session()));
        let said = SaidLabel { by, judgement: said.judgement, seconds, client, note: said.note };
        let label = book.label(Task { item, round, order }, said);
        book.write(LabelEntry::Label(label)).map_err(|error| refused(format!("{error:#}")))?;
    }
    Ok(0)
}

/// Refuses a name that is no pseudonym.
///
/// # Errors
/// It is none.
pub fn check_person(person: &str) -> Result<()> {
    if is_pseudonym(person) {
        return Ok(());
    }
    Err(refused(format!("`{person}` is no pseudonym: letters, digits, `_` and `.`, at most 40")))
}

/// The part of the name of a label file that no other process has.
pub fn session() -> String {
    format!("{}_{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S"), std::process::id())
}

/// A pipeline whose stages ask people.
#[derive(Clone)]
pub struct LabelPlace {
    pub file: PathBuf,
    pub overrides: Vec<String>,
    pub store: PathBuf,
    pub looks: Option<PathBuf>,
}

impl LabelPlace {
    pub fn of(asked: &FileArguments) -> LabelPlace {
        let (overrides, store) = (asked.changes.all(), asked.store.beside(&asked.file));
        LabelPlace { file: asked.file.clone(), overrides, store, looks: asked.looks() }
    }
}

/// The labels of a stage, as a page or a terminal works with them. Its worklist has been made by a run.
///
/// # Errors
/// The file has mistakes, the stage asks nobody, its worklist is not made yet, or a label file is damaged.
pub fn open(place: &LabelPlace, stage: &str, session: &str) -> Result<(LabelBook, Vec<Floor>)> {
    let LabelPlace { file, overrides, store: root, looks } = place;
    let plan = understand(file, overrides, None)?;
    let Some(found) = plan.stages.iter().find(|one| one.name == stage) else {
        let names = asking(&plan);
        return Err(refused(format!("there is no stage `{stage}`{names}")));
    };
    let Work::Ask(actions) = found.kind.work else {
        return Err(refused(format!("`{stage}` (kind `{}`) asks nobody{}", found.kind.name, asking(&plan))));
    };
    let remote = configuration::open(&plan.settings)?;
    let options = run::Options {
        file: file.clone(),
        overrides: overrides.clone(),
        store: root.clone(),
        decisions: approvals::decisions(&approvals::read(&approvals::path(file))?),
        looks: looks.clone(),
        labels: labels::folder(file),
        foretells: false,
        remote: remote.clone(),
    };
    let mut key = None;
    let everything = selection::select(&plan, &selection::Filter::default()).map_err(refused)?;
    run::look(&plan, &everything, &options, &mut |event| match event {
        Event::Hit { stage: of, part: Some(part), key: found, .. }
            if of == stage && part.kind == actions.worklist.name =>
        {
            key = Some(found.clone());
        }
        _ => {}
    })?;
    let first = || refused(format!("the worklist of `{stage}` is not made yet: `pipeline run {}`", file.display()));
    let key: Digest = key.ok_or_else(first)?.parse()?;
    // A worklist that the look found in the remote is known to this remote alone.
    let store = match remote {
        Some(remote) => Store::open(root)?.with_remote(remote),
        None => Store::open(root)?,
    };
    let record = store.result::<Record>(&key)?.context("read the worklist: it was there a moment ago")?.checked()?;
    let worklist = read_worklist(&store, &record.last().content)?;
    let book = LabelBook::open(&labels::folder(file), worklist, session);
    let rules = found.gate.iter().flat_map(|gate| &gate.require);
    let floor = |rule: &Rule| rule.floor().map(|(metric, bound)| (rule.text.clone(), metric.to_owned(), bound));
    Ok((book.map_err(|error| refused(format!("{error:#}")))?, rules.filter_map(floor).collect()))
}

/// A rule of the stage's gate, the metric that it surely wants above a number, and that number.
pub type Floor = (String, String, f64);

/// The stages that ask people, as the end of a sentence.
fn asking(plan: &Plan) -> String {
    let asks = plan.stages.iter().filter(|stage| matches!(stage.kind.work, Work::Ask(_)));
    let names: Vec<&str> = asks.map(|stage| stage.name.as_str()).collect();
    if names.is_empty() {
        "; no stage of the file is of kind `label`".to_owned()
    } else {
        format!("; there are: {}", names.join(", "))
    }
}
