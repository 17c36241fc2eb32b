//! Which way a list is found: by looking at every document, or through an index, and which one. The choice changes what a
//! list costs and never what it says: documents are checked against the filter whatever led to them, unless an index says
//! all of it, and every order is total.

use std::sync::Arc;

use aerodb_proto::{Collection, IndexCounts, IndexState};

use super::entries::Stretch;
use super::list::{Count, ListQuery};
use super::{ReadError, View};
use crate::filter::{Condition, Filter, Test};
use crate::index::bounds::{self, Interval};
use crate::index::{Field, Index};
use crate::json::Value;
use crate::kv::prefix_end;
use crate::order::Order;
use crate::state::{self, META};

/// Stretches of an index that one plan may have; beyond it, the fields that follow are not looked at.
const STRETCHES_MAX: usize = 1_000;
/// Entries that are counted to know how many a plan meets.
const ESTIMATE_ENTRIES_MAX: u64 = 1_000;
/// What it costs to fetch a document that an index led to, where passing over one in the order of ids costs 1.
const FETCH_COST: f64 = 4.0;
/// What counting an entry costs, in the same unit.
const ENTRY_COST: f64 = 0.3;
/// What sorting a document costs, in the same unit.
const SORT_COST: f64 = 0.5;
/// As many documents of a query as this are all of them.
pub(super) const ALL: usize = usize::MAX / 2;
/// Why a way cannot be taken that may look at every document.
const FORBIDDEN: &str = "it may look at every document, which the collection forbids (`full_scans`)";
/// The share of documents that pass conditions of which nothing is known.
const SHARE_UNKNOWN: f64 = 0.3;

/// What a fetch is taken to cost; tests make it cheap, so that small collections are worth an index.
fn fetch_cost() -> f64 {
    #[cfg(test)]
    if CHEAP_FETCHES.get() {
        return 0.01;
    }
    FETCH_COST
}

#[cfg(test)]
thread_local! {
    pub(crate) static CHEAP_FETCHES: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// How a list is found.
pub(super) struct Plan {
    pub(super) access: Access,
    /// What was thought of, the chosen way too.
    pub(super) candidates: Vec<Candidate>,
    /// Every document would be looked at, which the collection forbids.
    forbidden: bool,
}

/// The way to the documents.
#[derive(Clone, Debug)]
pub(super) enum Access {
    /// All documents, by id.
    Scan {
        /// They come in the order that was asked for.
        ordered: bool,
    },
    /// Those that an index leads to.
    Index(Through),
}

/// The way through an index.
#[derive(Clone, Debug)]
pub(super) struct Through {
    pub(super) index: Arc<Index>,
    /// Where in it, in its order.
    pub(super) stretches: Vec<Stretch>,
    pub(super) reverse: bool,
    /// The documents come in the order that was asked for.
    pub(super) ordered: bool,
    /// A document may be met more than once.
    pub(super) repeats: bool,
    /// No document has several values.
    pub(super) single: bool,
    /// Fields that the filter bounds, from the first.
    pub(super) bounded: usize,
    /// What the leading fields are equal to, encoded: what all keys begin with.
    pub(super) prefix: Vec<u8>,
    /// How many leading fields that are.
    pub(super) equal: usize,
    /// Every entry in the stretches is a document that matches, each once: to count them, none is read.
    pub(super) covers: bool,
}

/// A way that was thought of.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The index; `None` for looking at every document.
    pub index: Option<String>,
    /// Entries or documents that it would meet, about.
    pub rows: f64,
    /// What it would cost, in documents passed over.
    pub cost: f64,
    /// Whether it was chosen.
    pub chosen: bool,
    /// Why it costs that, or cannot be.
    pub reason: String,
}

impl Access {
    /// Every entry it meets is a document that matches, each once.
    pub(super) fn covers(&self) -> bool {
        matches!(self, Access::Index(through) if through.covers)
    }

    /// The conditions of the query's filter that bound it, each as a filter of its own.
    pub(super) fn bounds(&self, query: &ListQuery) -> Vec<Filter> {
        match (self, &query.filter) {
            (Access::Index(through), Some(filter)) => through.bounds(filter),
            _ => Vec::new(),
        }
    }

    pub(super) fn is_ordered(&self) -> bool {
        match self {
            Access::Scan { ordered } => *ordered,
            Access::Index(through) => through.ordered,
        }
    }
}

