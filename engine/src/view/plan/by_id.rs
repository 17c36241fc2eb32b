//! The way by id: documents lie in the order of their ids, so what a filter says of `id` bounds where it looks.

use crate::filter::{Condition, Filter, Test};
use crate::index::Stretch;
use crate::index::bounds::{self, Interval};
use crate::json::Path;
use crate::order::{Direction, Order};
use crate::state::keys;

/// The way by id.
#[derive(Clone, Debug)]
pub(in crate::view) struct ById {
    /// Ids from one up to, not including, another; in order.
    pub(in crate::view) stretches: Vec<Stretch>,
    /// They are met from the last one.
    pub(in crate::view) reverse: bool,
    /// The documents come in the order that was asked for.
    pub(in crate::view) ordered: bool,
    /// The filter bounds them.
    pub(in crate::view) bounded: bool,
}

impl ById {
    /// The stretches that `filter` leaves.
    pub(super) fn bounded(filter: Option<&Filter>, order: &Order) -> Self {
        let tests = filter.map(|filter| bounds::tests_of(filter, &Path::id())).unwrap_or_default();
        let intervals = bounds::intervals(&tests, true);
        let stretches = intervals.map(|intervals| intervals.iter().filter_map(Interval::ids).collect::<Vec<_>>());
        let (ordered, reverse) = match order.by_id() {
            Some(direction) => (true, direction == Direction::Descending),
            None => (false, false),
        };
        let bounded = stretches.is_some();
        Self { stretches: stretches.unwrap_or_else(|| vec![keys::ids_behind(None)]), reverse, ordered, bounded }
    }

    /// The ids, where every stretch is one.
    pub(in crate::view) fn points(&self) -> Option<impl Iterator<Item = &[u8]>> {
        let is_point = |(from, to): &Stretch| to.strip_prefix(&from[..]) == Some(&[keys::BEHIND_ID]);
        self.stretches.iter().all(is_point).then(|| self.stretches.iter().map(|(from, _)| &from[..]))
    }

    /// The same, from behind the document with this id.
    pub(super) fn behind(mut self, id: &str) -> Self {
        match self.reverse {
            false => {
                let (next, _) = keys::ids_behind(Some(id));
                self.stretches.retain(|(_, to)| *to > next);
                self.stretches.iter_mut().for_each(|(from, _)| *from = std::mem::take(from).max(next.clone()));
            }
            true => {
                self.stretches.retain(|(from, _)| **from < *id.as_bytes());
                self.stretches.iter_mut().for_each(|(_, to)| *to = std::mem::take(to).min(id.as_bytes().to_vec()));
            }
        }
        self
    }
}

/// The conditions of `filter` that bound ids, each as a filter of its own.
pub(super) fn bounds(filter: &Filter) -> Vec<Filter> {
    let tests = bounds::used(&bounds::tests_of(filter, &Path::id()), true);
    let alone = |test: &&Test| Condition::Field { path: Path::id(), tests: vec![(*test).clone()] };
    tests.iter().map(|test| Filter { conditions: vec![alone(test)] }).collect()
}
