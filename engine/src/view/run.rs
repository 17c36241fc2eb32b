//! A list being made: documents come from a source, are checked against the filter, and fill a page.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use aerodb_proto::Collection;
use bytes::Bytes;
use parking_lot::Mutex;

use super::cursor::Position;
use super::list::{Actual, Count, ListQuery};
use super::parts::Memory;
use super::plan::Access;
use super::source::{Met, Source};
use super::{ReadError, View};
use crate::body;
use crate::index::Through;
use crate::json::{self, Members, Value};
use crate::order::{self, Order};

/// How many documents, and bytes of them, are looked at between two looks at the clock.
const STEPS_PER_CHECK: u64 = 256;
const BYTES_PER_CHECK: usize = 1 << 20;
/// Items of a page that there is room for before any was met.
const ITEMS_EXPECTED_MAX: usize = 128;

/// One list being made.
pub(super) struct Run<'a> {
    pub(super) view: &'a View,
    pub(super) collection: &'a Collection,
    pub(super) query: &'a ListQuery,
    pub(super) revision: u64,
    pub(super) start: Option<Position>,
    pub(super) expired: &'a (dyn Fn() -> bool + Sync),
    pub(super) actual: &'a Mutex<Actual>,
    /// What is read of each document.
    pub(super) members: Members,
}

/// Whether members are read of documents which no filter is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Yes.
    Always,
    /// Nobody but the filter needs them.
    ForTheFilter,
}

impl Read {
    fn when(needed: bool) -> Self {
        if needed { Read::Always } else { Read::ForTheFilter }
    }
}

/// What a list found.
pub(super) struct Found {
    /// What is answered of each document.
    pub(super) items: Vec<Bytes>,
    /// What the last of them is sorted by, and its id, if there are others behind it.
    pub(super) next: Option<(Vec<Value>, String)>,
    pub(super) count: Option<u64>,
}

/// A document that may come to be on the page.
struct Row {
    /// What it is sorted by.
    key: Vec<Value>,
    id: String,
    body: Bytes,
}

