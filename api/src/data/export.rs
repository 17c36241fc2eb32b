//! A whole list as a stream: a walk by cursor, at one revision, with one page in memory.

use std::sync::Arc;

use aerodb_engine::json::{self, Path, Value};
use aerodb_engine::view::{ListQuery, Page};
use aerodb_proto as proto;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::csv::{Fields, Table};
use super::list::first_page;
use super::query::Wanted;
use crate::auth::Caller;
use crate::error::Problem;
use crate::metrics::Counted;
use crate::negotiate::Form;
use crate::response::{self, ReadAt, typed};
use crate::state::ApiState;

/// A walk over all that matches. The view of the first page is not kept: the cursor names its revision, and history
/// keeps it readable; a client that reads slowly must not hold back what the storage can free.
struct Walk {
    state: ApiState,
    caller: Caller,
    collection: Arc<proto::Collection>,
    query: ListQuery,
    /// The page that is to be sent next.
    page: Option<Page>,
    /// One page was asked for, not all.
    limited: bool,
    /// Its place among the open streams.
    _open: (OwnedSemaphorePermit, Counted),
}

impl Walk {
    /// Reads the first page; errors up to here have a status of their own.
    async fn begin(state: &ApiState, caller: &Caller, name: &str, mut wanted: Wanted) -> Result<(Self, Head), Problem> {
        let open = (state.admit_stream()?, state.metrics().stream());
        if !wanted.limited {
            wanted.query.limit = state.options().export_page_items.min(state.limits().page_items_max);
        }
        let (query, limited) = (wanted.query.clone(), wanted.limited);
        let (reading, page) = first_page(state, caller, name, wanted).await?;
        let at = ReadAt { revision: page.revision, ..reading.at };
        let head = Head { at, count: page.count, next_cursor: page.next_cursor.clone().filter(|_| limited) };
        let query = ListQuery { count: Default::default(), offset: 0, as_of: None, ..query };
        let walk = Self {
            state: state.clone(),
            caller: caller.clone(),
            collection: reading.collection,
            query,
            page: Some(page),
            limited,
            _open: open,
        };
        Ok((walk, head))
    }

    /// The next page, if there is one.
    async fn next(&mut self) -> Result<Option<Page>, Problem> {
        if let Some(page) = self.page.take() {
            self.query.cursor = page.next_cursor.clone().filter(|_| !self.limited);
            return Ok(Some(page));
        }
        if self.query.cursor.is_none() {
            return Ok(None);
        }
        let view = self.state.local()?;
        self.caller.confirm(&view)?;
        let (collection, query) = (self.collection.clone(), self.query.clone());
        let page = self.state.blocking(move |expired| view.list(&collection, &query, expired)).await?;
        self.query.cursor = page.next_cursor.clone();
        Ok(Some(page))
    }
}

/// What the headers of a streamed list say.
struct Head {
    at: ReadAt,
    count: Option<u64>,
    next_cursor: Option<String>,
}

impl Head {
    fn mark(self, response: Response) -> Response {
        let mut response = self.at.mark(response);
        if let Some(count) = self.count {
            response.headers_mut().insert(response::COUNT, HeaderValue::from(count));
        }
        if let Some(cursor) = self.next_cursor.and_then(|cursor| HeaderValue::from_str(&cursor).ok()) {
            response.headers_mut().insert(response::NEXT_CURSOR, cursor);
        }
        response
    }
}

/// One document a line.
pub(super) async fn ndjson(state: &ApiState, caller: &Caller, name: &str, wanted: Wanted) -> Result<Response, Problem> {
    let (walk, head) = Walk::begin(state, caller, name, wanted).await?;
    let body = streamed(walk, |page| {
        let mut lines = Vec::with_capacity(page.items.iter().map(|item| item.len() + 1).sum());
        for item in &page.items {
            lines.extend_from_slice(item);
            lines.push(b'\n');
        }
        Ok(lines)
    });
    Ok(head.mark(typed(StatusCode::OK, Form::NdJson.content_type(), body)))
}

/// One document a row. The columns are those of `select`, or, without it, all fields of all documents of the list,
/// found by reading the same revision twice: no field is left out in silence.
pub(super) async fn csv(
    state: &ApiState,
    caller: &Caller,
    name: &str,
    mut wanted: Wanted,
) -> Result<Response, Problem> {
    // Cells are taken from whole documents: a projection moves the elements of arrays.
    let selected = wanted.query.select.take();
    let (mut walk, head) = Walk::begin(state, caller, name, wanted.clone()).await?;
    let table = match (&walk.query.grouping, selected) {
        (Some(grouping), _) => Table::groups(grouping),
        (None, Some(select)) => Table::selected(select.paths().iter().map(Path::to_string)),
        (None, None) => {
            let mut found = Fields::new(state.options().csv_columns_max);
            while let Some(page) = walk.next().await? {
                for item in &page.items {
                    found.add(&parse(item)?)?;
                }
            }
            if wanted.query.cursor.is_none() {
                wanted.query.as_of = Some(head.at.revision);
                wanted.freshness.as_of = wanted.query.as_of;
            }
            // Its place is given back before another one is asked for.
            drop(walk);
            walk = Walk::begin(state, caller, name, wanted).await?.0;
            found.table()
        }
    };
    let mut header = Some(table.header());
    let body = streamed(walk, move |page| {
        let mut rows = header.take().unwrap_or_default();
        for item in &page.items {
            table.row(&parse(item)?, &mut rows);
        }
        Ok(rows)
    });
    Ok(head.mark(typed(StatusCode::OK, Form::Csv.content_type(), body)))
}

fn parse(item: &Bytes) -> Result<Value, Problem> {
    json::parse(item, &json::STORED).map_err(Problem::internal)
}

/// A body that sends page after page. One that fails is cut off, so that nobody takes a part for the whole.
fn streamed(walk: Walk, render: impl FnMut(&Page) -> Result<Vec<u8>, Problem> + Send + 'static) -> Body {
    Body::from_stream(stream::try_unfold((walk, render), |(mut walk, mut render)| async move {
        let next = walk.next().await;
        match next.and_then(|page| page.map(|page| render(&page)).transpose()) {
            Ok(None) => Ok(None),
            Ok(Some(part)) => Ok(Some((Bytes::from(part), (walk, render)))),
            Err(problem) => {
                tracing::warn!(code = problem.code().name(), detail = problem.detail(), "an export broke off");
                Err(std::io::Error::other(problem.detail().to_owned()))
            }
        }
    }))
}