impl View {
    /// The way to what `query` asks for at `revision`.
    pub(super) fn plan(&self, collection: &Collection, query: &ListQuery, revision: u64) -> Result<Plan, ReadError> {
        let documents = self.counts(collection)?.documents as f64;
        let mut share = if query.filter.is_some() { SHARE_UNKNOWN } else { 1.0 };
        let (mut found, mut candidates) = (Vec::new(), Vec::new());
        for index in self.catalog.indexes(collection.id) {
            match self.through(collection, index, query, revision)? {
                Err(reason) => candidates.push(Candidate {
                    index: Some(index.definition.name.clone()),
                    rows: 0.0,
                    cost: f64::INFINITY,
                    chosen: false,
                    reason: reason.to_owned(),
                }),
                Ok(through) => {
                    let counts = self.index_counts(collection, index)?;
                    let max = through.counted_max(query);
                    let met = self.count_entries(collection.id, index, &through.stretches, max)?;
                    // More than are counted. Where only the first ones are met anyway, half of all is as good a guess as any.
                    let all = match met < max {
                        true => met as f64,
                        false if max < ESTIMATE_ENTRIES_MAX => (counts.entries as f64 / 2.0).max(met as f64),
                        false => {
                            let part = self.part_of_index(collection.id, index, &through.stretches)?;
                            (counts.entries as f64 * part).max(met as f64)
                        }
                    };
                    if through.bounded > 0 {
                        // What the index knows of the filter holds for the other ways too.
                        share = share.min(all.max(1.0) / documents.max(1.0));
                    }
                    found.push((through, all));
                }
            }
        }
        let wanted = Wanted { query, documents, share, forbids: collection.full_scans_forbidden };
        let mut ways = vec![wanted.scan()];
        ways.extend(found.into_iter().map(|(through, all)| wanted.through(through, all)));
        // The first of the cheapest: the order of candidates is fixed, so that the same query goes the same way.
        let best = (0..ways.len()).reduce(|best, way| if ways[way].1.cost < ways[best].1.cost { way } else { best });
        let best = best.unwrap_or(0);
        ways[best].1.chosen = true;
        let (access, forbidden) = (ways[best].0.clone(), ways[best].1.cost.is_infinite());
        candidates.splice(0..0, ways.into_iter().map(|(_, candidate)| candidate));
        Ok(Plan { access, candidates, forbidden })
    }

    /// The same, to be taken.
    ///
    /// # Errors
    /// [`ReadError::FullScan`], or when the storage fails.
    pub(super) fn take_plan(
        &self,
        collection: &Collection,
        query: &ListQuery,
        revision: u64,
    ) -> Result<Plan, ReadError> {
        let plan = self.plan(collection, query, revision)?;
        if plan.forbidden {
            return Err(ReadError::FullScan { collection: collection.name.clone() });
        }
        if let Access::Index(through) = &plan.access {
            self.uses.note(collection.id, through.index.definition.id);
        }
        Ok(plan)
    }

    /// The way through `index`, or why there is none.
    fn through(
        &self,
        collection: &Collection,
        index: &Arc<Index>,
        query: &ListQuery,
        revision: u64,
    ) -> Result<Result<Through, &'static str>, ReadError> {
        if !index.serves(revision) {
            return Ok(Err(match index.definition.state() {
                IndexState::Building => "it is being built",
                IndexState::Failed => "it failed: a document stands against it",
                IndexState::Ready => "it was not ready at this revision",
            }));
        }
        if let Some(needed) = &index.filter
            && !query.filter.as_ref().is_some_and(|filter| implies(filter, needed))
        {
            return Ok(Err("it is partial, and the filter does not ask for its conditions"));
        }
        let counts = self.index_counts(collection, index)?;
        let mut through = Through::bounded(index, query.filter.as_ref(), !counts.has_members);
        through.covers &= !counts.has_members && !counts.has_unsortable;
        through.order(&query.order, &counts);
        if through.bounded == 0 && !through.ordered {
            return Ok(Err("the filter bounds none of its first fields, and its order is another"));
        }
        Ok(Ok(through))
    }

    fn index_counts(&self, collection: &Collection, index: &Index) -> Result<IndexCounts, ReadError> {
        Ok(state::index_counts(&|key| self.snapshot.get(META, key), collection.id, index.definition.id)?)
    }
}

