//! `GET /api/{collection}/_changes`: what happened to a collection, in the order of (revision, position).

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::feed::{Feed, Until};
use super::query::filter_param;
use crate::auth::Caller;
use crate::consistency::{Freshness, Mode};
use crate::error::Problem;
use crate::negotiate::{Form, accept};
use crate::openapi::Problems;
use crate::params::{Params, number};
use crate::path::CollectionPath;
use crate::response::{ReadAt, Unbuffered, typed};
use crate::state::ApiState;

/// The change feed of a collection.
///
/// One line of JSON per change, `{"revision","position","type":"insert|update|delete","id","document","previous"}`, the
/// images being null where there are none; the changes of one revision are never split. The stream ends with
/// `{"type":"bookmark","revision"}`: everything up to there was sent, go on with `since` = that revision. With
/// `follow=true`, or as Server-Sent Events (`Accept: text/event-stream`), it goes on with whatever happens next, and
/// bookmarks come in between. With `filter` only changes are told of documents that match, before or after; `"matches"` says whether
/// the document does now. While nothing matches for long, bookmarks with `"more":true` say how far it has come. A stream that cannot go on ends with `{"type":"error","code"}`, one that breaks off
/// without a bookmark is incomplete: go on from the last revision that was complete.
#[utoipa::path(
    get, path = "/api/{collection}/_changes", tag = "data", operation_id = "readChanges",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("since" = Option<u64>, Query, description = "Changes after this revision; 0 without"),
        ("filter" = Option<String>, Query, description = "Only changes of documents that match, before or after"),
        ("limit" = Option<u32>, Query, description = "End after about as many changes (a revision is never split), with a bookmark"),
        ("follow" = Option<bool>, Query, description = "Stay open and go on with whatever happens next"),
        ("consistency" = Option<String>, Query, description = "How fresh the beginning must be: `linearizable` (default), `session` or `stale`"),
        ("max_staleness_ms" = Option<u64>, Query, description = "With `stale`: how old at most"),
        ("Aerodb-Min-Revision" = Option<u64>, Header, description = "With `session`: the revision last seen"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Takes the place of `since` when an event source reconnects"),
    ),
    responses(
        (status = 200, description = "The changes", content((String = "application/x-ndjson"), (String = "text/event-stream"))),
        Problems
    )
)]
pub(super) async fn changes(
    State(state): State<ApiState>,
    caller: Caller,
    CollectionPath(name): CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let mut params = Params::parse(request.uri().query())?;
    let mode = Mode::take(&mut params, headers)?;
    let since = params.take_number("since", 0, u64::MAX)?;
    let since = last_event_id(headers)?.or(since).unwrap_or(0);
    let filter = filter_param(&mut params, state.limits())?;
    let limit = params.take_number("limit", 1, state.limits().changes_page_max as u64)?;
    let follow = params.take_bool("follow")?;
    params.finish()?;
    let form = accept(headers, &[Form::NdJson, Form::EventStream]);
    let until = match (limit, follow.unwrap_or(form == Form::EventStream)) {
        (Some(_), true) => return Err(Problem::parameter("limit", "a stream that stays open has no limit")),
        (Some(limit), false) => Until::Count(limit as usize),
        (None, false) => Until::Now,
        (None, true) => Until::Stopped,
    };

    let open = (state.admit_stream()?, state.metrics().stream());
    let mut reading = state.read_collection(&caller, Freshness { mode, as_of: None }, &name).await?;
    if reading.view.revision() < since {
        // This node may lag: it waits for the revision, or finds out that the cluster has not reached it either.
        let freshness = Freshness { mode, as_of: Some(since) };
        reading = state.read_collection(&caller, freshness, &name).await?;
    }
    let at = ReadAt { revision: reading.view.revision(), ..reading.at };
    let mut feed = Feed::new(state, caller, reading.collection, form, filter, since, until);
    // The first part is read before the answer begins, so that its errors have a status of their own.
    let first = feed.begin(reading.view).await.map_err(|problem| problem.at(at))?;
    let parts = stream::unfold((Some(first), feed, open), |(first, mut feed, open)| async move {
        let part = match first {
            Some(first) => first,
            None => feed.next().await?,
        };
        Some((Ok::<_, std::convert::Infallible>(part), (None, feed, open)))
    });
    let mut answer = typed(StatusCode::OK, form.content_type(), Body::from_stream(parts));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if until == Until::Stopped {
        answer.extensions_mut().insert(Unbuffered);
    }
    Ok(at.mark(answer))
}

/// How far an event source says that it has come.
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.to_str().unwrap_or("?");
    number(text, 0, u64::MAX).map(Some).map_err(|message| Problem::header("Last-Event-ID", message))
}
