//! Around every request: its id, the headers that every answer carries, the log line, the metrics; and the place where
//! a [`Problem`] becomes an answer.

use std::cell::Cell;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use tower::ServiceExt;

use crate::compression::{self, Accepted};
use crate::error::Problem;
use crate::front::Front;
use crate::panics;
use crate::request_id::{self, RequestId, trace_id};
use crate::response;
use crate::shortcut::{self, Shortcut};

/// The routes, with what every request passes through. Cheap to clone.
///
/// Not layers of the router: it would box and copy each of them for every request, and some requests take no longer than that.
#[derive(Clone)]
pub struct Service {
    front: Front,
    routes: Router,
    shortcut: Option<Shortcut>,
}

impl Service {
    pub(crate) fn new(front: Front, routes: Router) -> Self {
        Self { front, routes, shortcut: None }
    }

    /// The same, with a short way to what is asked most.
    pub(crate) fn with(self, shortcut: Shortcut) -> Self {
        Self { shortcut: Some(shortcut), ..self }
    }

    /// Answers a request, whatever happens to it.
    pub async fn answer(&self, request: Request) -> Response {
        let asked = Asked::of(&request);
        let accepted = Accepted::of(request.headers());
        let in_flight = self.front.metrics().in_flight();
        let answering = panics::caught(panics::of_request(asked.id.clone(), self.led(request)));
        // Combinators, not blocks: each of those would have room for all of it twice, and all of it is moved once a request.
        let led = answering.map(|answer| (answer, ROUTE.with(Cell::take)));
        let (answer, route) = ROUTE.scope(Cell::default(), led).await;
        let mut answer =
            answer.unwrap_or_else(|panic| Problem::internal(format!("a handler panicked: {panic}")).into_response());
        drop(in_flight);
        let problem = answer.extensions_mut().remove::<Problem>();
        if let Some(problem) = &problem {
            answer = rendered(answer, problem, &asked);
        }
        let answer = compression::compressed(accepted, answer).await;
        let mut answer = answer.map(|body| panics::guard(asked.id.clone(), body));
        finish(&mut answer, &asked, &self.front);
        let (status, took) = (answer.status(), asked.began.elapsed());
        self.front.metrics().observe(&route, &asked.method, status, took);
        log(&asked, route.name(), status, took, problem.as_ref());
        answer
    }

    /// Leads a request to who answers it.
    async fn led(&self, request: Request) -> Response {
        let request = match &self.shortcut {
            Some(shortcut) => match shortcut.answer(request).await {
                Ok(answer) => return answer,
                Err(request) => request,
            },
            None => request,
        };
        match self.routes.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }
}

tokio::task_local! {
    /// The route that answers the request.
    static ROUTE: Cell<Route>;
}

/// The route that answers a request.
#[derive(Default)]
pub(crate) enum Route {
    /// None.
    #[default]
    Unmatched,
    /// The one to documents, by the short way.
    Document,
    /// Whichever the router found.
    Matched(MatchedPath),
}

impl Route {
    /// Its template, as figures and the log name it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Unmatched => "unmatched",
            Self::Document => shortcut::DOCUMENT,
            Self::Matched(path) => path.as_str(),
        }
    }
}

impl From<Option<MatchedPath>> for Route {
    fn from(path: Option<MatchedPath>) -> Self {
        path.map_or(Self::Unmatched, Self::Matched)
    }
}

/// Tells [`Service::answer`] which route answers: only who leads there knows.
pub(crate) fn answered_by(route: Route) {
    // Outside of it nobody asks.
    let _ = ROUTE.try_with(|known| known.set(route));
}

/// A layer for routes that have no other that says which they are.
pub(crate) async fn named(route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    answered_by(route.into());
    next.run(request).await
}

/// What the log says of a request.
struct Asked {
    id: RequestId,
    method: Method,
    uri: Uri,
    trace: Option<String>,
    began: Instant,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let headers: &HeaderMap = request.headers();
        Self {
            id: RequestId::from_headers(headers),
            method: request.method().clone(),
            uri: request.uri().clone(),
            trace: trace_id(headers).map(str::to_owned),
            began: Instant::now(),
        }
    }
}

/// The problem's own answer, with what the layers in between have added (CORS, `Allow`).
fn rendered(placeholder: Response, problem: &Problem, asked: &Asked) -> Response {
    let mut answer = problem.render(&asked.id.0);
    for (name, value) in placeholder.headers() {
        if name != http::header::CONTENT_LENGTH && !answer.headers().contains_key(name) {
            answer.headers_mut().append(name, value.clone());
        }
    }
    if asked.method == Method::HEAD {
        *answer.body_mut() = axum::body::Body::empty();
    }
    answer
}

fn finish(answer: &mut Response, asked: &Asked, front: &Front) {
    let not_modified = answer.status() == StatusCode::NOT_MODIFIED;
    let headers = answer.headers_mut();
    // What it may tell is the length of the document, not that of the empty body which is sent (RFC 9110, 8.6).
    if not_modified {
        headers.remove(http::header::CONTENT_LENGTH);
    }
    if let Ok(id) = HeaderValue::from_str(&asked.id.0) {
        headers.insert(request_id::HEADER, id);
    }
    headers.insert(response::NODE, front.node().clone());
    // Whatever was not read at some revision was answered at the one that this node has.
    if !headers.contains_key(response::REVISION)
        && let Some(revision) = front.revision()
    {
        headers.insert(response::REVISION, HeaderValue::from(revision));
    }
}

fn log(asked: &Asked, route: &str, status: StatusCode, took: Duration, problem: Option<&Problem>) {
    let Asked { id, method, uri, trace, began: _ } = asked;
    // The path only: a query may hold what is nobody's business.
    let (id, path, trace, ms) = (&*id.0, uri.path(), trace.as_deref(), took.as_secs_f64() * 1_000.0);
    let (status_code, code) = (status.as_u16(), problem.map(|problem| problem.code().name()));
    if status.is_server_error() {
        let (detail, cause) = (problem.map(Problem::detail), problem.and_then(Problem::cause));
        tracing::warn!(request_id = id, trace_id = trace, %method, path, route, status = status_code, ms, code, detail, cause, "request failed");
    } else {
        tracing::debug!(request_id = id, trace_id = trace, %method, path, route, status = status_code, ms, code, "request");
    }
}
