//! A leader that one other voter seconds: a read index without a round of heartbeats, where two voters are a majority.
//!
//! A read index is confirmed by a majority that stands behind the leader after the read has arrived. Where three vote, the
//! leader and one other are a majority. So a follower that asks for a read index needs nobody else: its request says in
//! which term it stands behind the leader, and the leader looks whether it still leads that term. For its own reads the
//! leader asks one voter, instead of sending heartbeats to all through the core of Raft.
//!
//! Why that holds: let the read arrive at t0. The voter's vote, on disk, was for this leader and term at some t1 ≥ t0, and
//! the leader's own at some t2 ≥ t0. A leader of a later term that had committed anything before t0 would have had the votes
//! of a majority by then, one of these two among them, and a vote is never taken back. So what was committed before t0 was
//! committed in this term or before it, and the leader knows of it as soon as an entry of its own term is committed.
//! (ReadIndex: Ongaro, "Consensus: Bridging Theory and Practice", 6.4; that who asks counts itself is ours.)
//!
//! While the members change, and with more voters, Raft's own round answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aerodb_proto as proto;
use openraft::RaftState;
use tokio::sync::watch;

use crate::Raft;
use crate::error::Error;
use crate::log::LogStore;
use crate::network::Lane;
use crate::peers::Peers;
use crate::reads::ReadPoint;
use crate::types::TypeConfig;

/// Voters of whom two are a majority, at most.
const VOTERS_MAX: usize = 3;
/// How long a voter may take to second. Then the round that asks all of them begins.
const SECOND_WITHIN: Duration = Duration::from_millis(50);

/// This node's word as a voter. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Voter {
    pub(crate) log: LogStore,
    /// While this node learns what it had forgotten, its vote says nothing.
    pub(crate) relearning: watch::Receiver<bool>,
}

impl Voter {
    /// The term in which this node stands behind `leader`, by its vote on disk; 0 if in none. A vote is on disk before
    /// anybody is told of it.
    pub(crate) fn stands_behind(&self, leader: u64) -> u64 {
        let vote = self.log.vote().filter(|vote| vote.committed && vote.leader_id.voted_for == leader);
        vote.filter(|_| !*self.relearning.borrow()).map_or(0, |vote| vote.leader_id.term)
    }
}

/// The leader's side. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Seconds {
    node_id: u64,
    raft: Raft,
    peers: Peers,
    /// Which of the other voters is asked: the one that answered last.
    asked: Arc<AtomicUsize>,
}

impl Seconds {
    pub(crate) fn new(node_id: u64, raft: Raft, peers: Peers) -> Self {
        Self { node_id, raft, peers, asked: Arc::default() }
    }

    /// The read index, if this node leads `term` and is seconded by `voter`, who stood behind it in that term after the read
    /// had arrived; none where that is not enough.
    pub(crate) async fn by(&self, voter: u64, term: u64) -> Result<Option<ReadPoint>, Error> {
        let node_id = self.node_id;
        let point = self.raft.with_raft_state(move |state| read_point(state, node_id, voter, term)).await;
        point.map_err(|fatal| Error::Fenced(fatal.to_string()))
    }

    /// Asks one voter; none where it does not second, or that would not be enough.
    pub(crate) async fn ask(&self) -> Result<Option<ReadPoint>, Error> {
        let mut voters = self.peers.voters();
        if voters.len() > VOTERS_MAX {
            return Ok(None);
        }
        voters.retain(|voter| *voter != self.node_id);
        let asked = self.asked.load(Ordering::Relaxed);
        let Some(&voter) = voters.get(asked % voters.len().max(1)) else { return Ok(None) };
        let Some(mut client) = self.peers.client(voter, Lane::Control) else { return Ok(None) };
        let request = proto::SecondRequest { target: Some(self.peers.target(voter)) };
        let point = match tokio::time::timeout(SECOND_WITHIN, client.second(request)).await {
            Ok(Ok(answer)) => self.by(voter, answer.into_inner().term).await?,
            Ok(Err(_)) | Err(_) => None,
        };
        if point.is_none() {
            self.asked.store(asked.wrapping_add(1), Ordering::Relaxed);
        }
        Ok(point)
    }
}

fn read_point(state: &RaftState<TypeConfig>, node_id: u64, voter: u64, term: u64) -> Option<ReadPoint> {
    let vote = state.vote_ref();
    // A leader that was started again finds this vote on its disk; openraft has taken it back in memory then.
    let leads = vote.committed && vote.leader_id.voted_for == node_id && vote.leader_id.term == term;
    let members = &state.membership_state;
    let settled = members.committed().log_id() == members.effective().log_id();
    let is_majority = match members.effective().membership().get_joint_config().as_slice() {
        [voters] => {
            voters.len() <= VOTERS_MAX && voter != node_id && [voter, node_id].iter().all(|id| voters.contains(id))
        }
        _ => false,
    };
    // The first entry of its term is committed: only then a leader knows what those before it had committed.
    let committed = state.cluster_committed()?;
    let knows = committed.committed_leader_id().term == term;
    let confirmed = leads && settled && is_majority && knows;
    confirmed.then(|| ReadPoint { term, index: committed.index() })
}
