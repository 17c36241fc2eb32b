//! What is committed, replayed entry by entry: which entries are void, which revision each command has, and that no
//! command of a session and no idempotency key takes effect twice.

use std::collections::{BTreeMap, BTreeSet};

use aerodb_proto as proto;
use bytes::Bytes;
use prost::Message;
use proto::effect::Kind;

use super::At;

/// The committed history.
#[derive(Default)]
pub struct Canon {
    next: u64,
    seq: u64,
    revision: u64,
    time_ms: u64,
    /// `seq` and revision after each index.
    after: BTreeMap<u64, (u64, u64)>,
    /// The session of each node.
    sessions: BTreeMap<u64, u64>,
    ended: BTreeSet<u64>,
    numbers: BTreeSet<(u64, u64)>,
    acknowledged: BTreeSet<(u64, u64)>,
    keys: BTreeSet<Bytes>,
    /// Collections and the revisions below which their history was given up, one after the other.
    marks: BTreeSet<(u32, u64)>,
    /// What each revision did, from revision 1 on.
    revisions: Vec<proto::Effects>,
    /// Entries that were void.
    pub voids: u64,
}

impl Canon {
    /// The revision after all that is committed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A command that took effect: its session, its number, and whether the session has ended since. `place` chooses, by
    /// its remainder; sessions that have ended come first.
    pub fn done_before(&self, place: u64) -> Option<(u64, u64, bool)> {
        let over = |(session, _): &&(u64, u64)| self.ended.contains(session);
        let count = self.numbers.iter().filter(over).count() as u64;
        let (session, number) = match count {
            0 => self.numbers.iter().nth((place.checked_rem(self.numbers.len() as u64)?) as usize)?,
            _ => self.numbers.iter().filter(over).nth((place % count) as usize)?,
        };
        Some((*session, *number, count > 0))
    }

    /// `seq` and revision after `index`, if it is committed.
    pub fn after(&self, index: u64) -> Option<(u64, u64)> {
        self.after.get(&index).copied()
    }

    /// What `revision` did.
    pub fn effects(&self, revision: u64) -> Option<&proto::Effects> {
        self.revisions.get(usize::try_from(revision.checked_sub(1)?).ok()?)
    }

    /// Whether the history of `collection` was given up below `revision`.
    pub fn is_mark(&self, collection: u32, revision: u64) -> bool {
        self.marks.contains(&(collection, revision))
    }

    /// Adds the next committed entry.
    pub(super) fn commit(&mut self, at: At, batch: Option<Bytes>) -> Result<(), String> {
        if at.index != self.next {
            return Err(format!("{at:?} is committed after {}", self.next));
        }
        self.next += 1;
        let result = batch.map_or(Ok(()), |batch| self.batch(at, batch));
        self.after.insert(at.index, (self.seq, self.revision));
        result
    }

    fn batch(&mut self, at: At, batch: Bytes) -> Result<(), String> {
        let batch = proto::Batch::decode(batch).map_err(|e| format!("the batch at {at:?} cannot be read: {e}"))?;
        if batch.decided_term != at.term {
            return Err(format!("{at:?} was decided in term {}: it was not bound to its leader", batch.decided_term));
        }
        // Void: only something in front of it that openraft refused may have left a hole. Who builds on what is there
        // already was not decided behind it.
        if batch.base_seq < self.seq {
            return Err(format!("{at:?} builds on {}, and {} are there: two decide", batch.base_seq, self.seq));
        }
        if batch.base_seq > self.seq {
            self.voids += 1;
            return Ok(());
        }
        self.seq += 1;
        if batch.time_ms < self.time_ms {
            return Err(format!("the time goes back at {at:?}"));
        }
        self.time_ms = batch.time_ms;
        for effects in batch.effects {
            self.effects_of(at, effects)?;
        }
        // Behind the effects, as they are applied: a number may be given up while it is decided.
        for ack in &batch.acks {
            let ranges = ack.ranges.iter().flat_map(|range| range.first..=range.last);
            self.acknowledged.extend(ranges.map(|number| (ack.session, number)));
        }
        if batch.revision != self.revision {
            return Err(format!("{at:?} says that it ends at revision {}, not {}", batch.revision, self.revision));
        }
        Ok(())
    }

    fn effects_of(&mut self, at: At, effects: proto::Effects) -> Result<(), String> {
        if effects.session != 0 {
            let number = (effects.session, effects.number);
            if self.ended.contains(&effects.session) || !self.sessions.values().any(|s| *s == effects.session) {
                return Err(format!("{at:?} has a command of session {}, which has ended", effects.session));
            }
            if !self.numbers.insert(number) {
                return Err(format!("the command {number:?} takes effect again at {at:?}"));
            }
            if self.acknowledged.contains(&number) {
                return Err(format!("the command {number:?} takes effect at {at:?}, after its answer has arrived"));
            }
        }
        if let Some(record) = &effects.idempotency
            && !self.keys.insert(record.key.clone())
        {
            return Err(format!("an idempotency key takes effect again at {at:?}"));
        }
        for effect in &effects.effects {
            match &effect.kind {
                Some(Kind::NewSession(session)) => {
                    if let Some(former) = self.sessions.insert(session.node_id, self.seq) {
                        self.ended.insert(former);
                    }
                }
                Some(Kind::Watermark(mark)) => {
                    self.marks.insert((mark.collection_id, mark.revision));
                }
                Some(Kind::ForgetIdempotency(forget)) => {
                    for key in &forget.keys {
                        self.keys.remove(key);
                    }
                }
                _ => {}
            }
        }
        if effects.revision != 0 {
            if effects.revision != self.revision + 1 {
                return Err(format!("revision {} follows {} at {at:?}", effects.revision, self.revision));
            }
            self.revision = effects.revision;
            self.revisions.push(effects);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
