//! `GET /api/{collection}/{id}/_history`: the versions of a document, in pages.

use aerodb_engine::view::{Version, Versions, VersionsQuery};
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;

use super::document::not_found;
use crate::auth::Caller;
use crate::consistency::{Freshness, Mode};
use crate::error::{Code, Problem};
use crate::openapi::{History, Problems};
use crate::params::Params;
use crate::path::DocumentPath;
use crate::response::{self, ReadAt};
use crate::state::{ApiState, Reading};

/// The versions of a document that are kept, oldest first, each with the revisions in which it held: `from` up to, not
/// including, `to`.
///
/// Where more versions are kept than the page holds, `next_cursor` is set; all pages are read at the revision of the
/// first one. When versions that are yet to come cease to be kept in between, the next page is 410: begin anew.
#[utoipa::path(
    get, path = "/api/{collection}/{id}/_history", tag = "data", operation_id = "readHistory",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("id" = String, Path, description = "The document's id"),
        ("limit" = Option<u32>, Query, description = "1 to 1000 versions; 100 without"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, for the same document"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `session` or `stale`"),
        ("max_staleness_ms" = Option<u64>, Query, description = "With `stale`: how old at most"),
        ("Aerodb-Min-Revision" = Option<u64>, Header, description = "With `session`: the revision last seen"),
    ),
    responses((status = 200, body = History), Problems)
)]
pub(super) async fn history(
    State(state): State<ApiState>,
    caller: Caller,
    path: DocumentPath,
    request: Request,
) -> Result<Response, Problem> {
    let mut params = Params::parse(request.uri().query())?;
    let mode = Mode::take(&mut params, request.headers())?;
    let limit = params.take_number("limit", 1, state.limits().page_items_max as u64)?;
    let query = VersionsQuery {
        id: path.id.clone(),
        limit: limit.map_or(state.limits().page_items_default, |limit| limit as usize),
        cursor: params.take("cursor"),
        caller: caller.id().to_owned(),
    };
    params.finish()?;
    let (at, page) = page(&state, &caller, &path.collection, mode, query).await?;
    if page.items.is_empty() {
        return Err(not_found(&path).at(at));
    }
    let items: Vec<Vec<u8>> = page.items.iter().map(item).collect();
    let body = response::page(&items, page.next_cursor.as_deref(), None, page.revision);
    let body = state.admit_answer(body)?;
    Ok(at.mark(response::json(StatusCode::OK, body)))
}

/// The page that was asked for, as fresh as it was asked for.
async fn page(
    state: &ApiState,
    caller: &Caller,
    collection: &str,
    mode: Mode,
    query: VersionsQuery,
) -> Result<(ReadAt, Versions), Problem> {
    let page = read(state, caller, collection, mode, &query).await;
    match page {
        // A cursor from another node may name a revision that this one has yet to reach.
        Err(problem) if problem.code() == Code::RevisionAhead && query.cursor.is_some() => {
            read(state, caller, collection, Mode::Linearizable, &query).await
        }
        page => page,
    }
}

async fn read(
    state: &ApiState,
    caller: &Caller,
    collection: &str,
    mode: Mode,
    query: &VersionsQuery,
) -> Result<(ReadAt, Versions), Problem> {
    let Reading { view, collection, at } =
        state.read_collection(caller, Freshness { mode, as_of: None }, collection).await?;
    let query = query.clone();
    let page = state.blocking(move |expired| view.history(&collection, &query, expired)).await;
    let page = page.map_err(|problem| problem.at(at))?;
    Ok((ReadAt { revision: page.revision, ..at }, page))
}

fn item(version: &Version) -> Vec<u8> {
    let to = version.to.map_or_else(|| "null".to_owned(), |to| to.to_string());
    let head = format!(r#"{{"from":{},"to":{to},"document":"#, version.from);
    [head.as_bytes(), &version.body, b"}"].concat()
}
