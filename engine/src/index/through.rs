//! The way through one index: which of its stretches a filter needs, and whether its order is the one that is wanted.

use std::sync::Arc;

use aerodb_proto::{IndexCounts, IndexState};

use super::bounds::{self, Interval};
use super::{Field, Index};
use crate::filter::{Condition, Filter, Test};
use crate::json::Value;
use crate::kv::prefix_end;
use crate::order::Order;

/// Stretches of an index that one plan may have; beyond it, the fields that follow are not looked at.
const STRETCHES_MAX: usize = 1_000;

/// Where in an index: keys without what all keys of the index begin with, from one up to, not including, the other.
pub(crate) type Stretch = (Vec<u8>, Vec<u8>);

/// The way through an index.
#[derive(Clone, Debug)]
pub(crate) struct Through {
    pub(crate) index: Arc<Index>,
    /// Where in it, in its order.
    pub(crate) stretches: Vec<Stretch>,
    pub(crate) reverse: bool,
    /// The documents come in the order that was asked for.
    pub(crate) ordered: bool,
    /// A document may be met more than once.
    pub(crate) repeats: bool,
    /// No document has several values.
    pub(crate) single: bool,
    /// Fields that the filter bounds, from the first.
    pub(crate) bounded: usize,
    /// What the leading fields are equal to, encoded: what all keys begin with.
    pub(crate) prefix: Vec<u8>,
    /// How many leading fields that are.
    pub(crate) equal: usize,
    /// Every entry in the stretches is a document that matches, each once: to count them, none is read.
    pub(crate) covers: bool,
}

impl Through {
    /// The way through `index` to what `filter` matches at `revision`, or why there is none. `counts`: those of the index.
    pub(crate) fn find(
        index: &Arc<Index>,
        filter: Option<&Filter>,
        counts: &IndexCounts,
        revision: u64,
    ) -> Result<Self, &'static str> {
        if !index.serves(revision) {
            return Err(match index.definition.state() {
                IndexState::Building => "it is being built",
                IndexState::Failed => "it failed: a document stands against it",
                IndexState::Ready => "it was not ready at this revision",
            });
        }
        if let Some(needed) = &index.filter
            && !filter.is_some_and(|filter| implies(filter, needed))
        {
            return Err("it is partial, and the filter does not ask for its conditions");
        }
        let mut through = Self::bounded(index, filter, !counts.has_members);
        through.covers &= !counts.has_members && !counts.has_unsortable;
        Ok(through)
    }

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
    pub(crate) fn bounds(&self, filter: &Filter) -> Vec<Filter> {
        let of_field = |field: &Field| {
            let tests = bounds::used(&bounds::tests_of(filter, &field.path), self.single);
            let alone = |test: &Test| Condition::Field { path: field.path.clone(), tests: vec![test.clone()] };
            tests.into_iter().map(|test| Filter { conditions: vec![alone(test)] }).collect::<Vec<_>>()
        };
        self.index.fields[..self.bounded].iter().flat_map(of_field).collect()
    }

    /// Looks whether the entries come in this order, or against it.
    pub(crate) fn order(&mut self, order: &Order, counts: &IndexCounts) {
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
    pub(crate) fn behind(mut self, order: &Order, values: &[Value], id: &str) -> Self {
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
