//! Which way a list is found: by id, through an index, or through several at once. The choice changes what a list costs and
//! never what it says: documents are checked against the filter whatever led to them, unless an index says all of it, and
//! every order is total.

mod by_id;
mod cost;
mod merge;

use std::sync::Arc;

use aerodb_proto::Collection;

pub(super) use self::by_id::ById;
pub(super) use self::cost::ALL;
#[cfg(test)]
pub(crate) use self::cost::{CHEAP, Cheap};
use self::cost::{ESTIMATE_ENTRIES_MAX, Wanted};
pub(super) use self::merge::{How, Merged};
use super::list::ListQuery;
use super::{ReadError, View};
use crate::filter::Filter;
use crate::index::{Index, Through};
use crate::order::Order;

/// The share of documents that pass conditions of which nothing is known.
const SHARE_UNKNOWN: f64 = 0.3;

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
    /// All documents, or those with some ids.
    Ids(ById),
    /// Those that an index leads to.
    Index(Through),
    /// Those that several ways lead to.
    Merged(Merged),
}

/// A way that was thought of.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Which one.
    pub way: Way,
    /// Entries or documents that it would meet, about.
    pub rows: f64,
    /// What it would cost, in documents passed over.
    pub cost: f64,
    /// Whether it was chosen.
    pub chosen: bool,
    /// Why it costs that, or cannot be.
    pub reason: String,
}

/// A way, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Every document is looked at.
    Scan,
    /// Documents whose ids the filter bounds.
    Ids,
    /// Through the index of this name.
    Index(String),
    /// Documents that each of these ways leads to.
    Intersection(Vec<Way>),
    /// Documents that one of these ways leads to.
    Union(Vec<Way>),
}

impl Access {
    pub(super) fn way(&self) -> Way {
        match self {
            Access::Ids(ById { bounded: false, .. }) => Way::Scan,
            Access::Ids(_) => Way::Ids,
            Access::Index(through) => Way::Index(through.index.definition.name.clone()),
            Access::Merged(Merged { how: How::All, parts, .. }) => {
                Way::Intersection(parts.iter().map(Access::way).collect())
            }
            Access::Merged(Merged { how: How::Any, parts, .. }) => Way::Union(parts.iter().map(Access::way).collect()),
        }
    }

    /// Every entry it meets is a document that matches, each once.
    pub(super) fn covers(&self) -> bool {
        matches!(self, Access::Index(through) if through.covers)
    }

    /// The conditions of the query's filter that bound it, each as a filter of its own.
    pub(super) fn bounds(&self, query: &ListQuery) -> Vec<Filter> {
        let Some(filter) = &query.filter else { return Vec::new() };
        match self {
            Access::Ids(_) => by_id::bounds(filter),
            Access::Index(through) => through.bounds(filter),
            Access::Merged(Merged { how: How::All, parts, .. }) => {
                parts.iter().flat_map(|part| part.bounds(query)).collect()
            }
            // Each way has its own.
            Access::Merged(_) => Vec::new(),
        }
    }

    pub(super) fn is_ordered(&self) -> bool {
        match self {
            Access::Ids(by_id) => by_id.ordered,
            Access::Index(through) => through.ordered,
            Access::Merged(merged) => merged.ordered,
        }
    }

    /// The same, from behind a document that has these sort values and this id, in the order asked for.
    pub(super) fn behind(self, order: &Order, values: &[crate::json::Value], id: &str) -> Self {
        match self {
            Access::Ids(by_id) => Access::Ids(by_id.behind(id)),
            Access::Index(through) => Access::Index(through.behind(order, values, id)),
            Access::Merged(merged) => Access::Merged(merged.behind(id)),
        }
    }

    /// Calls `visit` with every index that it goes through.
    fn each_index(&self, visit: &mut impl FnMut(&Index)) {
        match self {
            Access::Ids(_) => {}
            Access::Index(through) => visit(&through.index),
            Access::Merged(merged) => merged.parts.iter().for_each(|part| part.each_index(visit)),
        }
    }
}

/// What a plan is made for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To show it: all ways are estimated.
    ToTell,
    /// To take it: the best way is enough.
    ToTake,
}

/// A way, and how many entries or documents it meets.
struct Estimated<A = Access> {
    access: A,
    entries: f64,
    /// That is more than a guess.
    known: bool,
}

impl View {
    /// The way to what `query` asks for at `revision`, and what the others would cost.
    pub(super) fn plan(&self, collection: &Collection, query: &ListQuery, revision: u64) -> Result<Plan, ReadError> {
        self.plan_for(collection, query, revision, Purpose::ToTell)
    }

