//! What the log is, as far as everybody but the disk is concerned: the disk follows, job by job.
//!
//! All changes are made here, in memory, when they are asked for; each answers with the work that makes them durable.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Error;
use super::records::Stored;
use super::ring::Ring;
use super::writer::{Committed, Work};
use crate::types::{Entry, LogId, Payload, Vote};

/// The log in memory. Guarded by one lock, which is never held across input or output.
pub(super) struct State {
    ring: Ring,
    /// The index of the first entry; of the next one when there is none.
    first: u64,
    /// The last entry, or what was purged when there is none.
    last: Option<LogId>,
    purged: Option<LogId>,
    committed: Committed,
    /// True while the writer has not been told of `committed`.
    committed_is_news: bool,
    standing: Arc<ArcSwap<Standing>>,
    /// Bytes of log up to the first entry and up to the end of the last one.
    start_bytes: u64,
    end_bytes: u64,
    /// Jobs handed to the writer, and those it is done with.
    jobs_given: u64,
    jobs_done: u64,
    /// Grows with each truncation: what was read from disk meanwhile may mix two histories.
    truncations: u64,
    failed: Option<Error>,
}

/// What a node that is its cluster's only member asks for with each read: so it is read without the lock. It changes while that is
/// held, before anybody can act on the change.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    /// The vote as it is on disk.
    pub(super) vote: Option<Vote>,
    /// Memberships appended since the start.
    pub(super) memberships: u64,
}

/// What is found on disk at start.
pub(super) struct Found {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    /// The first and the last entry.
    pub(super) ends: Option<(Stored, Stored)>,
}

/// Where entries are to be read from.
pub(super) enum Plan {
    /// There is none (any more).
    Nothing,
    /// They were in the ring and have been copied.
    Copied,
    /// From disk, up to `to`; then ask again.
    Disk { to: u64 },
}

/// An entry's place, found in memory.
pub(super) struct Place {
    pub(super) log_id: LogId,
    pub(super) begins_at: u64,
    pub(super) ends_at: u64,
}

impl State {
    /// The state that `found` amounts to, if that is a log that this store can have left behind.
    pub(super) fn restore(found: Found, ring_bytes_max: u64) -> Result<Self, Error> {
        let damaged = |detail: String| Err(Error::Damaged(detail));
        let after_purged = found.purged.map(|id| id.index() + 1);
        let mut state = Self {
            ring: Ring::new(ring_bytes_max),
            first: after_purged.unwrap_or(0),
            last: found.purged,
            purged: found.purged,
            committed: found.committed,
            committed_is_news: false,
            standing: Arc::new(ArcSwap::from_pointee(Standing { vote: found.vote, memberships: 0 })),
            start_bytes: 0,
            end_bytes: 0,
            jobs_given: 0,
            jobs_done: 0,
            truncations: 0,
            failed: None,
        };
        if let Some((first, last)) = found.ends {
            let (first_id, last_id) = (first.entry.log_id, last.entry.log_id);
            if after_purged.is_some_and(|index| index != first_id.index()) {
                return damaged(format!("it is purged up to {:?} and begins with {first_id}", found.purged));
            }
            if Some(first_id) <= found.purged || last_id < first_id {
                return damaged(format!("purged, first and last are {:?}, {first_id}, {last_id}", found.purged));
            }
            if last.position < first.position {
                return damaged(format!("position {} lies behind {}", last.position, first.position));
            }
            state.first = first_id.index();
            state.last = Some(last_id);
            state.start_bytes = first.begins_at();
            state.end_bytes = last.position;
        }
        if found.committed.is_some_and(|id| id.index() >= state.next_index()) {
            return damaged(format!("committed is {:?} and the last entry {:?}", found.committed, state.last));
        }
        Ok(state)
    }

    /// Adds entries that follow the last one. They are readable from now on.
    pub(super) fn append(&mut self, entries: Vec<Entry>) -> Result<Work, Error> {
        let mut last = self.last;
        for entry in &entries {
            let id = entry.log_id;
            // Only a log in which nothing ever was may begin anywhere.
            let follows = last.is_none_or(|last| id.index() == last.index() + 1 && id > last);
            if !follows {
                return Err(Error::Misuse(format!("appending {id} after {last:?}")));
            }
            last = Some(id);
        }
        if let (true, Some(first)) = (self.is_empty(), entries.first()) {
            self.first = first.log_id.index();
        }
        let (job, begins_at) = (self.jobs_given + 1, self.end_bytes);
        let memberships = entries.iter().filter(|entry| matches!(entry.payload, Payload::Membership(_))).count() as u64;
        if memberships > 0 {
            self.set_standing(|standing| standing.memberships += memberships);
        }
        for entry in &entries {
            self.end_bytes = self.ring.push(entry.clone(), self.end_bytes, job);
        }
        self.last = last;
        self.ring.evict(self.jobs_done);
        Ok(Work::Append { entries, begins_at, ends_at: self.end_bytes })
    }

    /// Checks that `vote` may follow the one that is held: a vote is never taken back.
    pub(super) fn check_vote(&self, vote: &Vote) -> Result<(), Error> {
        if self.vote().is_none_or(|held| *vote >= held) {
            return Ok(());
        }
        Err(Error::Misuse(format!("voting {vote} after {:?}", self.vote())))
    }