impl Run<'_> {
    /// Pages in the order in which documents come: they begin where the last page ended.
    pub(super) fn ordered(&self, access: &Access) -> Result<Found, ReadError> {
        let items = Vec::with_capacity(self.query.limit.min(ITEMS_EXPECTED_MAX));
        let (mut items, mut last, mut more) = (items, None, false);
        let mut skip = self.skip();
        let (mut matched, mut bytes) = (0, 0);
        // A count covers all that match, so it looks from the start.
        let counting = self.counts_matches(access);
        let start = self.start.as_ref().filter(|_| !counting);
        let looks_behind = counting && self.start.is_some();
        let read = Read::when(self.query.select.is_some() || looks_behind);
        self.each(access, start, read, |met, value| {
            matched += 1;
            if looks_behind && !self.is_behind_start(value, met.id)? {
                return Ok(true);
            }
            if skip > 0 {
                skip -= 1;
                return Ok(true);
            }
            if last.is_some() {
                more = true;
                return Ok(counting);
            }
            let item = self.project(met, value);
            bytes += item.len();
            items.push(item);
            // Only the last one's place is needed, for the cursor.
            if items.len() >= self.query.limit || bytes > self.view.limits.page_bytes_max {
                last = Some((self.key(&met.body)?, met.id.to_owned()));
            }
            Ok(true)
        })?;
        Ok(Found { items, next: last.filter(|_| more), count: self.count(access, matched)? })
    }

    /// Whether all that match have to be met because their number is asked for.
    fn counts_matches(&self, access: &Access) -> bool {
        self.query.count != Count::None && !self.count_is_kept() && !access.covers()
    }

    /// The number of all documents of the latest revision is kept.
    fn count_is_kept(&self) -> bool {
        self.query.filter.is_none() && self.revision == self.view.revision()
    }

    /// The count to answer with, if one was asked for; `matched` were met.
    fn count(&self, access: &Access, matched: u64) -> Result<Option<u64>, ReadError> {
        Ok(match (self.query.count, access) {
            (Count::None, _) => None,
            _ if self.count_is_kept() => Some(self.view.counts(self.collection)?.documents),
            (_, Access::Index(Through { index, stretches, covers: true, .. })) => {
                let (collection, revision) = (self.collection.id, self.revision);
                Some(self.view.count_all_entries(collection, index, revision, stretches, self.expired)?)
            }
            _ => Some(matched),
        })
    }

    /// What a document is sorted by.
    fn key(&self, body: &[u8]) -> Result<Vec<Value>, ReadError> {
        if self.query.order.is_by_id() {
            return Ok(Vec::new());
        }
        let document = body::read(body, &self.members).map_err(damaged)?;
        self.query.order.key(&document).map_err(unsortable)
    }

    fn is_behind_start(&self, document: &Value, id: &str) -> Result<bool, ReadError> {
        let Some(start) = &self.start else { return Ok(true) };
        let order = self.query.order.compare_document(document, id, (&start.key, &start.id));
        Ok(order.map_err(unsortable)?.is_gt())
    }

    /// Other orders keep the best `offset + limit + 1` rows behind the cursor in a heap: memory is bounded by the page.
    pub(super) fn sorted(&self, access: &Access) -> Result<Found, ReadError> {
        let skip = self.skip();
        let wanted = skip + self.query.limit;
        let order = &self.query.order;
        let new = || Best { order, wanted, heap: BinaryHeap::new(), bytes: 0, matched: 0, more: false };
        let memory = Memory {
            bytes: |best: &Best<'_>| best.bytes,
            bytes_max: 4 * self.view.limits.page_bytes_max,
            problem: "sorting needs more memory than a query may take: ask for fewer items, or a narrower filter",
        };
        let parts = self.each_in_parts(access, memory, new, |best, met, value| {
            best.matched += 1;
            if !self.is_behind_start(value, met.id)? {
                return Ok(());
            }
            if best.heap.len() == wanted {
                best.more = true;
                let Some(Ranked { row: worst, .. }) = best.heap.peek() else { return Ok(()) };
                if order.compare_document(value, met.id, (&worst.key, &worst.id)).map_err(unsortable)?.is_gt() {
                    return Ok(());
                }
            }
            let key = order.key(value).map_err(unsortable)?;
            // A copy: what was fetched together lies in one buffer, and one document would hold all of it.
            best.add(Row { key, id: met.id.to_owned(), body: Bytes::copy_from_slice(&met.body) });
            Ok(())
        })?;
        let mut parts = parts.into_iter();
        let mut best = parts.next().unwrap_or_else(new);
        for part in parts {
            best.matched += part.matched;
            best.more |= part.more;
            for Ranked { row, .. } in part.heap {
                best.add(row);
            }
        }
        let Best { heap, matched, more, .. } = best;
        let count = self.count(access, matched)?;
        let (mut items, mut last) = (Vec::new(), None);
        let mut reader = body::Reader::new(self.members.clone());
        for Ranked { row, .. } in heap.into_sorted_vec().into_iter().skip(skip) {
            items.push(match &self.query.select {
                Some(select) => select.apply(reader.read(&row.body).map_err(damaged)?).to_bytes().into(),
                None => row.body,
            });
            last = Some((row.key, row.id));
        }
        Ok(Found { items, next: last.filter(|_| more), count })
    }

    /// Calls `visit` with each document that matches, and what was read of it: null when nothing was. Ends when `visit` says
    /// false. With `start`, documents come from behind it.
    pub(super) fn each(
        &self,
        access: &Access,
        start: Option<&Position>,
        read: Read,
        mut visit: impl FnMut(&Met<'_>, &Value) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let behind;
        let access = match start {
            Some(start) => {
                behind = access.clone().behind(&self.query.order, &start.key, &start.id);
                &behind
            }
            None => access,
        };
        // What an index says in full is not asked again.
        let filter = self.query.filter.as_ref().filter(|_| !access.covers());
        let reads = filter.is_some() || read == Read::Always;
        let mut reader = body::Reader::new(self.members.clone());
        let mut source = Source::new(self, access)?;
        let mut actual = Actual::default();
        let (mut steps, mut bytes) = (0, 0);
        while let Some(met) = source.next()? {
            (steps, bytes) = (steps + 1, bytes + met.body.len());
            if steps == STEPS_PER_CHECK || bytes >= BYTES_PER_CHECK {
                (steps, bytes) = (0, 0);
                self.check_time()?;
            }
            let value = if reads { reader.read(&met.body).map_err(damaged)? } else { &Value::Null };
            let matches = filter.is_none_or(|filter| filter.matches(value));
            actual.examined += 1;
            actual.examined_bytes += met.body.len() as u64;
            actual.matched += u64::from(matches);
            if matches && !visit(&met, value)? {
                break;
            }
        }
        self.actual.lock().add(&actual);
        Ok(())
    }

    /// Ends the query when its time is over.
    pub(super) fn check_time(&self) -> Result<(), ReadError> {
        if (self.expired)() {
            let problem = "the query ran out of time: narrow the filter, or page by cursor";
            return Err(ReadError::TooExpensive(problem.into()));
        }
        Ok(())
    }

    fn skip(&self) -> usize {
        if self.start.is_some() { 0 } else { self.query.offset }
    }

    fn project(&self, met: &Met<'_>, value: &Value) -> Bytes {
        match &self.query.select {
            Some(select) => select.apply(value).to_bytes().into(),
            None => met.body.to_bytes(),
        }
    }
}

fn damaged(error: json::Error) -> ReadError {
    crate::Error::malformed("a document", error).into()
}

fn unsortable(error: order::Error) -> ReadError {
    ReadError::InvalidOrder(error.to_string())
}

/// The first rows of an order that were met so far.
struct Best<'a> {
    order: &'a Order,
    /// Rows to keep.
    wanted: usize,
    heap: BinaryHeap<Ranked<'a>>,
    /// Bytes of their bodies.
    bytes: usize,
    /// Documents that matched.
    matched: u64,
    /// There are others.
    more: bool,
}

impl Best<'_> {
    /// Keeps `row`, instead of the last one where there are enough.
    fn add(&mut self, row: Row) {
        self.bytes += row.body.len();
        self.heap.push(Ranked { order: self.order, row });
        if self.heap.len() > self.wanted {
            self.more = true;
            self.bytes -= self.heap.pop().map_or(0, |ranked| ranked.row.body.len());
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