impl Through {
    /// The stretches that `filter` leaves. `single`: no document has several entries.
    fn bounded(index: &Arc<Index>, filter: Option<&Filter>, single: bool) -> Self {
        let mut prefixes: Vec<Vec<u8>> = vec![Vec::new()];
        let mut stretches: Option<Vec<Stretch>> = None;
        let (mut bounded, mut equal, mut prefix) = (0, 0, Vec::new());
        for field in &index.fields {
            let tests = filter.map(|filter| bounds::tests_of(filter, &field.path)).unwrap_or_default();
            let Some(mut intervals) = bounds::intervals(&tests, single) else { break };
            if prefixes.len() * intervals.len() > STRETCHES_MAX {
                break;
            }
            if field.is_descending() {
                intervals = intervals.iter().rev().map(Interval::inverted).collect();
            }
            bounded += 1;
            let points: Option<Vec<&[u8]>> =
                intervals.iter().map(|interval| interval.as_point(field.is_descending())).collect();
            match points {
                Some(points) => {
                    if points.len() == 1 && prefixes.len() == 1 {
                        equal += 1;
                        prefix = [&prefixes[0][..], points[0]].concat();
                    }
                    let with =
                        |before: &Vec<u8>| points.iter().map(|point| [&before[..], point].concat()).collect::<Vec<_>>();
                    prefixes = prefixes.iter().flat_map(with).collect();
                }
                None => {
                    let with =
                        |prefix: &Vec<u8>| intervals.iter().map(|interval| interval.keys(prefix)).collect::<Vec<_>>();
                    stretches = Some(prefixes.iter().flat_map(with).collect());
                    break;
                }
            }
        }
        let whole = |prefix: Vec<u8>| {
            // Values are followed by values or ids: none of them begins with the greatest byte.
            let end = prefix_end(&prefix).unwrap_or_else(|| vec![u8::MAX]);
            (prefix, end)
        };
        let stretches = stretches.unwrap_or_else(|| prefixes.into_iter().map(whole).collect());
        let exactly_one = equal == index.fields.len();
        let covers = filter.is_none_or(|filter| covers(filter, index, bounded));
        let index = index.clone();
        Self {
            index,
            stretches,
            reverse: false,
            ordered: false,
            repeats: !single && !exactly_one,
            single,
            bounded,
            equal,
            prefix,
            covers,
        }
    }

    /// The conditions of `filter` that bound the stretches, each as a filter of its own.
    pub(super) fn bounds(&self, filter: &Filter) -> Vec<Filter> {
        let of_field = |field: &Field| {
            let tests = bounds::used(&bounds::tests_of(filter, &field.path), self.single);
            let alone = |test: &Test| Condition::Field { path: field.path.clone(), tests: vec![test.clone()] };
            tests.into_iter().map(|test| Filter { conditions: vec![alone(test)] }).collect::<Vec<_>>()
        };
        self.index.fields[..self.bounded].iter().flat_map(of_field).collect()
    }

    /// How many of its entries are counted to know what it costs. Where they come in an order that no other way has, only
    /// the first ones are met.
    fn counted_max(&self, query: &ListQuery) -> u64 {
        match self.ordered && !query.order.is_by_id() && query.count == Count::None {
            true => ((query.offset + query.limit + 1) as u64).min(ESTIMATE_ENTRIES_MAX),
            false => ESTIMATE_ENTRIES_MAX,
        }
    }

    /// Looks whether the entries come in this order, or against it.
    fn order(&mut self, order: &Order, counts: &IndexCounts) {
        let (equal, fields) = self.index.fields.split_at(self.equal);
        if order.is_by_id() {
            self.ordered = fields.is_empty();
            return;
        }
        // A document with several values is sorted by one of them, or cannot be sorted, which the query has to say.
        if counts.has_members || counts.has_unsortable {
            return;
        }
        // What is equal for all of them decides nothing.
        let keys = || order.keys().iter().filter(|key| equal.iter().all(|field| field.path != key.path));
        if keys().count() != fields.len() || !fields.iter().zip(keys()).all(|(field, key)| field.path == key.path) {
            return;
        }
        let same_way =
            |wanted: bool| fields.iter().zip(keys()).all(|(field, key)| (field.direction == key.direction) == wanted);
        let (forward, backward) = (same_way(true), same_way(false));
        (self.ordered, self.reverse) = (forward || backward, backward && !forward);
    }

    /// The same, from behind a document that has these sort values and this id, in the order asked for.
    pub(super) fn behind(mut self, order: &Order, values: &[Value], id: &str) -> Self {
        let mut key = self.prefix.clone();
        for field in &self.index.fields[self.equal..] {
            let at = order.keys().iter().position(|key| key.path == field.path);
            field.encode(at.and_then(|at| values.get(at)).unwrap_or(&Value::Null), &mut key);
        }
        let group_end = prefix_end(&key).unwrap_or_else(|| vec![u8::MAX]);
        // Behind the entry and its former ones, which have a 0 behind the id; ids hold neither byte.
        let next = [&key[..], id.as_bytes(), &[1]].concat();
        match self.reverse {
            false => {
                self.stretches.retain(|(_, to)| *to > next);
                self.stretches.iter_mut().for_each(|(from, _)| *from = std::mem::take(from).max(next.clone()));
            }
            true => {
                self.stretches.retain(|(from, _)| *from < key);
                self.stretches.iter_mut().for_each(|(_, to)| *to = std::mem::take(to).min(key.clone()));
                self.stretches.push((next, group_end));
            }
        }
        self
    }
}