    fn plan_for(
        &self,
        collection: &Collection,
        query: &ListQuery,
        revision: u64,
        purpose: Purpose,
    ) -> Result<Plan, ReadError> {
        let documents = self.counts(collection)?.documents as f64;
        let mut candidates = Vec::new();
        let by_id = self.by_id(collection, query, documents)?;
        let mut throughs = Vec::new();
        for index in self.catalog.indexes(collection.id) {
            match self.through(collection, index, query.filter.as_ref(), &query.order, revision)? {
                Err(reason) => candidates.push(Candidate::impossible(&index.definition.name, reason)),
                Ok(through) => throughs.push(through),
            }
        }
        let unions = self.unions(collection, query, revision, documents)?;
        // What everybody asks: a page in the order of the one index that fits. Its entries need not be gone through twice.
        if purpose == Purpose::ToTake
            && unions.is_empty()
            && let [through] = &throughs[..]
            && cost::is_surely_best(through, &by_id, query)
        {
            return Ok(Plan { access: Access::Index(through.clone()), candidates, forbidden: false });
        }
        let throughs = throughs.into_iter();
        let throughs = throughs.map(|through| self.estimated(collection, through, query, ESTIMATE_ENTRIES_MAX));
        let throughs = throughs.collect::<Result<Vec<_>, _>>()?;
        // What one way knows of the filter holds for the others too.
        let bounded = throughs.iter().filter(|way| way.access.bounded > 0).map(|way| way.entries);
        let bounded = bounded.chain(by_id.access.bounded.then_some(by_id.entries));
        let bounded = bounded.chain(unions.iter().map(|way| way.entries));
        let unknown = if query.filter.is_some() { SHARE_UNKNOWN } else { 1.0 };
        let share = bounded.fold(unknown, |share, entries| share.min(entries.max(1.0) / documents.max(1.0)));

        let wanted = Wanted { query, documents, share, forbids: collection.full_scans_forbidden };
        let merges = wanted.intersection(&by_id, &throughs).into_iter().chain(unions);
        let merges: Vec<_> = merges.map(|way| wanted.merged(way)).collect();
        let mut ways = vec![wanted.by_id(by_id)];
        ways.extend(throughs.into_iter().map(|way| wanted.through(way)));
        ways.extend(merges);
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
        let plan = self.plan_to_take(collection, query, revision)?;
        self.note_taken(collection, &plan);
        Ok(plan)
    }

    /// The same, while it is not sure yet that it will be.
    pub(super) fn plan_to_take(
        &self,
        collection: &Collection,
        query: &ListQuery,
        revision: u64,
    ) -> Result<Plan, ReadError> {
        let plan = self.plan_for(collection, query, revision, Purpose::ToTake)?;
        if plan.forbidden {
            return Err(ReadError::FullScan { collection: collection.name.clone() });
        }
        Ok(plan)
    }

    /// Counts the uses of the plan's indexes.
    pub(super) fn note_taken(&self, collection: &Collection, plan: &Plan) {
        plan.access.each_index(&mut |index| self.uses.note(collection.id, index.definition.id));
    }

    /// The way by id.
    fn by_id(&self, collection: &Collection, query: &ListQuery, documents: f64) -> Result<Estimated<ById>, ReadError> {
        let access = ById::bounded(query.filter.as_ref(), &query.order);
        let entries = if access.bounded { self.documents_in(collection, &access, documents)? } else { documents };
        Ok(Estimated { access, entries, known: true })
    }

    /// How many documents lie in its stretches, about.
    fn documents_in(&self, collection: &Collection, by_id: &ById, documents: f64) -> Result<f64, ReadError> {
        match by_id.points() {
            Some(points) => Ok(points.count() as f64),
            None => Ok(documents * self.part_of_documents(collection.id, &by_id.stretches)?),
        }
    }

    /// The way through `index`, or why there is none.
    fn through(
        &self,
        collection: &Collection,
        index: &Arc<Index>,
        filter: Option<&Filter>,
        order: &Order,
        revision: u64,
    ) -> Result<Result<Through, &'static str>, ReadError> {
        let counts = self.index_counts(collection, index)?;
        let mut through = match Through::find(index, filter, &counts, revision) {
            Ok(through) => through,
            Err(reason) => return Ok(Err(reason)),
        };
        through.order(order, &counts);
        if through.bounded == 0 && !through.ordered {
            return Ok(Err("the filter bounds none of its first fields, and its order is another"));
        }
        Ok(Ok(through))
    }

    /// How many entries it meets, of which at most `max` are counted.
    fn estimated(
        &self,
        collection: &Collection,
        through: Through,
        query: &ListQuery,
        max: u64,
    ) -> Result<Estimated<Through>, ReadError> {
        let (index, stretches) = (&through.index, &through.stretches);
        let counts = self.index_counts(collection, index)?;
        let enough = cost::met_anyway(&through, query).unwrap_or(u64::MAX);
        let max = max.min(enough);
        let met = self.count_entries(collection.id, index, stretches, max)?;
        // More than are counted. Where only the first ones are met anyway, half of all is as good a guess as any.
        let (entries, known) = match met < max {
            true => (met as f64, true),
            false if max == enough => ((counts.entries as f64 / 2.0).max(met as f64), false),
            false => {
                let part = self.part_of_index(collection.id, index, stretches)?;
                ((counts.entries as f64 * part).max(met as f64), true)
            }
        };
        Ok(Estimated { access: through, entries, known })
    }
}

impl Candidate {
    fn impossible(index: &str, reason: &str) -> Self {
        let (way, reason) = (Way::Index(index.to_owned()), reason.to_owned());
        Self { way, rows: 0.0, cost: f64::INFINITY, chosen: false, reason }
    }
}
