//! Reads compared with a naive model that keeps every state that there ever was.

use std::collections::BTreeMap;

use super::*;
use crate::filter::Filter;
use crate::json::{self, Value};
use crate::order::Order;
use crate::select::Select;
use crate::testing::{Dice, IDS, Leader, check, command, create, create_index, delete, put, random};
use model::Model;

mod at_once;
mod cached;
mod collecting;
mod covers;
mod cursors;
mod groups;
mod model;
mod parts;
mod reads;
mod scans;
mod sequences;
mod versions;
mod ways;

/// A list of `limit` items of everything, by id.
fn query(limit: usize) -> ListQuery {
    ListQuery { caller: "me".into(), ..ListQuery::of(limit) }
}

fn filter(text: &str) -> Option<Filter> {
    Some(Filter::parse(&json::tests::value(text)).unwrap())
}

fn list(leader: &Leader, name: &str, query: &ListQuery) -> Result<Page, ReadError> {
    let view = leader.node.view();
    let collection = view.collection(name).expect("the collection exists");
    let page = view.list(&collection, query, &|| false);
    if let Ok(Some(at_once)) = view.list_at_once(&collection, query) {
        assert_eq!(Some(&at_once), page.as_ref().ok(), "{query:?}");
    }
    page
}

/// The answer or the error as a word.
fn word<T: std::fmt::Debug>(result: Result<T, ReadError>) -> String {
    match result {
        Ok(_) => "fine".into(),
        Err(ReadError::Compacted { oldest }) => format!("compacted {oldest}"),
        Err(ReadError::RevisionAhead { current }) => format!("ahead {current}"),
        Err(ReadError::InvalidCursor(_)) => "invalid cursor".into(),
        Err(ReadError::InvalidOrder(_)) => "invalid order".into(),
        Err(ReadError::InvalidGroup(_)) => "invalid group".into(),
        Err(ReadError::FullScan { .. }) => "full scan".into(),
        Err(ReadError::TooExpensive(_)) => "too expensive".into(),
        Err(ReadError::Storage(error)) => format!("storage: {error}"),
    }
}

/// The ids of those of these documents that `query` matches, in its order.
fn ids_in_order(documents: &[Value], query: &ListQuery) -> Vec<String> {
    let matches = |document: &&Value| query.filter.as_ref().is_none_or(|filter| filter.matches(document));
    let mut found: Vec<_> = documents.iter().filter(matches).collect();
    let id = |document: &Value| document.get("id").and_then(Value::as_str).unwrap().to_owned();
    let place = |document: &Value| (query.order.key(document).unwrap(), id(document));
    found.sort_by(|a, b| query.order.compare(&place(a), &place(b)));
    found.into_iter().map(id).collect()
}

/// The ids of all pages, and the count that each page gives.
fn ids_by_page(view: &View, collection: &Collection, query: &ListQuery) -> (Vec<String>, Vec<Option<u64>>) {
    let (mut cursor, mut found, mut counts) = (None, Vec::new(), Vec::new());
    loop {
        let query = ListQuery { cursor, ..query.clone() };
        let page = view.list(collection, &query, &|| false).unwrap();
        if let Some(at_once) = view.list_at_once(collection, &query).unwrap() {
            assert_eq!(at_once, page, "{query:?}");
        }
        let id = |body: &bytes::Bytes| model::parse(body).get("id").and_then(Value::as_str).unwrap().to_owned();
        found.extend(page.items.iter().map(id));
        counts.push(page.count);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return (found, counts);
        }
    }
}
