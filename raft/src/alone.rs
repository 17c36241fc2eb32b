//! A node that is its cluster's only member: a read index without a round through the core of Raft.
//!
//! A read index is confirmed by a majority that stands behind the leader after the read has arrived. Where one node is the
//! only voter, it is that majority, so it is enough to look, once the read has arrived, whether its own log still says so:
//! the vote on its disk is for itself in the term that it was found to lead, and no membership was written since.
//!
//! Why that holds: whoever else led when the read arrived would have needed this node's vote, which is on disk before anybody
//! is told of it and is never taken back, or a membership in which that vote counts for less, which this node, as the leader,
//! would have written to its own log first. So what was acknowledged before the read arrived was acknowledged by this node, in
//! this term or before it, and it acknowledges only what it has applied. A learner may be told what is committed, and show it,
//! before the leader has applied it: where there is one, Raft's own round answers.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use openraft::RaftState;

use crate::Raft;
use crate::error::Error;
use crate::log::LogStore;
use crate::peers::Peers;
use crate::reads::ReadPoint;
use crate::types::TypeConfig;

/// What the core of Raft said last of a node that leads and is the only member.
#[derive(Clone, Copy)]
struct Found {
    point: ReadPoint,
    /// Memberships written to this node's log by then.
    memberships: u64,
}

/// Whether this node is alone. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Alone {
    node_id: u64,
    raft: Raft,
    peers: Peers,
    log: LogStore,
    found: Arc<ArcSwapOption<Found>>,
}

impl Alone {
    pub(crate) fn new(node_id: u64, raft: Raft, peers: Peers, log: LogStore) -> Self {
        Self { node_id, raft, peers, log, found: Arc::default() }
    }

    /// A read index, for a read that has arrived here, as long as what was found still holds. It is of the time when that was found:
    /// good enough for a node that has applied all that it has acknowledged, and for no other.
    pub(crate) fn confirm(&self) -> Option<ReadPoint> {
        let found = self.found.load();
        let found = found.as_deref()?;
        let (vote, memberships) = self.log.standing();
        let leads = vote
            .is_some_and(|vote| (vote.leader_id.term, vote.leader_id.voted_for) == (found.point.term, self.node_id));
        (leads && memberships == found.memberships).then_some(found.point)
    }

    /// Asks the core of Raft; a read index if this node leads and is the only member.
    pub(crate) async fn ask(&self) -> Result<Option<ReadPoint>, Error> {
        // Spares the nodes of larger clusters the way to the core, which has the last word.
        if self.peers.membership().is_none_or(|members| members.nodes().count() > 1) {
            return Ok(None);
        }
        let (node_id, log) = (self.node_id, self.log.clone());
        let found = self.raft.with_raft_state(move |state| {
            let point = read_point(state, node_id)?;
            // The membership in force is committed, so it is in the log, and counted.
            Some(Found { point, memberships: log.standing().1 })
        });
        let found = found.await.map_err(|fatal| Error::Fenced(fatal.to_string()))?;
        self.found.store(found.map(Arc::new));
        Ok(found.map(|found| found.point))
    }
}

fn read_point(state: &RaftState<TypeConfig>, node_id: u64) -> Option<ReadPoint> {
    let vote = state.vote_ref();
    let leads = vote.committed && vote.leader_id.voted_for == node_id;
    let members = &state.membership_state;
    let settled = members.committed().log_id() == members.effective().log_id();
    let alone = members.effective().nodes().all(|(id, _)| *id == node_id)
        && members.effective().voter_ids().any(|id| id == node_id);
    // Only then a leader knows what those before it had committed.
    let committed = state.cluster_committed()?;
    let knows = committed.committed_leader_id().term == vote.leader_id.term;
    (leads && settled && alone && knows).then(|| ReadPoint { term: vote.leader_id.term, index: committed.index() })
}
