//! The other nodes: where they are and how to talk to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use aerodb_proto as proto;
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::RwLock;

use crate::Raft;
use crate::network::{Channels, Client, Identity, Lane};
use crate::types::{Peer, StoredMembership};

/// The members, their addresses, and clients for them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    channels: Arc<Channels>,
    identity: Arc<Identity>,
    /// From the command line: where a new cluster's members are.
    initial: Arc<BTreeMap<u64, Peer>>,
    /// Set once Raft runs.
    raft: Arc<RwLock<Option<Raft>>>,
}

impl Peers {
    pub(crate) fn new(channels: Arc<Channels>, identity: Arc<Identity>, initial: BTreeMap<u64, Peer>) -> Self {
        Self { channels, identity, initial: Arc::new(initial), raft: Arc::default() }
    }

    /// From now on the members are those of Raft's membership.
    pub(crate) fn attach(&self, raft: Raft) {
        *self.raft.write() = Some(raft);
    }

    /// The membership in force here.
    pub(crate) fn membership(&self) -> Option<Arc<StoredMembership>> {
        let raft = self.raft.read();
        let metrics = raft.as_ref()?.server_metrics();
        let membership = metrics.borrow_watched().membership_config.clone();
        let known = membership.nodes().next().is_some();
        known.then_some(membership)
    }

    /// All members by id, this node too.
    pub(crate) fn all(&self) -> BTreeMap<u64, Peer> {
        match self.membership() {
            Some(membership) => membership.nodes().map(|(id, peer)| (*id, peer.clone())).collect(),
            None => self.initial.as_ref().clone(),
        }
    }

    /// The other members by id.
    pub(crate) fn others(&self) -> BTreeMap<u64, Peer> {
        let mut all = self.all();
        all.remove(&self.identity.node_id());
        all
    }

    /// Those who vote.
    pub(crate) fn voters(&self) -> Vec<u64> {
        match self.membership() {
            Some(membership) => membership.voter_ids().collect(),
            None => self.initial.keys().copied().collect(),
        }
    }

    /// A client for a member.
    pub(crate) fn client(&self, id: u64, lane: Lane) -> Option<Client> {
        let addr = self.all().get(&id)?.peer_addr.clone();
        Some(self.channels.client(id, &addr, lane))
    }

    /// The address on a message.
    pub(crate) fn target(&self, to: u64) -> proto::Target {
        self.identity.target(to)
    }
}
