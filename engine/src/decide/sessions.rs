//! Sessions (rule 5): a command has a number within the session of the node that took it, so that the same command sent
//! again after a change of leader is recognised and takes effect once.

use std::collections::HashMap;

use aerodb_proto as proto;
use prost::Message;
use proto::{NumberRange, OpenSession, Outcome, effect::Kind};

use super::documents::Stop;
use super::overlay::Overlay;
use super::{Decision, refusal};
use crate::error::Error;
use crate::planted;
use crate::ranges::RangeSet;
use crate::state::{META, keys, record};

/// A command's place in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Number {
    /// The session: the `seq` of the entry that made it.
    pub session: u64,
    /// The command's number in it.
    pub number: u64,
    /// True when the command was never handed to any leader before: no leader can have decided it.
    pub first_attempt: bool,
}

/// What is known of a number.
pub(super) enum Known {
    New,
    Gone,
    Acknowledged,
    Decided(Outcome),
}

/// Sessions as of the last decision: this epoch is the only writer, so what was read once stays true with its notes.
#[derive(Default)]
pub(super) struct SessionNotes {
    sessions: HashMap<u64, Option<SessionView>>,
    by_node: HashMap<u64, u64>,
}

struct SessionView {
    acknowledged: RangeSet,
}

impl Overlay {
    /// What became of `number` so far.
    pub(super) fn look_up(&mut self, number: Number) -> Result<Known, Error> {
        let Some(session) = self.session(number.session)? else {
            return Ok(if planted!("session-lives-twice") { Known::New } else { Known::Gone });
        };
        if session.acknowledged.contains(number.number) {
            return Ok(Known::Acknowledged);
        }
        if let Some(outcome) = self.outcome(number)? {
            return Ok(Known::Decided(outcome));
        }
        if number.first_attempt {
            return Ok(Known::New);
        }
        Ok(self.applied_outcome(number)?.map_or(Known::New, Known::Decided))
    }

    /// The outcome in the state. It stands in a record with others, which is found by the largest number in it: few lie
    /// between, since those that are acknowledged go.
    fn applied_outcome(&self, number: Number) -> Result<Option<Outcome>, Error> {
        let snapshot = self.snapshot();
        let (from, to) = keys::outcomes_from(number.session, number.number);
        let mut scan = snapshot.scan(META, &from, &to, false);
        while let Some((_, value)) = scan.next()? {
            let record = proto::Outcomes::decode(value).map_err(|e| Error::malformed("outcomes", e))?;
            if let Some(found) = record.outcomes.into_iter().find(|one| one.number == number.number) {
                return Ok(found.outcome);
            }
        }
        Ok(None)
    }

    fn session(&mut self, id: u64) -> Result<Option<&mut SessionView>, Error> {
        if !self.sessions.sessions.contains_key(&id) {
            let found = match self.get_meta(&keys::session(id))? {
                None => None,
                Some(bytes) => {
                    let session = proto::Session::decode(&*bytes).map_err(|e| Error::malformed("a session", e))?;
                    let acknowledged = RangeSet::from_proto(&session.acknowledged);
                    self.sessions.by_node.insert(session.node_id, id);
                    Some(SessionView { acknowledged })
                }
            };
            self.sessions.sessions.insert(id, found);
        }
        Ok(self.sessions.sessions.get_mut(&id).and_then(Option::as_mut))
    }

    /// Notes the acknowledgement; gives what of it is new.
    pub(super) fn acknowledge(&mut self, session: u64, ranges: &[NumberRange]) -> Result<Vec<NumberRange>, Error> {
        let Some(view) = self.session(session)? else { return Ok(Vec::new()) };
        let new = ranges.iter().flat_map(|range| view.acknowledged.insert_new(range.first, range.last));
        Ok(new.map(|(first, last)| NumberRange { first, last }).collect())
    }
}

/// A node begins a new session, `seq`; its former one ends.
pub(super) fn open(overlay: &mut Overlay, open: &OpenSession, seq: u64) -> Result<Decision, Stop> {
    if open.node_id == 0 {
        return Err(refusal("invalid_request", "a session needs a node").into());
    }
    // The former session may be one that this epoch never read; the state knows it, and apply ends it.
    let former = match overlay.sessions.by_node.insert(open.node_id, seq) {
        Some(former) => Some(former),
        None => {
            let bytes = overlay.get_meta(&keys::node_session(open.node_id))?;
            bytes.map(|bytes| record::number(&bytes)).transpose().map_err(Error::from)?
        }
    };
    if let Some(former) = former {
        overlay.sessions.sessions.insert(former, None);
    }
    overlay.sessions.sessions.insert(seq, Some(SessionView { acknowledged: RangeSet::default() }));
    let effect = Kind::NewSession(proto::NewSession { node_id: open.node_id });
    Ok(Decision::Internal {
        effects: vec![proto::Effect { kind: Some(effect) }],
        result: proto::outcome::Result::Session(proto::SessionOpened { session: seq }),
    })
}
