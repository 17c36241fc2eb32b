//! Lists: filter, order, page. The first page fixes a revision; all its following pages are read at it.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

use aerodb_proto::{Candidate, Collection};

use super::aggregate::Grouping;
use super::cursor::Position;
use super::plan::{self, Access, Plan, Through};
use super::source::Source;
use super::{CollectionStats, ReadError, View};
use crate::filter::Filter;
use crate::json::{self, Members, Path, Value};
use crate::order::Order;
use crate::planted;
use crate::select::{ALWAYS_SHOWN, Select};
use crate::state::record::Document;

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
    /// Groups of documents rather than documents; `order` is then over what they show.
    pub grouping: Option<Grouping>,
    /// Who asks: cursors are sealed to it.
    pub caller: String,
}

impl ListQuery {
    /// The first `limit` documents, by id.
    pub fn of(limit: usize) -> Self {
        Self {
            filter: None,
            select: None,
            order: Order::default(),
            limit,
            offset: 0,
            cursor: None,
            count: Count::None,
            as_of: None,
            grouping: None,
            caller: String::new(),
        }
    }
}

impl ListQuery {
    /// What has to be read of a document to answer.
    pub(super) fn members(&self) -> Members {
        let mut members = Members::default();
        let mut add = |path: &Path| members.add(path);
        self.filter.iter().for_each(|filter| filter.each_path(&mut add));
        match &self.grouping {
            Some(grouping) => grouping.each_path(&mut add),
            // That of groups is over what they show.
            None => self.order.keys().iter().for_each(|key| add(&key.path)),
        }
        if let Some(select) = &self.select {
            select.paths().iter().for_each(add);
            ALWAYS_SHOWN.iter().for_each(|name| members.add_name(name));
        }
        members
    }
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

/// How a list is found, and what that took if it was run.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// The ways that were thought of; one of them is chosen.
    pub candidates: Vec<plan::Candidate>,
    /// Whether documents come in the order asked for, or are sorted.
    pub ordered: bool,
    /// The conditions that bound the way through an index, each as a filter of its own; all of them hold there.
    pub bounds: Vec<Filter>,
    /// Set when the list was run.
    pub actual: Option<Actual>,
    /// The revision that was or would be read at.
    pub revision: u64,
}

/// What a list took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    /// Documents that were looked at.
    pub examined: u64,
    /// Documents that matched, as far as it was run.
    pub matched: u64,
    /// Documents of the page.
    pub returned: u64,
    /// Bytes of the documents that were looked at.
    pub examined_bytes: u64,
}

