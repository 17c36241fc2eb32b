//! The network as openraft drives it: a factory, and one client for each node and purpose.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aerodb_proto as proto;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use openraft::errors::{ReplicationClosed, StreamingError};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption, RaftNetworkFactory,
};
use openraft::raft::SnapshotResponse;
use openraft::{OptionalSend, RPCTypes};
use tonic::{Response, Status};

use crate::snapshot::transfer::Transfers;
use crate::snapshot::{Snapshot, SnapshotDir};
use crate::spawn::Spawner;
use crate::types::{Peer, TypeConfig, Vote};

use super::channels::{Channels, Client, Lane, Lanes};
use super::errors::{self, RpcError};
use super::identity::Identity;
use super::options::NetworkOptions;
use super::wire::{self, Append, Appended, Ballot, Transfer, Transferred, Voted};
use super::{pipeline, snapshot};

/// Pauses between attempts to reach a node, in milliseconds; the last one is repeated. Short, because an election
/// takes little longer than the longest of them.
const BACKOFF_MS: [u64; 5] = [50, 100, 200, 400, 500];

/// Makes the clients that openraft asks for. Clones share everything.
#[derive(Clone)]
pub(crate) struct Network {
    identity: Arc<Identity>,
    channels: Arc<Channels>,
    transfers: Arc<Transfers>,
    spawner: Arc<dyn Spawner>,
    log_begins: LogBegins,
}

/// Tells the index of the first entry that this node's log has.
pub(crate) type LogBegins = Arc<dyn Fn() -> u64 + Send + Sync>;

impl Network {
    pub(crate) fn new(
        identity: Arc<Identity>,
        channels: Arc<Channels>,
        spawner: Arc<dyn Spawner>,
        log_begins: LogBegins,
    ) -> Self {
        Self { identity, channels, transfers: Arc::default(), spawner, log_begins }
    }

    /// How far the snapshots are that this node sends.
    pub(crate) fn transfers(&self) -> &Arc<Transfers> {
        &self.transfers
    }

    fn node(&self, target: u64, peer: &Peer, heartbeats: bool) -> Node {
        let link = Link {
            identity: self.identity.clone(),
            channels: self.channels.clone(),
            lanes: self.channels.to(target, &peer.peer_addr),
            to: target,
            log_begins: self.log_begins.clone(),
        };
        Node { link, heartbeats, transfers: self.transfers.clone(), spawner: self.spawner.clone() }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Node;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Node {
        self.node(target, node, false)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Peer) -> Node {
        self.node(target, node, true)
    }
}

/// The way to one node.
#[derive(Clone)]
pub(super) struct Link {
    identity: Arc<Identity>,
    channels: Arc<Channels>,
    lanes: Lanes,
    to: u64,
    log_begins: LogBegins,
}

impl Link {
    pub(super) fn client(&self, lane: Lane) -> Client {
        self.lanes.client(lane)
    }

    pub(super) fn options(&self) -> &NetworkOptions {
        self.channels.options()
    }

    pub(super) fn to(&self) -> u64 {
        self.to
    }

    /// The index of the first entry that this node could send.
    pub(super) fn log_begins(&self) -> u64 {
        (self.log_begins)()
    }

    /// The address on every message.
    pub(super) fn target(&self) -> proto::Target {
        self.identity.target(self.to)
    }

    pub(super) fn timeout(&self, action: RPCTypes, limit: Duration) -> RpcError {
        errors::timeout(action, self.identity.node_id(), self.to, limit)
    }

