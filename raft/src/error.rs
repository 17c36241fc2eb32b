//! Why a request has no answer.

use std::time::Duration;

/// A request that replication could not answer. Each says whether it may have taken effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No leader is known, or the known one cannot be reached. Nothing happened.
    #[error("no leader can be reached: an election is going on, or this node is cut off from the majority")]
    NoLeader,
    /// The leader cannot reach a majority. Nothing happened.
    #[error("the leader cannot reach a majority of the nodes")]
    QuorumLost,
    /// Too much is waiting already. Nothing happened.
    #[error("too many requests are waiting: try again in a moment")]
    Overloaded,
    /// The request was handed over and no answer came in time: it may have taken effect, or may yet.
    #[error("the outcome is not known: send the request again with the same Idempotency-Key")]
    OutcomeUnknown,
    /// The time ran out before the request was taken, or before this node had reached the revision asked for.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// The revision asked for has not been reached by the cluster.
    #[error("the cluster is at revision {current}")]
    RevisionAhead {
        /// The revision reached.
        current: u64,
    },
    /// What this node has is older than the request allows.
    #[error("this node last heard from a leader {} ms ago", age.as_millis())]
    TooStale {
        /// How old it may be.
        age: Duration,
    },
    /// This node cannot vouch for its data and is ending.
    #[error("this node has stopped: {0}")]
    Fenced(String),
    /// This node is stopping.
    #[error("this node is stopping")]
    ShuttingDown,
    /// The command is larger than a command may be.
    #[error("{0}")]
    TooLarge(String),
}

impl Error {
    /// The published word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoLeader => "no_leader",
            Self::QuorumLost => "quorum_lost",
            Self::Overloaded => "overloaded",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::DeadlineExceeded(_) => "deadline_exceeded",
            Self::RevisionAhead { .. } => "revision_ahead",
            Self::TooStale { .. } => "too_stale",
            Self::Fenced(_) => "fenced",
            Self::ShuttingDown => "shutting_down",
            Self::TooLarge(_) => "too_large",
        }
    }

    /// How long to wait before trying again, where that helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RevisionAhead { .. } | Self::TooLarge(_) | Self::OutcomeUnknown => None,
            Self::Fenced(_) | Self::ShuttingDown => Some(Duration::from_secs(5)),
            _ => Some(Duration::from_secs(1)),
        }
    }
}
