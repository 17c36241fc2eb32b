//! The published list of error codes, and the one form in which every error leaves this API (RFC 9457).

use std::time::Duration;

use std::borrow::Cow;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::task::JoinError;

use crate::response::ReadAt;

/// Builds [`Code`] from the list, so that a code without a status, a title and an explanation cannot be written.
macro_rules! codes {
    ($($variant:ident $name:literal $status:literal $title:literal : $meaning:literal;)*) => {
        /// A word for what went wrong. Words are never reused for another meaning; clients decide by them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the list holds title and meaning of each, and publishes them")]
        pub enum Code { $($variant,)* }

        impl Code {
            /// The whole list.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The word itself.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// The status that always goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// A short summary, the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }

            /// What it means and what to do.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning,)* }
            }
        }
    };
}

codes! {
    // The request cannot be read.
    BadRequest "bad_request" 400 "Bad request": "The request is not well-formed HTTP for this route; `detail` says why.";
    InvalidJson "invalid_json" 400 "Invalid JSON": "The body or a parameter is not JSON.";
    DuplicateKey "duplicate_key" 400 "Duplicate key": "A JSON object names a key twice.";
    NestingTooDeep "nesting_too_deep" 400 "Nested too deeply": "Arrays and objects lie too deep within each other.";
    NumberOutOfRange "number_out_of_range" 400 "Number out of range": "A number does not fit 64 bits; nothing is rounded in silence.";
    InvalidUtf8 "invalid_utf8" 400 "Not UTF-8": "Text is not UTF-8.";
    NotAnObject "not_an_object" 400 "Not an object": "A document is a JSON object.";
    InvalidParameter "invalid_parameter" 400 "Invalid parameter": "A parameter has a value that it cannot have; `errors` names it.";
    UnknownParameter "unknown_parameter" 400 "Unknown parameter": "This route does not know a parameter; `errors` names it.";
    InvalidHeader "invalid_header" 400 "Invalid header": "A header has a value that it cannot have; `errors` names it.";
    InvalidFilter "invalid_filter" 400 "Invalid filter": "The filter is not one; `errors` says where.";
    UnknownOperator "unknown_operator" 400 "Unknown operator": "The filter has a name with `$` that is no operator.";
    InvalidPath "invalid_path" 400 "Invalid path": "A filter names a field that no document can have.";
    FilterTooDeep "filter_too_deep" 400 "Filter too deep": "The filter, or a value in it, is nested too deeply.";
    FilterTooLarge "filter_too_large" 400 "Filter too large": "The filter has too many operators, or a list in it is too long.";
    InvalidUpdate "invalid_update" 400 "Invalid update": "The update operators are none, or two of them touch the same place; `errors` says where.";
    InvalidIndex "invalid_index" 400 "Invalid index": "The description of an index is none; `errors` says where.";
    InvalidReference "invalid_reference" 400 "Invalid reference": "The description of a reference is none; `errors` says where.";
    InvalidSchema "invalid_schema" 400 "Invalid schema": "The schema is no JSON Schema 2020-12 that can be used; `errors` says where.";
    InvalidSelect "invalid_select" 400 "Invalid select": "The selection of fields is not one.";
    InvalidOrder "invalid_order" 400 "Invalid order": "The order is not one, or cannot be applied to these documents.";
    InvalidGroup "invalid_group" 400 "Invalid group": "The groups or their figures are none, or cannot be made of these documents.";
    InvalidCursor "invalid_cursor" 400 "Invalid cursor": "The cursor is damaged, or comes from another query or caller.";
    InvalidId "invalid_id" 400 "Invalid id": "Ids are strings of 1 to 128 bytes without control characters, not `.` or `..`, not beginning with `_`.";
    InvalidCollectionName "invalid_collection_name" 400 "Invalid collection name": "Names have 1 to 64 letters, digits, `_` and `-`, and begin with a letter.";
    RevisionAhead "revision_ahead" 400 "Revision not reached": "The cluster has not reached that revision.";
    QueryTooExpensive "query_too_expensive" 400 "Query too expensive": "The query needs more time or memory than a query may: narrow the filter or leave out the order.";
    FullScanForbidden "full_scan_forbidden" 400 "Full scan forbidden": "The query would look at every document, which the collection forbids: make an index that bounds it.";
    // Who asks, and for what.
    Unauthorized "unauthorized" 401 "Not authenticated": "Send a valid key: `Authorization: Bearer <key>`, or `apikey: <key>`.";
    NotFound "not_found" 404 "Document not found": "There is no such document.";
    CollectionNotFound "collection_not_found" 404 "Collection not found": "There is no such collection: create it first.";
    IndexNotFound "index_not_found" 404 "Index not found": "The collection has no such index.";
    SchemaNotFound "schema_not_found" 404 "No schema": "The collection has no schema: set one first.";
    NodeNotFound "node_not_found" 404 "Node not found": "The cluster has no such node.";
    RouteNotFound "route_not_found" 404 "No such route": "The path names nothing here; `/openapi.json` lists every route.";
    MethodNotAllowed "method_not_allowed" 405 "Method not allowed": "The path takes other methods; `Allow` lists them.";
    RequestTimeout "request_timeout" 408 "Body too slow": "The body did not arrive in time.";
    // The state stands against it.
    AlreadyExists "already_exists" 409 "Document exists": "There is a document with this id already; `document_id` names it, `index` its place in the request.";
    TooManyAffected "too_many_affected" 409 "Too many affected": "More documents match than `max_affected` allows: nothing was changed.";
    UniqueViolation "unique_violation" 409 "Value taken": "Another document has the same values in a unique index; `document_id` names the one that was to be written.";
    ReferenceViolation "reference_violation" 409 "Reference violated": "A document refers to one that is not there, or others refer to one that was to be deleted; `detail` names both, `document_id` the one that was to be written or deleted, `errors` the field.";
    ReferenceFailed "reference_failed" 409 "Reference failed": "Documents that are there already refer to what is not; `detail` names one. The reference binds nothing.";
    TooManyReferences "too_many_references" 409 "Too many references": "A collection has only so many references, and so many lead to one.";
    CollectionReferenced "collection_referenced" 409 "Collection referred to": "Another collection refers to this one; `detail` says which. Change its `references` first.";
    IndexOfReference "index_of_reference" 409 "Index of a reference": "The index belongs to a reference and goes with it: change `references` of the collection.";
    IndexExists "index_exists" 409 "Index exists": "The collection has an index with this name already.";
    IndexFailed "index_failed" 409 "Index failed": "Documents that are there already stand against the index; `detail` names one. The index is not kept: drop it.";
    SchemaCheckFailed "schema_check_failed" 409 "Documents do not fit": "Documents that are there do not fit the new schema; `errors` names some. It is not in force.";
    SchemaUnusable "schema_unusable" 409 "Schema unusable": "This version cannot use the collection's schema: set another one, or none.";
    TooManyIndexes "too_many_indexes" 409 "Too many indexes": "The collection has as many indexes as it may.";
    Conflict "conflict" 409 "Conflict": "A document is no longer what the transaction rests on; `document_id` names it, `index` the operation. Nothing was written: read again and decide anew.";
    CollectionExists "collection_exists" 409 "Collection exists": "There is a collection with this name already.";
    TooManyCollections "too_many_collections" 409 "Too many collections": "The cluster has as many collections as it may.";
    NotEligible "not_eligible" 409 "Not eligible": "That replica cannot lead now; `checks` says why. Nothing was changed.";
    Compacted "compacted" 410 "No longer kept": "The revision is older than the history that is kept; `oldest` is the first that can be read.";
    PreconditionFailed "precondition_failed" 412 "Precondition failed": "The document is not at the revision that `If-Match` or `If-None-Match` asked for: read it again and decide anew.";
    BodyTooLarge "body_too_large" 413 "Body too large": "The body is larger than this route takes.";
    DocumentTooLarge "document_too_large" 413 "Document too large": "A document is larger than one may be.";
    SchemaTooLarge "schema_too_large" 413 "Schema too large": "A schema has at most 64 KiB.";
    TooLarge "too_large" 413 "Request too large": "The request is more than one write may carry: split it.";
    TooManyDocuments "too_many_documents" 413 "Too many documents": "An insert takes fewer documents: split it, or send NDJSON.";
    UnsupportedMediaType "unsupported_media_type" 415 "Unsupported media type": "The body has a type or an encoding that this route does not take.";
    // Well-formed, and not acceptable.
    ReservedField "reserved_field" 422 "Reserved field": "Names at the top that begin with `_` belong to the system.";
    InvalidFieldName "invalid_field_name" 422 "Invalid field name": "Names hold no `.` and do not begin with `$`.";
    SchemaViolation "schema_violation" 422 "Schema violated": "The document does not fit the collection's schema; `errors` says where, each with the keyword of the schema.";
    IndexEntryTooLarge "index_entry_too_large" 422 "Too large for an index": "What a document has in an indexed field is more than an index takes.";
    UpdateNotApplicable "update_not_applicable" 422 "Update not applicable": "An update operator met a value that it cannot work on; `detail` says which. Nothing was written.";
    IdMismatch "id_mismatch" 422 "Ids differ": "The body's `id` is not the one in the path.";
    IdempotencyKeyReused "idempotency_key_reused" 422 "Idempotency key reused": "The key was used with another body: use a new one for a new request.";
    // Not the request's fault.
    Internal "internal" 500 "Internal error": "A bug. The request id finds the cause in the node's log.";
    NoLeader "no_leader" 503 "No leader": "The node knows no leader: an election is under way, or the node is cut off. Try again, or another node.";
    QuorumLost "quorum_lost" 503 "Quorum lost": "Too few nodes are up to decide anything.";
    PreparedTooEarly "prepared_too_early" 503 "Too much changed meanwhile": "The collection changes faster than what matches can be found: try again, with a narrower filter or an index.";
    Overloaded "overloaded" 503 "Overloaded": "The node has as much to do as it may take on: try again a little later.";
    DeadlineExceeded "deadline_exceeded" 503 "Deadline exceeded": "It did not happen in time; nothing was written.";
    TooStale "too_stale" 503 "Too stale": "The node's data is older than `max_staleness_ms`, or of unknown age.";
    Fenced "fenced" 503 "Node fenced": "The node does not trust its own data or disk and serves nothing: ask another one.";
    StorageError "storage_error" 503 "Storage error": "The node's storage failed: ask another one.";
    Starting "starting" 503 "Starting": "The node does not take part in its cluster yet; `/health/startup` says why. Try again, or another node.";
    ShuttingDown "shutting_down" 503 "Shutting down": "The node is about to stop: ask another one.";
    IdempotencyFull "idempotency_full" 503 "Too many idempotency keys": "No more keys can be remembered: try again later, or send none.";
    UnknownOperation "unknown_operation" 503 "Unknown operation": "The leader runs an older version that does not know this request.";
    OutcomeUnknown "outcome_unknown" 504 "Outcome unknown": "The write may or may not have happened. Send it again with the same `Idempotency-Key`; it happens once.";
}