    /// The answer to a call, if it comes within `limit`.
    pub(super) async fn within<T>(
        &self,
        action: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, RpcError> {
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map(Response::into_inner).map_err(|status| errors::from_status(&status)),
            Err(_) => Err(self.timeout(action, limit)),
        }
    }
}

/// openraft's client for one node.
pub(crate) struct Node {
    link: Link,
    /// Heartbeats go one by one over the control connection; entries are pipelined over their own.
    heartbeats: bool,
    transfers: Arc<Transfers>,
    spawner: Arc<dyn Spawner>,
}

impl Node {
    async fn append_once(link: &Link, request: &Append, limit: Duration) -> Result<Appended, RpcError> {
        let mut client = link.client(Lane::Control);
        let call = client.append_once(wire::append_to_wire(request, link.target()));
        let answer = link.within(RPCTypes::AppendEntries, limit, call).await?;
        wire::appended_from_wire(&answer).map_err(|status| errors::from_status(&status))
    }

    /// One call for each request, and none after one that failed.
    fn append_one_by_one<S>(link: Link, input: S, limit: Duration) -> BoxStream<'static, Result<Appended, RpcError>>
    where
        S: Stream<Item = Append> + Send + Unpin + 'static,
    {
        stream::unfold(Some((link, input)), move |state| async move {
            let (link, mut input) = state?;
            let request = input.next().await?;
            let answer = Self::append_once(&link, &request, limit).await;
            let rest = matches!(answer, Ok(Ok(_))).then_some((link, input));
            Some((answer, rest))
        })
        .boxed()
    }
}

impl NetStreamAppend<TypeConfig> for Node {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<Appended, RpcError>>, RpcError>>
    where
        S: Stream<Item = Append> + OptionalSend + Unpin + 'static,
    {
        let link = self.link.clone();
        if self.heartbeats {
            let answers = Self::append_one_by_one(link, input, option.soft_ttl());
            return Box::pin(async move { Ok(answers) });
        }
        let stall = option.soft_ttl().max(link.options().append_stall_timeout);
        Box::pin(async move { pipeline::open(&link, link.client(Lane::Replication), input, stall).await })
    }
}

impl NetVote<TypeConfig> for Node {
    async fn vote(&mut self, ballot: Ballot, option: RPCOption) -> Result<Voted, RpcError> {
        let mut client = self.link.client(Lane::Control);
        let call = client.vote(wire::ballot_to_wire(&ballot, self.link.target()));
        let answer = self.link.within(RPCTypes::Vote, option.soft_ttl(), call).await?;
        wire::voted_from_wire(&answer).map_err(|status| errors::from_status(&status))
    }

    /// Without this method openraft would take every pre-vote for granted.
    async fn pre_vote(&mut self, ballot: Ballot, option: RPCOption) -> Result<Voted, RpcError> {
        let mut client = self.link.client(Lane::Control);
        let call = client.pre_vote(wire::ballot_to_wire(&ballot, self.link.target()));
        let answer = self.link.within(RPCTypes::Vote, option.soft_ttl(), call).await?;
        wire::voted_from_wire(&answer).map_err(|status| errors::from_status(&status))
    }
}

impl NetTransferLeader<TypeConfig> for Node {
    async fn transfer_leader(&mut self, transfer: Transfer, option: RPCOption) -> Result<Transferred, RpcError> {
        let mut client = self.link.client(Lane::Control);
        let call = client.transfer_leader(wire::transfer_to_wire(&transfer, self.link.target()));
        let answer = self.link.within(RPCTypes::TransferLeader, option.soft_ttl(), call).await?;
        wire::transferred_from_wire(&answer, &transfer).map_err(|status| errors::from_status(&status))
    }
}

impl NetSnapshot<TypeConfig> for Node {
    type SnapshotData = SnapshotDir;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (transfers, spawner) = (&self.transfers, &self.spawner);
        let sending = snapshot::send(&self.link, transfers, spawner, vote, &snapshot.snapshot, option.hard_ttl());
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            answer = sending => Ok(SnapshotResponse::new(answer?)),
        }
    }
}

impl NetBackoff<TypeConfig> for Node {
    fn backoff(&self) -> Option<Backoff> {
        let last = BACKOFF_MS[BACKOFF_MS.len() - 1];
        Some(Backoff::new(BACKOFF_MS.into_iter().chain(std::iter::repeat(last)).map(Duration::from_millis)))
    }
}
