//! `/admin/collections/{collection}/indexes`.

use aerodb_engine::view::IndexInfo;
use aerodb_engine::{View, prepare};
use aerodb_proto as proto;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use proto::IndexState;
use proto::command::Op;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::only_freshness;
use super::references::{ReferenceOf, state_name};
use super::settle::settled;
use crate::auth::Caller;
use crate::body;
use crate::error::{Code, Problem};
use crate::idempotency;
use crate::negotiate::{BodyForm, body_form};
use crate::openapi::Problems;
use crate::params::Params;
use crate::path::{CollectionPath, IndexPath};
use crate::response::{ReadAt, serialized};
use crate::state::ApiState;

/// An index to be made.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct NewIndex {
    /// 1 to 64 letters, digits, `_` and `-`, beginning with a letter.
    name: String,
    /// 1 to 8 fields; a text such as `age.desc` is taken too.
    fields: Vec<Field>,
    /// No two documents may have the same values; null and missing ones are not compared.
    unique: Option<bool>,
    /// Only documents that match are in it.
    #[schema(value_type = Option<Object>)]
    filter: Option<()>,
    /// With one field, which holds a time such as `2026-01-02T03:04:05Z`: documents go this many seconds after it.
    ttl_seconds: Option<u64>,
}

/// A field of an index.
#[derive(Serialize, ToSchema)]
struct Field {
    path: String,
    /// `asc` or `desc`.
    order: &'static str,
}

/// An index.
#[derive(Serialize, ToSchema)]
pub(super) struct Index {
    name: String,
    fields: Vec<Field>,
    unique: bool,
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<Box<RawValue>>,
    /// Documents go this many seconds after the time in its field.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<u64>,
    /// The reference that it is; it goes with that.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<ReferenceOf>,
    /// `building`, `ready` or `failed`.
    state: &'static str,
    /// Entries that it has.
    entries: u64,
    /// Bytes that they take on this node's disk, about.
    bytes: u64,
    /// Queries that this node answered through it since it started.
    uses: u64,
    /// Documents that its build has been through, while it is being built.
    #[serde(skip_serializing_if = "Option::is_none")]
    built_documents: Option<u64>,
    /// Why it failed. It is no longer kept: drop it, and make it anew once the cause is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    created_revision: u64,
}

/// The indexes of a collection.
#[derive(Serialize, ToSchema)]
pub(crate) struct Indexes {
    items: Vec<Index>,
    /// Always null: the list is whole.
    next_cursor: Option<String>,
    revision: u64,
}

impl TryFrom<IndexInfo> for Index {
    type Error = Problem;

    fn try_from(info: IndexInfo) -> Result<Self, Problem> {
        let definition = info.definition;
        let (state, reference) = (state_name(definition.state()), definition.reference.as_ref().map(Into::into));
        let filter = match definition.filter.is_empty() {
            true => None,
            false => Some(serde_json::from_slice(&definition.filter).map_err(Problem::internal)?),
        };
        let field =
            |field: proto::IndexField| Field { order: if field.descending { "desc" } else { "asc" }, path: field.path };
        Ok(Self {
            name: definition.name,
            fields: definition.fields.into_iter().map(field).collect(),
            unique: definition.unique,
            filter,
            ttl_seconds: definition.ttl_seconds,
            reference,
            state,
            entries: info.entries,
            bytes: info.bytes,
            uses: info.uses,
            built_documents: info.built_documents,
            failure: Some(definition.failure).filter(|failure| !failure.is_empty()),
            created_revision: definition.created_revision,
        })
    }
}

/// Creates an index. It is built while reads and writes go on, and serves queries once its state is `ready`; a unique
/// index holds for new writes at once.
#[utoipa::path(
    post, path = "/admin/collections/{collection}/indexes", tag = "admin", operation_id = "createIndex",
    request_body = NewIndex,
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first answer"),
    ),
    responses((status = 201, body = Index, description = "Ready"), (status = 202, body = Index, description = "Being built"), Problems)
)]
pub(super) async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    CollectionPath(collection): CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Params::parse(parts.uri.query())?.finish()?;
    if body_form(&parts.headers)? != BodyForm::Json {
        return Err(Problem::new(Code::UnsupportedMediaType, "an index is described in application/json"));
    }
    let body = body::whole(&state, &parts.headers, body, state.options().request_body_bytes_max).await?;
    let index = prepare::index(&body.bytes, state.limits())?;
    let name = index.name.clone();
    let key = idempotency::scoped(&parts.headers, &parts.method, parts.uri.path(), &body.bytes)?;
    let op = Op::CreateIndex(proto::CreateIndex { collection: collection.clone(), index: Some(index) });
    let outcome = state.write(&caller, key, op).await?;
    let made = built(&state, &collection, &name, outcome.revision).await?;
    if let Some(failure) = &made.failure {
        let detail =
            format!("the index cannot be: {failure}. It is not kept: drop it, and make it anew once the cause is gone");
        return Err(Problem::new(Code::IndexFailed, detail).at_revision(outcome.revision));
    }
    let status = if made.state == "building" { StatusCode::ACCEPTED } else { StatusCode::CREATED };
    let mut answer = serialized(status, &made)?;
    let location = HeaderValue::from_str(&format!("/admin/collections/{collection}/indexes/{name}"));
    answer.headers_mut().extend(location.ok().map(|location| (header::LOCATION, location)));
    Ok(ReadAt::revision(outcome.revision).mark(answer))
}

