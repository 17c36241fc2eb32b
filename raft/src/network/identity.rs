//! Who this node is, what it lets in, and the check that every request between nodes passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aerodb_proto as proto;
use parking_lot::RwLock;
use tonic::Status;

/// The one Raft group of today.
pub(crate) const GROUP: u64 = 0;

/// Who this node is. A node that has not joined yet has no id, and learns the cluster's id later.
#[derive(Debug)]
pub(crate) struct Identity {
    /// 0 until the node has been given one.
    node_id: AtomicU64,
    /// Where the others reach it, for messages.
    peer_addr: String,
    /// Empty until it is known.
    cluster_id: RwLock<Arc<str>>,
}

impl Identity {
    pub(crate) fn new(node_id: u64, peer_addr: impl Into<String>, cluster_id: &str) -> Self {
        Self {
            node_id: AtomicU64::new(node_id),
            peer_addr: peer_addr.into(),
            cluster_id: RwLock::new(cluster_id.into()),
        }
    }

    pub(crate) fn node_id(&self) -> u64 {
        self.node_id.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(crate) fn set_node_id(&self, id: u64) {
        self.node_id.store(id, Ordering::Release);
    }

    /// Empty while unknown.
    pub(crate) fn cluster_id(&self) -> Arc<str> {
        self.cluster_id.read().clone()
    }

    pub(crate) fn set_cluster_id(&self, id: &str) {
        *self.cluster_id.write() = id.into();
    }

    /// The address on a message to node `to`.
    pub(crate) fn target(&self, to: u64) -> proto::Target {
        proto::Target { group: GROUP, to, from: self.node_id(), cluster_id: self.cluster_id().to_string() }
    }

    /// Refuses a message that was not meant for this node, or comes from another cluster.
    pub(crate) fn check(&self, target: Option<&proto::Target>) -> Result<(), Status> {
        let target = target.ok_or_else(|| Status::invalid_argument("the request names no target"))?;
        let (me, addr) = (self.node_id(), &self.peer_addr);
        if target.group != GROUP {
            return Err(Status::failed_precondition(format!("node {me} at {addr} has no group {}", target.group)));
        }
        if me == 0 {
            return Err(Status::failed_precondition(format!("the node at {addr} has not joined a cluster yet")));
        }
        if target.to != me {
            return Err(Status::failed_precondition(format!("node {me} is at {addr}, not node {}", target.to)));
        }
        self.check_cluster(&target.cluster_id)
    }

    /// As [`Self::check`], and the sender must be another node: what Raft says never comes from oneself.
    pub(crate) fn check_raft(&self, target: Option<&proto::Target>) -> Result<(), Status> {
        self.check(target)?;
        let (me, addr) = (self.node_id(), &self.peer_addr);
        match target {
            Some(target) if target.from == me => Err(Status::failed_precondition(format!(
                "another node than the one at {addr} says that it is node {me}"
            ))),
            _ => Ok(()),
        }
    }

    /// A question about what a node is may be asked by whoever does not know it yet (`to` 0), from any cluster.
    pub(crate) fn check_status(&self, target: Option<&proto::Target>) -> Result<(), Status> {
        match target {
            Some(target) if target.group == GROUP && target.to == 0 => Ok(()),
            Some(target) if target.group == GROUP && target.to == self.node_id() => Ok(()),
            other => self.check(other),
        }
    }

    /// Refuses what belongs to another cluster, when both sides know theirs.
    pub(crate) fn check_cluster(&self, theirs: &str) -> Result<(), Status> {
        let ours = self.cluster_id();
        if !ours.is_empty() && !theirs.is_empty() && *ours != *theirs {
            let (me, addr) = (self.node_id(), &self.peer_addr);
            return Err(Status::failed_precondition(format!("node {me} at {addr} belongs to another cluster")));
        }
        Ok(())
    }
}

/// What a node lets in. Both are shut while a node with a wiped data folder must first learn what the others know:
/// it might have voted, or acknowledged entries, that it does not remember.
#[derive(Debug)]
pub(crate) struct VoteGate {
    accept_appends: AtomicBool,
    accept_votes: AtomicBool,
}

impl VoteGate {
    /// A gate that is open for both, or shut for both.
    pub(crate) fn new(open: bool) -> Self {
        Self { accept_appends: AtomicBool::new(open), accept_votes: AtomicBool::new(open) }
    }

    /// Whether entries and snapshots are taken.
    pub(crate) fn set_accept_appends(&self, accept: bool) {
        self.accept_appends.store(accept, Ordering::Release);
    }

    /// Whether votes are given and leadership is taken over.
    pub(crate) fn set_accept_votes(&self, accept: bool) {
        self.accept_votes.store(accept, Ordering::Release);
    }

    pub(crate) fn check_append(&self) -> Result<(), Status> {
        Self::check(&self.accept_appends, "entries")
    }

    pub(crate) fn check_vote(&self) -> Result<(), Status> {
        Self::check(&self.accept_votes, "votes")
    }

    fn check(flag: &AtomicBool, what: &str) -> Result<(), Status> {
        if flag.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Status::unavailable(format!("the node is recovering and takes no {what} yet")))
    }
}
