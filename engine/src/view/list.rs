//! Lists: filter, order, page. The first page fixes a revision; all its following pages are read at it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use aerodb_proto::Collection;

use super::cursor::Position;
use super::{CollectionStats, ReadError, View};
use crate::filter::Filter;
use crate::json::{self, Value};
use crate::order::Order;
use crate::planted;
use crate::select::Select;

/// Whether a list also counts all that match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Count {
    /// No.
    #[default]
    None,
    /// Roughly; exact as long as there are no statistics.
    Estimated,
    /// Exactly.
    Exact,
}

/// A list that is asked for.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Which documents; all without one.
    pub filter: Option<Filter>,
    /// Which fields; all without one.
    pub select: Option<Select>,
    /// In which order; by id without keys.
    pub order: Order,
    /// Items of the page.
    pub limit: usize,
    /// Items to skip; only on a first page.
    pub offset: usize,
    /// Where an earlier page ended.
    pub cursor: Option<String>,
    /// Whether to count all that match.
    pub count: Count,
    /// The revision to read at; the view's own without one.
    pub as_of: Option<u64>,
    /// Who asks: cursors are sealed to it.
    pub caller: String,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The documents, as JSON.
    pub items: Vec<bytes::Bytes>,
    /// Where the next page begins; `None` when there is none.
    pub next_cursor: Option<String>,
    /// How many match, when it was asked.
    pub count: Option<u64>,
    /// The revision that the page was read at.
    pub revision: u64,
}

/// How many documents are looked at between two looks at the clock.
const STEPS_PER_CHECK: u64 = 256;

impl View {
    /// The page that `query` asks for. `expired` is asked now and then; when it says true the query ends.
    ///
    /// # Errors
    /// When the revision, the cursor or the order is not good, the query takes too long, or the storage fails.
    pub fn list(
        &self,
        collection: &Collection,
        query: &ListQuery,
        expired: &dyn Fn() -> bool,
    ) -> Result<Page, ReadError> {
        let fingerprint = fingerprint(collection, query);
        let start = match &query.cursor {
            Some(cursor) => Some(self.open_cursor(cursor, &fingerprint)?),
            None => None,
        };
        if let (Some(start), Some(as_of)) = (&start, query.as_of)
            && start.revision != as_of
        {
            let problem = format!("the cursor goes on at revision {}, and as_of asks for {as_of}", start.revision);
            return Err(ReadError::InvalidCursor(problem));
        }
        let revision = start.as_ref().map(|start| start.revision).or(query.as_of).unwrap_or(self.revision());
        self.check_readable(collection, revision)?;
        let revision = if planted!("cursor-at-the-latest") { self.revision() } else { revision };
        let run = Run { view: self, collection, query, revision, start, expired };
        let mut found = if query.order.is_by_id() { run.by_id()? } else { run.sorted()? };
        let next_cursor = match found.more.then(|| found.rows.last()).flatten() {
            Some(last) => {
                let position = Position { revision, key: last.key.clone(), id: last.id.clone() };
                Some(self.seal_cursor(&position, &fingerprint)?)
            }
            None => None,
        };
        let items = found.rows.drain(..).map(|row| row.body).collect();
        Ok(Page { items, next_cursor, count: found.count, revision })
    }

    /// Counts a collection.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn stats(&self, collection: &Collection) -> Result<CollectionStats, ReadError> {
        let mut stats = CollectionStats { documents: 0, bytes: 0 };
        let mut documents = self.documents_at(collection, self.revision(), None);
        while let Some((_, document)) = documents.next()? {
            stats.documents += 1;
            stats.bytes += document.body.len() as u64;
        }
        Ok(stats)
    }
}

/// What makes two queries the same for a cursor. The page's size may differ.
fn fingerprint(collection: &Collection, query: &ListQuery) -> Vec<u8> {
    let filter = query.filter.as_ref().map(ToString::to_string);
    format!("{}\0{:?}\0{:?}\0{:?}\0{}", collection.id, filter, query.select, query.order, query.caller).into_bytes()
}

/// One list being made.
struct Run<'a> {
    view: &'a View,
    collection: &'a Collection,
    query: &'a ListQuery,
    revision: u64,
    start: Option<Position>,
    expired: &'a dyn Fn() -> bool,
}

/// What a list found.
#[derive(Default)]
struct Found {
    rows: Vec<Row>,
    more: bool,
    count: Option<u64>,
}

struct Row {
    key: Vec<Value>,
    id: String,
    body: bytes::Bytes,
}

