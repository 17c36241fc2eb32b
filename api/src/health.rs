//! Health: for whoever starts, stops and routes to this node. No key is needed and nothing is said that needs one.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Problem;
use crate::response::serialized;
use crate::state::ApiState;

/// How a node is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok` or `failing`.
    status: &'static str,
    /// Why it is failing; empty when it is not.
    reason: String,
}

pub(crate) fn answer(ok: bool, reason: &str) -> Result<Response, Problem> {
    let (code, status, reason) = match ok {
        true => (StatusCode::OK, "ok", ""),
        false => (StatusCode::SERVICE_UNAVAILABLE, "failing", reason),
    };
    let mut response = serialized(code, &Health { status, reason: reason.to_owned() })?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !ok {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}

/// Whether the process works at all; if not, restart it.
#[utoipa::path(
    get, path = "/health/live", tag = "operations", operation_id = "healthLive", security(()),
    responses((status = 200, body = Health, description = "It works"), (status = 503, body = Health, description = "It does not"))
)]
pub(crate) async fn live(State(state): State<ApiState>) -> Result<Response, Problem> {
    let readiness = state.handle().readiness();
    answer(readiness.live, &readiness.reason)
}

/// Whether the node can serve requests now; if not, send them elsewhere.
#[utoipa::path(
    get, path = "/health/ready", tag = "operations", operation_id = "healthReady", security(()),
    responses((status = 200, body = Health, description = "It can"), (status = 503, body = Health, description = "It cannot"))
)]
pub(crate) async fn ready(State(state): State<ApiState>) -> Result<Response, Problem> {
    if state.shutdown().is_cancelled() {
        return answer(false, "the node is shutting down");
    }
    let readiness = state.handle().readiness();
    answer(readiness.ready, &readiness.reason)
}

/// Whether the node has finished starting; until then, have patience.
#[utoipa::path(
    get, path = "/health/startup", tag = "operations", operation_id = "healthStartup", security(()),
    responses((status = 200, body = Health, description = "It has"), (status = 503, body = Health, description = "Not yet"))
)]
pub(crate) async fn startup(State(state): State<ApiState>) -> Result<Response, Problem> {
    let readiness = state.handle().readiness();
    answer(readiness.started, &readiness.reason)
}
