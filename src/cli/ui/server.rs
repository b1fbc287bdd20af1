//! The requests of browsers and their answers. Nothing is computed here: the feed has the sections ready.

use super::super::web::answered;
use super::super::web::guard::Peer;
use super::feed::{PageSnapshot, RunNews};
use super::posts;
use super::state::PageState;
use crate::chapter::live::is_section;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream::{self, Stream};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// The time after which a browser asks again for a stream that has ended.
const RETRY: Duration = Duration::from_millis(1000);

/// The requests that a page makes.
pub fn router(feed: Arc<RunNews>, decided: Arc<AtomicBool>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/fragment/{name}", get(fragment))
        .route("/state", get(state))
        .route("/events", get(events))
        .route("/decide", post(decide))
        .route("/stop", post(stop))
        .with_state(PageState { feed, decided })
}

async fn page(State(shared): State<PageState>) -> Html<String> {
    Html(shared.feed.now().page())
}

async fn fragment(State(shared): State<PageState>, Path(name): Path<String>) -> Response {
    match shared.feed.now().fragment(&name) {
        Some(html) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        // The state that named it may be older than the page.
        None if is_section(&name) => StatusCode::NO_CONTENT.into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such section\n").into_response(),
    }
}

async fn state(State(shared): State<PageState>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], shared.feed.now().state()).into_response()
}

/// The state now, and again whenever it changes. A browser that comes back after a loss gets the whole state first, so nothing
/// that it has missed matters.
async fn events(State(shared): State<PageState>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let news: Receiver<Arc<PageSnapshot>> = shared.feed.follow();
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
    State(shared): State<PageState>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(asked): Json<posts::PageDecision>,
) -> Response {
    answered(move || posts::decide(&shared, &asked, peer.address)).await
}

async fn stop(State(shared): State<PageState>, Json(asked): Json<posts::Halt>) -> Response {
    answered(move || posts::stop(&shared, &asked)).await
}