/// Whether a document matches `filter` exactly if its one entry lies within the bounds of the first `bounded` fields: each
/// condition is one that these bounds say in full, or that every document of the index meets.
fn covers(filter: &Filter, index: &Index, bounded: usize) -> bool {
    let met = |condition: &Condition| index.filter.as_ref().is_some_and(|filter| repeats(filter, condition));
    filter.conditions.iter().all(|condition| match condition {
        Condition::Field { path, tests } => {
            let said = index.fields[..bounded].iter().any(|field| field.path == *path);
            (said && tests.iter().all(bounds::is_exact)) || met(condition)
        }
        Condition::And(filters) => filters.iter().all(|filter| covers(filter, index, bounded)),
        _ => met(condition),
    })
}

/// Whether every document that matches `filter` matches `needed`: seen only where the filter repeats its conditions.
fn implies(filter: &Filter, needed: &Filter) -> bool {
    needed.conditions.iter().all(|condition| repeats(filter, condition))
}

fn repeats(filter: &Filter, needed: &Condition) -> bool {
    filter.conditions.iter().any(|condition| match (condition, needed) {
        (Condition::And(filters), _) => filters.iter().any(|filter| repeats(filter, needed)),
        (Condition::Field { path, tests }, Condition::Field { path: other, tests: wanted }) => {
            path == other && wanted.iter().all(|test| tests.contains(test))
        }
        (condition, needed) => condition == needed,
    })
}

/// What a way has to yield.
struct Wanted<'a> {
    query: &'a ListQuery,
    /// Documents of the collection.
    documents: f64,
    /// The share of them that is expected to match, where nothing is known.
    share: f64,
    /// The collection forbids ways that may look at every document.
    forbids: bool,
}

impl Wanted<'_> {
    /// How many documents have to be met until enough match, when they come in order; all, where each is to be `counted`.
    fn until_enough(&self, share: f64, counted: bool) -> f64 {
        match self.query.count {
            Count::Exact | Count::Estimated if counted => f64::INFINITY,
            _ => (self.query.offset + self.query.limit + 1) as f64 / share,
        }
    }

    fn scan(&self) -> (Access, Candidate) {
        let ordered = self.query.order.is_by_id();
        let rows = if ordered {
            self.documents.min(self.until_enough(self.share, self.query.filter.is_some()))
        } else {
            self.documents
        };
        let counts = self.query.count != Count::None && (self.query.as_of.is_some() || self.query.cursor.is_some());
        if self.forbids && (!ordered || counts || self.query.filter.is_some() || self.query.limit >= ALL) {
            let candidate =
                Candidate { index: None, rows, cost: f64::INFINITY, chosen: false, reason: FORBIDDEN.into() };
            return (Access::Scan { ordered }, candidate);
        }
        let cost = if ordered { rows } else { rows * (1.0 + SORT_COST * self.share) };
        let reason = match ordered {
            true => "every document, in the order of ids, until there are enough",
            false => "every document, then sorted",
        };
        (Access::Scan { ordered }, Candidate { index: None, rows, cost, chosen: false, reason: reason.into() })
    }

    /// `all`: entries in its stretches, about.
    fn through(&self, through: Through, all: f64) -> (Access, Candidate) {
        // What the bounds do not say of the filter may still turn documents away.
        let share = if through.bounded > 0 { 1.0 } else { self.share };
        let rows = if through.ordered { all.min(self.until_enough(share, !through.covers)) } else { all };
        let counted = if self.query.count != Count::None && through.covers { all * ENTRY_COST } else { 0.0 };
        let mut cost = rows * (fetch_cost() + if through.ordered { 0.0 } else { SORT_COST }) + counted;
        // All of an index is all of the documents, where the filter may turn each away.
        let forbidden = self.forbids && through.bounded == 0 && (!through.covers || self.query.limit >= ALL);
        if forbidden {
            cost = f64::INFINITY;
        }
        let fields = match through.bounded {
            0 => "bounds nothing".to_owned(),
            bounded => format!("bounds {bounded} of its {} fields", through.index.fields.len()),
        };
        let order = match (through.ordered, through.reverse) {
            (true, false) => "entries come in the order asked for",
            (true, true) => "entries come in the order asked for, read backwards",
            (false, _) => "what is found is sorted",
        };
        let name = Some(through.index.definition.name.clone());
        let counts = if self.query.count != Count::None && through.covers { "; counted by its entries" } else { "" };
        let reason = match forbidden {
            true => FORBIDDEN.to_owned(),
            false => format!("the filter {fields}; {order}{counts}"),
        };
        (Access::Index(through), Candidate { index: name, rows, cost, chosen: false, reason })
    }
}
