//! Real time: which revisions were surely reached when an operation began.

use super::Asked;
use crate::client::{Condition, Op, is_definite};
use crate::history::Kind;

/// The highest revision that any completed operation had named, over time.
pub(super) struct Floors(Vec<Floor>);

/// From `index` on, `revision` was reached: `by`, an operation's index of invocation, had been told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    index: u64,
    time_ns: u64,
    pub(super) revision: u64,
    pub(super) by: u64,
}

/// Before anything is known.
const NOTHING: Floor = Floor { index: 0, time_ns: 0, revision: 0, by: 0 };

impl Floors {
    /// What `asked` tells.
    pub(super) fn new(asked: &[Asked<'_>]) -> Self {
        let mut floors: Vec<Floor> = asked.iter().filter_map(told).collect();
        floors.sort_by_key(|floor| floor.index);
        let mut highest = NOTHING;
        for floor in &mut floors {
            if floor.revision > highest.revision {
                highest = *floor;
            }
            (floor.revision, floor.by) = (highest.revision, highest.by);
        }
        Self(floors)
    }

    /// What was reached before the event with this index.
    pub(super) fn before(&self, index: u64) -> Floor {
        self.last(self.0.partition_point(|floor| floor.index < index))
    }

    /// What was reached before this time.
    pub(super) fn before_time(&self, time_ns: u64) -> Floor {
        self.last(self.0.partition_point(|floor| floor.time_ns < time_ns))
    }

    fn last(&self, end: usize) -> Floor {
        end.checked_sub(1).map_or(NOTHING, |last| self.0[last])
    }
}

fn told(asked: &Asked<'_>) -> Option<Floor> {
    let operation = asked.operation;
    let known = match operation.kind {
        Kind::Ok => true,
        Kind::Fail => operation.error.as_deref().is_some_and(is_definite),
        Kind::Info | Kind::Invoke => false,
    };
    let revision = known.then_some(operation.revision?)?;
    Some(Floor { index: operation.end, time_ns: operation.end_ns, revision, by: operation.begin })
}

/// Whether the answer must show everything that was reached before the operation began.
pub(super) fn is_linearizable(op: &Op) -> bool {
    use crate::client::Consistency::Linearizable;
    let read = op.read();
    match op {
        Op::List { query, .. } if query.after.is_some() => false,
        Op::Follow { .. } => false,
        _ => read.consistency == Linearizable && read.as_of.is_none(),
    }
}

/// Whether a condition holds for a document at this revision, or for none.
pub(super) fn condition_holds(condition: Condition, revision: Option<u64>) -> bool {
    match condition {
        Condition::None => true,
        Condition::Revision(wanted) => revision == Some(wanted),
        Condition::Exists => revision.is_some(),
        Condition::Absent => revision.is_none(),
    }
}
