//! `PATCH /api/{collection}?filter=` and `DELETE /api/{collection}?filter=`: all documents that match, at one revision.

use aerodb_engine::filter::Filter;
use aerodb_engine::json::Value;
use aerodb_engine::prepare;
use aerodb_proto as proto;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use proto::bulk_write::Action;
use proto::command::Op;
use proto::outcome;
use serde::Serialize;
use utoipa::ToSchema;

use super::write::unexpected;
use crate::auth::Caller;
use crate::body::{self, Whole};
use crate::consistency::{Freshness, Mode};
use crate::convert::bad_filter;
use crate::error::{Code, Problem};
use crate::idempotency;
use crate::negotiate::{BodyForm, body_form};
use crate::openapi::Problems;
use crate::params::Params;
use crate::path::CollectionPath;
use crate::precondition;
use crate::response::{ReadAt, serialized};
use crate::state::ApiState;

/// How often what matches is looked for anew because too much changed meanwhile.
const LOOKS_MAX: usize = 5;

/// What became of many documents.
#[derive(Serialize, ToSchema)]
pub(crate) struct Affected {
    /// Documents that matched.
    matched: u64,
    /// Documents that were changed or deleted: with those that refer to a deleted one, where that changes or deletes them.
    modified: u64,
    revision: u64,
}

/// Changes all documents that match, by a JSON Merge Patch or update operators: all of them at one revision, or none.
#[utoipa::path(
    patch, path = "/api/{collection}", tag = "data", operation_id = "patchDocuments",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("filter" = String, Query, description = "Which documents; `{}` for all"),
        ("max_affected" = Option<u64>, Query, description = "Do nothing if more match"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first answer"),
    ),
    request_body(content((crate::openapi::Document = "application/merge-patch+json"), (crate::openapi::Document = "application/json"))),
    responses((status = 200, body = Affected), Problems)
)]
pub(super) async fn patch(
    State(state): State<ApiState>,
    caller: Caller,
    CollectionPath(name): CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let wanted = Wanted::read(&state, &parts)?;
    if body_form(&parts.headers)? != BodyForm::Json {
        return Err(Problem::new(Code::UnsupportedMediaType, "a change is application/json"));
    }
    state.admit_write()?;
    let body = body::whole(&state, &parts.headers, body, state.limits().command_bytes_max).await?;
    let patch = prepare::patch_many(&body.bytes, state.limits())?;
    write(&state, &caller, name, &parts, &body, &wanted, Action::Patch(patch)).await
}

/// Deletes all documents that match: all of them at one revision, or none.
#[utoipa::path(
    delete, path = "/api/{collection}", tag = "data", operation_id = "deleteDocuments",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("filter" = String, Query, description = "Which documents; `{}` for all"),
        ("max_affected" = Option<u64>, Query, description = "Do nothing if more match"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first answer"),
    ),
    responses((status = 200, body = Affected), Problems)
)]
pub(super) async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    CollectionPath(name): CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let wanted = Wanted::read(&state, &parts)?;
    state.admit_write()?;
    let body = body::whole(&state, &parts.headers, body, state.options().request_body_bytes_max).await?;
    write(&state, &caller, name, &parts, &body, &wanted, Action::Delete(true)).await
}

/// Which documents.
struct Wanted {
    filter: Filter,
    text: Bytes,
    max_affected: u64,
}

impl Wanted {
    fn read(state: &ApiState, parts: &Parts) -> Result<Self, Problem> {
        let mut params = Params::parse(parts.uri.query())?;
        let Some(text) = params.take("filter") else {
            return Err(Problem::parameter("filter", "it is required here: `{}` stands for all documents"));
        };
        let value: Value = prepare::body(text.as_bytes(), state.limits())
            .map_err(|error| Problem::from(prepare::Error { path: "filter".into(), ..error }).prefixed("filter: "))?;
        let filter = Filter::parse(&value).map_err(|error| bad_filter("filter", error))?;
        let max_affected = params.take_number("max_affected", 1, u64::MAX)?.unwrap_or(0);
        params.finish()?;
        if !precondition::for_write(&parts.headers)?.is_empty() {
            return Err(Problem::header("If-Match", "many documents have no ETag in common: say it in the filter"));
        }
        Ok(Self { filter, text: value.to_bytes().into(), max_affected })
    }
}

async fn write(
    state: &ApiState,
    caller: &Caller,
    name: String,
    parts: &Parts,
    body: &Whole,
    wanted: &Wanted,
    action: Action,
) -> Result<Response, Problem> {
    let freshness = Freshness { mode: Mode::Linearizable, as_of: None };
    // The filter is as much of the request as the body: a key stands for both.
    let query = parts.uri.query().unwrap_or_default();
    let asked = [&body.bytes[..], &[0], query.as_bytes()].concat();
    for look in 1.. {
        let reading = state.read_collection(caller, freshness, &name).await?;
        let (view, collection, filter) = (reading.view.clone(), reading.collection.clone(), wanted.filter.clone());
        let found = state.blocking(move |expired| view.matching(&collection, filter, expired)).await;
        let (candidates, more) = found.map_err(|problem| problem.at(reading.at))?;
        let op = Op::Bulk(proto::BulkWrite {
            collection: name.clone(),
            collection_id: reading.collection.id,
            filter: wanted.text.clone(),
            read_revision: reading.view.revision(),
            candidates,
            more,
            max_affected: wanted.max_affected,
            action: Some(action.clone()),
        });
        let key = idempotency::scoped(&parts.headers, &parts.method, parts.uri.path(), &asked)?;
        let outcome = match state.write(caller, key, op).await {
            Err(problem) if problem.code() == Code::PreparedTooEarly && look < LOOKS_MAX => continue,
            other => other?,
        };
        let Some(outcome::Result::Affected(affected)) = outcome.result else {
            return Err(unexpected(outcome.result.as_ref()));
        };
        let (matched, modified, revision) = (affected.matched, affected.modified, outcome.revision);
        let answer = serialized(StatusCode::OK, &Affected { matched, modified, revision })?;
        return Ok(ReadAt::revision(revision).mark(answer));
    }
    Err(Problem::internal("a loop without an end has ended"))
}
