//! `GET /api/{collection}/{id}`: one document.

use aerodb_engine::json::{self, Value};
use aerodb_engine::select::Select;
use aerodb_engine::view::Stored;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};

use crate::auth::Caller;
use crate::consistency::Freshness;
use crate::error::{Code, Problem};
use crate::openapi::{Document, Problems};
use crate::params::Params;
use crate::path::DocumentPath;
use crate::precondition::{ForRead, Verdict};
use crate::response;
use crate::state::{ApiState, Reading};

/// Reads one document. Its `ETag` is its revision in quotes.
#[utoipa::path(
    method(get, head), path = "/api/{collection}/{id}", tag = "data", operation_id = "readDocument",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("id" = String, Path, description = "The document's id"),
        ("select" = Option<String>, Query, description = "Fields to show, such as `a,b.c`"),
        ("as_of" = Option<u64>, Query, description = "Read at this revision"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `session` or `stale`"),
        ("max_staleness_ms" = Option<u64>, Query, description = "With `stale`: how old at most"),
        ("Aerodb-Min-Revision" = Option<u64>, Header, description = "With `session`: the revision last seen"),
        ("If-Match" = Option<String>, Header, description = "An ETag: 412 when the document is at another one"),
        ("If-None-Match" = Option<String>, Header, description = "An ETag that the client has: 304 when it still holds"),
    ),
    responses(
        (status = 200, description = "The document", body = Document, headers(("ETag" = String, description = "Its revision in quotes"))),
        (status = 304, description = "The client has it"),
        Problems
    )
)]
pub(crate) async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    path: DocumentPath,
    request: Request,
) -> Result<Response, Problem> {
    answer(&state, &caller, &path, request.uri(), request.headers()).await
}

/// Answers a request of these parts, which asks for the document at `path`.
pub(crate) async fn answer(
    state: &ApiState,
    caller: &Caller,
    path: &DocumentPath,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let mut params = Params::parse(uri.query())?;
    let freshness = Freshness::take(&mut params, headers)?;
    let select = params.take("select").map(|text| Select::parse(&text)).transpose()?;
    params.finish()?;
    let conditions = ForRead::parse(headers)?;

    let reading = state.read_collection(caller, freshness, &path.collection).await?;
    let Some(stored) = find(state, &reading, &path.id, freshness.as_of).await? else {
        return Err(not_found(path).at(reading.at));
    };
    let answer = match conditions.judge(stored.revision) {
        Verdict::Send => {
            let body = state.admit_answer(selected(&stored, select.as_ref())?)?;
            response::document(StatusCode::OK, stored.revision, body)
        }
        Verdict::NotModified => response::not_modified(stored.revision),
        Verdict::Failed => {
            let detail = format!("the document is at revision {}", stored.revision);
            return Err(Problem::new(Code::PreconditionFailed, detail).at(reading.at));
        }
    };
    Ok(reading.at.mark(answer))
}

/// The document, at the revision that was asked for.
async fn find(state: &ApiState, reading: &Reading, id: &str, as_of: Option<u64>) -> Result<Option<Stored>, Problem> {
    if let Some(found) = reading.view.get_at_once(&reading.collection, id, as_of)? {
        return Ok(found);
    }
    let (view, collection, id) = (reading.view.clone(), reading.collection.clone(), id.to_owned());
    let find = move || match as_of {
        Some(revision) => view.get_at(&collection, &id, revision),
        None => view.get(&collection, &id),
    };
    state.fetching(find).await
}

fn selected(stored: &Stored, select: Option<&Select>) -> Result<Bytes, Problem> {
    let Some(select) = select else { return Ok(stored.body.clone()) };
    let value: Value = json::parse(&stored.body, &json::STORED).map_err(Problem::internal)?;
    Ok(select.apply(&value).to_bytes().into())
}

pub(super) fn not_found(path: &DocumentPath) -> Problem {
    let detail = format!("there is no document {:?} in {:?}", path.id, path.collection);
    Problem::new(Code::NotFound, detail).with("document_id", path.id.as_str())
}
