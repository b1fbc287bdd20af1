//! `ui` and `run --ui`: the page of a run while it goes on. A thread follows the run ([`feed`]); another one answers browsers
//! ([`server`]).

mod feed;
mod posts;
mod server;
mod state;
pub mod stop;

use super::find::{self, StoredRun};
use super::gates;
use super::label::LabelPlace;
use super::labelling::{self, Desks};
use super::options::{StoreArgument, language_of_environment};
use super::refusal::refused;
use super::terminal;
use super::web::{self, PageArguments, Site};
use crate::chapter::live;
use crate::event::{Outcome, WaitReason};
use crate::{ledger, progress};
use anyhow::{Context, Result};
use clap::Args;
use feed::RunNews;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stop::Stop;

/// The port, if no other is asked for and nobody has it.
const PORT: u16 = 7421;

/// The interval at which a run that waits for people looks whether one has decided.
const TICK: Duration = Duration::from_millis(100);

/// The interval at which it looks whether people have made the labels that a stage waits for.
const LABEL_TICK: Duration = Duration::from_secs(1);

/// A page that is served.
pub struct LivePage {
    /// Set when a person has decided something on it.
    decided: Arc<AtomicBool>,
    feed: Arc<RunNews>,
    desks: Arc<Desks>,
    /// The labels of each stage with which the run went on.
    taken: BTreeMap<String, usize>,
}

/// The page beside a run.
#[derive(Args, Clone, Debug)]
pub struct RunPageArguments {
    /// Show the run on a page in the browser while it goes on, as `pipeline ui` does; the page stays until Ctrl-C, and the run
    /// goes on when somebody has decided, or labelled enough
    #[arg(long)]
    pub ui: bool,
    #[command(flatten)]
    pub page: DecisionPageArguments,
}

/// The page of the newest run.
#[derive(Args)]
pub struct UiArguments {
    /// The pipeline file; default: that of the most recent run in this directory or below it
    file: Option<PathBuf>,
    #[command(flatten)]
    page: DecisionPageArguments,
    #[command(flatten)]
    store: StoreArgument,
}

/// A page on which people decide.
#[derive(Args, Clone, Debug)]
pub struct DecisionPageArguments {
    #[command(flatten)]
    page: PageArguments,
    /// The name under which decisions are written; default: GIT_AUTHOR_NAME, or the user's name
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// Serves the page of the newest run of the file until Ctrl-C.
pub fn ui(arguments: &UiArguments) -> Result<u8> {
    let UiArguments { file, page, store } = arguments;
    let file = file.as_deref();
    progress::log_errors_only(terminal::stderr_has_color());
    let root = match file {
        Some(file) if !files::is_file(file)? => {
            return Err(refused(format!("read {}: there is no such file", file.display())));
        }
        Some(file) => store.beside(file),
        None => find::run(Path::new("."), find::RunQuery { store: store.chosen(), ..find::RunQuery::default() })?.root,
    };
    serve(file, root, Stop::Elsewhere, page)?;
    loop {
        std::thread::park();
    }
}

/// Starts to serve the page of the newest run in the store; the process ends when its own work does.
pub fn serve(file: Option<&Path>, root: PathBuf, stop: Stop, page: &DecisionPageArguments) -> Result<LivePage> {
    let DecisionPageArguments { page, by } = page;
    let language = page.lang.unwrap_or_else(language_of_environment);
    let person = gates::who(by.clone()).unwrap_or_default();
    let site_root = root.clone();
    let feed = RunNews::start(file, root, stop, feed::PageReader { language, person })?;
    let decided = Arc::new(AtomicBool::new(false));
    let of_run = Arc::clone(&feed);
    let scope = labelling::scope(file.unwrap_or(&site_root))?;
    let desks = Desks::new(&site_root, &scope, None, page, move || label_place(&of_run))?;
    let router = server::router(Arc::clone(&feed), Arc::clone(&decided)).merge(labelling::router(Arc::clone(&desks)));
    let site = Site { root: &site_root, scope, usual_port: PORT, policy: live::policy(), first: "", router };
    terminal::remark(&format!("live page: {}\n", web::serve(site, page)?));
    Ok(LivePage { decided, feed, desks, taken: BTreeMap::new() })
}

impl LivePage {
    /// Waits until a person has decided something on the page, or people have made the labels that a stage waits for, and
    /// returns whether that was so: else Ctrl-C came.
    pub fn wait_for_people(&mut self, is_interrupted: &AtomicBool) -> bool {
        let waiting = waiting(&self.feed);
        for error in waiting.iter().filter_map(|stage| self.desks.renew(stage).err()) {
            terminal::remark(&format!("the page for labels: {error:#}\n"));
        }
        let mut looked: Option<Instant> = None;
        while !is_interrupted.load(Ordering::SeqCst) {
            if self.decided.swap(false, Ordering::SeqCst) {
                return true;
            }
            if looked.is_none_or(|looked| looked.elapsed() >= LABEL_TICK) {
                if waiting.iter().any(|stage| self.has_enough(stage)) {
                    return true;
                }
                looked = Some(Instant::now());
            }
            std::thread::sleep(TICK);
        }
        false
    }

    /// Whether a stage has all its labels, and more than when the run last went on with them.
    fn has_enough(&mut self, stage: &str) -> bool {
        let Ok(Some(done)) = self.desks.enough(stage) else { return false };
        let before = self.taken.insert(stage.to_owned(), done);
        before.is_none_or(|before| before < done)
    }
}

/// The stages of the newest run that wait for labels.
fn waiting(feed: &RunNews) -> Vec<String> {
    let found = find::run(Path::new("."), feed.query());
    let stages = found.map(|found| found.run.stages).unwrap_or_default();
    let waits =
        stages.into_iter().filter(|stage| matches!(stage.outcome, Some(Outcome::Waits { on: WaitReason::Labels, .. })));
    waits.map(|stage| stage.head.name.clone()).collect()
}

/// The pipeline of the newest run, as it was run.
fn label_place(feed: &RunNews) -> Result<LabelPlace> {
    let StoredRun { file, root, run, .. } = find::run(Path::new("."), feed.query())?;
    let file = file.context("find the pipeline file of the run")?;
    let looks = Some(ledger::file::folder(&file));
    Ok(LabelPlace { file, overrides: run.overrides, store: root, looks })
}
