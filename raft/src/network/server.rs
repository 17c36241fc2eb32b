//! The receiving side: checks that a message is meant for this node and hands it on.

use std::io;
use std::sync::Arc;

use aerodb_proto as proto;
use aerodb_proto::peer_server::{Peer, PeerServer};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::codegen::http;
use tonic::{Request, Response, Status, Streaming};
use tower::util::MapResponseLayer;

use crate::convert;
use crate::snapshot::transfer::{Incoming, Offered, Received};

use super::connector::{BoxedIo, Listener};
use super::consensus::{Consensus, Stopped};
use super::identity::{GROUP, Identity, VoteGate};
use super::options::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, GIVEN_UP_STREAMS_MAX, MESSAGE_BYTES_MAX, NetworkOptions,
    STREAM_WINDOW_BYTES,
};
use super::wire;

/// The calls between nodes that are ours, not Raft's. Their targets are checked before they get here.
pub(crate) trait PeerHandler: Send + Sync + 'static {
    /// A read index, confirmed by a quorum after this call began.
    fn read_index(&self, request: proto::ReadIndexRequest) -> BoxFuture<'_, Result<proto::ReadIndexResponse, Status>>;

    /// The term in which this node stands behind the one that asks.
    fn second(&self, request: proto::SecondRequest) -> Result<proto::SecondResponse, Status>;

    /// Commands of one node's session, and their outcomes in any order. The answers must end once the commands have
    /// ended and everything taken is answered.
    fn forward(
        &self,
        requests: BoxStream<'static, proto::ForwardRequest>,
    ) -> BoxStream<'static, Result<proto::ForwardResponse, Status>>;

    /// What this node knows about itself.
    fn status(&self, request: proto::StatusRequest) -> BoxFuture<'_, Result<proto::StatusResponse, Status>>;

    /// Makes a replica the leader.
    fn promote(&self, request: proto::PromoteRequest) -> BoxFuture<'_, Result<proto::PromoteResponse, Status>>;
}

/// What other nodes reach on the peer port. Clones share everything.
#[derive(Clone)]
pub(crate) struct PeerService {
    /// Who this node is.
    pub(crate) identity: Arc<Identity>,
    /// What it lets in.
    pub(crate) gate: Arc<VoteGate>,
    /// Raft.
    pub(crate) consensus: Arc<dyn Consensus>,
    /// Snapshots on their way in.
    pub(crate) incoming: Arc<Incoming>,
    /// Everything else.
    pub(crate) handler: Arc<dyn PeerHandler>,
    /// The network's limits.
    pub(crate) options: NetworkOptions,
    /// Ends the streams that would else keep the server from stopping.
    pub(crate) stop: CancellationToken,
}

/// Serves `service` on `listener` until its `stop` is cancelled.
pub(crate) async fn serve(listener: Listener, service: PeerService) -> io::Result<()> {
    let (options, stop) = (service.options.clone(), service.stop.clone());
    let incoming = limited(listener.accepted, options.connections_max).map(Ok::<_, io::Error>);
    let peer = PeerServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let serving = tonic::transport::Server::builder()
        .layer(MapResponseLayer::new(undated))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        // Only so that connections whose other side is gone do not stay: whoever needs one probes it itself.
        .http2_keepalive_interval(Some(options.keepalive_timeout_bulk * 5))
        .http2_keepalive_timeout(Some(options.keepalive_timeout_bulk))
        .http2_max_pending_accept_reset_streams(Some(GIVEN_UP_STREAMS_MAX))
        .http2_max_local_error_reset_streams(Some(GIVEN_UP_STREAMS_MAX))
        .serve_with_incoming_shutdown(peer, incoming, stop.clone().cancelled_owned());
    let too_long = async {
        stop.cancelled().await;
        tokio::time::sleep(options.shutdown_grace).await;
    };
    tokio::select! {
        served = serving => served.map_err(io::Error::other),
        () = too_long => Ok(()),
    }
}

