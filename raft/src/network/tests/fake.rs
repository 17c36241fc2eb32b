//! A node whose Raft does what a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aerodb_proto as proto;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use openraft::RaftNetworkFactory;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::snapshot::transfer::Incoming;
use crate::snapshot::{Snapshot, SnapshotDir, manifest};
use crate::spawn::{Tasks, Threads};
use crate::types::{Entry, LogId, Payload, Peer, Proposal, Vote};

use super::super::client::Node;
use super::super::consensus::Stopped;
use super::super::wire::{Append, Appended, Ballot, Transfer, Transferred, Voted};
use super::super::*;

pub(super) const TERM: u64 = 3;
pub(super) const NODE: u64 = 2;

pub(super) fn leader() -> Vote {
    Vote::new_committed(TERM, 1)
}

pub(super) fn log_id(index: u64) -> LogId {
    LogId::new(crate::types::CommittedLeaderId::new(TERM), index)
}

/// A request with one entry of `bytes` bytes at `index`.
pub(super) fn append(index: u64, bytes: usize) -> Append {
    let payload = Payload::Normal(Proposal(vec![index as u8; bytes].into()));
    Append {
        vote: leader(),
        prev_log_id: (index > 0).then(|| log_id(index - 1)),
        entries: vec![Entry { log_id: log_id(index), payload }],
        leader_commit: None,
    }
}

pub(super) fn heartbeat() -> Append {
    Append { vote: leader(), prev_log_id: Some(log_id(9)), entries: Vec::new(), leader_commit: Some(log_id(8)) }
}

type Answer = Box<dyn Fn(&Append) -> Appended + Send + Sync>;

/// What a test wants Raft to do, and what it was asked.
pub(super) struct Raft {
    /// The answer to entries; None: never.
    pub(super) answer: Mutex<Option<Answer>>,
    /// Requests that must have come before the first is answered.
    pub(super) answers_after: AtomicUsize,
    pub(super) appended: Mutex<Vec<Append>>,
    pub(super) heartbeats: AtomicUsize,
    pub(super) ballots: Mutex<Vec<(&'static str, Ballot)>>,
    pub(super) grants: bool,
    pub(super) transferred: Mutex<Transferred>,
    pub(super) known_vote: Mutex<Vote>,
    pub(super) installed: Mutex<Vec<SnapshotDir>>,
    pub(super) home: TempDir,
}

impl Default for Raft {
    fn default() -> Self {
        let last = |request: &Append| Ok(request.entries.last().map(|e| e.log_id).or(request.prev_log_id));
        Self {
            answer: Mutex::new(Some(Box::new(last))),
            answers_after: AtomicUsize::new(1),
            appended: Mutex::default(),
            heartbeats: AtomicUsize::default(),
            ballots: Mutex::default(),
            grants: false,
            transferred: Mutex::new(Ok(())),
            known_vote: Mutex::new(Vote::new(0, 0)),
            installed: Mutex::default(),
            home: tempfile::tempdir().unwrap(),
        }
    }
}

impl Raft {
    fn voted(&self, kind: &'static str, ballot: Ballot) -> Result<Voted, Stopped> {
        let answer = Voted::new(ballot.vote, Some(log_id(7)), self.grants);
        self.ballots.lock().push((kind, ballot));
        Ok(answer)
    }

    async fn answer(&self, request: Append) -> Appended {
        let answer = self.answer.lock().as_ref().map(|answer| answer(&request));
        self.appended.lock().push(request);
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

/// Shared, so that a test can look inside.
pub(super) struct Shared(pub(super) Arc<Raft>);

impl Consensus for Shared {
    fn append_stream(&self, mut requests: BoxStream<'static, Append>) -> BoxStream<'static, Result<Appended, Stopped>> {
        let raft = self.0.clone();
        // As openraft does it: requests are taken by a task of their own.
        let (taken, answering) = tokio::sync::mpsc::channel(64);
        let reader = raft.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let answer = reader.answer(request).await;
                if taken.send(answer).await.is_err() {
                    break;
                }
            }
        });
        stream::unfold(Some(answering), move |answering| {
            let raft = raft.clone();
            async move {
                let mut answering = answering?;
                let answer = answering.recv().await?;
                while raft.appended.lock().len() < raft.answers_after.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let rest = answer.is_ok().then_some(answering);
                Some((Ok(answer), rest))
            }
        })
        .boxed()
    }

    fn append_once(&self, request: Append) -> BoxFuture<'_, Result<Appended, Stopped>> {
        self.0.heartbeats.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Ok(self.0.answer(request).await) })
    }

    fn vote(&self, ballot: Ballot) -> BoxFuture<'_, Result<Voted, Stopped>> {
        Box::pin(async move { self.0.voted("vote", ballot) })
    }

    fn pre_vote(&self, ballot: Ballot) -> BoxFuture<'_, Result<Voted, Stopped>> {
        Box::pin(async move { self.0.voted("pre_vote", ballot) })
    }

    fn transfer_leader(&self, _: Transfer) -> BoxFuture<'_, Result<Transferred, Stopped>> {
        let answer = self.0.transferred.lock().clone();
        Box::pin(async move { Ok(answer) })
    }

    fn known_vote(&self) -> Vote {
        *self.0.known_vote.lock()
    }

    fn install(&self, vote: Vote, snapshot: Snapshot) -> BoxFuture<'_, Result<Vote, Stopped>> {
        Box::pin(async move {
            let found = snapshot.snapshot;
            manifest::verify(found.path(), &found.manifest).unwrap();
            let kept = self.0.home.path().join(format!("installed-{}", self.0.installed.lock().len()));
            std::fs::rename(found.path(), &kept).unwrap();
            self.0.installed.lock().push(SnapshotDir::new(kept, found.manifest));
            Ok(vote)
        })
    }
}

