//! Linearizable reads on any node: ReadIndex rounds, shared by all who wait.

use std::time::Duration;

use aerodb_proto as proto;
use openraft::raft::ReadPolicy;
use tokio::sync::watch;

use crate::Raft;
use crate::alone::Alone;
use crate::error::Error;
use crate::leadership::Leadership;
use crate::network::Lane;
use crate::peers::Peers;
use crate::rounds::Rounds;
use crate::second::{Seconds, Voter};

/// A place in the log that a read must wait for, confirmed by a quorum of `term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadPoint {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// ReadIndex on the leader itself.
pub(crate) type LeaderRound = Rounds<Result<ReadPoint, Error>>;

/// Confirms that this node leads, now. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LeaderReads {
    raft: Raft,
    rounds: LeaderRound,
    alone: Alone,
    seconds: Seconds,
    patience: Duration,
    /// The result of a round that is over.
    #[cfg(planted)]
    former: std::sync::Arc<parking_lot::Mutex<Option<ReadPoint>>>,
}

impl LeaderReads {
    /// `patience`: how long one round may take.
    pub(crate) fn start(raft: Raft, alone: Alone, seconds: Seconds, patience: Duration) -> Self {
        let asking = (raft.clone(), alone.clone(), seconds.clone());
        let rounds = Rounds::start(move || {
            let (raft, alone, seconds) = asking.clone();
            Box::pin(async move {
                // Of everything, Raft's core included: whoever comes next waits for this round.
                let round = tokio::time::timeout(patience, round(&raft, &alone, &seconds));
                round.await.unwrap_or(Err(Error::QuorumLost))
            })
        });
        Self {
            raft,
            rounds,
            alone,
            seconds,
            patience,
            #[cfg(planted)]
            former: Default::default(),
        }
    }

    /// A read index for a voter that asks, and says in which term it stood behind this node when it did (0: in none).
    pub(crate) async fn confirm_for(&self, voter: u64, seconds_term: u64) -> Result<ReadPoint, Error> {
        match self.seconds.by(voter, seconds_term).await? {
            Some(point) => Ok(point),
            // Never by this node's own word: what stands there is as old as that, and who asks has not applied what this has.
            None => self.round().await,
        }
    }

    /// A read index by Raft's own heartbeats, which also renew the leader's lease: the word of one voter does not.
    pub(crate) async fn confirm_by_heartbeats(&self) -> Result<ReadPoint, Error> {
        tokio::time::timeout(self.patience, heartbeats(&self.raft)).await.unwrap_or(Err(Error::QuorumLost))
    }

    /// A read index, from a round that begins after this call, or by this node's own word where that is enough.
    pub(crate) async fn confirm(&self) -> Result<ReadPoint, Error> {
        match self.alone.confirm() {
            Some(point) => Ok(point),
            None => self.round().await,
        }
    }

    async fn round(&self) -> Result<ReadPoint, Error> {
        #[cfg(planted)]
        if aerodb_engine::planted!("round-used-twice") {
            let former = *self.former.lock();
            let now = self.rounds.join().await.unwrap_or(Err(Error::ShuttingDown));
            *self.former.lock() = now.clone().ok();
            return former.map_or(now, Ok);
        }
        self.rounds.join().await.unwrap_or(Err(Error::ShuttingDown))
    }
}

async fn round(raft: &Raft, alone: &Alone, seconds: &Seconds) -> Result<ReadPoint, Error> {
    if let Some(point) = alone.ask().await? {
        return Ok(point);
    }
    match seconds.ask().await? {
        Some(point) => Ok(point),
        None => heartbeats(raft).await,
    }
}

async fn heartbeats(raft: &Raft) -> Result<ReadPoint, Error> {
    let linearizer = raft.get_read_linearizer(ReadPolicy::ReadIndex).await.map_err(|error| refused(&error))?;
    // Never before the first entry of the leader's term, so its term is the one that was confirmed.
    let point = linearizer.read_log_id();
    Ok(ReadPoint { term: point.committed_leader_id().term, index: point.index() })
}

type ReadError = openraft::errors::RaftError<
    crate::types::TypeConfig,
    openraft::errors::LinearizableReadError<crate::types::TypeConfig>,
>;

fn refused(error: &ReadError) -> Error {
    use openraft::errors::{LinearizableReadError, RaftError};
    match error {
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => Error::QuorumLost,
        RaftError::APIError(LinearizableReadError::ForwardToLeader(_)) => Error::NoLeader,
        RaftError::Fatal(fatal) => Error::Fenced(fatal.to_string()),
    }
}

/// ReadIndex from any node.
#[derive(Clone)]
pub(crate) struct Reads {
    node_id: u64,
    leader: LeaderReads,
    leadership: watch::Receiver<Leadership>,
    /// What others are asked.
    rounds: LeaderRound,
}

impl Reads {
    pub(crate) fn start(
        node_id: u64,
        leader: LeaderReads,
        voter: Voter,
        leadership: watch::Receiver<Leadership>,
        peers: Peers,
        patience: Duration,
    ) -> Self {
        let known = (leader.clone(), leadership.clone());
        let rounds = Rounds::start(move || {
            let ((leader, leadership), voter, peers) = (known.clone(), voter.clone(), peers.clone());
            Box::pin(async move {
                let known = leadership.borrow().leader.ok_or(Error::NoLeader)?;
                if known == node_id {
                    // It has come to lead since.
                    return leader.confirm().await;
                }
                let mut client = peers.client(known, Lane::Control).ok_or(Error::NoLeader)?;
                let seconds_term = voter.stands_behind(known);
                let request = proto::ReadIndexRequest { target: Some(peers.target(known)), seconds_term };
                let answer = tokio::time::timeout(patience, client.read_index(request)).await;
                match answer {
                    Ok(Ok(response)) => {
                        let response = response.into_inner();
                        let index = response.read_log_id.unwrap_or_default().index;
                        Ok(ReadPoint { term: response.term, index })
                    }
                    Ok(Err(_)) | Err(_) => Err(Error::NoLeader),
                }
            })
        });
        Self { node_id, leader, leadership, rounds }
    }

    /// A read index by this node's own word, where that is enough.
    pub(crate) fn confirm_at_once(&self) -> Option<ReadPoint> {
        self.leader.alone.confirm()
    }

    /// A read index, from a round that begins after this call.
    pub(crate) async fn confirm(&self) -> Result<ReadPoint, Error> {
        if self.leadership.borrow().leader == Some(self.node_id) {
            return self.leader.confirm().await;
        }
        self.rounds.join().await.unwrap_or(Err(Error::ShuttingDown))
    }
}
