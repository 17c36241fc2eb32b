//! Raft for the peer port, which opens before Raft runs. The gate is shut until then, so only a bug gets here early.

use std::sync::OnceLock;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};

use crate::Raft;
use crate::network::{Append, Appended, Ballot, Consensus, Stopped, Transfer, Transferred, Voted};
use crate::snapshot::Snapshot;
use crate::types::Vote;

/// Raft, once it runs.
#[derive(Default)]
pub(crate) struct LateConsensus {
    raft: OnceLock<Raft>,
}

impl LateConsensus {
    /// Raft runs from now on.
    pub(crate) fn set(&self, raft: Raft) {
        drop(self.raft.set(raft));
    }

    fn get(&self) -> Result<&Raft, Stopped> {
        self.raft.get().ok_or(Stopped::Stopped)
    }
}

impl Consensus for LateConsensus {
    fn append_stream(&self, requests: BoxStream<'static, Append>) -> BoxStream<'static, Result<Appended, Stopped>> {
        match self.get() {
            Ok(raft) => Consensus::append_stream(raft, requests),
            Err(stopped) => stream::iter([Err(stopped)]).boxed(),
        }
    }

    fn append_once(&self, request: Append) -> BoxFuture<'_, Result<Appended, Stopped>> {
        Box::pin(async move { Consensus::append_once(self.get()?, request).await })
    }

    fn vote(&self, ballot: Ballot) -> BoxFuture<'_, Result<Voted, Stopped>> {
        Box::pin(async move { Consensus::vote(self.get()?, ballot).await })
    }

    fn pre_vote(&self, ballot: Ballot) -> BoxFuture<'_, Result<Voted, Stopped>> {
        Box::pin(async move { Consensus::pre_vote(self.get()?, ballot).await })
    }

    fn transfer_leader(&self, transfer: Transfer) -> BoxFuture<'_, Result<Transferred, Stopped>> {
        Box::pin(async move { Consensus::transfer_leader(self.get()?, transfer).await })
    }

    fn known_vote(&self) -> Vote {
        self.get().map_or_else(|_| Vote::new(0, 0), Consensus::known_vote)
    }

    fn install(&self, vote: Vote, snapshot: Snapshot) -> BoxFuture<'_, Result<Vote, Stopped>> {
        Box::pin(async move { Consensus::install(self.get()?, vote, snapshot).await })
    }
}
