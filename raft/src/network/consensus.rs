//! What the peer server asks of Raft: a narrow trait, so that the network is tested without a cluster.

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{AppendEntriesResponse, StreamAppendError};
use openraft::storage::RaftStateMachine;

use crate::snapshot::{Snapshot, SnapshotDir};
use crate::types::{TypeConfig, Vote};

use super::wire::{Append, Appended, Ballot, Transfer, Transferred, Voted};

/// Raft has stopped.
pub(crate) type Stopped = Fatal<TypeConfig>;

/// The receiving side of Raft.
pub(crate) trait Consensus: Send + Sync + 'static {
    /// Takes requests in order and answers them in order; the first refusal ends the answers.
    fn append_stream(&self, requests: BoxStream<'static, Append>) -> BoxStream<'static, Result<Appended, Stopped>>;

    /// Takes one request: a heartbeat.
    fn append_once(&self, request: Append) -> BoxFuture<'_, Result<Appended, Stopped>>;

    /// Gives the vote, or not.
    fn vote(&self, ballot: Ballot) -> BoxFuture<'_, Result<Voted, Stopped>>;

    /// Says whether the vote would be given; changes nothing.
    fn pre_vote(&self, ballot: Ballot) -> BoxFuture<'_, Result<Voted, Stopped>>;

    /// Takes over leadership, or makes way for the one who does.
    fn transfer_leader(&self, transfer: Transfer) -> BoxFuture<'_, Result<Transferred, Stopped>>;

    /// The highest vote that this node has seen.
    fn known_vote(&self) -> Vote;

    /// Installs a snapshot that was received whole. The answer is the vote of this node: when it is higher than
    /// `vote`, nothing was installed.
    fn install(&self, vote: Vote, snapshot: Snapshot) -> BoxFuture<'_, Result<Vote, Stopped>>;
}

impl<M> Consensus for openraft::Raft<TypeConfig, M>
where
    M: RaftStateMachine<TypeConfig, SnapshotData = SnapshotDir>,
{
    fn append_stream(&self, requests: BoxStream<'static, Append>) -> BoxStream<'static, Result<Appended, Stopped>> {
        self.stream_append(requests).boxed()
    }

    fn append_once(&self, request: Append) -> BoxFuture<'_, Result<Appended, Stopped>> {
        Box::pin(async move {
            let prev = request.prev_log_id;
            let last = request.entries.last().map(|entry| entry.log_id).or(prev);
            Ok(match self.append_entries(request).await.map_err(stopped)? {
                AppendEntriesResponse::Success => Ok(last),
                AppendEntriesResponse::PartialSuccess(matched) => Ok(matched),
                // Nothing conflicts with the beginning of the log.
                AppendEntriesResponse::Conflict => prev.map_or(Ok(None), |id| Err(StreamAppendError::Conflict(id))),
                AppendEntriesResponse::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
            })
        })
    }

    fn vote(&self, ballot: Ballot) -> BoxFuture<'_, Result<Voted, Stopped>> {
        Box::pin(async move { self.vote(ballot).await.map_err(stopped) })
    }

    fn pre_vote(&self, ballot: Ballot) -> BoxFuture<'_, Result<Voted, Stopped>> {
        Box::pin(async move { self.pre_vote(ballot).await.map_err(stopped) })
    }

    fn transfer_leader(&self, transfer: Transfer) -> BoxFuture<'_, Result<Transferred, Stopped>> {
        Box::pin(self.handle_transfer_leader(transfer))
    }

    fn known_vote(&self) -> Vote {
        self.metrics().borrow_watched().vote
    }

    fn install(&self, vote: Vote, snapshot: Snapshot) -> BoxFuture<'_, Result<Vote, Stopped>> {
        Box::pin(async move { Ok(self.install_full_snapshot(vote, snapshot).await?.vote) })
    }
}

fn stopped(error: RaftError<TypeConfig>) -> Stopped {
    match error {
        RaftError::APIError(never) => match never {},
        RaftError::Fatal(fatal) => fatal,
    }
}
