//! What a way costs, in documents that a scan passes over, beside what the query asks for.

use super::{Access, ById, Candidate, Estimated, How, Merged};
use crate::index::Through;
use crate::view::list::{Count, ListQuery};

/// Entries that are counted to know how many a way meets.
pub(super) const ESTIMATE_ENTRIES_MAX: u64 = 1_000;
/// What it costs to fetch a document that an index led to, where passing over one in the order of ids costs 1.
const FETCH_COST: f64 = 4.0;
/// What counting an entry costs, in the same unit.
const ENTRY_COST: f64 = 0.3;
/// What it costs to keep the id of an entry until those of other ways are known, too.
const GATHER_COST: f64 = 0.5;
/// What sorting a document costs, in the same unit.
const SORT_COST: f64 = 0.5;
/// Ids that an intersection or a union may be expected to keep: beyond it, it is not worth its memory.
pub(super) const GATHERED_MAX: f64 = 200_000.0;
/// As many documents of a query as this are all of them.
pub(in crate::view) const ALL: usize = usize::MAX / 2;
/// Why a way cannot be taken that may look at every document.
const FORBIDDEN: &str = "it may look at every document, which the collection forbids (`full_scans`)";

/// What tests make cheap, so that small collections are worth it.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cheap {
    Nothing,
    Fetches,
    Merges,
}

#[cfg(test)]
thread_local! {
    pub(crate) static CHEAP: std::cell::Cell<Cheap> = const { std::cell::Cell::new(Cheap::Nothing) };
}

fn fetch_cost() -> f64 {
    #[cfg(test)]
    if CHEAP.get() == Cheap::Fetches {
        return 0.01;
    }
    FETCH_COST
}

fn merge_factor() -> f64 {
    #[cfg(test)]
    if CHEAP.get() == Cheap::Merges {
        return 0.0;
    }
    1.0
}

/// How many entries are met whatever more there are: the first ones, where they come in an order that no other way has.
pub(super) fn met_anyway(through: &Through, query: &ListQuery) -> Option<u64> {
    let first_ones = through.ordered && !query.order.is_by_id() && query.count == Count::None;
    first_ones.then_some((query.offset + query.limit + 1) as u64).filter(|enough| *enough <= ESTIMATE_ENTRIES_MAX)
}

/// Whether this way through an index is the best one, beside that by id, however many entries it has: the first ones are enough, and
/// all documents together are more.
pub(super) fn is_surely_best(through: &Through, by_id: &Estimated<ById>, query: &ListQuery) -> bool {
    let most = met_anyway(through, query).map(|enough| enough as f64 * fetch_cost());
    through.bounded > 0 && !by_id.access.bounded && most.is_some_and(|most| most < by_id.entries)
}

/// What a way has to yield.
pub(super) struct Wanted<'a> {
    pub(super) query: &'a ListQuery,
    /// Documents of the collection.
    pub(super) documents: f64,
    /// The share of them that is expected to match, where nothing is known.
    pub(super) share: f64,
    /// The collection forbids ways that may look at every document.
    pub(super) forbids: bool,
}

