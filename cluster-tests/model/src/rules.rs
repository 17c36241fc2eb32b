//! The rules, each as something that can be switched off, to see what it keeps from happening.

use clap::ValueEnum;

use crate::state::Wrong;

/// A rule to leave out, or something that the rules rely on to take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Break {
    /// Rule 1: an epoch begins before the first entry of its term is applied.
    BeginEarly,
    /// Rule 1: entries reach the log in another order than they were decided in.
    OutOfOrder,
    /// Rule 1: entries are not bound to the leader, and may be appended in a later term.
    NotBoundToLeader,
    /// Rules 1 and 3: an epoch begins with the overlay of the one before.
    OverlayKept,
    /// Rule 2: apply does not compare `base_seq`.
    BaseSeq,
    /// Rule 2: apply does not compare `decided_term` (entries are not bound to the leader either: one is enough).
    DecidedTerm,
    /// Rule 3: an epoch begins again while entries of the one before are in flight.
    InFlightNotAwaited,
    /// Rule 3: a void entry is taken for one that took effect.
    VoidAcknowledged,
    /// Rule 2, and nothing goes wrong: apply does not compare `decided_term`, but entries are bound to the leader.
    DecidedTermAlone,
    /// Rule 3, and nothing goes wrong: after an expired lease deciding goes on without a ReadIndex.
    NoStandstill,
    /// Rule 3, and nothing goes wrong: a promotion hands leadership over without draining.
    NotDrained,
    /// Rule 3: after a transfer has begun the term goes on.
    NotBarred,
    /// Rule 4: a refusal is answered without a ReadIndex.
    NoReadIndex,
    /// Rule 4: a refusal joins a ReadIndex round that began before it was decided.
    RoundUnderWay,
    /// Rule 4: a ReadIndex of any term will do.
    AnyTerm,
    /// Rule 4: a ReadIndex of a later term counts for this one while the node has not heard that its term is over.
    TermOfWatch,
    /// Rule 4: a refusal is answered before the entries that it saw are applied.
    NotApplied,
    /// One read: the read index comes from a leader that no majority has confirmed.
    ReadNotConfirmed,
    /// One read: a node answers before it has applied the read index.
    ReadNotReached,
    /// Rule 5: the outcomes of numbers are not looked up.
    NumbersForgotten,
    /// Rule 5: a retry goes out under a new number.
    NewNumber,
    /// Rule 5: a task is decided in whatever term it arrives.
    TermOfTask,
    /// Rule 5: a task is decided although a higher attempt was seen.
    LowerAttempt,
    /// Rule 5: attempts are forgotten when an acknowledgement is decided, not when it is applied.
    AttemptsForgottenEarly,
    /// Rule 5: an acknowledged number is decided.
    Acknowledged,
    /// Rule 5: acknowledgements of an entry are applied before its outcomes.
    AcksFirst,
    /// Rule 5: a session that has ended is served.
    EndedSession,
    /// Rule 5: a command of unknown fate moves over to the next session.
    MovesOver,
    /// Rule 5: two sessions are opened in one entry.
    SharedEntry,
    /// Rule 5: the network delivers a first attempt twice.
    FirstAttemptTwice,
    /// Rule 6: keys are not looked up.
    KeysForgotten,
    /// Rule 6: keys are looked up in the state and not in the overlay.
    PendingKeys,
    /// Rule 6: a key used with another body gets the first answer.
    KeyBody,
    /// Rule 6: a no-op with a key is not remembered.
    KeyedNoop,
}

impl Break {
    /// The name of the bounds under which it is found out.
    #[must_use]
    pub const fn config(self) -> &'static str {
        match self {
            Self::OutOfOrder | Self::OverlayKept | Self::BaseSeq => "epochs",
            Self::InFlightNotAwaited | Self::VoidAcknowledged => "epochs",
            Self::BeginEarly | Self::NoStandstill => "leaders",
            Self::NotBoundToLeader => "terms",
            Self::DecidedTerm | Self::DecidedTermAlone => "deposed",
            Self::NotBarred | Self::NotDrained => "transfer",
            Self::NoReadIndex | Self::RoundUnderWay | Self::NotApplied => "reads",
            Self::AnyTerm | Self::TermOfWatch => "reads-terms",
            Self::ReadNotConfirmed | Self::ReadNotReached => "linearizable",
            Self::NumbersForgotten | Self::NewNumber | Self::TermOfTask => "retries",
            Self::LowerAttempt | Self::FirstAttemptTwice => "retries",
            Self::AttemptsForgottenEarly | Self::Acknowledged | Self::AcksFirst => "acknowledged",
            Self::EndedSession => "restarts",
            Self::MovesOver => "replaced",
            Self::SharedEntry => "sessions",
            Self::KeysForgotten | Self::PendingKeys | Self::KeyBody => "keys",
            Self::KeyedNoop => "keyed-noops",
        }
    }

    /// What goes wrong without it. Often more than one thing does; this is the one that is looked for. `None`:
    /// nothing does, the rule keeps things going, or another one holds as well.
    #[must_use]
    pub const fn wrong(self) -> Option<Wrong> {
        Some(match self {
            Self::OutOfOrder | Self::NotBoundToLeader => Wrong::Void,
            Self::BeginEarly | Self::OverlayKept | Self::InFlightNotAwaited => Wrong::Unjustified,
            Self::NoReadIndex | Self::RoundUnderWay | Self::NotApplied => Wrong::Unjustified,
            Self::ReadNotConfirmed | Self::ReadNotReached => Wrong::Unjustified,
            Self::AnyTerm | Self::TermOfWatch | Self::KeyBody => Wrong::Unjustified,
            Self::BaseSeq | Self::DecidedTerm => Wrong::LostUpdate,
            Self::VoidAcknowledged | Self::KeyedNoop => Wrong::Lost,
            Self::NotBarred => Wrong::Barred,
            Self::NumbersForgotten | Self::NewNumber | Self::TermOfTask => Wrong::Twice,
            Self::LowerAttempt | Self::FirstAttemptTwice => Wrong::Twice,
            Self::AttemptsForgottenEarly | Self::Acknowledged | Self::MovesOver => Wrong::Twice,
            Self::AcksFirst => Wrong::Remembered,
            Self::EndedSession | Self::SharedEntry => Wrong::SecondLife,
            Self::KeysForgotten | Self::PendingKeys => Wrong::Twice,
            Self::NoStandstill | Self::NotDrained | Self::DecidedTermAlone => return None,
        })
    }
}
