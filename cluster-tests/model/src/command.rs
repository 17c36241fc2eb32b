//! What clients ask, and how it travels.

use crate::{Attempt, NodeId, Number, Session, Term};

/// An operation on the one register. Every write leaves the command's own number in it, so that a value says who
/// wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Writes.
    Put,
    /// Writes if there is nothing (`If-None-Match: *`).
    Insert,
    /// Writes if this command wrote last (`If-Match`).
    Replace(u8),
    /// Changes nothing and succeeds.
    Touch,
    /// Reads, linearizably, from the node's own state (`Handle::read`); it is not decided.
    Read,
}

/// A request of a client.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// What it does.
    pub op: Op,
    /// The node that takes it.
    pub node: NodeId,
    /// Its idempotency key, and a digest of its body.
    pub key: Option<(u8, u8)>,
    /// The command that its client waits for first.
    pub after: Option<u8>,
    /// The term whose leader it is sent to; any, when there is none. A bound, to look closer at one course of events.
    pub term: Option<Term>,
}

impl Command {
    /// A request to `node`.
    #[must_use]
    pub const fn new(op: Op, node: NodeId) -> Self {
        Self { op, node, key: None, after: None, term: None }
    }

    /// With an idempotency key and a digest of the body.
    #[must_use]
    pub const fn key(self, key: u8, body: u8) -> Self {
        Self { key: Some((key, body)), ..self }
    }

    /// Sent to the leader of `term` only.
    #[must_use]
    pub const fn in_term(self, term: Term) -> Self {
        Self { term: Some(term), ..self }
    }

    /// Sent once `command` has ended for its client.
    #[must_use]
    pub const fn after(self, command: u8) -> Self {
        Self { after: Some(command), ..self }
    }
}

/// Where a command comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// This request of a client.
    Client(u8),
    /// A node opens a session.
    Node(NodeId),
}

/// A command on its way to a decision (`raft/src/propose/task.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Task {
    /// The command.
    pub source: Source,
    /// Session and number; absent for commands of the nodes themselves.
    pub place: Option<(Session, Number)>,
    /// Which attempt this is.
    pub attempt: Attempt,
    /// The term in which it may be decided, and in no other.
    pub term: Term,
    /// Bits of the numbers of the session whose answers have arrived.
    pub acknowledged: u16,
}

/// A task in the network, on its way to a leader. What is never delivered is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    /// The leader that it was sent to.
    pub to: NodeId,
    /// What was sent.
    pub task: Task,
}