impl Wanted<'_> {
    /// How many documents have to be met until enough match, when they come in order; all, where each is to be `counted`.
    fn until_enough(&self, share: f64, counted: bool) -> f64 {
        match self.query.count {
            Count::Exact | Count::Estimated if counted => f64::INFINITY,
            _ => (self.query.offset + self.query.limit + 1) as f64 / share,
        }
    }

    pub(super) fn by_id(&self, Estimated { access, entries, .. }: Estimated<ById>) -> (Access, Candidate) {
        let filtered = self.query.filter.is_some();
        let share = if access.bounded { 1.0 } else { self.share };
        let rows = if access.ordered { entries.min(self.until_enough(share, filtered)) } else { entries };
        let counts = self.query.count != Count::None && (self.query.as_of.is_some() || self.query.cursor.is_some());
        let looks_at_all = !access.ordered || counts || filtered || self.query.limit >= ALL;
        let forbidden = self.forbids && !access.bounded && looks_at_all;
        let sorting = if access.ordered { 0.0 } else { rows * SORT_COST * self.share };
        let each = if access.points().is_some() { fetch_cost() } else { 1.0 };
        let cost = if forbidden { f64::INFINITY } else { rows * each + sorting };
        let which = if access.bounded { "the filter bounds the ids" } else { "every document" };
        let reason = match (access.ordered, access.reverse) {
            _ if forbidden => FORBIDDEN.to_owned(),
            (true, false) => format!("{which}, in the order of ids, until there are enough"),
            (true, true) => format!("{which}, against the order of ids, until there are enough"),
            (false, _) => format!("{which}, then sorted"),
        };
        candidate(Access::Ids(access), rows, cost, reason)
    }

    pub(super) fn through(&self, Estimated { access, entries, .. }: Estimated<Through>) -> (Access, Candidate) {
        let through = access;
        // What the bounds do not say of the filter may still turn documents away.
        let share = if through.bounded > 0 { 1.0 } else { self.share };
        let rows = if through.ordered { entries.min(self.until_enough(share, !through.covers)) } else { entries };
        let counted = if self.query.count != Count::None && through.covers { entries * ENTRY_COST } else { 0.0 };
        // All of an index is all of the documents, where the filter may turn each away.
        let forbidden = self.forbids && through.bounded == 0 && (!through.covers || self.query.limit >= ALL);
        let cost = match forbidden {
            true => f64::INFINITY,
            false => rows * (fetch_cost() + if through.ordered { 0.0 } else { SORT_COST }) + counted,
        };
        let fields = match through.bounded {
            0 => "bounds nothing".to_owned(),
            bounded => format!("bounds {bounded} of its {} fields", through.index.fields.len()),
        };
        let order = match (through.ordered, through.reverse) {
            (true, false) => "entries come in the order asked for",
            (true, true) => "entries come in the order asked for, read backwards",
            (false, _) => "what is found is sorted",
        };
        let counts = if self.query.count != Count::None && through.covers { "; counted by its entries" } else { "" };
        let reason = match forbidden {
            true => FORBIDDEN.to_owned(),
            false => format!("the filter {fields}; {order}{counts}"),
        };
        candidate(Access::Index(through), rows, cost, reason)
    }

    pub(super) fn merged(&self, Estimated { access, entries, .. }: Estimated<Merged>) -> (Access, Candidate) {
        let counted = self.query.filter.is_some();
        let rows = if access.ordered { entries.min(self.until_enough(1.0, counted)) } else { entries };
        let sorting = if access.ordered { 0.0 } else { SORT_COST };
        let cost = (access.entries * GATHER_COST + rows * (fetch_cost() + sorting)) * merge_factor();
        let each = match access.how {
            How::All => "what all of these lead to",
            How::Any => "what any of these leads to",
        };
        let kept = format!("about {:.0} ids are kept", access.entries);
        let order = if access.ordered { "which come in the order asked for" } else { "and what is found is sorted" };
        let reason = format!("{each}: {kept}, {order}");
        candidate(Access::Merged(access), rows, cost, reason)
    }

    /// The ways whose ids, taken together, leave fewer documents to fetch than the best of them alone, if that pays.
    pub(super) fn intersection(
        &self,
        by_id: &Estimated<ById>,
        throughs: &[Estimated<Through>],
    ) -> Option<Estimated<Merged>> {
        let bounding = throughs.iter().filter(|way| way.access.bounded > 0 && way.known);
        let mut ways: Vec<_> = bounding.map(|way| (Access::Index(way.access.clone()), way.entries)).collect();
        if by_id.access.bounded {
            ways.push((Access::Ids(by_id.access.clone()), by_id.entries));
        }
        ways.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        let cost = |gathered: f64, left: f64| gathered * GATHER_COST * merge_factor() + left * fetch_cost();
        let mut ways = ways.into_iter();
        let (first, entries) = ways.next()?;
        let (mut gathered, mut left) = (entries, entries);
        let mut said = first.bounds(self.query);
        let mut parts = vec![first];
        for (way, entries) in ways {
            // Conditions are taken to have nothing to do with each other.
            let fewer = left * (entries / self.documents.max(1.0)).min(1.0);
            let more = gathered + entries;
            let before = if parts.len() == 1 { left * fetch_cost() } else { cost(gathered, left) };
            let bounds = way.bounds(self.query);
            let says_more = bounds.iter().any(|bound| !said.contains(bound));
            if says_more && more <= GATHERED_MAX && cost(more, fewer) <= before {
                (gathered, left) = (more, fewer);
                said.extend(bounds);
                parts.push(way);
            }
        }
        (parts.len() > 1).then(|| Estimated {
            access: Merged::new(How::All, parts, gathered, &self.query.order),
            entries: left,
            known: false,
        })
    }
}

fn candidate(access: Access, rows: f64, cost: f64, reason: String) -> (Access, Candidate) {
    let way = access.way();
    (access, Candidate { way, rows, cost, chosen: false, reason })
}
