//! Pages that the program serves: where they listen, who may ask, and the thread that answers.

pub mod guard;

use super::options::language_of_environment;
use super::refusal::refused;
use super::terminal;
use crate::chapter::words::Language;
use anyhow::{Context, Result};
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use clap::Args;
use guard::{Guard, Peer};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

/// The most bytes that a request may bring.
const BODY: usize = 1 << 20;

/// Where a page is served, and to whom.
#[derive(Args, Clone, Debug)]
pub struct PageArguments {
    /// The port of the page; default: 7421 (that of a page for labels: 7422), or any that is free
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Answer other machines too, at this address of this one (`0.0.0.0`: at all): the page then asks for the token in the link
    /// that is printed; nothing is encrypted
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<IpAddr>,
    /// The language of the page: `ja` or `en`; default: that of LC_ALL, LC_MESSAGES or LANG
    #[arg(long, value_name = "LANGUAGE", value_parser = super::options::language())]
    pub lang: Option<Language>,
}

impl PageArguments {
    /// The language that was asked for, else that of the environment.
    pub fn language(&self) -> Language {
        self.lang.unwrap_or_else(language_of_environment)
    }

    /// Whether other machines are answered.
    pub fn is_open(&self) -> bool {
        self.listen.is_some_and(|address| !address.is_loopback())
    }
}

/// A page that is about to be served.
pub struct Site<'a> {
    /// The store whose token opens it.
    pub root: &'a Path,
    /// The scope of the invitations that it takes.
    pub scope: String,
    /// The port that is taken if nobody has it: a page that is open finds its server again after a restart.
    pub usual_port: u16,
    pub policy: String,
    /// The page that is opened first.
    pub first: &'a str,
    pub router: Router,
}

/// Answers in a thread of its own, for as long as the process lives, and returns the address that a person opens.
///
/// # Errors
/// The port is taken, or there is no such address.
pub fn serve(site: Site, page: &PageArguments) -> Result<String> {
    let address = page.listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let listener = listen(address, page.port, site.usual_port).map_err(|error| refused(format!("{error:#}")))?;
    let local = listener.local_addr().context("ask for the port")?;
    let token = if page.is_open() { Some(guard::token(site.root)?) } else { None };
    let link = link(local, site.first, token.as_deref());
    let policy = site.policy + "; frame-ancestors 'none'";
    let guarded = Arc::new(Guard { port: local.port(), token, scope: site.scope, policy });
    listener.set_nonblocking(true).context("serve the page")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("serve the page")?;
    let router = site
        .router
        .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is no such page\n") })
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(guarded, guard::guard));
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, router.into_make_service_with_connect_info::<Peer>()).await
    };
    let answer = move || {
        if let Err(error) = runtime.block_on(serve) {
            terminal::remark(&format!("the page ended: {error}\n"));
        }
    };
    std::thread::Builder::new().name("page".to_owned()).spawn(answer).context("serve the page")?;
    Ok(link)
}

/// Does what takes files and time beside the thread that answers.
pub async fn answered<A: IntoResponse + Send + 'static>(work: impl FnOnce() -> A + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Opens the port that is asked for; else the usual one, or any.
fn listen(address: IpAddr, port: Option<u16>, usual: u16) -> Result<TcpListener> {
    let open = |port: u16| TcpListener::bind(SocketAddr::new(address, port));
    match port {
        Some(port) => open(port).with_context(|| format!("listen at {address}, port {port}")),
        None => open(usual).or_else(|_| open(0)).with_context(|| format!("listen at {address}")),
    }
}

fn link(local: SocketAddr, first: &str, token: Option<&str>) -> String {
    let host = match local.ip() {
        ip if ip.is_unspecified() => cache::host().to_owned(),
        IpAddr::V6(ip) => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    let token = token.map_or_else(String::new, |token| format!("?token={token}"));
    format!("http://{host}:{}/{first}{token}", local.port())
}
