//! The pages on which people label: one for each stage that asks them, below the address of the run's page or on a site of their own.
//! The owner of the pages sees how far people are, and invites others; who was invited sees their own tasks alone.

mod desk;

use super::label::{self, LabelPlace};
use super::terminal;
use super::web::guard::{self, Visitor};
use super::web::{self, PageArguments, Site, answered};
use crate::chapter::labelling::{self as pages, PageOfLabels, owner};
use crate::chapter::words::Language;
use crate::labels::book::is_pseudonym;
use crate::labels::writer::UnfitLabel;
use anyhow::{Context, Result};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use desk::{Desk, LabelChoice, NotWritten, SecondChoice, Undoing, short_name};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The port, if no other is asked for and nobody has it.
const PORT: u16 = 7422;

/// The stages whose labels pages take.
pub struct Desks {
    place: Box<dyn Fn() -> Result<LabelPlace> + Send + Sync>,
    /// The pseudonym of the only person, if one was named.
    person: Option<String>,
    language: Language,
    /// The token of the store's pages, and the scope of invitations to these ones.
    token: String,
    scope: String,
    /// Whether other machines are answered, so that people can be invited.
    invites: bool,
    session: String,
    open: Mutex<BTreeMap<String, Arc<Mutex<Desk>>>>,
}

/// Serves the page of one stage until Ctrl-C.
///
/// # Errors
/// As [`label::open`]; or the port is taken.
pub fn serve(place: LabelPlace, stage: &str, person: Option<String>, page: &PageArguments) -> Result<u8> {
    person.as_deref().map_or(Ok(()), label::check_person)?;
    let root = place.store.clone();
    let scope = scope(&place.file)?;
    let desks = Desks::new(&root, &scope, person, page, move || Ok(place.clone()))?;
    desks.desk(stage)?;
    let first = format!("label/{stage}/");
    let home = format!("/{first}");
    let router = router(desks).route("/", get(move || async move { Redirect::to(&home) }));
    let policy = pages::policy();
    let site = Site { root: &root, scope, usual_port: PORT, policy, first: &first, router };
    let link = web::serve(site, page)?;
    terminal::remark(&format!("page for labels: {link}\n"));
    loop {
        std::thread::park();
    }
}

/// The scope of what is given out for a pipeline file: an invitation, and what a browser keeps.
pub fn scope(file: &std::path::Path) -> Result<String> {
    let file = std::path::absolute(file).with_context(|| format!("find {}", file.display()))?;
    Ok(file.to_string_lossy().into_owned())
}

/// The requests of the pages of all stages.
pub fn router(desks: Arc<Desks>) -> Router {
    Router::new()
        .route("/label/{stage}/", get(page))
        .route("/label/{stage}/tasks", get(tasks))
        .route("/label/{stage}/take", post(take))
        .route("/label/{stage}/second", post(take_second))
        .route("/label/{stage}/undo", post(undo))
        .route("/label/{stage}/owner", get(owner_page))
        .route("/label/{stage}/overview", get(overview))
        .route("/label/{stage}/invitation", get(invitation))
        .with_state(desks)
}

impl Desks {
    /// `place` tells where the labels are, whenever a stage is opened.
    pub fn new(
        root: &std::path::Path,
        scope: &str,
        person: Option<String>,
        page: &PageArguments,
        place: impl Fn() -> Result<LabelPlace> + Send + Sync + 'static,
    ) -> Result<Arc<Desks>> {
        Ok(Arc::new(Desks {
            place: Box::new(place),
            person,
            language: page.language(),
            // Kept, so that what a page chose before a restart is still understood.
            token: guard::token(root)?,
            scope: scope.to_owned(),
            invites: page.is_open(),
            session: label::session(),
            open: Mutex::default(),
        }))
    }

    /// The desk of a stage, opened when it is first asked for.
    fn desk(&self, stage: &str) -> Result<Arc<Mutex<Desk>>> {
        if let Some(known) = lock(&self.open).get(stage) {
            return Ok(Arc::clone(known));
        }
        self.open(stage)
    }

    /// The desk of the worklist that the stage has now.
    fn open(&self, stage: &str) -> Result<Arc<Mutex<Desk>>> {
        let (book, floors) = label::open(&(self.place)()?, stage, &self.session)?;
        let mut open = lock(&self.open);
        let is_same = |desk: &Arc<Mutex<Desk>>| lock(desk).book.worklist.digest == book.worklist.digest;
        if let Some(known) = open.get(stage).filter(|known| is_same(known)) {
            return Ok(Arc::clone(known));
        }
        let desk = Arc::new(Mutex::new(Desk::new(book, floors, self.secret())));
        open.insert(stage.to_owned(), Arc::clone(&desk));
        Ok(desk)
    }

    /// Takes up the worklist that a stage has now.
    ///
    /// # Errors
    /// As [`label::open`].
    pub fn renew(&self, stage: &str) -> Result<()> {
        self.open(stage).map(drop)
    }

    /// The number of labels of a stage, if they are enough.
    ///
    /// # Errors
    /// Its worklist is not made yet, or a file is damaged.
    pub fn enough(&self, stage: &str) -> Result<Option<usize>> {
        let desk = self.desk(stage)?;
        let mut desk = lock(&desk);
        desk.book.refresh()?;
        Ok(desk.book.count().is_enough().then(|| desk.book.labels().len()))
    }