/// Our own calls: answers that say that the call came through.
struct Ours;

impl PeerHandler for Ours {
    fn read_index(&self, _: proto::ReadIndexRequest) -> BoxFuture<'_, Result<proto::ReadIndexResponse, Status>> {
        Box::pin(async { Ok(proto::ReadIndexResponse { term: TERM, ..Default::default() }) })
    }

    fn second(&self, _: proto::SecondRequest) -> Result<proto::SecondResponse, Status> {
        Ok(proto::SecondResponse { term: TERM, ..Default::default() })
    }

    fn forward(
        &self,
        requests: BoxStream<'static, proto::ForwardRequest>,
    ) -> BoxStream<'static, Result<proto::ForwardResponse, Status>> {
        let answer =
            |command: proto::ForwardedCommand| proto::ForwardedAnswer { number: command.number, ..Default::default() };
        let answers = move |request: proto::ForwardRequest| request.commands.into_iter().map(answer).collect();
        requests
            .map(move |request| Ok(proto::ForwardResponse { answers: answers(request), ..Default::default() }))
            .boxed()
    }

    fn status(&self, _: proto::StatusRequest) -> BoxFuture<'_, Result<proto::StatusResponse, Status>> {
        Box::pin(async { Ok(proto::StatusResponse { node_id: NODE, ..Default::default() }) })
    }

    fn promote(&self, _: proto::PromoteRequest) -> BoxFuture<'_, Result<proto::PromoteResponse, Status>> {
        Box::pin(async { Ok(proto::PromoteResponse { leader: NODE, ..Default::default() }) })
    }
}

/// Node 2, which serves.
pub(super) struct Server {
    pub(super) addr: String,
    pub(super) raft: Arc<Raft>,
    pub(super) gate: Arc<VoteGate>,
    pub(super) incoming: Arc<Incoming>,
    pub(super) stop: CancellationToken,
    pub(super) served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(super) async fn start(raft: Raft) -> Self {
        Self::start_at("127.0.0.1:0", Arc::new(raft)).await
    }

    pub(super) async fn start_at(addr: &str, raft: Arc<Raft>) -> Self {
        let listener = TcpConnector.listen(addr).await.unwrap();
        let addr = listener.local_addr.clone();
        let identity = Arc::new(Identity::new(NODE, addr.clone(), "here"));
        let gate = Arc::new(VoteGate::new(true));
        let root = raft.home.path().join("incoming");
        let incoming = Arc::new(Incoming::open(root, Arc::new(Threads::default())).await.unwrap());
        let stop = CancellationToken::new();
        let service = PeerService {
            identity,
            gate: gate.clone(),
            consensus: Arc::new(Shared(raft.clone())),
            incoming: incoming.clone(),
            handler: Arc::new(Ours),
            options: options(),
            stop: stop.clone(),
        };
        let served = tokio::spawn(serve(listener, service));
        Self { addr, raft, gate, incoming, stop, served }
    }

    pub(super) fn peer(&self) -> Peer {
        Peer { http_addr: String::new(), peer_addr: self.addr.clone() }
    }
}

/// Short times, so that what must time out does so soon.
pub(super) fn options() -> NetworkOptions {
    NetworkOptions {
        append_stall_timeout: Duration::from_millis(300),
        snapshot_idle_timeout: Duration::from_millis(500),
        shutdown_grace: Duration::from_millis(200),
        ..NetworkOptions::default()
    }
}

/// Node 1, which calls, over connections of `connector`.
pub(super) fn network_over(connector: Arc<dyn Connector>) -> Network {
    network_with(connector, 0)
}

/// The same, with a log that begins at `log_begins`.
fn network_with(connector: Arc<dyn Connector>, log_begins: u64) -> Network {
    let identity = Arc::new(Identity::new(1, "127.0.0.1:1", "here"));
    let channels = Arc::new(Channels::new(connector, Arc::new(Tasks), options()));
    Network::new(identity, channels, Arc::new(Threads::default()), Arc::new(move || log_begins))
}

/// A client of a node whose log begins at `log_begins`.
pub(super) async fn client_of_purged(server: &Server, log_begins: u64) -> Node {
    network_with(Arc::new(TcpConnector), log_begins).new_client(NODE, &server.peer()).await
}

pub(super) fn network() -> Network {
    network_over(Arc::new(TcpConnector))
}

pub(super) async fn client(server: &Server) -> Node {
    network().new_client(NODE, &server.peer()).await
}

pub(super) async fn heartbeat_client(server: &Server) -> Node {
    network().new_heartbeat_client(NODE, &server.peer()).await
}

/// openraft's option, with `soft_ttl` of `ms`.
pub(super) fn soft_ttl(ms: u64) -> openraft::network::RPCOption {
    openraft::network::RPCOption::new(Duration::from_millis(ms) * 4 / 3)
}
