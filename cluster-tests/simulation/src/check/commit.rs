//! What must hold of what is committed: a majority had it durably, nothing else is ever committed in its place, and every
//! later leader has it.

use super::{At, Checker, Committed, Entry};
use crate::trace;

impl Checker {
    /// `node` behaves as if `at` were committed: then a majority must have had it durably, and no other entry was or
    /// will ever be committed in its place.
    pub(super) fn claim(&mut self, id: u64, at: At, how: &str) {
        if let Some(known) = self.committed.get(&at.index) {
            if known.term != at.term {
                let term = known.term;
                self.violate(format!("n{id} {how}: {at:?}, and {} of term {term} is committed", at.index));
            }
            return;
        }
        let Some(by) = self.committed_by(at) else {
            let holders = self.entries.get(&at).map(|entry| &entry.holders);
            let problem = format!(
                "n{id} {how}: {at:?}, and in no term a majority of {} had it durably; who had it, and in which term: \
                 {holders:?}",
                self.voters
            );
            return self.violate(problem);
        };
        let last = self.committed.last_key_value().map(|(index, known)| At { index: *index, term: known.term });
        let mut fresh = vec![at];
        let mut first = at;
        while first.index > last.map_or(0, |last| last.index + 1) {
            let Some(before) = self.entries.get(&first).and_then(|entry| entry.before) else {
                return self.violate(format!("n{id} {how}: {at:?}, and what comes before {first:?} is not known"));
            };
            first = At { index: first.index - 1, term: before };
            fresh.push(first);
        }
        if let Some(last) = last {
            self.check_holds(at, last);
        }
        trace::detail(|| format!("n{id} {how}: {at:?}, committed in term {by}"));
        for at in fresh.into_iter().rev() {
            self.committed.insert(at.index, Committed { term: at.term, by });
            let batch = self.entries.get(&at).and_then(|entry| entry.batch.clone());
            if let Err(problem) = self.canon.commit(at, batch) {
                self.violate(problem);
            }
        }
        // Leaders of later terms must have had it from their first entry on.
        let later: Vec<At> = self.firsts.range(by + 1..).map(|(&term, &index)| At { index, term }).collect();
        for first in later {
            self.check_complete(first, at);
        }
    }

    /// The term whose leader could commit `at`: the lowest in which a majority had durably, under that term, an entry of
    /// that term behind which `at` lies. An entry of an earlier term is committed by one of the leader's own behind it.
    pub(super) fn committed_by(&self, at: At) -> Option<u64> {
        // The first members write the first entry, each by itself.
        if at.index == 0 {
            return Some(0);
        }
        let own = |(end, entry): (&At, &Entry)| {
            let holders = entry.holders.values().filter(|term| **term == end.term).count();
            (holders > self.voters / 2 && self.lies_behind(*end, at) == Some(true)).then_some(end.term)
        };
        self.entries.range(At { index: at.index, term: 0 }..).filter_map(own).min()
    }

    /// Whether the history that ends with `end` has `wanted`; none where it is not known that far back.
    fn lies_behind(&self, end: At, wanted: At) -> Option<bool> {
        let mut at = end;
        while at.index > wanted.index {
            at = At { index: at.index - 1, term: self.entries.get(&at)?.before? };
        }
        Some(at == wanted)
    }

    /// Leader completeness: the leader whose first entry is `first` has `committed`, which a leader before it committed.
    pub(super) fn check_complete(&mut self, first: At, committed: At) {
        if first.index <= committed.index || self.lies_behind(first, committed) == Some(false) {
            let problem =
                format!("leader completeness: {first:?} begins a term without {committed:?}, which is committed");
            self.violate(problem);
        }
    }

    /// The history that ends with `end`, which is committed, has `wanted`, which is committed too.
    fn check_holds(&mut self, end: At, wanted: At) {
        if self.lies_behind(end, wanted) == Some(false) {
            self.violate(format!("{end:?} is committed without {wanted:?}, which is committed before it"));
        }
    }
}
