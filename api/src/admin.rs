//! `/admin`: collections, their settings and their indexes, and the digest of this node's state.

mod indexes;
mod references;
mod settings;
mod settle;

use aerodb_engine::View;
use aerodb_engine::view::CollectionStats;
use aerodb_proto as proto;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use proto::command::Op;
use proto::outcome;
use references::NewReference;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use settings::{SchemaChange, Validation, new_schema, raw};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::body;
use crate::consistency::{Freshness, Mode};
use crate::error::{Code, Problem};
use crate::idempotency;
use crate::negotiate::{BodyForm, body_form};
use crate::openapi::Problems;
use crate::params::Params;
use crate::path::CollectionPath;
use crate::response::{ReadAt, serialized};
use crate::state::ApiState;

/// The routes of `/admin`.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(describe, settings::change, drop_collection))
        .routes(routes!(stats))
        .routes(routes!(indexes::list, indexes::create))
        .routes(routes!(indexes::describe, indexes::drop_index))
        .routes(routes!(digest))
}

/// A collection to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCollection {
    /// 1 to 64 letters, digits, `_` and `-`, beginning with a letter.
    name: String,
    /// How long earlier versions and changes are kept.
    #[serde(default)]
    history: Option<HistoryChange>,
    /// False: a query that would have to look at every document is refused. True unless said otherwise.
    #[serde(default)]
    full_scans: Option<bool>,
    /// JSON Schema 2020-12 of the documents' own fields.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    schema: Option<Box<RawValue>>,
    /// `strict` unless said otherwise.
    #[serde(default)]
    validation: Option<Validation>,
    /// Fields that hold ids of other documents.
    #[serde(default)]
    #[schema(value_type = Option<Vec<NewReference>>)]
    references: Option<Box<RawValue>>,
}

/// How a collection keeps its history: earlier versions, and the events of its feed. What is beyond one of these bounds goes.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistorySettings {
    /// Seconds; 3600 unless said otherwise.
    retention_seconds: u64,
    /// Revisions back from the cluster's latest; null without such a bound.
    revisions_max: Option<u64>,
    /// Bytes of earlier versions, events and former entries of indexes, before they are compressed; null without such a bound.
    bytes_max: Option<u64>,
}

/// What is wanted of a collection's history; what is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryChange {
    /// Seconds.
    retention_seconds: Option<u64>,
    /// Revisions back from the cluster's latest; null for no such bound.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>)]
    revisions_max: Option<Option<u64>>,
    /// Bytes of earlier versions, events and former entries of indexes, before they are compressed; null for no such bound.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>)]
    bytes_max: Option<Option<u64>>,
}

impl HistoryChange {
    /// The bounds on revisions and bytes, as commands have them: 0 for none.
    fn bounds(&self) -> (Option<u64>, Option<u64>) {
        let number = |bound: Option<Option<u64>>| bound.map(Option::unwrap_or_default);
        (number(self.revisions_max), number(self.bytes_max))
    }
}

/// Tells null from what is absent.
fn present<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(input).map(Some)
}

/// A collection.
#[derive(Serialize, ToSchema)]
pub(crate) struct Collection {
    /// Never used again for another collection, not even of the same name.
    id: u32,
    name: String,
    /// RFC 3339.
    created_at: String,
    created_revision: u64,
    history: HistorySettings,
    /// Whether queries may look at every document.
    full_scans: bool,
    /// What documents must look like; absent: like any JSON object.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation: Option<Validation>,
    /// A new schema that is not in force yet, or could not come into force.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_change: Option<SchemaChange>,
    /// Fields that hold ids of other documents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    references: Vec<references::Reference>,
}

/// All collections, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct Collections {
    items: Vec<Collection>,
    /// Always null: the list is whole.
    next_cursor: Option<String>,
    revision: u64,
}

/// Figures of a collection.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stats {
    documents: u64,
    /// Bytes of the latest versions, as JSON.
    bytes: u64,
    /// Bytes of earlier versions, events and former entries of indexes that are kept, before they are compressed.
    history_bytes: u64,
    revision: u64,
}

/// What this node's state amounts to: equal on two nodes exactly if both hold the same at the same entry of the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct StateDigest {
    applied_index: u64,
    revision: u64,
    digest: String,
}

impl Collection {
    /// The collection, and how far the check of its new schema has come.
    fn of(collection: &proto::Collection, progress: &proto::WalkProgress) -> Result<Self, Problem> {
        let schema = collection.schema.as_ref();
        let change = collection.next_schema.as_ref().map(|next| SchemaChange::of(next, progress));
        Ok(Self {
            id: collection.id,
            name: collection.name.clone(),
            created_at: rfc3339(collection.created_ms),
            created_revision: collection.created_revision,
            history: HistorySettings {
                retention_seconds: collection.history_retention_seconds,
                revisions_max: Some(collection.history_revisions_max).filter(|max| *max != 0),
                bytes_max: Some(collection.history_bytes_max).filter(|max| *max != 0),
            },
            full_scans: !collection.full_scans_forbidden,
            schema: schema.map(|schema| raw(&schema.json)).transpose()?,
            validation: schema.map(|schema| schema.validation().into()),
            schema_change: change.transpose()?,
            references: references::of(collection),
        })
    }

