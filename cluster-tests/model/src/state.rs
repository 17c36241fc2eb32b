//! Everything that one state of the model holds.

use crate::command::{Request, Task};
use crate::machine::{Effects, Entry, Outcome};
use crate::{Attempt, NODES, Number, Seq, Session, Term};

/// The whole cluster, its clients and the network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The log as far as it is committed: the truth.
    pub committed: Vec<Entry>,
    /// Uncommitted ends of the logs of nodes that no longer lead; a later leader may have any beginning of one.
    pub orphans: Vec<Vec<Entry>>,
    /// The nodes.
    pub nodes: [Node; NODES],
    /// Messages under way, sorted.
    pub network: Vec<Request>,
    /// What became of each command, as its client sees it.
    pub requests: Vec<Progress>,
    /// What may still go wrong.
    pub left: Left,
    /// A property that was broken on the way here.
    pub wrong: Option<Wrong>,
}

/// Faults that may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    /// Refusals for lack of a lease.
    pub refusals: u8,
    /// Messages delivered twice.
    pub duplicates: u8,
    /// Nodes that restart.
    pub restarts: u8,
    /// Leadership transfers.
    pub transfers: u8,
    /// Sessions opened once more than needed.
    pub sessions: u8,
    /// Requests given up by their clients.
    pub give_ups: u8,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// The term of its vote.
    pub term: Term,
    /// Its part as a leader in Raft's eyes.
    pub core: Option<Core>,
    /// The term that it leads, as the tasks beside Raft know it (`raft/src/leadership.rs`); it lags behind.
    pub leads: Option<Term>,
    /// Entries applied; kept for nodes that decide, the others count as behind.
    pub applied: u8,
    /// The proposer while it leads (`raft/src/propose`).
    pub lead: Option<Lead>,
    /// A term in which this node proposes nothing more.
    pub barred: Option<Term>,
    /// Answers that write nothing and wait for a ReadIndex.
    pub confirming: Vec<Answering>,
    /// A ReadIndex round of this term that a quorum has answered, and whose result has not arrived yet.
    pub round: Option<Term>,
    /// The side that takes requests (`raft/src/submit`).
    pub submit: Submit,
}

/// A leader in Raft's eyes. It may have been deposed without knowing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Core {
    /// Its term.
    pub term: Term,
    /// Its log beyond what is committed.
    pub tail: Vec<Entry>,
    /// The committed log went another way: nothing of this tail can ever be committed.
    pub dead: bool,
    /// A transfer has begun; it is never taken back.
    pub transferring: bool,
}

/// The proposer during one term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lead {
    /// The term.
    pub term: Term,
    /// `None`: standstill after a refusal.
    pub epoch: Option<Epoch>,
    /// Commands to be decided before those of the network.
    pub waiting: Vec<Task>,
    /// The highest attempt of each number seen in this term.
    pub seen: Vec<((Session, Number), Attempt)>,
    /// Notes of an epoch that has ended: none, unless a rule is broken.
    pub carried: Vec<Effects>,
}

/// Why an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The term is over, or may be.
    TermOver,
    /// Leadership is being handed over.
    Barred,
    /// Refused for lack of a lease.
    LeaseExpired,
}

/// One epoch of deciding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// The `seq` after the last closed entry.
    pub seq: Seq,
    /// The revision after all that is decided.
    pub revision: u8,
    /// The `seq` of the last entry whose success was seen.
    pub applied_seq: Seq,
    /// Commands in the entry under construction.
    pub building: Vec<(Task, Effects)>,
    /// Acknowledgements in the entry under construction.
    pub acks: Vec<(Session, u16)>,
    /// Entries handed to the log, in order.
    pub in_flight: Vec<InFlight>,
    /// Answers that write nothing, and the entry that each rests on.
    pub answers: Vec<Answering>,
    /// Commands that had no effect in this epoch.
    pub again: Vec<Task>,
    /// An entry of this epoch was refused.
    pub refused: bool,
    /// A promotion drains.
    pub paused: bool,
    /// Set once the epoch takes nothing more.
    pub end: Option<End>,
    /// Notes of entries that came to nothing: none, unless a rule is broken.
    pub carried: Vec<Effects>,
}

/// An entry handed to the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InFlight {
    /// Its `seq` once applied.
    pub seq: Seq,
    /// The entry.
    pub entry: Entry,
    /// Its commands.
    pub tasks: Vec<Task>,
    /// How far it came.
    pub fate: Fate,
}

/// How far a handed-over entry came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Raft has not looked at it.
    Queued,
    /// It is in the log at this index.
    At(u8),
    /// It was never appended.
    Refused(End),
}

/// An answer that writes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Answering {
    /// The epoch's term.
    pub term: Term,
    /// The entry whose application it rests on.
    pub after_seq: Seq,
    /// Whom it is for.
    pub task: Task,
    /// The answer.
    pub outcome: Outcome,
}

/// The side of a node that takes requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Submit {
    /// Its session.
    pub session: Option<Session>,
    /// The last number taken.
    pub number: Number,
    /// Bits of the numbers that are answered or given up.
    pub answered: u16,
    /// Attempts at opening a session so far; never used again.
    pub opened: Attempt,
    /// The attempt at opening a session whose answer is awaited.
    pub opening: Option<Attempt>,
}

/// A request as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Not sent yet.
    Idle,
    /// No answer yet.
    Open(Open),
    /// A read without an answer.
    Reading {
        /// The committed `seq` when the client sent it.
        since: Seq,
        /// Entries to be applied before it is answered, once a ReadIndex has said so.
        point: Option<u8>,
    },
    /// Answered.
    Done {
        /// The answer.
        outcome: Outcome,
        /// The attempt that it answers.
        attempt: Attempt,
    },
    /// 504: whether it took effect is not known.
    Unknown,
    /// 503: it was never handed over.
    NotTaken,
}

/// A request without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Open {
    /// The committed `seq` when the client sent it.
    pub since: Seq,
    /// Its session and number; none while a session is missing.
    pub place: Option<(Session, Number)>,
    /// The last attempt.
    pub attempt: Attempt,
    /// An attempt may have been handed to the log.
    pub unknown: bool,
    /// The last attempt may still be answered.
    pub awaiting: bool,
}

/// A broken property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// A command took effect a second time.
    Twice,
    /// A write was acknowledged and is not in the committed state.
    Lost,
    /// An entry was void without a refusal of the same epoch before it.
    Void,
    /// No committed state between invocation and response gives this answer.
    Unjustified,
    /// A session that had ended took effect, or two sessions have one id.
    SecondLife,
    /// A write was decided against something else than what it was committed on.
    LostUpdate,
    /// Something was handed over after leadership was given away.
    Barred,
    /// The outcome of an acknowledged number is still remembered.
    Remembered,
    /// A client was told that its request was not taken, and it took effect.
    Denied,
}