impl Run<'_> {
    /// Pages in the order of ids come straight from the scan, which begins where the last page ended.
    fn by_id(&self) -> Result<Found, ReadError> {
        let mut found = Found::default();
        let mut skip = self.skip();
        let (mut matched, mut bytes) = (0, 0);
        // A count covers all that match, so it scans from the start.
        let counting = self.query.count != Count::None;
        let after = self.start.as_ref().map(|start| start.id.as_str()).filter(|_| !counting);
        self.each(after, |id, body, value| {
            matched += 1;
            let behind = self.start.as_ref().is_some_and(|start| id <= start.id.as_str());
            if behind {
                return Ok(true);
            }
            if skip > 0 {
                skip -= 1;
                return Ok(true);
            }
            if found.rows.len() >= self.query.limit || bytes > self.view.limits.page_bytes_max {
                found.more = true;
                return Ok(counting);
            }
            let body = self.project(body, value);
            bytes += body.len();
            found.rows.push(Row { key: Vec::new(), id: id.to_owned(), body });
            Ok(true)
        })?;
        found.count = counting.then_some(matched);
        Ok(found)
    }

    /// Other orders keep the best `offset + limit + 1` rows behind the cursor in a heap: memory is bounded by the page.
    fn sorted(&self) -> Result<Found, ReadError> {
        let skip = self.skip();
        let wanted = skip + self.query.limit;
        let mut heap: BinaryHeap<Ranked<'_>> = BinaryHeap::new();
        let mut matched = 0;
        let mut bytes = 0;
        let mut more = false;
        self.each(None, |id, body, value| {
            matched += 1;
            let parsed;
            let value = match value {
                Some(value) => value,
                None => {
                    parsed = self.parse(body)?;
                    &parsed
                }
            };
            let key = self.query.order.key(value).map_err(|error| ReadError::InvalidOrder(error.to_string()))?;
            if let Some(start) = &self.start
                && self.query.order.compare(&(&key, id), &(&start.key, start.id.as_str())) != Ordering::Greater
            {
                return Ok(true);
            }
            bytes += body.len();
            heap.push(Ranked { order: &self.query.order, row: Row { key, id: id.to_owned(), body: body.clone() } });
            if heap.len() > wanted {
                more = true;
                bytes -= heap.pop().map_or(0, |ranked| ranked.row.body.len());
            }
            if bytes > 4 * self.view.limits.page_bytes_max {
                let problem =
                    "sorting needs more memory than a query may take: ask for fewer items, or a narrower filter";
                return Err(ReadError::TooExpensive(problem.into()));
            }
            Ok(true)
        })?;
        let rows = heap.into_sorted_vec().into_iter().skip(skip).map(|ranked| ranked.row);
        let rows = rows.map(|row| Ok(Row { body: self.project(&row.body, None), ..row }));
        let count = (self.query.count != Count::None).then_some(matched);
        Ok(Found { rows: rows.collect::<Result<_, ReadError>>()?, more, count })
    }

    /// Calls `visit` with each document that matches: id, body, and the parsed body where the filter needed it. Ends when
    /// `visit` says false.
    fn each(
        &self,
        after: Option<&str>,
        mut visit: impl FnMut(&str, &bytes::Bytes, Option<&Value>) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let mut documents = self.view.documents_at(self.collection, self.revision, after);
        let mut steps = 0;
        while let Some((id, document)) = documents.next()? {
            steps += 1;
            if steps % STEPS_PER_CHECK == 0 && (self.expired)() {
                let problem = "the query ran out of time: narrow the filter, or page by cursor";
                return Err(ReadError::TooExpensive(problem.into()));
            }
            let id = std::str::from_utf8(&id).map_err(|e| crate::Error::malformed("an id", e))?;
            let value = match &self.query.filter {
                Some(_) => Some(self.parse(&document.body)?),
                None => None,
            };
            let matches = match (&self.query.filter, &value) {
                (Some(filter), Some(value)) => filter.matches(value),
                _ => true,
            };
            if matches && !visit(id, &document.body, value.as_ref())? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn skip(&self) -> usize {
        if self.start.is_some() { 0 } else { self.query.offset }
    }

    fn parse(&self, body: &[u8]) -> Result<Value, ReadError> {
        json::parse(body, &json::STORED).map_err(|e| crate::Error::malformed("a document", e).into())
    }

    fn project(&self, body: &bytes::Bytes, value: Option<&Value>) -> bytes::Bytes {
        let Some(select) = &self.query.select else { return body.clone() };
        match value {
            Some(value) => select.apply(value).to_bytes().into(),
            // A stored document always parses; one that does not was reported by the filter or the digest.
            None => self.parse(body).map_or_else(|_| body.clone(), |value| select.apply(&value).to_bytes().into()),
        }
    }
}

struct Ranked<'a> {
    order: &'a Order,
    row: Row,
}

impl Ord for Ranked<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.compare(&(&self.row.key, &self.row.id), &(&other.row.key, &other.row.id))
    }
}

impl PartialOrd for Ranked<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked<'_> {}