    /// The collection as `view` has it.
    fn described(view: &View, collection: &proto::Collection) -> Result<Self, Problem> {
        let progress = match collection.next_schema {
            Some(_) => view.schema_progress(collection)?,
            None => proto::WalkProgress::default(),
        };
        Self::of(collection, &progress)
    }
}

fn rfc3339(unix_ms: u64) -> String {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Creates a collection.
#[utoipa::path(
    post, path = "/admin/collections", tag = "admin", operation_id = "createCollection", request_body = NewCollection,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first answer")),
    responses((status = 201, body = Collection), Problems)
)]
async fn create(State(state): State<ApiState>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Params::parse(parts.uri.query())?.finish()?;
    if body_form(&parts.headers)? != BodyForm::Json {
        return Err(Problem::new(Code::UnsupportedMediaType, "a collection is described in application/json"));
    }
    let body = body::whole(&state, &parts.headers, body, state.options().request_body_bytes_max).await?;
    let new = new_collection(&body.bytes, &state)?;
    let (revisions_max, bytes_max) = new.history.as_ref().map(HistoryChange::bounds).unwrap_or_default();
    let op = Op::CreateCollection(proto::CreateCollection {
        name: new.name,
        // Zero is the cluster's own default.
        history_retention_seconds: new.history.and_then(|history| history.retention_seconds).unwrap_or(0),
        history_revisions_max: revisions_max.unwrap_or(0),
        history_bytes_max: bytes_max.unwrap_or(0),
        schema: new_schema(new.schema.as_deref(), new.validation, &state)?,
        references: references::read(new.references.as_deref(), &state)?,
        full_scans_forbidden: new.full_scans == Some(false),
    });
    let key = idempotency::scoped(&parts.headers, &parts.method, parts.uri.path(), &body.bytes)?;
    let outcome = state.write(&caller, key, op).await?;
    let Some(outcome::Result::Collection(proto::CollectionInfo { collection: Some(collection) })) = &outcome.result
    else {
        return Err(Problem::internal(format!("creating a collection came back with {:?}", outcome.result)));
    };
    let mut answer = serialized(StatusCode::CREATED, &Collection::of(collection, &proto::WalkProgress::default())?)?;
    let location = HeaderValue::from_str(&format!("/admin/collections/{}", collection.name));
    answer.headers_mut().extend(location.ok().map(|location| (header::LOCATION, location)));
    Ok(ReadAt::revision(outcome.revision).mark(answer))
}

fn new_collection(body: &[u8], state: &ApiState) -> Result<NewCollection, Problem> {
    // Read strictly first: serde would take the last of two equal keys of a map and round numbers.
    aerodb_engine::prepare::body(body, state.limits())?;
    let new: NewCollection =
        serde_json::from_slice(body).map_err(|error| Problem::new(Code::InvalidParameter, shape(&error)))?;
    aerodb_engine::prepare::check_collection_name(&new.name)?;
    check_history(new.history.as_ref(), state)?;
    Ok(new)
}

fn check_history(history: Option<&HistoryChange>, state: &ApiState) -> Result<(), Problem> {
    let Some(history) = history else { return Ok(()) };
    let max = state.options().history_seconds_max;
    if history.retention_seconds.is_some_and(|seconds| !(1..=max).contains(&seconds)) {
        return Err(Problem::parameter("/history/retention_seconds", format!("a whole number from 1 to {max}")));
    }
    for (name, bound) in [("revisions_max", history.revisions_max), ("bytes_max", history.bytes_max)] {
        if bound == Some(Some(0)) {
            let what = "a whole number of at least 1, or null for no such bound";
            return Err(Problem::parameter(&format!("/history/{name}"), what));
        }
    }
    Ok(())
}

/// What serde says of a body of the wrong shape, without the place in the text, which is no help to a program.
fn shape(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// Lists the collections.
#[utoipa::path(
    get, path = "/admin/collections", tag = "admin", operation_id = "listCollections",
    params(
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `session` or `stale`"),
        ("max_staleness_ms" = Option<u64>, Query, description = "With `stale`: how old at most"),
        ("Aerodb-Min-Revision" = Option<u64>, Header, description = "With `session`: the revision last seen"),
    ),
    responses((status = 200, body = Collections), Problems)
)]
async fn list(State(state): State<ApiState>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let freshness = only_freshness(&request)?;
    let (view, age) = state.read(&caller, freshness.consistency()).await?;
    let collections = view.collections();
    let items = collections.iter().map(|collection| Collection::described(&view, collection));
    let items = items.collect::<Result<_, _>>()?;
    let answer = serialized(StatusCode::OK, &Collections { items, next_cursor: None, revision: view.revision() })?;
    let age = freshness.shows_age().then_some(age);
    Ok(ReadAt { revision: view.revision(), age }.mark(answer))
}