/// An answer whose date says nothing. hyper would else read the machine's clock for it, anew each second; no node looks at
/// it, and in a simulation it would decide how many bytes are on the wire.
fn undated<B>(mut answer: http::Response<B>) -> http::Response<B> {
    answer.headers_mut().insert(http::header::DATE, http::HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
    answer
}

/// The connections for which there is a place; others are closed.
fn limited(accepted: BoxStream<'static, BoxedIo>, connections_max: usize) -> impl Stream<Item = BoxedIo> {
    let places = Arc::new(Semaphore::new(connections_max));
    accepted.filter_map(move |io| {
        let place = places.clone().try_acquire_owned();
        async move {
            match place {
                Ok(place) => Some(io.holding(place)),
                Err(_) => {
                    tracing::warn!(remote = io.remote(), "too many connections on the peer port; one was closed");
                    None
                }
            }
        }
    })
}

/// Why a stream of messages was cut short; said after the answers to what came before.
type Refusal = Arc<Mutex<Option<Status>>>;

impl PeerService {
    /// The messages of a stream, up to the first that `admit` refuses, or until the node stops.
    fn admitted<M, T, F>(&self, messages: Streaming<M>, admit: F) -> (BoxStream<'static, T>, Refusal)
    where
        M: Send + 'static,
        T: Send + 'static,
        F: Fn(&Self, M) -> Result<T, Status> + Send + 'static,
    {
        let refusal = Refusal::default();
        let state = (messages, self.clone(), admit, refusal.clone());
        let admitted = stream::unfold(state, |(mut messages, service, admit, refusal)| async move {
            // An error: the sender is gone, and there is nobody to tell.
            let message = messages.message().await.ok().flatten()?;
            match admit(&service, message) {
                Ok(taken) => Some((taken, (messages, service, admit, refusal))),
                Err(status) => {
                    *refusal.lock() = Some(status);
                    None
                }
            }
        });
        (admitted.take_until(self.stop.clone().cancelled_owned()).boxed(), refusal)
    }

    fn admit_append(&self, message: proto::AppendRequest) -> Result<wire::Append, Status> {
        self.gate.check_append()?;
        self.identity.check_raft(message.target.as_ref())?;
        wire::append_from_wire(message)
    }

    fn admit_forward(&self, message: proto::ForwardRequest) -> Result<proto::ForwardRequest, Status> {
        self.identity.check(message.target.as_ref())?;
        Ok(message)
    }

    fn admit_ballot(&self, message: &proto::VoteRequest) -> Result<wire::Ballot, Status> {
        self.gate.check_vote()?;
        self.identity.check_raft(message.target.as_ref())?;
        wire::ballot_from_wire(message)
    }

    /// The whole of a transfer's chunks, written down; returns the transfer's name.
    async fn receive(&self, mut chunks: Streaming<proto::SnapshotChunk>) -> Result<String, Status> {
        let mut transfer = None;
        loop {
            let next = tokio::time::timeout(self.options.snapshot_idle_timeout, chunks.message());
            let Some(chunk) = next.await.map_err(|_| Status::deadline_exceeded("the transfer made no progress"))??
            else {
                return transfer.ok_or_else(|| Status::invalid_argument("the transfer has no chunks"));
            };
            self.gate.check_append()?;
            self.identity.check_raft(chunk.target.as_ref())?;
            transfer.get_or_insert_with(|| chunk.transfer.clone());
            self.incoming.write(chunk).await?;
        }
    }

    /// Installs what was received. Runs to its end even when the sender goes away.
    async fn install(self, transfer: String) -> Result<proto::SnapshotResponse, Status> {
        let Received { vote, snapshot } = self.incoming.finish(&transfer).await?;
        let installed = self.consensus.install(vote, snapshot).await;
        self.incoming.installed(&transfer, installed.is_ok()).await;
        let vote = installed.map_err(stopped)?;
        Ok(proto::SnapshotResponse { group: GROUP, vote: Some(convert::vote_proto(&vote)) })
    }
}

/// The answers, and then why there are no more.
fn with_refusal<T: Send + 'static>(
    answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
    refusal: Refusal,
) -> BoxStream<'static, Result<T, Status>> {
    let last = stream::once(async move { refusal.lock().take() });
    answers.chain(last.filter_map(|refused| async move { refused.map(Err) })).boxed()
}

fn stopped(fatal: Stopped) -> Status {
    Status::unavailable(format!("the node's replication has stopped: {fatal}"))
}

#[tonic::async_trait]
impl Peer for PeerService {
    type AppendStream = BoxStream<'static, Result<proto::AppendResponse, Status>>;
    type ForwardStream = BoxStream<'static, Result<proto::ForwardResponse, Status>>;

    async fn append(
        &self,
        request: Request<Streaming<proto::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let (requests, refusal) = self.admitted(request.into_inner(), Self::admit_append);
        let answers = self.consensus.append_stream(requests);
        let answers = answers.map(|answer| answer.map(|a| wire::appended_to_wire(&a)).map_err(stopped));
        Ok(Response::new(with_refusal(answers, refusal)))
    }

