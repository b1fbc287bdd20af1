//! `ui` and `run --ui`: the page of a run while it goes on. A thread follows the run ([`feed`]); another one answers browsers
//! ([`server`]), of which it asks first who they are ([`guard`]).

mod feed;
mod guard;
mod posts;
mod server;

use super::find;
use super::gates;
use super::options::{StoreArgument, language_of_environment};
use super::refusal::refused;
use super::terminal;
use crate::chapter::words::Language;
use crate::progress;
use anyhow::{Context, Result};
use clap::Args;
use feed::Feed;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The port, if no other is asked for and nobody has it: a page that is open finds the server again after a restart.
const PORT: u16 = 7421;

/// The interval at which a run that waits for people looks whether one has decided.
const TICK: Duration = Duration::from_millis(100);

#[derive(Args, Clone, Debug)]
pub struct PageArguments {
    /// The port of the page; default: 7421, or any that is free
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Answer other machines too, at this address of this one (`0.0.0.0`: at all): the page then asks for the token in the link
    /// that is printed; nothing is encrypted
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<IpAddr>,
    /// The name under which decisions are written; default: GIT_AUTHOR_NAME, or the user's name
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// The language of the page: `ja` or `en`; default: that of LC_ALL, LC_MESSAGES or LANG
    #[arg(long, value_name = "LANGUAGE", value_parser = super::options::language())]
    lang: Option<Language>,
}

/// A page that is served.
pub struct LivePage {
    /// Set when a person has decided something on it.
    decided: Arc<AtomicBool>,
}

/// How a run is told to stop.
#[derive(Clone, Copy)]
pub enum Stop {
    /// It is in this process: the flag that Ctrl-C sets.
    Here(&'static AtomicBool),
    /// It is in another one, which gets a signal.
    Elsewhere,
}

/// Serves the page of the newest run of the file until Ctrl-C.
pub fn ui(file: Option<&Path>, store: &StoreArgument, page: &PageArguments) -> Result<u8> {
    progress::log_errors_only(terminal::stderr_has_color());
    let root = match file {
        Some(file) if !file.is_file() => {
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
pub fn serve(file: Option<&Path>, root: PathBuf, stop: Stop, page: &PageArguments) -> Result<LivePage> {
    let address = page.listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let listener = listen(address, page.port).map_err(|error| refused(format!("{error:#}")))?;
    let local = listener.local_addr().context("ask for the port")?;
    let token = if address.is_loopback() { None } else { Some(guard::token(&root)?) };
    let language = page.lang.unwrap_or_else(language_of_environment);
    let person = gates::who(page.by.clone()).unwrap_or_default();
    let feed = Feed::start(file, root, stop, feed::Reader { language, person })?;
    let decided = Arc::new(AtomicBool::new(false));
    let guard = guard::Guard { port: local.port(), token: token.clone() };
    server::start(listener, guard, feed, Arc::clone(&decided))?;
    terminal::remark(&format!("live page: {}\n", link(local, token.as_deref())));
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

/// Opens the port that is asked for; else the usual one, or any.
fn listen(address: IpAddr, port: Option<u16>) -> Result<TcpListener> {
    let open = |port: u16| TcpListener::bind(SocketAddr::new(address, port));
    match port {
        Some(port) => open(port).with_context(|| format!("listen at {address}, port {port}")),
        None => open(PORT).or_else(|_| open(0)).with_context(|| format!("listen at {address}")),
    }
}

/// The address that a person opens.
fn link(local: SocketAddr, token: Option<&str>) -> String {
    let host = match local.ip() {
        ip if ip.is_unspecified() => cache::host().to_owned(),
        IpAddr::V6(ip) => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    let token = token.map_or_else(String::new, |token| format!("?token={token}"));
    format!("http://{host}:{}/{token}", local.port())
}
