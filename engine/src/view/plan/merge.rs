//! Several ways at once: documents that all of them lead to, or that one of them does, for a filter with `$or`. The ids are
//! gathered first, and the documents then fetched in the order of ids.

use aerodb_proto::Collection;

use super::cost::{ALL, GATHERED_MAX};
use super::{Access, ById, Estimated};
use crate::filter::{Condition, Filter};
use crate::order::{Direction, Order};
use crate::view::list::ListQuery;
use crate::view::{ReadError, View};

/// Filters of one `$or` for each of which a way is looked for; an `$or` with more has none.
const UNION_WAYS_MAX: usize = 32;
/// Entries that are counted for one of them, to know how many it meets.
const ESTIMATE_ENTRIES_MAX: u64 = 200;

/// Several ways at once.
#[derive(Clone, Debug)]
pub(in crate::view) struct Merged {
    pub(in crate::view) how: How,
    /// By id or through an index each; of an intersection, the one with the fewest entries first.
    pub(in crate::view) parts: Vec<Access>,
    /// Entries that they meet in all, about.
    pub(super) entries: f64,
    /// Documents are met from the greatest id.
    pub(in crate::view) reverse: bool,
    /// They come in the order that was asked for.
    pub(super) ordered: bool,
    /// Only those behind this id.
    pub(in crate::view) behind: Option<String>,
}

/// Which documents of several ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::view) enum How {
    /// Those that each leads to.
    All,
    /// Those that one of them leads to.
    Any,
}

impl Merged {
    pub(super) fn new(how: How, parts: Vec<Access>, entries: f64, order: &Order) -> Self {
        let direction = order.by_id();
        let (reverse, ordered) = (direction == Some(Direction::Descending), direction.is_some());
        Self { how, parts, entries, reverse, ordered, behind: None }
    }

    /// Whether a part names ids, of which there may be no documents.
    pub(in crate::view) fn has_ids(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Access::Ids(_)))
    }

    /// The same, from behind the document with this id.
    pub(super) fn behind(self, id: &str) -> Self {
        Self { behind: Some(id.to_owned()), ..self }
    }
}

impl View {
    /// For each `$or` that every document has to pass: the ways to what passes each of its filters, taken together.
    pub(super) fn unions(
        &self,
        collection: &Collection,
        query: &ListQuery,
        revision: u64,
        documents: f64,
    ) -> Result<Vec<Estimated<Merged>>, ReadError> {
        let mut conditions = Vec::new();
        if let Some(filter) = &query.filter {
            flatten(filter, &mut conditions);
        }
        let mut unions = Vec::new();
        for (at, condition) in conditions.iter().enumerate() {
            let Condition::Or(filters) = condition else { continue };
            if filters.len() > UNION_WAYS_MAX {
                continue;
            }
            // What holds for all bounds the way to each.
            let others = || conditions[..at].iter().chain(&conditions[at + 1..]).map(|&other| other.clone());
            let (mut parts, mut entries) = (Vec::new(), 0.0);
            for filter in filters {
                let filter = Filter { conditions: filter.conditions.iter().cloned().chain(others()).collect() };
                let Some((access, met)) = self.narrowest(collection, &filter, revision, documents)? else { break };
                entries += met;
                parts.push(access);
            }
            if parts.len() == filters.len() && entries <= GATHERED_MAX {
                let access = Merged::new(How::Any, parts, entries, &query.order);
                unions.push(Estimated { access, entries: entries.min(documents), known: false });
            }
        }
        Ok(unions)
    }

    /// The way that meets the fewest entries of those that `filter` bounds, and how many.
    fn narrowest(
        &self,
        collection: &Collection,
        filter: &Filter,
        revision: u64,
        documents: f64,
    ) -> Result<Option<(Access, f64)>, ReadError> {
        // All of a part is met, and its order is of no use.
        let all = ListQuery::of(ALL);
        let by_id = ById::bounded(Some(filter), &all.order);
        let mut narrowest = match by_id.bounded {
            true => {
                let entries = self.documents_in(collection, &by_id, documents)?;
                Some((Access::Ids(by_id), entries))
            }
            false => None,
        };
        for index in self.catalog.indexes(collection.id) {
            let through = self.through(collection, index, Some(filter), &all.order, revision)?;
            let Some(through) = through.ok().filter(|through| through.bounded > 0) else { continue };
            let way = self.estimated(collection, through, &all, ESTIMATE_ENTRIES_MAX)?;
            if narrowest.as_ref().is_none_or(|(_, entries)| way.entries < *entries) {
                narrowest = Some((Access::Index(way.access), way.entries));
            }
        }
        Ok(narrowest)
    }
}

/// The conditions of `filter`, each of which every document has to pass.
fn flatten<'f>(filter: &'f Filter, conditions: &mut Vec<&'f Condition>) {
    for condition in &filter.conditions {
        match condition {
            Condition::And(filters) => filters.iter().for_each(|filter| flatten(filter, conditions)),
            condition => conditions.push(condition),
        }
    }
}