    async fn append_once(
        &self,
        request: Request<proto::AppendRequest>,
    ) -> Result<Response<proto::AppendResponse>, Status> {
        let request = self.admit_append(request.into_inner())?;
        let answer = self.consensus.append_once(request).await.map_err(stopped)?;
        Ok(Response::new(wire::appended_to_wire(&answer)))
    }

    async fn vote(&self, request: Request<proto::VoteRequest>) -> Result<Response<proto::VoteResponse>, Status> {
        let ballot = self.admit_ballot(request.get_ref())?;
        let answer = self.consensus.vote(ballot).await.map_err(stopped)?;
        Ok(Response::new(wire::voted_to_wire(&answer)))
    }

    async fn pre_vote(&self, request: Request<proto::VoteRequest>) -> Result<Response<proto::VoteResponse>, Status> {
        let ballot = self.admit_ballot(request.get_ref())?;
        let answer = self.consensus.pre_vote(ballot).await.map_err(stopped)?;
        Ok(Response::new(wire::voted_to_wire(&answer)))
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferLeaderRequest>,
    ) -> Result<Response<proto::TransferLeaderResponse>, Status> {
        let message = request.into_inner();
        self.gate.check_vote()?;
        self.identity.check_raft(message.target.as_ref())?;
        let transfer = wire::transfer_from_wire(&message)?;
        let answer = self.consensus.transfer_leader(transfer).await.map_err(stopped)?;
        Ok(Response::new(wire::transferred_to_wire(&answer)))
    }

    async fn offer_snapshot(
        &self,
        request: Request<proto::OfferSnapshotRequest>,
    ) -> Result<Response<proto::OfferSnapshotResponse>, Status> {
        let message = request.into_inner();
        self.gate.check_append()?;
        self.identity.check_raft(message.target.as_ref())?;
        let vote = convert::required_vote(message.vote.as_ref())?;
        let manifest = message.manifest.ok_or_else(|| Status::invalid_argument("the offer has no manifest"))?;
        self.identity.check_cluster(&manifest.cluster_id)?;
        let known = self.consensus.known_vote();
        if known > vote {
            let higher_vote = Some(convert::vote_proto(&known));
            return Ok(Response::new(proto::OfferSnapshotResponse { group: GROUP, higher_vote, ..Default::default() }));
        }
        let Offered { transfer, have_bytes } = self.incoming.offer(vote, manifest).await?;
        Ok(Response::new(proto::OfferSnapshotResponse { group: GROUP, have_bytes, transfer, higher_vote: None }))
    }

    async fn send_snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotChunk>>,
    ) -> Result<Response<proto::SnapshotResponse>, Status> {
        let transfer = self.receive(request.into_inner()).await?;
        // A task of its own: an installation that has begun must not lose its watch when the sender goes away.
        let installing = tokio::spawn(self.clone().install(transfer));
        let answer = installing.await.map_err(|_| Status::unavailable("the node is stopping"))??;
        Ok(Response::new(answer))
    }

    async fn read_index(
        &self,
        request: Request<proto::ReadIndexRequest>,
    ) -> Result<Response<proto::ReadIndexResponse>, Status> {
        let message = request.into_inner();
        self.identity.check(message.target.as_ref())?;
        Ok(Response::new(self.handler.read_index(message).await?))
    }

    async fn second(&self, request: Request<proto::SecondRequest>) -> Result<Response<proto::SecondResponse>, Status> {
        let message = request.into_inner();
        self.identity.check_raft(message.target.as_ref())?;
        Ok(Response::new(self.handler.second(message)?))
    }

    async fn forward(
        &self,
        request: Request<Streaming<proto::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let (requests, refusal) = self.admitted(request.into_inner(), Self::admit_forward);
        Ok(Response::new(with_refusal(self.handler.forward(requests), refusal)))
    }

    async fn status(&self, request: Request<proto::StatusRequest>) -> Result<Response<proto::StatusResponse>, Status> {
        let message = request.into_inner();
        self.identity.check_status(message.target.as_ref())?;
        Ok(Response::new(self.handler.status(message).await?))
    }

    async fn promote(
        &self,
        request: Request<proto::PromoteRequest>,
    ) -> Result<Response<proto::PromoteResponse>, Status> {
        let message = request.into_inner();
        self.identity.check(message.target.as_ref())?;
        Ok(Response::new(self.handler.promote(message).await?))
    }
}
