//! Decide: on the leader, one command after the other, against the state plus what is decided and not applied yet (the
//! [overlay](overlay::Overlay)). Out come effects for the log, or an answer that writes nothing.
//!
//! The caller (`raft`) owns the epochs: it begins a [`Decider`] when the first entry of its term is applied, hands every
//! batch to the log in order, and drops the decider when a hand-over is refused or an entry comes back void.

mod bulk;
mod caller;
mod catalog;
mod change;
mod documents;
mod expire;
mod idempotency;
mod indexes;
mod overlay;
mod references;
mod schema;
mod sessions;
mod since;
#[cfg(test)]
mod tests;
mod transaction;
mod upkeep;

use std::sync::Arc;

use aerodb_proto as proto;
use prost::Message;
use proto::command::Op;
use proto::{Batch, Command, Effect, Effects, Outcome, Refusal};

use crate::engine::Engine;
use crate::error::Error;
use documents::Stop;
use overlay::Overlay;
pub use sessions::Number;

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Its effects are in the entry under construction; the outcome holds once that entry is applied.
    Proposed(Outcome),
    /// It writes nothing: a refusal, a no-op, or the answer of an earlier attempt. The answer is a linearizable read
    /// (rule 4): it may be given once the entry `after_seq` is applied and a ReadIndex begun after now has succeeded.
    Read {
        /// The answer.
        outcome: Outcome,
        /// The entry whose application it rests on.
        after_seq: u64,
    },
    /// The number was acknowledged: an old message. Nobody waits for an answer.
    Stale,
    /// The session has ended. What an earlier attempt did is not known.
    SessionGone,
    /// The entry under construction must be closed first; decide again then.
    EntryFull,
}

/// Decides commands during one epoch: from the first entry of a term, or from a confirmed standstill, to the first
/// refusal or void entry.
pub struct Decider {
    engine: Arc<Engine>,
    term: u64,
    /// The `seq` after the last closed entry is applied.
    seq: u64,
    /// The revision after all that is decided.
    revision: u64,
    /// The largest time given.
    time_ms: u64,
    overlay: Overlay,
    building: Building,
}

/// The entry under construction.
#[derive(Default)]
struct Building {
    effects: Vec<Effects>,
    acks: Vec<proto::SessionAck>,
    bytes: usize,
    opens_session: bool,
}

/// What deciding one operation yields.
enum Decision {
    /// It changes documents or the catalog: it takes the next revision.
    Change { effects: Vec<Effect>, result: proto::outcome::Result },
    /// It changes only what carries no revision (sessions, watermarks).
    Internal { effects: Vec<Effect>, result: proto::outcome::Result },
    /// It changes nothing and succeeds, at this revision.
    Noop { revision: u64, result: proto::outcome::Result },
}

