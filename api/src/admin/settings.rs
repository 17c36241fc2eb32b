//! What the owner of a collection may change: its schema and references, how long its history is kept, what queries may take.

use std::sync::Arc;

use aerodb_engine::View;
use aerodb_engine::prepare;
use aerodb_proto as proto;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use proto::command::Op;
use proto::outcome;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::references::NewReference;
use super::settle::settled;
use super::{Collection, HistoryChange, references, shape};
use crate::auth::Caller;
use crate::body;
use crate::error::{Code, Problem};
use crate::idempotency;
use crate::negotiate::{BodyForm, body_form};
use crate::openapi::Problems;
use crate::params::Params;
use crate::path::CollectionPath;
use crate::response::{ReadAt, serialized};
use crate::state::ApiState;

/// What is to be changed; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollectionChange {
    /// JSON Schema 2020-12 of the documents' own fields; `null`: none any more.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Object>)]
    schema: Option<Option<Box<RawValue>>>,
    #[serde(default)]
    validation: Option<Validation>,
    #[serde(default)]
    history: Option<HistoryChange>,
    /// False: a query that would have to look at every document is refused.
    #[serde(default)]
    full_scans: Option<bool>,
    /// All references that the collection is to have; those that stay the same stay.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<NewReference>>)]
    references: Option<Option<Box<RawValue>>>,
}

/// A member that is there, be it null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Box<RawValue>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What becomes of a document that does not fit the schema.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Validation {
    /// It is refused.
    Strict,
    /// It is taken; the answer to a write of documents as JSON says so in `Aerodb-Schema-Warning` (NDJSON, bulk writes and
    /// transactions do not).
    Warn,
    /// Nobody looks.
    Off,
}

impl From<Validation> for proto::Validation {
    fn from(validation: Validation) -> Self {
        match validation {
            Validation::Strict => Self::Strict,
            Validation::Warn => Self::Warn,
            Validation::Off => Self::Off,
        }
    }
}

impl From<proto::Validation> for Validation {
    fn from(validation: proto::Validation) -> Self {
        match validation {
            proto::Validation::Strict => Self::Strict,
            proto::Validation::Warn => Self::Warn,
            proto::Validation::Off => Self::Off,
        }
    }
}

/// A new schema, which binds writes beside the old one while documents from before are checked.
#[derive(Serialize, ToSchema)]
pub(super) struct SchemaChange {
    /// `checking`, or `failed`: documents do not fit. A schema that failed binds nothing; change them, and set it again.
    state: &'static str,
    #[schema(value_type = Object)]
    schema: Box<RawValue>,
    /// Documents that were looked at so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    checked_documents: Option<u64>,
    /// Documents that do not fit.
    offending_documents: u64,
    /// Some of them.
    offenders: Vec<Offender>,
}

/// A document that does not fit a new schema.
#[derive(Serialize, ToSchema)]
struct Offender {
    id: String,
    /// Where in the document, a JSON pointer.
    path: String,
    /// The keyword of the schema that says so.
    keyword: String,
    message: String,
}

impl From<&proto::Offender> for Offender {
    fn from(offender: &proto::Offender) -> Self {
        let proto::Violation { path, keyword, message } = offender.violation.clone().unwrap_or_default();
        Self { id: offender.id.clone(), path, keyword, message }
    }
}

impl SchemaChange {
    pub(super) fn of(next: &proto::Schema, progress: &proto::WalkProgress) -> Result<Self, Problem> {
        let (offending, offenders) = match next.failed {
            true => (next.offending, &next.offenders),
            false => (progress.offending, &progress.offenders),
        };
        Ok(Self {
            state: if next.failed { "failed" } else { "checking" },
            schema: raw(&next.json)?,
            checked_documents: (!next.failed).then_some(progress.documents),
            offending_documents: offending,
            offenders: offenders.iter().map(Offender::from).collect(),
        })
    }
}

/// A schema as it is kept.
pub(super) fn raw(json: &[u8]) -> Result<Box<RawValue>, Problem> {
    serde_json::from_slice(json).map_err(Problem::internal)
}

/// The schema that a new collection is to have.
pub(super) fn new_schema(
    schema: Option<&RawValue>,
    validation: Option<Validation>,
    state: &ApiState,
) -> Result<Option<proto::Schema>, Problem> {
    let Some(schema) = schema else {
        return match validation {
            Some(_) => Err(Problem::parameter("/validation", "says what a `schema` does, and there is none")),
            None => Ok(None),
        };
    };
    let json = prepare::schema(schema.get().as_bytes(), state.limits())?;
    let validation = proto::Validation::from(validation.unwrap_or(Validation::Strict));
    Ok(Some(proto::Schema { json, validation: validation.into(), ..proto::Schema::default() }))
}

