//! Sessions (rule 5): what they remember of their commands, until it is acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use aerodb_proto as proto;
use prost::Message;

use super::effects::Writer;
use crate::error::Error;
use crate::ranges::RangeSet;
use crate::state::{META, keys, record};

/// Outcomes in a run of entries that is not written yet.
#[derive(Default)]
pub(super) struct Outcomes {
    /// Of the entry at hand, by session: they become one record each, not one for each command.
    entry: BTreeMap<u64, Vec<proto::NumberedOutcome>>,
    /// The records of this run: by session, the largest of their numbers.
    records: BTreeSet<(u64, u64)>,
}

impl Outcomes {
    pub(super) fn note(&mut self, session: u64, number: u64, outcome: proto::Outcome) {
        let outcome = proto::NumberedOutcome { number, outcome: Some(outcome) };
        self.entry.entry(session).or_default().push(outcome);
    }
}

impl Writer<'_> {
    /// Writes the outcomes of the entry at hand, whose effects are written.
    pub(super) fn remember_outcomes(&mut self) {
        for (session, outcomes) in std::mem::take(&mut self.outcomes.entry) {
            let largest = outcomes.iter().map(|one| one.number).max().unwrap_or(0);
            self.outcomes.records.insert((session, largest));
            self.batch.put(META, keys::outcomes(session, largest), proto::Outcomes { outcomes }.encode_to_vec());
        }
    }

    /// The session's id is the `seq` of this entry; the node's former session ends with all that it remembers.
    pub(super) fn new_session(&mut self, node_id: u64) -> Result<(), Error> {
        let pointer = keys::node_session(node_id);
        if let Some(former) = self.get_meta(&pointer)? {
            let former = record::number(&former)?;
            self.delete_meta(keys::session(former));
            let (from, to) = keys::outcomes_from(former, 0);
            self.batch.delete_range(META, from, to);
            self.outcomes.entry.remove(&former);
            self.outcomes.records.retain(|(session, _)| *session != former);
        }
        let session = proto::Session { node_id, acknowledged: Vec::new() };
        self.put_meta(keys::session(self.meta.seq), session.encode_to_vec());
        self.put_meta(pointer, self.meta.seq.to_be_bytes().to_vec());
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, ack: &proto::SessionAck) -> Result<(), Error> {
        let key = keys::session(ack.session);
        // A session that ended meanwhile has nothing left to forget.
        let Some(bytes) = self.get_meta(&key)? else { return Ok(()) };
        let mut session = proto::Session::decode(&*bytes).map_err(|e| Error::malformed("a session", e))?;
        let mut acknowledged = RangeSet::from_proto(&session.acknowledged);
        let before = acknowledged.full_until();
        for range in &ack.ranges {
            acknowledged.insert(range.first, range.last);
        }
        self.forget_outcomes(ack.session, before, acknowledged.full_until())?;
        session.acknowledged = acknowledged.to_proto();
        self.put_meta(key, session.encode_to_vec());
        Ok(())
    }

    /// Forgets the records all of whose numbers are acknowledged, now that those up to `until` are, and no longer only those
    /// up to `before`. A command that hangs holds back what came after it, for no longer than a request may take.
    fn forget_outcomes(&mut self, session: u64, before: u64, until: u64) -> Result<(), Error> {
        if until <= before {
            return Ok(());
        }
        let (from, to) = keys::outcomes_between(session, before + 1, until);
        let snapshot = self.store.snapshot();
        let mut scan = snapshot.scan(META, &from, &to, false);
        while let Some((key, _)) = scan.next()? {
            self.batch.delete(META, key.to_vec());
        }
        drop(scan);
        let of_this_run: Vec<_> =
            self.outcomes.records.range((session, before + 1)..=(session, until)).copied().collect();
        for record in of_this_run {
            self.outcomes.records.remove(&record);
            self.batch.delete(META, keys::outcomes(record.0, record.1));
        }
        Ok(())
    }
}
