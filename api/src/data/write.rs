//! Insert, replace, patch, delete. The node that took the request parses and checks the body; the leader decides.

use aerodb_engine::prepare::{self, Inserts};
use aerodb_proto as proto;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use proto::command::Op;
use proto::outcome;
use uuid::Uuid;

use super::insert_stream;
use crate::auth::Caller;
use crate::body::{self, Whole};
use crate::error::{Code, Problem};
use crate::idempotency;
use crate::negotiate::{BodyForm, body_form};
use crate::openapi::{Document, Inserted, Problems};
use crate::params::Params;
use crate::path::{CollectionPath, DocumentPath};
use crate::precondition;
use crate::prefer;
use crate::response::{self, ReadAt};
use crate::state::ApiState;
use crate::unread::unread;

/// How much longer than what is stored a body may be: blanks, escapes and system fields are not stored.
const BODY_SLACK: usize = 2;

/// Inserts one document, an array of documents (all or none), or NDJSON (each line for itself, with a report per line;
/// read the report while sending, for the report is not kept without bound).
///
/// Documents without an `id` get one.
#[utoipa::path(
    post, path = "/api/{collection}", tag = "data", operation_id = "insertDocuments",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first answer"),
        ("Prefer" = Option<String>, Header, description = "`return=minimal`: without what was written, and without ids that are made here, of many documents"),
    ),
    request_body(content((Document = "application/json"), (String = "application/x-ndjson"))),
    responses(
        (status = 201, body = Inserted, description = "The document, or `{\"items\":[..]}` for an array; nothing if no more is wanted"),
        (status = 200, content_type = "application/x-ndjson", body = String, description = "For NDJSON: a report per line, then a summary"),
        Problems
    )
)]
pub(super) async fn insert(
    State(state): State<ApiState>,
    caller: Caller,
    CollectionPath(collection): CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Params::parse(parts.uri.query())?.finish()?;
    if parts.headers.contains_key(header::IF_MATCH) {
        return Err(Problem::header("If-Match", "an insert makes new documents: there is nothing to match"));
    }
    // `If-None-Match: *` is what an insert does anyway.
    precondition::for_write(&parts.headers)?;
    if body_form(&parts.headers)? == BodyForm::NdJson {
        return insert_stream::insert(state, caller, collection, &parts, body);
    }
    state.admit_write()?;
    let body = body::whole(&state, &parts.headers, body, state.limits().command_bytes_max).await?;
    let inserts = prepare::insert(&body.bytes, &mut new_id, state.limits())?;
    let op = Op::Insert(inserting(&state, collection, inserts));
    let outcome = submit(&state, &caller, &parts, &body, op).await?;
    documents_answer(&state, &parts, StatusCode::CREATED, outcome, body)
}

/// The command that inserts documents, with what this node can say of the collection's schema.
pub(super) fn inserting(state: &ApiState, collection: String, inserts: Inserts) -> proto::InsertDocuments {
    let Inserts { documents, many } = inserts;
    let (schema_version, unfit) = state.catalog().checked(&collection, &documents);
    proto::InsertDocuments { collection, documents, many, schema_version, unfit }
}

/// An id for a document that brings none.
pub(super) fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// Replaces a document, or creates it.
#[utoipa::path(
    put, path = "/api/{collection}/{id}", tag = "data", operation_id = "putDocument",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("id" = String, Path, description = "The document's id"),
        ("If-Match" = Option<String>, Header, description = "Only if the document is at this ETag, or `*`: only if it exists"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if it does not exist"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first answer"),
        ("Prefer" = Option<String>, Header, description = "`return=minimal`: without what was written"),
    ),
    request_body = Document,
    responses((status = 200, body = Document, description = "Replaced"), (status = 204, description = "Replaced, and nothing else is wanted"), (status = 201, body = Document, description = "Created"), Problems)
)]
pub(super) async fn put(
    State(state): State<ApiState>,
    caller: Caller,
    path: DocumentPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = one(&state, request).await?;
    let document = prepare::put(&path.id, &body.bytes, state.limits())?;
    let preconditions = precondition::for_write(&parts.headers)?;
    let (version, unfit) = state.catalog().checked(&path.collection, std::slice::from_ref(&document));
    let schema_version = if unfit.is_empty() { version } else { 0 };
    let (collection, document) = (path.collection, Some(document));
    let op = Op::Put(proto::PutDocument { collection, document, preconditions, schema_version });
    let outcome = submit(&state, &caller, &parts, &body, op).await?;
    documents_answer(&state, &parts, StatusCode::OK, outcome, body)
}

/// Changes a document by a JSON Merge Patch (RFC 7396), or by update operators: `$set`, `$unset`, `$inc`, `$min`, `$max`,
/// `$push`, `$pull`, `$addToSet`, each with an object of paths.
#[utoipa::path(
    patch, path = "/api/{collection}/{id}", tag = "data", operation_id = "patchDocument",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("id" = String, Path, description = "The document's id"),
        ("If-Match" = Option<String>, Header, description = "Only if the document is at this ETag"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first answer"),
        ("Prefer" = Option<String>, Header, description = "`return=minimal`: without what was written"),
    ),
    request_body(content((Document = "application/merge-patch+json"), (Document = "application/json"))),
    responses((status = 200, body = Document), (status = 204, description = "Changed, and nothing else is wanted"), Problems)
)]
pub(super) async fn patch(
    State(state): State<ApiState>,
    caller: Caller,
    path: DocumentPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = one(&state, request).await?;
    let patch = prepare::patch(&path.id, &body.bytes, state.limits())?;
    let preconditions = precondition::for_write(&parts.headers)?;
    let op = Op::Patch(proto::PatchDocument { collection: path.collection, id: path.id, patch, preconditions });
    let outcome = submit(&state, &caller, &parts, &body, op).await?;
    documents_answer(&state, &parts, StatusCode::OK, outcome, body)
}

