//! `ui` and `run --ui`: the page of a run while it goes on. A thread follows the run ([`feed`]); another one answers browsers
//! ([`server`]).

mod feed;
mod posts;
mod server;
mod state;
pub mod stop;

use super::find;
use super::gates;
use super::options::{StoreArgument, language_of_environment};
use super::refusal::refused;
use super::terminal;
use super::web::{self, PageArguments, Site};
use crate::chapter::live;
use crate::progress;
use anyhow::Result;
use clap::Args;
use feed::RunNews;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stop::Stop;

/// The port, if no other is asked for and nobody has it.
const PORT: u16 = 7421;

/// The interval at which a run that waits for people looks whether one has decided.
const TICK: Duration = Duration::from_millis(100);

/// A page that is served.
pub struct LivePage {
    /// Set when a person has decided something on it.
    decided: Arc<AtomicBool>,
}

/// The page beside a run.
#[derive(Args, Clone, Debug)]
pub struct RunPageArguments {
    /// Show the run on a page in the browser while it goes on, as `pipeline ui` does; the page stays until Ctrl-C, and a
    /// decision on it goes on with the run
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
    let router = server::router(feed, Arc::clone(&decided));
    let site = Site { root: &site_root, usual_port: PORT, policy: live::policy(), router };
    terminal::remark(&format!("live page: {}\n", web::serve(site, page)?));
    Ok(LivePage { decided })
}

impl LivePage {
    /// Waits until a person has decided something on the page, and returns whether that was so: else Ctrl-C came.
    pub fn wait_for_decision(&self, is_interrupted: &AtomicBool) -> bool {
        while !is_interrupted.load(Ordering::SeqCst) {
            if self.decided.swap(false, Ordering::SeqCst) {
                return true;
            }
            std::thread::sleep(TICK);
        }
        false
    }
}
