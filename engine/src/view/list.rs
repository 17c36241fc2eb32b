//! Lists: filter, order, page. The first page fixes a revision; all its following pages are read at it.

use aerodb_proto::{Candidate, Collection};
use parking_lot::Mutex;

use super::aggregate::Grouping;
use super::cursor::Position;
use super::plan;
use super::run::{Found, Read, Run};
use super::source;
use super::{CollectionStats, ReadError, View};
use crate::filter::Filter;
use crate::json::{Members, Path};
use crate::order::Order;
use crate::planted;
use crate::select::{ALWAYS_SHOWN, Select};

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
    /// Items of the page, one at least.
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

impl Actual {
    /// What another part took, too.
    pub(super) fn add(&mut self, other: &Self) {
        self.examined += other.examined;
        self.matched += other.matched;
        self.returned += other.returned;
        self.examined_bytes += other.examined_bytes;
    }
}

impl View {
    /// The page that `query` asks for. `expired` is asked now and then; when it says true the query ends.
    ///
    /// # Errors
    /// When the revision, the cursor or the order is not good, the query takes too long, or the storage fails.
    pub fn list(
        &self,
        collection: &Collection,
        query: &ListQuery,
        expired: &(dyn Fn() -> bool + Sync),
    ) -> Result<Page, ReadError> {
        Ok(self.run(collection, query, expired)?.0)
    }

    /// All that match, with the revisions that wrote them (0 where no document had to be read): one more than a command may change, at most. True: it stopped there,
    /// and there may be others.
    ///
    /// # Errors
    /// When it takes too long, or the storage fails.
    pub fn matching(
        &self,
        collection: &Collection,
        filter: Filter,
        expired: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Vec<Candidate>, bool), ReadError> {
        let limit = self.limits.bulk_documents_max + 1;
        let query = &ListQuery { filter: Some(filter), ..ListQuery::of(limit) };
        let revision = self.revision();
        let plan = self.take_plan(collection, query, revision)?;
        let (actual, members) = (&Mutex::default(), query.members());
        let run = Run { view: self, collection, query, revision, start: None, expired, actual, members };
        let mut found = Vec::new();
        if plan.access.covers() {
            // Its entries are the answer: no document is read for it.
            source::each_id(&run, &plan.access, &mut |id| {
                let id = String::from_utf8(id.to_vec()).map_err(|e| crate::Error::malformed("an id", e))?;
                found.push(Candidate { id, revision: 0 });
                Ok(found.len() < limit)
            })?;
            let more = found.len() == limit;
            return Ok((found, more));
        }
        run.each(&plan.access, None, Read::ForTheFilter, |met, _| {
            found.push(Candidate { id: met.id.to_owned(), revision: met.revision });
            Ok(found.len() < limit)
        })?;
        let more = found.len() == limit;
        Ok((found, more))
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
        expired: &(dyn Fn() -> bool + Sync),
    ) -> Result<Explained, ReadError> {
        let (revision, actual) = if analyze {
            let (page, actual) = self.run(collection, query, expired)?;
            (page.revision, Some(actual))
        } else {
            let revision = query.as_of.unwrap_or(self.revision());
            self.check_readable(collection, revision)?;
            (revision, None)
        };
        let plan = match &query.grouping {
            Some(grouping) => self.plan(collection, &grouping.documents(query), revision)?,
            None => self.plan(collection, query, revision)?,
        };
        let (ordered, bounds) = (plan.access.is_ordered(), plan.access.bounds(query));
        Ok(Explained { candidates: plan.candidates, ordered, bounds, actual, revision })
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

    pub(super) fn run(
        &self,
        collection: &Collection,
        query: &ListQuery,
        expired: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Page, Actual), ReadError> {
        if let Some(grouping) = &query.grouping {
            return self.group(collection, query, grouping, expired);
        }
        let begun = self.begin(collection, query)?;
        let plan = self.take_plan(collection, query, begun.1)?;
        self.take(collection, query, begun, &plan, expired)
    }

    /// The page that `query` asks for, if its documents are met in its order and as they are now: none has to be looked at that lies
    /// behind its end.
    pub(super) fn list_in_order(
        &self,
        collection: &Collection,
        query: &ListQuery,
        expired: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Page>, ReadError> {
        let begun = self.begin(collection, query)?;
        // At earlier revisions any number of former entries may have to be passed over.
        if begun.1 < self.revision() {
            return Ok(None);
        }
        let plan = self.plan_to_take(collection, query, begun.1)?;
        if !plan.access.is_ordered() {
            return Ok(None);
        }
        let (page, _) = self.take(collection, query, begun, &plan, expired)?;
        self.note_taken(collection, &plan);
        Ok(Some(page))
    }

    fn take(
        &self,
        collection: &Collection,
        query: &ListQuery,
        (start, revision, fingerprint): (Option<Position>, u64, Vec<u8>),
        plan: &plan::Plan,
        expired: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Page, Actual), ReadError> {
        let revision = if planted!("cursor-at-the-latest") { self.revision() } else { revision };
        let actual = Mutex::default();
        let members = query.members();
        let run = Run { view: self, collection, query, revision, start, expired, actual: &actual, members };
        let Found { items, next, count } =
            if plan.access.is_ordered() { run.ordered(&plan.access)? } else { run.sorted(&plan.access)? };
        let seal = |(key, id)| self.seal_cursor(&Position { revision, key, id }, &fingerprint);
        let next_cursor = next.map(seal).transpose()?;
        let actual = Actual { returned: items.len() as u64, ..actual.into_inner() };
        Ok((Page { items, next_cursor, count, revision }, actual))
    }

    /// Figures of a collection, as they are kept with every write.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn stats(&self, collection: &Collection) -> Result<CollectionStats, ReadError> {
        let counts = self.counts(collection)?;
        let history_bytes = self.history_bytes(collection)?;
        Ok(CollectionStats { documents: counts.documents, bytes: counts.bytes, history_bytes })
    }
}

/// What makes two queries the same for a cursor. The page's size may differ.
fn fingerprint(collection: &Collection, query: &ListQuery) -> Vec<u8> {
    let filter = query.filter.as_ref().map(ToString::to_string);
    let grouping = query.grouping.as_ref().map(|grouping| format!("\0{grouping:?}")).unwrap_or_default();
    format!("{}\0{:?}\0{:?}\0{:?}\0{}{grouping}", collection.id, filter, query.select, query.order, query.caller)
        .into_bytes()
}
