//! `POST /transactions`: operations on documents of any collections, all of them or none, at one revision.

use aerodb_engine::prepare;
use aerodb_proto as proto;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use proto::command::Op;
use proto::operation::Action;
use proto::outcome;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::write::{bare, new_id, submit, unexpected};
use crate::auth::Caller;
use crate::body;
use crate::error::{Code, Problem};
use crate::negotiate::{BodyForm, body_form};
use crate::openapi::{Document, Problems};
use crate::params::Params;
use crate::response::{ReadAt, serialized};
use crate::state::ApiState;

/// Operations that all happen, at one revision, or none of them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct Transaction {
    /// 1 to 1,000, done in this order; each finds what those before it left.
    operations: Vec<Operation>,
    /// The revision at which the caller read what the operations rest on: if a document that they name has changed
    /// since, nothing is done and the answer is 409 `conflict`.
    read_revision: Option<u64>,
}

/// One operation.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct Operation {
    op: Kind,
    collection: String,
    /// Left out, an insert takes the document's own or makes one.
    id: Option<String>,
    /// For `insert` and `put`.
    document: Option<Document>,
    /// For `patch`: a JSON Merge Patch, or update operators.
    #[schema(value_type = Option<Object>)]
    patch: Option<()>,
    /// Only if the document was at this revision before the transaction.
    if_revision: Option<u64>,
    if_exists: Option<bool>,
    if_absent: Option<bool>,
    /// Only if the document matches this filter.
    #[serde(rename = "if")]
    #[schema(value_type = Option<Object>)]
    matches: Option<()>,
}

/// What an operation does.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Insert,
    Put,
    Patch,
    Delete,
    Get,
}

/// What became of a transaction.
#[derive(Serialize, ToSchema)]
pub(crate) struct Transacted {
    /// The revision of all that was written; of what was read if nothing was.
    revision: u64,
    /// In the order of the operations.
    results: Vec<Operated>,
}

/// What became of an operation.
#[derive(Serialize, ToSchema)]
struct Operated {
    op: Kind,
    collection: String,
    id: String,
    /// True when the document did not exist before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    created: bool,
    /// What was written, as the transaction leaves it, or what was read; null when it is not there.
    #[schema(value_type = Option<Document>)]
    document: Option<Box<RawValue>>,
}

/// Does several operations, all or none, at one revision.
///
/// To write what follows from what was read, send the revision of the reads as `read_revision` (or `if_revision` with the
/// documents): a transaction whose documents have changed since is refused as a whole with 409 `conflict`, which names
/// the document; read again and decide anew.
#[utoipa::path(
    post, path = "/transactions", tag = "data", operation_id = "transact", request_body = Transaction,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first answer")),
    responses((status = 200, body = Transacted), Problems)
)]
pub(super) async fn transact(
    State(state): State<ApiState>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Params::parse(parts.uri.query())?.finish()?;
    if body_form(&parts.headers)? != BodyForm::Json {
        return Err(Problem::new(Code::UnsupportedMediaType, "a transaction is application/json"));
    }
    state.admit_write()?;
    let body = body::whole(&state, &parts.headers, body, state.limits().command_bytes_max).await?;
    let transaction = prepare::transaction(&body.bytes, &mut new_id, state.limits())?;
    let asked: Vec<_> = transaction.operations.iter().map(Asked::of).collect();
    let submitted = submit(&state, &caller, &parts, &body, Op::Transaction(transaction)).await;
    let outcome = submitted.map_err(|problem| problem.below("/operations"))?;
    let Some(outcome::Result::Transacted(transacted)) = outcome.result else {
        return Err(unexpected(outcome.result.as_ref()));
    };
    let results = asked.into_iter().zip(transacted.operations).map(|(asked, operated)| asked.answered(operated));
    let answer = Transacted { revision: outcome.revision, results: results.collect::<Result<_, _>>()? };
    Ok(ReadAt::revision(outcome.revision).mark(serialized(StatusCode::OK, &answer)?))
}

/// What the answer repeats of an operation.
struct Asked {
    op: Kind,
    collection: String,
    id: String,
}

impl Asked {
    fn of(operation: &proto::Operation) -> Self {
        let op = match operation.action {
            Some(Action::Insert(_)) => Kind::Insert,
            Some(Action::Put(_)) => Kind::Put,
            Some(Action::Patch(_)) => Kind::Patch,
            Some(Action::Delete(_)) => Kind::Delete,
            Some(Action::Get(_)) | None => Kind::Get,
        };
        Self { op, collection: operation.collection.clone(), id: operation.id.clone() }
    }

    fn answered(self, operated: proto::Operated) -> Result<Operated, Problem> {
        let Asked { op, collection, id } = self;
        // A repeated request finds ids anew for what it inserts: the first answer's count.
        let id = operated.document.as_ref().map_or(id, |document| document.id.clone());
        let document = operated.document.as_ref().map(raw).transpose()?;
        Ok(Operated { op, collection, id, created: operated.created, document })
    }
}

fn raw(document: &proto::DocumentRef) -> Result<Box<RawValue>, Problem> {
    let body = if document.body.is_empty() { bare(document) } else { Bytes::clone(&document.body) };
    let text = String::from_utf8(body.into()).map_err(Problem::internal)?;
    RawValue::from_string(text).map_err(Problem::internal)
}