/// Deletes a document.
#[utoipa::path(
    delete, path = "/api/{collection}/{id}", tag = "data", operation_id = "deleteDocument",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("id" = String, Path, description = "The document's id"),
        ("If-Match" = Option<String>, Header, description = "Only if the document is at this ETag"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first answer"),
    ),
    responses((status = 204, description = "Gone; `Aerodb-Revision` says since when"), Problems)
)]
pub(super) async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    path: DocumentPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Params::parse(parts.uri.query())?.finish()?;
    state.admit_write()?;
    let body = body::whole(&state, &parts.headers, body, state.options().request_body_bytes_max).await?;
    let preconditions = precondition::for_write(&parts.headers)?;
    let op = Op::Delete(proto::DeleteDocument { collection: path.collection, id: path.id, preconditions });
    let outcome = submit(&state, &caller, &parts, &body, op).await?;
    match outcome.result {
        Some(outcome::Result::Deleted(_)) => {
            let mut answer = Response::new(axum::body::Body::empty());
            *answer.status_mut() = StatusCode::NO_CONTENT;
            Ok(ReadAt::revision(outcome.revision).mark(answer))
        }
        other => Err(unexpected(other.as_ref())),
    }
}

/// The body of a request that writes one document.
async fn one(state: &ApiState, request: Request) -> Result<(Parts, Whole), Problem> {
    let (parts, body) = request.into_parts();
    Params::parse(parts.uri.query())?.finish()?;
    if body_form(&parts.headers)? != BodyForm::Json {
        return Err(Problem::new(Code::UnsupportedMediaType, "one document is application/json"));
    }
    state.admit_write()?;
    let bytes_max = (BODY_SLACK * state.limits().document_bytes_max).min(state.limits().command_bytes_max);
    let body = body::whole(state, &parts.headers, body, bytes_max).await?;
    Ok((parts, body))
}

pub(super) async fn submit(
    state: &ApiState,
    caller: &Caller,
    parts: &Parts,
    body: &Whole,
    op: Op,
) -> Result<proto::Outcome, Problem> {
    let key = idempotency::scoped(&parts.headers, &parts.method, parts.uri.path(), &body.bytes)?;
    state.write(caller, key, op).await
}

/// Documents as they were written, if the client wants them: one with its entity tag, or an array. `asked` is the body that
/// they came with.
fn documents_answer(
    state: &ApiState,
    parts: &Parts,
    status: StatusCode,
    outcome: proto::Outcome,
    asked: Whole,
) -> Result<Response, Problem> {
    let Some(outcome::Result::Documents(documents)) = outcome.result else {
        return Err(unexpected(outcome.result.as_ref()));
    };
    let status = if documents.created { StatusCode::CREATED } else { status };
    let one = match (documents.many, &documents.documents[..]) {
        (true, _) => None,
        (false, [document]) => Some(document),
        _ => return Err(Problem::internal("a write of one document came back with another number of them")),
    };
    let bodies = bodies(&documents);
    let mut answer = if prefer::minimal(&parts.headers) {
        prefer::nothing(status)
    } else {
        let body = match &bodies[..] {
            [body] if one.is_some() => body.clone(),
            bodies => response::items(bodies),
        };
        response::json(status, unread(body, asked.into_room()))
    };
    let revision = one.map_or(outcome.revision, |document| document.revision);
    answer.headers_mut().insert(header::ETAG, precondition::etag(revision));
    if let Some(document) = one.filter(|_| documents.created) {
        mark_location(&mut answer, &documents.collection, &document.id);
    }
    mark_warnings(&mut answer, &state.catalog().warnings(documents.collection_id, &bodies));
    Ok(ReadAt::revision(outcome.revision).mark(answer))
}

/// Says in a header what a schema that only warns has against the documents.
fn mark_warnings(answer: &mut Response, violations: &[proto::Violation]) {
    let Some(first) = violations.first() else { return };
    let text = format!("{} documents do not fit; {}: {}", violations.len(), first.path, first.message);
    // A header is ASCII.
    let text: String = text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
    if let Ok(text) = HeaderValue::from_str(&text) {
        answer.headers_mut().insert("aerodb-schema-warning", text);
    }
}

fn mark_location(answer: &mut Response, collection: &str, id: &str) {
    let location = format!("/api/{collection}/{}", encode(id));
    if let Ok(location) = HeaderValue::from_str(&location) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
}

/// Percent-encodes all but unreserved characters.
fn encode(segment: &str) -> String {
    use std::fmt::Write;
    segment.bytes().fold(String::with_capacity(segment.len()), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").unwrap_or_default(),
        }
        out
    })
}

/// The documents that a write answers with. The answer to a repeated request reads them again as they were; where that
/// is no longer kept, what is left is their id and revision.
fn bodies(documents: &proto::Documents) -> Vec<Bytes> {
    let body = |document: &proto::DocumentRef| match document.body.is_empty() {
        true => bare(document),
        false => document.body.clone(),
    };
    documents.documents.iter().map(body).collect()
}

pub(super) fn bare(document: &proto::DocumentRef) -> Bytes {
    serde_json::json!({"id": document.id, "_revision": document.revision}).to_string().into()
}

pub(super) fn unexpected(result: Option<&outcome::Result>) -> Problem {
    Problem::internal(format!("the cluster answered a write with {result:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_encoded() {
        assert_eq!(encode("a-b_c.1~"), "a-b_c.1~");
        assert_eq!(encode("a/b ä?"), "a%2Fb%20%C3%A4%3F");
    }
}