    fn secret(&self) -> [u8; 32] {
        blake3::derive_key("pipeline: names of labelling tasks", self.token.as_bytes())
    }

    /// Refuses a name that the visitor has no right to.
    fn admits(&self, visitor: &Visitor, person: &str) -> Result<(), ForeignRequest> {
        let only = visitor.invited().or(self.person.as_deref());
        if only.is_none_or(|only| only == person) { Ok(()) } else { Err(ForeignRequest) }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // What panicked wrote a whole line or none.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

type PageVisit = (Path<String>, State<Arc<Desks>>, Extension<Visitor>);

/// Does the work of a request beside the thread that answers.
async fn does(work: impl FnOnce() -> Result<Response> + Send + 'static) -> Response {
    answered(move || work().unwrap_or_else(|error| refusal(&error))).await
}

async fn page((Path(stage), State(desks), Extension(visitor)): PageVisit) -> Response {
    does(move || {
        // A page that is loaded again is that of the worklist as it is now.
        let desk = desks.open(&stage)?;
        let (place, desk) = ((desks.place)()?, lock(&desk));
        let queue = short_name(&desks.secret(), &scope(&place.file)?);
        let person = visitor.invited().or(desks.person.as_deref());
        let is_owner = visitor == Visitor::Owner;
        let page = PageOfLabels { stage: &stage, person, queue, is_owner };
        Ok(Html(pages::page(&page, &desk.book.worklist.asked, desks.language)).into_response())
    })
    .await
}

#[derive(Deserialize)]
struct Asking {
    #[serde(rename = "as")]
    person: String,
}

async fn tasks((Path(stage), State(desks), Extension(visitor)): PageVisit, Query(asking): Query<Asking>) -> Response {
    does(move || {
        desks.admits(&visitor, &asking.person)?;
        let given = lock(&*desks.desk(&stage)?).next(&asking.person, Instant::now())?;
        Ok(Json(given).into_response())
    })
    .await
}

async fn take((Path(stage), State(desks), Extension(visitor)): PageVisit, Json(choice): Json<LabelChoice>) -> Response {
    does(move || {
        desks.admits(&visitor, &choice.person)?;
        Ok(match lock(&*desks.desk(&stage)?).take(choice)? {
            Some(suggestion) => Json(suggestion).into_response(),
            None => StatusCode::NO_CONTENT.into_response(),
        })
    })
    .await
}

async fn take_second(
    (Path(stage), State(desks), Extension(visitor)): PageVisit,
    Json(choice): Json<SecondChoice>,
) -> Response {
    does(move || {
        desks.admits(&visitor, &choice.person)?;
        lock(&*desks.desk(&stage)?).take_second(choice)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

async fn undo((Path(stage), State(desks), Extension(visitor)): PageVisit, Json(undoing): Json<Undoing>) -> Response {
    does(move || {
        desks.admits(&visitor, &undoing.person)?;
        lock(&*desks.desk(&stage)?).undo(undoing)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// The owner's page is for nobody who was invited: it tells what makes one doubt the others.
fn is_owner(visitor: &Visitor) -> Result<(), ForeignRequest> {
    match visitor {
        Visitor::Owner => Ok(()),
        Visitor::Invited { .. } => Err(ForeignRequest),
    }
}

/// A request in the name of another person, or for what is the owner's alone.
#[derive(Debug)]
struct ForeignRequest;

impl fmt::Display for ForeignRequest {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str("it was asked in the name of somebody else")
    }
}

impl std::error::Error for ForeignRequest {}

async fn owner_page((Path(stage), State(desks), Extension(visitor)): PageVisit) -> Response {
    does(move || {
        is_owner(&visitor)?;
        let overview = lock(&*desks.open(&stage)?).overview()?;
        Ok(Html(owner::page(&stage, &overview, desks.invites, desks.language)).into_response())
    })
    .await
}

async fn overview((Path(stage), State(desks), Extension(visitor)): PageVisit) -> Response {
    does(move || {
        is_owner(&visitor)?;
        let overview = lock(&*desks.desk(&stage)?).overview()?;
        Ok(Html(owner::overview(&stage, &overview, desks.language)).into_response())
    })
    .await
}

/// The end of the link of a person, after the address of the page.
async fn invitation(
    (Path(stage), State(desks), Extension(visitor)): PageVisit,
    Query(asking): Query<Asking>,
) -> Response {
    does(move || {
        is_owner(&visitor)?;
        if !is_pseudonym(&asking.person) || !desks.invites {
            return Err(UnfitLabel(format!("`{}` cannot be invited", asking.person)).into());
        }
        let invited = Visitor::Invited { stage, person: asking.person };
        Ok(format!("?token={}", guard::invitation(&desks.token, &desks.scope, &invited)).into_response())
    })
    .await
}

/// The page says in its own words what has happened; the terminal says why, since the message may tell of this machine.
fn refusal(error: &anyhow::Error) -> Response {
    terminal::remark(&format!("a request of the page was refused: {error:#}\n"));
    let status = if error.is::<UnfitLabel>() {
        // It will never be taken; everything else may be, later.
        StatusCode::UNPROCESSABLE_ENTITY
    } else if error.is::<ForeignRequest>() {
        StatusCode::FORBIDDEN
    } else if error.is::<NotWritten>() {
        StatusCode::INSUFFICIENT_STORAGE
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    status.into_response()
}
