//! Around every request: its id, the headers that every answer carries, the log line, the metrics; and the place where
//! a [`Problem`] becomes an answer.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::error::Problem;
use crate::front::Front;
use crate::panics;
use crate::request_id::{self, RequestId, trace_id};
use crate::response;

/// What the log says of a request.
struct Asked {
    id: RequestId,
    method: Method,
    path: String,
    route: String,
    trace: Option<String>,
    began: Instant,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let headers: &HeaderMap = request.headers();
        Self {
            id: RequestId::from_headers(headers),
            method: request.method().clone(),
            // The path only: a query may hold what is nobody's business.
            path: request.uri().path().to_owned(),
            route: request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned(),
            trace: trace_id(headers).map(str::to_owned),
            began: Instant::now(),
        }
    }
}

pub(crate) async fn wrap(State(front): State<Front>, mut request: Request, next: Next) -> Response {
    let asked = Asked::of(&request);
    request.extensions_mut().insert(asked.id.clone());
    let in_flight = front.metrics().in_flight();
    let mut answer = panics::of_request(asked.id.clone(), next.run(request)).await;
    drop(in_flight);
    let problem = answer.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        answer = rendered(answer, problem, &asked);
    }
    let mut answer = answer.map(|body| panics::guard(asked.id.clone(), body));
    finish(&mut answer, &asked, &front);
    front.metrics().observe(&asked.route, &asked.method, answer.status(), asked.began.elapsed());
    log(&asked, answer.status(), problem.as_ref());
    answer
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
    let headers = answer.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&asked.id.0) {
        headers.insert(request_id::HEADER, id);
    }
    headers.insert(response::NODE, HeaderValue::from(front.node_id()));
    // Whatever was not read at some revision was answered at the one that this node has.
    if let Some(revision) = front.revision() {
        headers.entry(response::REVISION).or_insert_with(|| HeaderValue::from(revision));
    }
}

fn log(asked: &Asked, status: StatusCode, problem: Option<&Problem>) {
    let Asked { id, method, path, route, trace, began } = asked;
    let (id, trace, ms) = (&*id.0, trace.as_deref(), began.elapsed().as_secs_f64() * 1_000.0);
    let (status_code, code) = (status.as_u16(), problem.map(|problem| problem.code().name()));
    if status.is_server_error() {
        let (detail, cause) = (problem.map(Problem::detail), problem.and_then(Problem::cause));
        tracing::warn!(request_id = id, trace_id = trace, %method, path, route, status = status_code, ms, code, detail, cause, "request failed");
    } else {
        tracing::debug!(request_id = id, trace_id = trace, %method, path, route, status = status_code, ms, code, "request");
    }
}
