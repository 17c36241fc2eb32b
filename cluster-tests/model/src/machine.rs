//! The replicated state, shrunk to one register: what apply makes of the log (`engine/src/apply`), and what each
//! command means when it is alone (the sequential specification that answers are measured by).

use crate::command::{Command, Op, Source};
use crate::{NODES, NodeId, Number, Seq, Session, Term};

/// What a command came to (`proto::Outcome`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It wrote.
    Written {
        /// The revision that it made.
        revision: u8,
    },
    /// It changed nothing and succeeded.
    Noop {
        /// The revision that it found.
        revision: u8,
    },
    /// Its precondition failed.
    Refused {
        /// The revision that it found.
        revision: u8,
        /// Who wrote last.
        found: Option<u8>,
    },
    /// What a read found.
    Value {
        /// The revision of the view.
        revision: u8,
        /// Who wrote last.
        found: Option<u8>,
    },
    /// Its idempotency key was used with another body.
    KeyReused {
        /// The revision that it found.
        revision: u8,
    },
    /// A session was opened.
    Opened {
        /// Its id.
        session: Session,
    },
}

/// The effects of one command in an entry (`proto::Effects`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Effects {
    /// The command.
    pub source: Source,
    /// Its session and number; absent for commands of the nodes themselves.
    pub place: Option<(Session, Number)>,
    /// Its outcome.
    pub outcome: Outcome,
    /// The idempotency key to remember, and its body.
    pub key: Option<(u8, u8)>,
}

/// An application entry (`proto::Batch`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Batch {
    /// The term of the epoch that decided it.
    pub decided_term: Term,
    /// The `seq` that it builds on.
    pub base_seq: Seq,
    /// One for each command in it.
    pub effects: Vec<Effects>,
    /// Numbers of sessions whose answers have arrived, as a set of bits.
    pub acks: Vec<(Session, u16)>,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// The term of its log id.
    pub term: Term,
    /// `None`: the first entry of a term.
    pub batch: Option<Batch>,
    /// For the properties only: an entry of the same epoch was refused before this one was appended.
    pub behind_refusal: bool,
}

/// A session that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpenSession {
    /// The `seq` of the entry that made it.
    pub id: Session,
    /// Bits of the numbers that are acknowledged.
    pub acknowledged: u16,
}

/// The state after some prefix of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Machine {
    /// Application entries that were not void.
    pub seq: Seq,
    /// Commands that changed the register.
    pub revision: u8,
    /// Who wrote the register last.
    pub value: Option<u8>,
    /// The session of each node.
    pub sessions: [Option<OpenSession>; NODES],
    /// What numbered commands came to, until they are acknowledged.
    pub outcomes: Vec<((Session, Number), Outcome)>,
    /// Idempotency keys, with the body and the outcome.
    pub keys: Vec<(u8, u8, Outcome)>,
}

impl Machine {
    /// What `command` comes to here, were it the only one: the sequential specification.
    #[must_use]
    pub fn answer(&self, command: &Command) -> Outcome {
        if let Some((key, body)) = command.key
            && let Some(&(_, known, outcome)) = self.keys.iter().find(|(known, ..)| *known == key)
        {
            return if known == body { outcome } else { Outcome::KeyReused { revision: self.revision } };
        }
        self.evaluate(command.op)
    }

    /// What the operation comes to here, whatever its key.
    #[must_use]
    pub fn evaluate(&self, op: Op) -> Outcome {
        let written = Outcome::Written { revision: self.revision + 1 };
        let refused = Outcome::Refused { revision: self.revision, found: self.value };
        match op {
            Op::Put => written,
            Op::Insert if self.value.is_none() => written,
            Op::Replace(wanted) if self.value == Some(wanted) => written,
            Op::Insert | Op::Replace(_) => refused,
            Op::Touch => Outcome::Noop { revision: self.revision },
            Op::Read => Outcome::Value { revision: self.revision, found: self.value },
        }
    }

    /// The session with this id, if it has not ended.
    #[must_use]
    pub fn session(&self, id: Session) -> Option<&OpenSession> {
        self.sessions.iter().flatten().find(|session| session.id == id)
    }

    /// The session with this id, if it has not ended.
    pub fn session_mut(&mut self, id: Session) -> Option<&mut OpenSession> {
        self.sessions.iter_mut().flatten().find(|session| session.id == id)
    }

    /// What is remembered of a number.
    #[must_use]
    pub fn outcome(&self, place: (Session, Number)) -> Option<Outcome> {
        self.outcomes.iter().find(|(known, _)| *known == place).map(|(_, outcome)| *outcome)
    }

    /// Writes down the effects of one command in the entry `seq`.
    pub fn write(&mut self, seq: Seq, effects: &Effects) {
        match (effects.source, effects.outcome) {
            (Source::Client(command), Outcome::Written { revision }) => {
                (self.value, self.revision) = (Some(command), revision);
            }
            (Source::Node(node), Outcome::Opened { .. }) => self.open(node, seq),
            _ => {}
        }
        if let Some(place) = effects.place {
            self.outcomes.retain(|(known, _)| *known != place);
            self.outcomes.push((place, effects.outcome));
            self.outcomes.sort_unstable();
        }
        if let Some((key, body)) = effects.key {
            self.keys.retain(|(known, ..)| *known != key);
            self.keys.push((key, body, effects.outcome));
            self.keys.sort_unstable();
        }
    }

    /// Notes that the answers to these numbers have arrived.
    pub fn acknowledge(&mut self, session: Session, numbers: u16) {
        let Some(open) = self.session_mut(session) else { return };
        open.acknowledged |= numbers;
        self.outcomes.retain(|((of, number), _)| *of != session || numbers >> number & 1 == 0);
    }

    /// A node's former session ends with all that it remembers.
    fn open(&mut self, node: NodeId, seq: Seq) {
        if let Some(former) = self.sessions[node as usize] {
            self.outcomes.retain(|((session, _), _)| *session != former.id);
        }
        self.sessions[node as usize] = Some(OpenSession { id: seq, acknowledged: 0 });
    }
}