impl Code {
    /// The code called `name`, if the list has it.
    pub fn from_name(name: &str) -> Option<Code> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// How long to wait before trying again, where trying again makes sense and nobody knows better.
    const fn retry_after_ms(self) -> Option<u64> {
        match self.status() {
            503 => Some(1_000),
            _ => None,
        }
    }
}

/// One mistake within a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Mistake {
    /// Where: a JSON pointer into the body, or the name of a parameter or header.
    pub(crate) path: String,
    /// What sort of mistake: a word of the same list, or the keyword of a schema.
    pub(crate) code: Cow<'static, str>,
    /// What is wrong and what would be right.
    pub(crate) message: String,
}

/// An error on its way to the client. Boxed: errors are rare and results are everywhere.
#[derive(Clone, Debug)]
pub struct Problem(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: Code,
    detail: String,
    errors: Vec<Mistake>,
    extra: Map<String, Value>,
    retry_after_ms: Option<u64>,
    at: Option<ReadAt>,
    cause: Option<String>,
}

impl Problem {
    /// An error of this code; `detail` says what is wrong in this case, in words that help whoever sent the request.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            extra: Map::new(),
            retry_after_ms: code.retry_after_ms(),
            at: None,
            cause: None,
        }))
    }

    /// Our own mistake. `cause` goes to the log and never to the client.
    pub fn internal(cause: impl ToString) -> Self {
        let detail = "something went wrong inside the node; its log knows more under this request id";
        Self::new(Code::Internal, detail).with_cause(cause)
    }

    /// Work on another thread that came to no end. It panicked; or it never began, because the node's end came first.
    pub(crate) fn joined(error: JoinError) -> Self {
        match error.is_cancelled() {
            true => {
                Self::new(Code::ShuttingDown, "the node stopped before this request had begun to read; ask another")
            }
            false => Self::internal(error),
        }
    }

    /// A query parameter with a value that it cannot have.
    pub(crate) fn parameter(name: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(Code::InvalidParameter, format!("{name}: {message}")).with_mistake(name, message)
    }

    /// A header with a value that it cannot have.
    pub(crate) fn header(name: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(Code::InvalidHeader, format!("{name}: {message}")).with_mistake(name, message)
    }

    pub(crate) fn collection_not_found(name: &str) -> Self {
        let name: String = name.chars().take(128).collect();
        Self::new(Code::CollectionNotFound, format!("there is no collection called {name:?}"))
    }

    pub(crate) fn with_mistake(mut self, path: impl Into<String>, message: impl Into<String>) -> Self {
        let code = self.0.code.name();
        self.0.errors.push(Mistake { path: path.into(), code: code.into(), message: message.into() });
        self
    }

    /// A place where a document does not fit its collection's schema, with the keyword that says so.
    pub(crate) fn with_violation(mut self, path: String, keyword: String, message: String) -> Self {
        self.0.errors.push(Mistake { path, code: keyword.into(), message });
        self
    }

    /// The same, its words beginning with where in the request it was found.
    pub(crate) fn prefixed(mut self, place: &str) -> Self {
        self.0.detail.insert_str(0, place);
        self
    }

    /// Puts the places of its mistakes below `path`.
    pub(crate) fn below(mut self, path: &str) -> Self {
        for mistake in &mut self.0.errors {
            mistake.path.insert_str(0, path);
        }
        self
    }

    /// Adds a member of the problem's own.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.extra.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        let ms = after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        self.0.retry_after_ms = ms.or(self.0.retry_after_ms);
        self
    }

    /// The revision at which this was found.
    pub(crate) fn at_revision(self, revision: u64) -> Self {
        self.at(ReadAt::revision(revision))
    }

    /// The read that found this.
    pub(crate) fn at(mut self, at: ReadAt) -> Self {
        self.0.at = Some(at);
        self
    }

    pub(crate) fn with_cause(mut self, cause: impl ToString) -> Self {
        self.0.cause = Some(cause.to_string());
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What is wrong in this case.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What only the log may say.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    #[cfg(test)]
    pub(crate) fn mistakes(&self) -> &[Mistake] {
        &self.0.errors
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The body.
    pub(crate) fn to_json(&self, request_id: Option<&str>) -> Value {
        let inner = &self.0;
        let mut body = Map::new();
        body.insert("type".into(), format!("urn:aerodb:error:{}", inner.code.name()).into());
        body.insert("title".into(), inner.code.title().into());
        body.insert("status".into(), inner.code.status().into());
        body.insert("code".into(), inner.code.name().into());
        body.insert("detail".into(), inner.detail.as_str().into());
        if let Some(request_id) = request_id {
            body.insert("request_id".into(), request_id.into());
        }
        if !inner.errors.is_empty() {
            body.insert("errors".into(), serde_json::to_value(&inner.errors).unwrap_or_default());
        }
        if let Some(ms) = inner.retry_after_ms {
            body.insert("retry_after_ms".into(), ms.into());
        }
        body.extend(inner.extra.clone());
        Value::Object(body)
    }

    /// The answer, with the request's id in its body.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let mut response = Response::new(Body::from(self.to_json(Some(request_id)).to_string()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(ms) = self.0.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        if self.0.code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"aerodb\""));
        }
        if let Some(at) = self.0.at {
            at.write(headers);
        }
        response
    }
}