/// How many documents, and bytes of them, are looked at between two looks at the clock.
const STEPS_PER_CHECK: u64 = 256;
const BYTES_PER_CHECK: usize = 1 << 20;

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
        Ok(self.run(collection, query, expired)?.0)
    }

    /// All that match, with the revisions that wrote them: one more than a command may change, at most.
    ///
    /// # Errors
    /// When it takes too long, or the storage fails.
    pub fn matching(
        &self,
        collection: &Collection,
        filter: Filter,
        expired: &dyn Fn() -> bool,
    ) -> Result<Vec<Candidate>, ReadError> {
        let limit = self.limits.bulk_documents_max + 1;
        let query = &ListQuery { filter: Some(filter), ..ListQuery::of(limit) };
        let revision = self.revision();
        let plan = self.plan(collection, query, revision)?;
        let (actual, members) = (&Cell::default(), query.members());
        let run = Run { view: self, collection, query, revision, start: None, expired, actual, members };
        let mut found = Vec::new();
        run.each_document(&plan.access, None, |id, document, _| {
            found.push(Candidate { id: id.to_owned(), revision: document.revision });
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// How `query` is found; with `analyze` it is run, and what that took is told too.
    ///
    /// # Errors
    /// As [`View::list`].
    pub fn explain(
        &self,
        collection: &Collection,
        query: &ListQuery,
        analyze: bool,
        expired: &dyn Fn() -> bool,
    ) -> Result<Explained, ReadError> {
        if analyze {
            let (page, actual, plan) = self.run(collection, query, expired)?;
            let (ordered, bounds) = (plan.access.is_ordered(), plan.access.bounds(query));
            return Ok(Explained {
                candidates: plan.candidates,
                ordered,
                bounds,
                actual: Some(actual),
                revision: page.revision,
            });
        }
        let revision = query.as_of.unwrap_or(self.revision());
        self.check_readable(collection, revision)?;
        let plan = match &query.grouping {
            Some(grouping) => self.plan(collection, &grouping.documents(query), revision)?,
            None => self.plan(collection, query, revision)?,
        };
        let (ordered, bounds) = (plan.access.is_ordered(), plan.access.bounds(query));
        Ok(Explained { candidates: plan.candidates, ordered, bounds, actual: None, revision })
    }

    /// Where a page begins, and the revision that it is read at, which can be read; and what its cursor is sealed to.
    pub(super) fn begin(
        &self,
        collection: &Collection,
        query: &ListQuery,
    ) -> Result<(Option<Position>, u64, Vec<u8>), ReadError> {
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
        Ok((start, revision, fingerprint))
    }

    fn run(
        &self,
        collection: &Collection,
        query: &ListQuery,
        expired: &dyn Fn() -> bool,
    ) -> Result<(Page, Actual, Plan), ReadError> {
        if let Some(grouping) = &query.grouping {
            return self.group(collection, query, grouping, expired);
        }
        let (start, revision, fingerprint) = self.begin(collection, query)?;
        let revision = if planted!("cursor-at-the-latest") { self.revision() } else { revision };
        let plan = self.plan(collection, query, revision)?;
        let actual = Cell::default();
        let members = query.members();
        let run = Run { view: self, collection, query, revision, start, expired, actual: &actual, members };
        let mut found = if plan.access.is_ordered() { run.ordered(&plan.access)? } else { run.sorted(&plan.access)? };
        let next_cursor = match found.more.then(|| found.rows.last()).flatten() {
            Some(last) => {
                let position = Position { revision, key: last.key.clone(), id: last.id.clone() };
                Some(self.seal_cursor(&position, &fingerprint)?)
            }
            None => None,
        };
        let items: Vec<_> = found.rows.drain(..).map(|row| row.body).collect();
        let actual = Actual { returned: items.len() as u64, ..actual.get() };
        Ok((Page { items, next_cursor, count: found.count, revision }, actual, plan))
    }

    /// Figures of a collection, as they are kept with every write.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn stats(&self, collection: &Collection) -> Result<CollectionStats, ReadError> {
        let counts = self.counts(collection)?;
        Ok(CollectionStats { documents: counts.documents, bytes: counts.bytes })
    }
}

/// What makes two queries the same for a cursor. The page's size may differ.
fn fingerprint(collection: &Collection, query: &ListQuery) -> Vec<u8> {
    let filter = query.filter.as_ref().map(ToString::to_string);
    let grouping = query.grouping.as_ref().map(|grouping| format!("\0{grouping:?}")).unwrap_or_default();
    format!("{}\0{:?}\0{:?}\0{:?}\0{}{grouping}", collection.id, filter, query.select, query.order, query.caller)
        .into_bytes()
}

/// One list being made.
pub(super) struct Run<'a> {
    pub(super) view: &'a View,
    pub(super) collection: &'a Collection,
    pub(super) query: &'a ListQuery,
    pub(super) revision: u64,
    pub(super) start: Option<Position>,
    pub(super) expired: &'a dyn Fn() -> bool,
    pub(super) actual: &'a Cell<Actual>,
    /// What is read of each document.
    pub(super) members: Members,
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
    /// Pages in the order in which documents come: they begin where the last page ended.
    fn ordered(&self, access: &Access) -> Result<Found, ReadError> {
        let mut found = Found::default();
        let mut skip = self.skip();
        let (mut matched, mut bytes) = (0, 0);
        // A count covers all that match, so it looks from the start.
        let counting = self.counts_matches(access);
        let start = self.start.as_ref().filter(|_| !counting);
        let mut last = None;
        self.each(access, start, |id, body, value| {
            matched += 1;
            if counting && self.start.is_some() && !self.is_behind_start(&self.key(body, value)?, id) {
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
            last = Some(body.clone());
            let body = self.project(body, value);
            bytes += body.len();
            found.rows.push(Row { key: Vec::new(), id: id.to_owned(), body });
            Ok(true)
        })?;
        // Only the last row's place is needed, for the cursor.
        if let (true, Some(row), Some(body)) = (found.more, found.rows.last_mut(), last) {
            row.key = self.key(&body, None)?;
        }
        found.count = self.count(access, matched)?;
        Ok(found)
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
    fn key(&self, body: &[u8], value: Option<&Value>) -> Result<Vec<Value>, ReadError> {
        if self.query.order.is_by_id() {
            return Ok(Vec::new());
        }
        let parsed;
        let value = match value {
            Some(value) => value,
            None => {
                parsed = self.parse(body)?;
                &parsed
            }
        };
        self.query.order.key(value).map_err(|error| ReadError::InvalidOrder(error.to_string()))
    }

    fn is_behind_start(&self, key: &[Value], id: &str) -> bool {
        let order = &self.query.order;
        let behind = |start: &Position| order.compare(&(key, id), &(&start.key[..], start.id.as_str())).is_gt();
        self.start.as_ref().is_none_or(behind)
    }

    /// Other orders keep the best `offset + limit + 1` rows behind the cursor in a heap: memory is bounded by the page.
    fn sorted(&self, access: &Access) -> Result<Found, ReadError> {
        let skip = self.skip();
        let wanted = skip + self.query.limit;
        let mut heap: BinaryHeap<Ranked<'_>> = BinaryHeap::new();
        let mut matched = 0;
        let mut bytes = 0;
        let mut more = false;
        self.each(access, None, |id, body, value| {
            matched += 1;
            let key = self.key(body, value)?;
            if !self.is_behind_start(&key, id) {
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
        let count = self.count(access, matched)?;
        Ok(Found { rows: rows.collect::<Result<_, ReadError>>()?, more, count })
    }

    /// Calls `visit` with each document that matches: id, body, and what was read of it where the filter needed it. Ends when
    /// `visit` says false. With `start`, documents come from behind it.
    pub(super) fn each(
        &self,
        access: &Access,
        start: Option<&Position>,
        mut visit: impl FnMut(&str, &bytes::Bytes, Option<&Value>) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        self.each_document(access, start, |id, document, value| visit(id, &document.body, value))
    }

    fn each_document(
        &self,
        access: &Access,
        start: Option<&Position>,
        mut visit: impl FnMut(&str, &Document, Option<&Value>) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let behind;
        let access = match (access, start) {
            (Access::Index(through), Some(start)) => {
                behind = Access::Index(through.clone().behind(&self.query.order, &start.key, &start.id));
                &behind
            }
            (access, _) => access,
        };
        // What an index says in full is not asked again.
        let filter = self.query.filter.as_ref().filter(|_| !access.covers());
        let mut source = Source::new(self, access, start.map(|start| start.id.as_str()));
        let (mut steps, mut bytes) = (0, 0);
        while let Some((id, document)) = source.next()? {
            (steps, bytes) = (steps + 1, bytes + document.body.len());
            if steps == STEPS_PER_CHECK || bytes >= BYTES_PER_CHECK {
                (steps, bytes) = (0, 0);
                if (self.expired)() {
                    let problem = "the query ran out of time: narrow the filter, or page by cursor";
                    return Err(ReadError::TooExpensive(problem.into()));
                }
            }
            let id = std::str::from_utf8(&id).map_err(|e| crate::Error::malformed("an id", e))?;
            let value = filter.map(|_| self.parse(&document.body)).transpose()?;
            let matches = match (filter, &value) {
                (Some(filter), Some(value)) => filter.matches(value),
                _ => true,
            };
            let mut actual = self.actual.get();
            actual.examined += 1;
            actual.examined_bytes += document.body.len() as u64;
            actual.matched += u64::from(matches);
            self.actual.set(actual);
            if matches && !visit(id, &document, value.as_ref())? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn skip(&self) -> usize {
        if self.start.is_some() { 0 } else { self.query.offset }
    }

    /// What the query needs of a document.
    pub(super) fn parse(&self, body: &[u8]) -> Result<Value, ReadError> {
        json::parse_members(body, &self.members).map_err(|e| crate::Error::malformed("a document", e).into())
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