/// Changes a collection's schema, what becomes of documents that do not fit it, its references, how long its history is kept, or
/// whether queries may look at every document.
///
/// A schema that is `strict` is checked against the documents that are there, while reads and writes go on; it comes into
/// force once all fit. Until then writes must fit it and the schema before it. A new reference binds writes at once, too, while the
/// documents that are there are looked at.
#[utoipa::path(
    patch, path = "/admin/collections/{collection}", tag = "admin", operation_id = "changeCollection",
    request_body = CollectionChange,
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first answer"),
    ),
    responses((status = 200, body = Collection, description = "In force"), (status = 202, body = Collection, description = "Being checked"), Problems)
)]
pub(super) async fn change(
    State(state): State<ApiState>,
    caller: Caller,
    CollectionPath(name): CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Params::parse(parts.uri.query())?.finish()?;
    if body_form(&parts.headers)? != BodyForm::Json {
        return Err(Problem::new(Code::UnsupportedMediaType, "a change of a collection is application/json"));
    }
    let body = body::whole(&state, &parts.headers, body, state.options().request_body_bytes_max).await?;
    let settings = settings(&name, &body.bytes, &state)?;
    // What failed earlier is no news to whoever changes something else.
    let asked = settings.schema.is_some() || settings.validation.is_some();
    let relates = settings.references.is_some();
    let op = Op::ChangeSettings(settings);
    let key = idempotency::scoped(&parts.headers, &parts.method, parts.uri.path(), &body.bytes)?;
    let outcome = state.write(&caller, key, op).await?;
    let look = |view: &View| {
        let Some(collection) = view.collection(&name) else { return Ok(None) };
        let over = collection.next_schema.as_ref().is_none_or(|next| next.failed);
        let over = over && !(relates && references::are_building(&collection));
        Ok(Some(((Collection::described(view, &collection)?, collection), over)))
    };
    let (described, collection) = match (settled(&state, outcome.revision, look).await?, outcome.result) {
        (Some((described, collection)), _) => (described, collection),
        // This node is behind: the change is made all the same.
        (None, Some(outcome::Result::Collection(proto::CollectionInfo { collection: Some(collection) }))) => {
            (Collection::of(&collection, &proto::WalkProgress::default())?, Arc::new(collection))
        }
        (None, other) => return Err(Problem::internal(format!("changing a collection came back with {other:?}"))),
    };
    if let Some(problem) = references::failed(&collection).filter(|_| relates) {
        return Err(problem.at_revision(outcome.revision));
    }
    let status = match &collection.next_schema {
        Some(next) if next.failed && asked => return Err(failed(next, &name)),
        Some(next) if !next.failed => StatusCode::ACCEPTED,
        _ if relates && references::are_building(&collection) => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    Ok(ReadAt::revision(outcome.revision).mark(serialized(status, &described)?))
}

fn settings(name: &str, body: &[u8], state: &ApiState) -> Result<proto::ChangeSettings, Problem> {
    // Read strictly first: serde would take the last of two equal keys of a map and round numbers.
    prepare::body(body, state.limits())?;
    let change: CollectionChange =
        serde_json::from_slice(body).map_err(|error| Problem::new(Code::InvalidParameter, shape(&error)))?;
    super::check_history(change.history.as_ref(), state)?;
    let drop_schema = matches!(change.schema, Some(None));
    if drop_schema && change.validation.is_some() {
        return Err(Problem::parameter("/validation", "says what a `schema` does, and there is to be none"));
    }
    let schema = change.schema.flatten();
    let schema = schema.map(|schema| prepare::schema(schema.get().as_bytes(), state.limits())).transpose()?;
    let references = match &change.references {
        Some(wanted) => Some(proto::NewReferences { references: references::read(wanted.as_deref(), state)? }),
        None => None,
    };
    let (history_revisions_max, history_bytes_max) =
        change.history.as_ref().map(HistoryChange::bounds).unwrap_or_default();
    Ok(proto::ChangeSettings {
        collection: name.to_owned(),
        history_retention_seconds: change.history.and_then(|history| history.retention_seconds),
        history_revisions_max,
        history_bytes_max,
        schema,
        validation: change.validation.map(|validation| proto::Validation::from(validation).into()),
        drop_schema,
        references,
        full_scans_forbidden: change.full_scans.map(|allowed| !allowed),
    })
}

/// Documents that were there do not fit.
fn failed(next: &proto::Schema, name: &str) -> Problem {
    let detail = format!(
        "{} documents of {name:?} do not fit the schema, which is not in force: change them, and set it again",
        next.offending
    );
    let problem = Problem::new(Code::SchemaCheckFailed, detail).with("offending_documents", next.offending);
    next.offenders.iter().map(Offender::from).fold(problem, |problem, offender| {
        problem.with_violation(format!("{}#{}", offender.id, offender.path), offender.keyword, offender.message)
    })
}