impl IntoResponse for Problem {
    /// A placeholder that carries the problem to `context`, which knows the request's id and renders it.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_list_is_sound() {
        let mut names = BTreeSet::new();
        for &code in Code::ALL {
            assert!(names.insert(code.name()), "{} comes twice", code.name());
            assert!(code.name().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{code:?}");
            assert!((400..600).contains(&code.status()), "{code:?}");
            assert!(!code.title().is_empty() && code.meaning().ends_with('.'), "{code:?}");
            assert_eq!(Code::from_name(code.name()), Some(code));
        }
    }

    /// A runtime that has ended begins no read any more: that is the node's end, not a fault inside of it.
    #[test]
    fn a_read_that_the_end_of_the_node_cut_off_is_no_fault() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let panicked = runtime.block_on(runtime.spawn_blocking(|| panic!("on purpose"))).unwrap_err();
        assert_eq!(Problem::joined(panicked).code(), Code::Internal);

        let node = runtime.handle().clone();
        runtime.shutdown_background();
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let cut_off = other.block_on(node.spawn_blocking(|| ())).unwrap_err();
        assert_eq!(Problem::joined(cut_off).code(), Code::ShuttingDown);
    }

    #[test]
    fn a_problem_says_what_the_contract_promises() {
        let problem = Problem::parameter("limit", "at least 1");
        assert_eq!(
            problem.to_json(Some("r1")),
            serde_json::json!({
                "type": "urn:aerodb:error:invalid_parameter",
                "title": "Invalid parameter",
                "status": 400,
                "code": "invalid_parameter",
                "detail": "limit: at least 1",
                "request_id": "r1",
                "errors": [{"path": "limit", "code": "invalid_parameter", "message": "at least 1"}],
            })
        );
    }

    #[test]
    fn every_503_says_when_to_try_again() {
        for &code in Code::ALL.iter().filter(|code| code.status() == 503) {
            let answer = Problem::new(code, "").with_retry_after(None).render("r");
            assert!(answer.headers().contains_key("retry-after"), "{code:?}");
        }
        let answer = Problem::new(Code::NoLeader, "").with_retry_after(Some(Duration::from_millis(1_200))).render("r");
        assert_eq!(answer.headers()["retry-after"], "2");
    }

    #[test]
    fn nothing_internal_leaks() {
        let problem = Problem::internal("/var/lib/aerodb/state/000012.sst: checksum mismatch");
        let body = problem.to_json(Some("r")).to_string();
        assert!(!body.contains("sst") && problem.cause().is_some_and(|cause| cause.contains("sst")));
    }
}
