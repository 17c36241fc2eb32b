//! What a node answers until it takes part in its cluster: that it lives, why it does not serve yet, and its figures.
//! Everything else is told to try again.

use std::sync::Arc;

use aerodb_raft::Starting;
use axum::extract::{FromRef, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router, middleware};

use crate::context::{self, Service};
use crate::error::{Code, Problem};
use crate::front::Front;
use crate::health::answer;
use crate::openapi::Rendered;
use crate::router::around;
use crate::{metrics, openapi};

#[derive(Clone)]
struct Waiting {
    front: Front,
    starting: Starting,
}

impl FromRef<Waiting> for Front {
    fn from_ref(waiting: &Waiting) -> Self {
        waiting.front.clone()
    }
}

impl Waiting {
    fn reason(&self) -> Arc<str> {
        if self.front.shutdown().is_cancelled() {
            return "the node is shutting down".into();
        }
        self.starting.text()
    }
}

/// The API of a node that is still starting.
pub fn starting(front: Front, starting: Starting) -> Service {
    let routes = Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(not_yet))
        .route("/health/startup", get(not_yet))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::show).layer(Extension(Rendered::of(&front.options().version))))
        .route_layer(middleware::from_fn(context::named))
        .fallback(try_again)
        .method_not_allowed_fallback(try_again);
    around(routes, front.clone(), Waiting { front, starting })
}

async fn live() -> Result<Response, Problem> {
    answer(true, "")
}

async fn not_yet(State(waiting): State<Waiting>) -> Result<Response, Problem> {
    answer(false, &waiting.reason())
}

async fn try_again(State(waiting): State<Waiting>) -> Problem {
    Problem::new(Code::Starting, format!("the node is starting: {}", waiting.reason()))
}