fn only_freshness(request: &Request) -> Result<Freshness, Problem> {
    let mut params = Params::parse(request.uri().query())?;
    let mode = Mode::take(&mut params, request.headers())?;
    params.finish()?;
    Ok(Freshness { mode, as_of: None })
}

/// Describes a collection.
#[utoipa::path(
    get, path = "/admin/collections/{collection}", tag = "admin", operation_id = "describeCollection",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `session` or `stale`"),
        ("max_staleness_ms" = Option<u64>, Query, description = "With `stale`: how old at most"),
        ("Aerodb-Min-Revision" = Option<u64>, Header, description = "With `session`: the revision last seen"),
    ),
    responses((status = 200, body = Collection), Problems)
)]
async fn describe(
    State(state): State<ApiState>,
    caller: Caller,
    CollectionPath(name): CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let reading = state.read_collection(&caller, only_freshness(&request)?, &name).await?;
    let described = Collection::described(&reading.view, &reading.collection)?;
    Ok(reading.at.mark(serialized(StatusCode::OK, &described)?))
}

/// Tells how many documents a collection has, and how many bytes they take.
#[utoipa::path(
    get, path = "/admin/collections/{collection}/stats", tag = "admin", operation_id = "readCollectionStats",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `session` or `stale`"),
        ("max_staleness_ms" = Option<u64>, Query, description = "With `stale`: how old at most"),
        ("Aerodb-Min-Revision" = Option<u64>, Header, description = "With `session`: the revision last seen"),
    ),
    responses((status = 200, body = Stats), Problems)
)]
async fn stats(
    State(state): State<ApiState>,
    caller: Caller,
    CollectionPath(name): CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let reading = state.read_collection(&caller, only_freshness(&request)?, &name).await?;
    let (view, collection) = (reading.view, reading.collection);
    let stats = state.blocking(move |_| view.stats(&collection)).await?;
    let CollectionStats { documents, bytes, history_bytes } = stats;
    let stats = Stats { documents, bytes, history_bytes, revision: reading.at.revision };
    Ok(reading.at.mark(serialized(StatusCode::OK, &stats)?))
}

/// Drops a collection with all its documents.
#[utoipa::path(
    delete, path = "/admin/collections/{collection}", tag = "admin", operation_id = "dropCollection",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first answer"),
    ),
    responses((status = 204, description = "Gone"), Problems)
)]
async fn drop_collection(
    State(state): State<ApiState>,
    caller: Caller,
    CollectionPath(name): CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Params::parse(parts.uri.query())?.finish()?;
    let body = body::whole(&state, &parts.headers, body, state.options().request_body_bytes_max).await?;
    let key = idempotency::scoped(&parts.headers, &parts.method, parts.uri.path(), &body.bytes)?;
    let outcome = state.write(&caller, key, Op::DropCollection(proto::DropCollection { name })).await?;
    let mut answer = Response::new(axum::body::Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    Ok(ReadAt::revision(outcome.revision).mark(answer))
}

/// Digests the whole state of this node, as it has it: compare nodes by it. Reads everything; not for every minute.
#[utoipa::path(
    get, path = "/admin/digest", tag = "admin", operation_id = "readDigest",
    responses((status = 200, body = StateDigest), Problems)
)]
async fn digest(State(state): State<ApiState>, caller: Caller, request: Request) -> Result<Response, Problem> {
    Params::parse(request.uri().query())?.finish()?;
    let view = state.local()?;
    caller.confirm(&view)?;
    let digest = state.blocking(move |_| view.digest()).await?;
    let at = ReadAt::revision(digest.revision);
    let digest = StateDigest { applied_index: digest.applied_index, revision: digest.revision, digest: digest.digest };
    Ok(at.mark(serialized(StatusCode::OK, &digest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(1_700_000_000_120), "2023-11-14T22:13:20.120Z");
    }

    #[test]
    fn the_shape_of_a_collection_is_checked() {
        let read = |body: &str| serde_json::from_str::<NewCollection>(body);
        assert!(read(r#"{"name":"a","history":{"retention_seconds":60}}"#).is_ok());
        for bad in [r#"{"name":7}"#, "{}", "[1]", r#"{"name":"a","history":{"retention_seconds":-1}}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let unknown = read(r#"{"name":"a","schemas":{}}"#).err().map(|error| shape(&error)).unwrap_or_default();
        assert_eq!(
            unknown,
            "unknown field `schemas`, expected one of `name`, `history`, `full_scans`, `schema`, `validation`, `references`"
        );
    }
}