impl Decider {
    /// Begins an epoch of `term`. Everything that was appended in earlier terms, and by this node in this term, must be
    /// applied; the state is then the whole truth.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn begin(engine: Arc<Engine>, term: u64) -> Result<Self, Error> {
        let current = engine.current();
        let (seq, revision, time_ms) = (current.meta.seq, current.meta.revision, current.meta.time_ms);
        let overlay = Overlay::new(engine.clone(), &current);
        Ok(Self { engine, term, seq, revision, time_ms, overlay, building: Building::default() })
    }

    /// The term of this epoch.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The `seq` that the entry under construction will have once it is applied.
    pub fn next_seq(&self) -> u64 {
        self.seq + 1
    }

    /// Bytes of the entry under construction.
    pub fn building_bytes(&self) -> usize {
        self.building.bytes
    }

    /// True when there is something to propose.
    pub fn has_work(&self) -> bool {
        !self.building.effects.is_empty() || !self.building.acks.is_empty()
    }

    /// Decides `command` at the place that it has in the order of all writes. `number` is absent for commands of the
    /// nodes themselves, which may be decided twice without harm. `now_ms` is the leader's clock.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn decide(&mut self, number: Option<Number>, command: &Command, now_ms: u64) -> Result<Verdict, Error> {
        if let Some(number) = number {
            match self.overlay.look_up(number)? {
                sessions::Known::New => {}
                sessions::Known::Gone => return Ok(Verdict::SessionGone),
                sessions::Known::Acknowledged => return Ok(Verdict::Stale),
                sessions::Known::Decided(outcome) => return Ok(self.read(outcome)),
            }
        }
        if matches!(command.op, Some(Op::OpenSession(_))) && self.building.opens_session {
            return Ok(Verdict::EntryFull);
        }
        if let Some(refusal) = caller::check(&self.overlay, command)? {
            return Ok(self.refuse(refusal));
        }
        let remember = match idempotency::look_up(&self.overlay, command)? {
            idempotency::Known::Unused => None,
            idempotency::Known::New(key) => Some(key),
            idempotency::Known::Answered(outcome) => return Ok(self.read(outcome)),
            idempotency::Known::Refused(refusal) => return Ok(self.refuse(refusal)),
        };
        let time_ms = now_ms.max(self.time_ms);
        let decision = match self.operation(command, time_ms) {
            Ok(decision) => decision,
            Err(Stop::Refused(refusal)) => return Ok(self.refuse(refusal)),
            Err(Stop::Failed(error)) => return Err(error),
        };
        Ok(self.conclude(number, remember, decision, time_ms))
    }

    fn operation(&mut self, command: &Command, time_ms: u64) -> Result<Decision, Stop> {
        let place = documents::Place { revision: self.revision + 1, time_ms };
        let (overlay, limits) = (&mut self.overlay, self.engine.limits());
        let Some(op) = &command.op else {
            return Err(refusal("unknown_operation", "this version does not know the operation").into());
        };
        let mut writer = documents::Writer { overlay, place, limits };
        Ok(match op {
            Op::Insert(insert) => documents::insert(&mut writer, insert)?,
            Op::Put(put) => documents::put(&mut writer, put)?,
            Op::Patch(patch) => documents::patch(&mut writer, patch)?,
            Op::Delete(delete) => documents::delete(&mut writer, delete)?,
            Op::Transaction(transaction) => transaction::transact(&mut writer, transaction)?,
            Op::Bulk(bulk) => bulk::write(&mut writer, bulk)?,
            Op::CreateCollection(create) => catalog::create(overlay, create, place, limits)?,
            Op::DropCollection(drop) => catalog::drop(overlay, drop)?,
            Op::ChangeSettings(change) => schema::change(overlay, change, place, limits)?,
            Op::CreateIndex(create) => indexes::create(overlay, create, place, limits)?,
            Op::DropIndex(drop) => indexes::drop(overlay, drop)?,
            Op::BuildIndex(step) => indexes::build(overlay, step, place, limits)?,
            Op::CheckSchema(step) => schema::step(overlay, step, place)?,
            Op::Expire(expire) => expire::expire(&mut writer, expire)?,
            Op::Bootstrap(bootstrap) => catalog::bootstrap(&mut writer, bootstrap)?,
            Op::OpenSession(open) => sessions::open(overlay, open, self.seq + 1)?,
            Op::AdvanceWatermarks(marks) => upkeep::advance_watermarks(overlay, marks, place)?,
            Op::CollectGarbage(garbage) => upkeep::collect_garbage(overlay, garbage)?,
        })
    }

    fn conclude(
        &mut self,
        number: Option<Number>,
        remember: Option<idempotency::Key>,
        decision: Decision,
        time_ms: u64,
    ) -> Verdict {
        let (effects, result, changed, revision) = match decision {
            Decision::Change { effects, result } => (effects, result, true, self.revision + 1),
            Decision::Internal { effects, result } => (effects, result, false, self.revision),
            // A no-op with an idempotency key is remembered, so it takes a place in the log (rule 6).
            Decision::Noop { revision, result } if remember.is_some() => (Vec::new(), result, false, revision),
            Decision::Noop { revision, result } => {
                // What was written and taken back by one command is part of none.
                self.overlay.discard();
                return self.read(Outcome { revision, time_ms, changed: false, result: Some(result) });
            }
        };
        self.building.opens_session |= matches!(result, proto::outcome::Result::Session(_));
        let outcome = Outcome { revision, time_ms, changed, result: Some(result) };
        let record = without_bodies(&outcome);
        let seq = self.next_seq();
        let idempotency = remember.map(|key| key.record(time_ms, record.clone()));
        if let Some(record) = &idempotency {
            self.overlay.remember_idempotency(seq, record.clone());
        }
        if let Some(number) = number {
            self.overlay.remember_outcome(seq, number, &record);
        }
        self.overlay.commit(seq, revision);
        if changed {
            self.revision = revision;
        }
        self.time_ms = time_ms;
        let effects = Effects {
            revision: if changed { revision } else { 0 },
            session: number.map_or(0, |n| n.session),
            number: number.map_or(0, |n| n.number),
            outcome: number.map(|_| record),
            effects,
            idempotency,
        };
        self.building.bytes += effects.encoded_len();
        self.building.effects.push(effects);
        Verdict::Proposed(outcome)
    }

    fn refuse(&mut self, refusal: Refusal) -> Verdict {
        self.overlay.discard();
        let result = Some(proto::outcome::Result::Refusal(refusal));
        self.read(Outcome { revision: self.revision, time_ms: self.time_ms, changed: false, result })
    }

    /// An answer that rests on everything decided so far.
    fn read(&self, outcome: Outcome) -> Verdict {
        let building = !self.building.effects.is_empty();
        Verdict::Read { outcome, after_seq: if building { self.next_seq() } else { self.seq } }
    }

    /// Notes that the answers to these numbers have arrived: their outcomes are forgotten with the next entry.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn acknowledge(&mut self, session: u64, ranges: &[proto::NumberRange]) -> Result<(), Error> {
        let new = if ranges.is_empty() { Vec::new() } else { self.overlay.acknowledge(session, ranges)? };
        if !new.is_empty() {
            let ack = proto::SessionAck { session, ranges: new };
            self.building.bytes += ack.encoded_len();
            self.building.acks.push(ack);
        }
        Ok(())
    }

    /// Closes the entry under construction: its `seq` once applied, and the batch to hand to the log.
    pub fn close(&mut self) -> Option<(u64, Batch)> {
        if !self.has_work() {
            return None;
        }
        let building = std::mem::take(&mut self.building);
        let batch = Batch {
            decided_term: self.term,
            base_seq: self.seq,
            revision: self.revision,
            time_ms: self.time_ms,
            effects: building.effects,
            acks: building.acks,
            feature_level: proto::FEATURE_LEVEL,
        };
        self.seq += 1;
        Some((self.seq, batch))
    }

    /// Notes that the entry `seq` is applied: the state now says what the overlay said for it.
    pub fn applied(&mut self, seq: u64) {
        self.overlay.prune(seq);
    }
}

fn refusal(code: &str, detail: impl Into<String>) -> Refusal {
    Refusal { code: code.into(), detail: detail.into(), ..Refusal::default() }
}

/// Records keep ids and revisions; bodies are rendered anew from the state (rule 6).
fn without_bodies(outcome: &Outcome) -> Outcome {
    let Some(proto::outcome::Result::Documents(documents)) = &outcome.result else {
        let mut record = outcome.clone();
        record.documents_mut().for_each(|(_, document)| document.body.clear());
        return record;
    };
    // Of many documents: without a second owner for each body.
    let bodiless = |one: &proto::DocumentRef| {
        let (id, revision, body) = (one.id.clone(), one.revision, bytes::Bytes::new());
        proto::DocumentRef { id, revision, body }
    };
    let record = proto::Documents {
        collection: documents.collection.clone(),
        documents: documents.documents.iter().map(bodiless).collect(),
        ..*documents
    };
    Outcome { result: Some(proto::outcome::Result::Documents(record)), ..*outcome }
}