/// The index as this node has it at `revision` or later: once it is built, or as far as it is when patience ends.
async fn built(state: &ApiState, collection: &str, name: &str, revision: u64) -> Result<Index, Problem> {
    let look = |view: &View| {
        let indexes = match view.collection(collection) {
            Some(collection) => view.indexes(&collection)?,
            None => Vec::new(),
        };
        let found = indexes.into_iter().find(|info| info.definition.name == name);
        Ok(found.map(|info| {
            let over = info.definition.state() != IndexState::Building;
            (info, over)
        }))
    };
    match settled(state, revision, look).await? {
        Some(info) => info.try_into(),
        None => Err(Problem::new(Code::IndexNotFound, "the index is gone again")),
    }
}

/// Lists the indexes of a collection.
#[utoipa::path(
    get, path = "/admin/collections/{collection}/indexes", tag = "admin", operation_id = "listIndexes",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `session` or `stale`"),
        ("max_staleness_ms" = Option<u64>, Query, description = "With `stale`: how old at most"),
        ("Aerodb-Min-Revision" = Option<u64>, Header, description = "With `session`: the revision last seen"),
    ),
    responses((status = 200, body = Indexes), Problems)
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    CollectionPath(name): CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let reading = state.read_collection(&caller, only_freshness(&request)?, &name).await?;
    let items = reading.view.indexes(&reading.collection)?.into_iter().map(Index::try_from);
    let items = items.collect::<Result<_, _>>()?;
    let indexes = Indexes { items, next_cursor: None, revision: reading.at.revision };
    Ok(reading.at.mark(serialized(StatusCode::OK, &indexes)?))
}

/// Describes an index: its state, and how far its build has come.
#[utoipa::path(
    get, path = "/admin/collections/{collection}/indexes/{index}", tag = "admin", operation_id = "describeIndex",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("index" = String, Path, description = "The index's name"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `session` or `stale`"),
        ("max_staleness_ms" = Option<u64>, Query, description = "With `stale`: how old at most"),
        ("Aerodb-Min-Revision" = Option<u64>, Header, description = "With `session`: the revision last seen"),
    ),
    responses((status = 200, body = Index), Problems)
)]
pub(super) async fn describe(
    State(state): State<ApiState>,
    caller: Caller,
    path: IndexPath,
    request: Request,
) -> Result<Response, Problem> {
    let reading = state.read_collection(&caller, only_freshness(&request)?, &path.collection).await?;
    let found = reading.view.indexes(&reading.collection)?;
    let Some(info) = found.into_iter().find(|info| info.definition.name == path.index) else {
        let detail = format!("{:?} has no index called {:?}", path.collection, path.index);
        return Err(Problem::new(Code::IndexNotFound, detail).at(reading.at));
    };
    Ok(reading.at.mark(serialized(StatusCode::OK, &Index::try_from(info)?)?))
}

/// Drops an index, at once. That of a reference goes with the reference alone.
#[utoipa::path(
    delete, path = "/admin/collections/{collection}/indexes/{index}", tag = "admin", operation_id = "dropIndex",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("index" = String, Path, description = "The index's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first answer"),
    ),
    responses((status = 204, description = "Gone"), Problems)
)]
pub(super) async fn drop_index(
    State(state): State<ApiState>,
    caller: Caller,
    path: IndexPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Params::parse(parts.uri.query())?.finish()?;
    let body = body::whole(&state, &parts.headers, body, state.options().request_body_bytes_max).await?;
    let key = idempotency::scoped(&parts.headers, &parts.method, parts.uri.path(), &body.bytes)?;
    let op = Op::DropIndex(proto::DropIndex { collection: path.collection, name: path.index });
    let outcome = state.write(&caller, key, op).await?;
    let mut answer = Response::new(axum::body::Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    Ok(ReadAt::revision(outcome.revision).mark(answer))
}