    /// Drops the entries behind `last`, whose place is `place` unless everything goes. `None` when there is nothing
    /// to drop.
    pub(super) fn truncate_after(&mut self, last: Option<LogId>, place: Option<&Place>) -> Result<Option<Work>, Error> {
        let from = last.map_or(0, |id| id.index() + 1);
        let to = self.next_index();
        if from >= to {
            return Ok(None);
        }
        if let Some(kept) = [self.purged, self.committed].into_iter().flatten().find(|id| from <= id.index()) {
            return Err(Error::Misuse(format!("truncating behind {last:?}, though {kept} is committed")));
        }
        if from <= self.first {
            self.last = self.purged;
            self.first = self.purged.map_or(0, |id| id.index() + 1);
            self.end_bytes = self.start_bytes;
        } else {
            let Some(place) = place.filter(|place| Some(place.log_id) == last) else {
                return Err(Error::Misuse(format!("truncating behind {last:?}, which is not in the log")));
            };
            self.last = last;
            self.end_bytes = place.ends_at;
        }
        self.ring.truncate(from);
        self.truncations += 1;
        Ok(Some(Work::Truncate { from, to }))
    }

    /// Drops the entries up to `upto`, which may lie beyond the last one: a snapshot holds what is missing here.
    /// `None` when they are gone already.
    pub(super) fn purge(&mut self, upto: LogId) -> Option<Work> {
        if self.purged.is_some_and(|purged| upto.index() <= purged.index()) {
            return None;
        }
        let (from, next) = (self.first, upto.index() + 1);
        let mut measure = false;
        if next >= self.next_index() {
            self.last = Some(upto);
            self.start_bytes = self.end_bytes;
        } else if let Some(place) = self.place(next) {
            self.start_bytes = place.begins_at;
        } else {
            measure = next > self.first;
        }
        self.first = self.first.max(next);
        self.purged = Some(upto);
        self.ring.purge(next);
        Some(Work::Purge { upto, from, measure })
    }

    /// Notes what is committed, which the log must hold. The disk learns of it with the next job.
    pub(super) fn set_committed(&mut self, committed: Committed) -> Result<(), Error> {
        if committed.is_some_and(|id| id.index() >= self.next_index()) {
            return Err(Error::Misuse(format!("{committed:?} cannot be committed: the last entry is {:?}", self.last)));
        }
        self.committed = committed;
        self.committed_is_news = true;
        Ok(())
    }

    /// What is committed, if the writer has not been told.
    pub(super) fn take_committed(&mut self) -> Option<Committed> {
        std::mem::take(&mut self.committed_is_news).then_some(self.committed)
    }

    /// Counts a job; they are written in this order.
    pub(super) fn give_job(&mut self) -> u64 {
        self.jobs_given += 1;
        self.jobs_given
    }

    /// Notes that everything up to `job` is on disk; `vote` and `start_bytes` are news from there.
    pub(super) fn set_jobs_done(&mut self, job: u64, vote: Option<Vote>, start_bytes: Option<u64>) {
        self.jobs_done = job;
        self.ring.evict(job);
        if vote.is_some() {
            self.set_standing(|standing| standing.vote = vote);
        }
        if let Some(start) = start_bytes {
            // A later purge may have measured on its own since.
            self.start_bytes = self.start_bytes.max(start).min(self.end_bytes);
        }
    }

    /// Copies entries from `from` on to `into`, or says where to read them.
    pub(super) fn read(&self, from: u64, to: u64, bytes_max: u64, entries_max: usize, into: &mut Vec<Entry>) -> Plan {
        let to = to.min(self.next_index());
        if from < self.first || from >= to {
            return Plan::Nothing;
        }
        match self.ring.first() {
            Some(ring_first) if from >= ring_first => {
                self.ring.read(from, to, bytes_max, entries_max, into);
                Plan::Copied
            }
            ring_first => Plan::Disk { to: ring_first.unwrap_or(to).min(to) },
        }
    }

    /// Truncations so far: entries read under the same number belong to one history.
    pub(super) fn truncations(&self) -> u64 {
        self.truncations
    }

    /// True when what was read from disk, from `from` on, was not removed since there were `truncations`.
    pub(super) fn read_holds(&self, from: u64, truncations: u64) -> bool {
        self.truncations == truncations && self.first <= from
    }

    /// The place of the entry with `index`, if it is in memory.
    pub(super) fn place(&self, index: u64) -> Option<Place> {
        let slot = self.ring.get(index)?;
        let before = index.checked_sub(1).and_then(|index| self.ring.get(index)).map(|slot| slot.position);
        let begins_at = before.unwrap_or(slot.position - super::records::weight(&slot.entry));
        Some(Place { log_id: slot.entry.log_id, begins_at, ends_at: slot.position })
    }

    /// Remembers the first error. True when it is the first.
    pub(super) fn fail(&mut self, error: &Error) -> bool {
        let first = self.failed.is_none();
        self.failed.get_or_insert_with(|| error.clone());
        first
    }

    /// The error that ended this store, if one has.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(super) fn committed(&self) -> Option<LogId> {
        self.committed
    }

    pub(super) fn vote(&self) -> Option<Vote> {
        self.standing.load().vote
    }

    /// To be read without this state's lock.
    pub(super) fn standing(&self) -> Arc<ArcSwap<Standing>> {
        self.standing.clone()
    }

    fn set_standing(&self, change: impl FnOnce(&mut Standing)) {
        let mut standing = **self.standing.load();
        change(&mut standing);
        self.standing.store(Arc::new(standing));
    }

    /// The index that comes after the last one.
    pub(super) fn next_index(&self) -> u64 {
        self.last.map_or(0, |id| id.index() + 1)
    }

    /// Bytes of entries in the log.
    pub(super) fn bytes(&self) -> u64 {
        self.end_bytes - self.start_bytes
    }

    pub(super) fn ring_bytes(&self) -> u64 {
        self.ring.bytes()
    }

    pub(super) fn entries(&self) -> u64 {
        self.next_index() - self.first
    }

    fn is_empty(&self) -> bool {
        self.next_index() == self.first
    }
}
