//! What browsers ask for, and what they get. Nothing is computed here: the feed has the sections ready.

use super::feed::{Feed, Snapshot};
use super::guard::{Guard, guard};
use super::posts;
use crate::chapter::live::is_section;
use anyhow::{Context, Result};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use futures_util::stream::{self, Stream};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// The most bytes that a request may bring.
const BODY: usize = 1 << 20;

/// The time after which a browser asks again for a stream that has ended.
const RETRY: Duration = Duration::from_millis(1000);

#[derive(Clone)]
pub struct Shared {
    pub feed: Arc<Feed>,
    /// Set when a person has decided.
    pub decided: Arc<AtomicBool>,
}

/// Answers in a thread of its own, for as long as the process lives.
pub fn start(listener: TcpListener, guarded: Guard, feed: Arc<Feed>, decided: Arc<AtomicBool>) -> Result<()> {
    listener.set_nonblocking(true).context("serve the page")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("serve the page")?;
    let router = Router::new()
        .route("/", get(page))
        .route("/fragment/{name}", get(fragment))
        .route("/state", get(state))
        .route("/events", get(events))
        .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
        .route("/decide", post(decide))
        .route("/stop", post(stop))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is no such page\n") })
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(Arc::new(guarded), guard))
        .with_state(Shared { feed, decided });
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await
    };
    let answer = move || {
        if let Err(error) = runtime.block_on(serve) {
            super::terminal::remark(&format!("the live page ended: {error}\n"));
        }
    };
    std::thread::Builder::new().name("page".to_owned()).spawn(answer).context("serve the page")?;
    Ok(())
}

async fn page(State(shared): State<Shared>) -> Html<String> {
    Html(shared.feed.now().page())
}

async fn fragment(State(shared): State<Shared>, Path(name): Path<String>) -> Response {
    match shared.feed.now().fragment(&name) {
        Some(html) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        // The state that named it may be older than the page.
        None if is_section(&name) => StatusCode::NO_CONTENT.into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such section\n").into_response(),
    }
}

async fn state(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], shared.feed.now().state()).into_response()
}

/// The state now, and again whenever it changes. A browser that comes back after a loss gets the whole state first, so nothing
/// that it has missed matters.
async fn events(State(shared): State<Shared>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let news: Receiver<Arc<Snapshot>> = shared.feed.follow();
    let states = stream::unfold((news, true), |(mut news, is_first)| async move {
        if !is_first && news.changed().await.is_err() {
            return None;
        }
        let snapshot = Arc::clone(&news.borrow_and_update());
        let event = Event::default().id(snapshot.position.to_string()).retry(RETRY).data(snapshot.state());
        Some((Ok(event), (news, false)))
    });
    Sse::new(states).keep_alive(KeepAlive::default())
}

async fn decide(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Json(asked): Json<posts::Decision>,
) -> Response {
    answered(move || posts::decide(&shared, &asked, peer)).await
}

async fn stop(State(shared): State<Shared>, Json(asked): Json<posts::Halt>) -> Response {
    answered(move || posts::stop(&shared, &asked)).await
}

/// Does what takes files and time beside the thread that answers.
async fn answered(work: impl FnOnce() -> (StatusCode, String) + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
