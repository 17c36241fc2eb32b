//! `GET /api/{collection}` and `POST /api/{collection}/query`: pages of documents, or all of them as a stream.

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use aerodb_engine::view::Page;

use super::export;
use super::query::Wanted;
use crate::auth::Caller;
use crate::body;
use crate::error::{Code, Problem};
use crate::negotiate::{BodyForm, Form, accept, body_form};
use crate::openapi::{Lists, Problems};
use crate::params::Params;
use crate::path::CollectionPath;
use crate::response::{self, ReadAt};
use crate::state::{ApiState, Reading};

/// The forms of a list, the usual one first.
const FORMS: [Form; 3] = [Form::Json, Form::NdJson, Form::Csv];

/// Lists documents: filter, order, page.
///
/// Where more documents match than the page holds, `next_cursor` is set; all pages of one walk are read at one
/// revision. With `Accept: application/x-ndjson` or `text/csv` every match is streamed, unless `limit` asks for one
/// page; `Aerodb-Next-Cursor` then says where it goes on. A stream that cannot be finished breaks off without the end
/// of its transfer.
#[utoipa::path(
    get, path = "/api/{collection}", tag = "data", operation_id = "listDocuments",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("filter" = Option<String>, Query, description = r#"JSON such as `{"age":{"$gte":21}}`"#),
        ("select" = Option<String>, Query, description = "Fields to show, such as `a,b.c`; `id` and `_revision` are always there"),
        ("order" = Option<String>, Query, description = "Such as `age.desc,name`; by id without"),
        ("limit" = Option<u32>, Query, description = "1 to 1000 items; 100 without"),
        ("offset" = Option<u32>, Query, description = "Items to skip on the first page"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same query"),
        ("count" = Option<String>, Query, description = "`none`, `estimated` or `exact`"),
        ("as_of" = Option<u64>, Query, description = "Read at this revision"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `session` or `stale`"),
        ("max_staleness_ms" = Option<u64>, Query, description = "With `stale`: how old at most"),
        ("Aerodb-Min-Revision" = Option<u64>, Header, description = "With `session`: the revision last seen"),
    ),
    responses(Lists, Problems)
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    CollectionPath(name): CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let params = Params::parse(request.uri().query())?;
    let wanted = Wanted::from_params(params, request.headers(), state.limits(), caller.id())?;
    answer(&state, &caller, &name, wanted, request.headers()).await
}

/// The same as a body, for filters that do not fit a URL.
#[utoipa::path(
    post, path = "/api/{collection}/query", tag = "data", operation_id = "queryDocuments",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `session` or `stale`"),
        ("max_staleness_ms" = Option<u64>, Query, description = "With `stale`: how old at most"),
        ("as_of" = Option<u64>, Query, description = "Read at this revision"),
        ("Aerodb-Min-Revision" = Option<u64>, Header, description = "With `session`: the revision last seen"),
    ),
    request_body(content = crate::openapi::QueryBody, description = "All members are optional"),
    responses(Lists, Problems)
)]
pub(super) async fn query(
    State(state): State<ApiState>,
    caller: Caller,
    CollectionPath(name): CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    if body_form(&parts.headers)? != BodyForm::Json {
        return Err(Problem::new(Code::UnsupportedMediaType, "a query is application/json"));
    }
    let params = Params::parse(parts.uri.query())?;
    let body = body::whole(&state, &parts.headers, body, state.options().request_body_bytes_max).await?;
    let bytes = if body.bytes.is_empty() { &b"{}"[..] } else { &body.bytes };
    let wanted = Wanted::from_body(bytes, params, &parts.headers, state.limits(), caller.id())?;
    answer(&state, &caller, &name, wanted, &parts.headers).await
}

async fn answer(
    state: &ApiState,
    caller: &Caller,
    name: &str,
    wanted: Wanted,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    match accept(headers, &FORMS) {
        Form::NdJson => export::ndjson(state, caller, name, wanted).await,
        Form::Csv => export::csv(state, caller, name, wanted).await,
        Form::Json | Form::EventStream => {
            let (reading, page) = first_page(state, caller, name, wanted).await?;
            let body = response::page(&page.items, page.next_cursor.as_deref(), page.count, page.revision);
            let body = state.admit_answer(body)?;
            let at = ReadAt { revision: page.revision, ..reading.at };
            Ok(at.mark(response::json(StatusCode::OK, body)))
        }
    }
}

/// The page that was asked for, as fresh as it was asked for.
pub(super) async fn first_page(
    state: &ApiState,
    caller: &Caller,
    name: &str,
    wanted: Wanted,
) -> Result<(Reading, Page), Problem> {
    let reading = state.read_collection(caller, wanted.freshness, name).await?;
    match page(state, &reading, &wanted).await {
        // A cursor from another node may name a revision that this one has yet to reach.
        Err(problem) if problem.code() == Code::RevisionAhead && wanted.query.cursor.is_some() => {
            let wanted = wanted.caught_up();
            let reading = state.read_collection(caller, wanted.freshness, name).await?;
            let page = page(state, &reading, &wanted).await?;
            Ok((reading, page))
        }
        Err(problem) => Err(problem.at(reading.at)),
        Ok(page) => Ok((reading, page)),
    }
}

async fn page(state: &ApiState, reading: &Reading, wanted: &Wanted) -> Result<Page, Problem> {
    if let Some(page) = reading.view.list_at_once(&reading.collection, &wanted.query)? {
        return Ok(page);
    }
    let (view, collection, query) = (reading.view.clone(), reading.collection.clone(), wanted.query.clone());
    state.blocking(move |expired| view.list(&collection, &query, expired)).await
}
