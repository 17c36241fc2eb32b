//! One node: its parts, and how they are started.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aerodb_engine::kv::{Env, Logging, Spec, Vigilant};
use aerodb_engine::{Engine, Limits};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Raft;
use crate::alone::Alone;
use crate::bootstrap::{self, Begin};
use crate::clock::Clock;
use crate::convert;
use crate::fence::Fence;
use crate::handle::Handle;
use crate::lag::{LagClock, LeadersWords};
use crate::late::LateConsensus;
use crate::leadership::{self, Leadership};
use crate::log::{LOG_FAMILIES, LogHooks, LogMetrics, LogStore};
use crate::metrics::Metrics;
use crate::network::{Channels, Connector, Identity, Network, NetworkOptions, PeerService, VoteGate, serve};
use crate::options::Options;
use crate::peer_handler::Handler;
use crate::peers::Peers;
use crate::process::{Machine, Process};
use crate::progress::Applied;
use crate::propose::{Parts, Proposer};
use crate::reads::{LeaderReads, Reads};
use crate::second::{Seconds, Voter};
use crate::snapshot::SnapshotStore;
use crate::snapshot::transfer::{Incoming, Transfers};
use crate::spawn::{Spawner, run_consensus};
use crate::state_machine::StateMachine;
use crate::submit::{Submitter, Window};
use crate::topology::{Heard, LagSample};
use crate::types::Peer;
use crate::upkeep;

/// Fills bytes with randomness.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// What a node is given: everything that is not decided by its own code.
pub struct Services {
    /// Opens stores.
    pub env: Arc<dyn Env>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Fills bytes with randomness that nobody can guess.
    pub random: Random,
    /// The network.
    pub connector: Arc<dyn Connector>,
    /// Threads.
    pub spawner: Arc<dyn Spawner>,
    /// Figures of the machine, for the topology.
    pub machine: Arc<dyn Machine>,
    /// Where figures go.
    pub registry: Registry,
    /// The engine's bounds.
    pub limits: Limits,
    /// Ended by whoever finds that this node can no longer vouch for its data.
    pub fence: Fence,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error("the data in {dir} cannot be opened: {reason}")]
    Data {
        /// The folder.
        dir: String,
        /// Why.
        reason: String,
    },
    /// The peer address cannot be listened on.
    #[error("nodes cannot be listened for on {addr}: {reason}")]
    Listen {
        /// The address.
        addr: String,
        /// Why.
        reason: String,
    },
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
    /// Raft did not start.
    #[error("replication did not start: {0}")]
    Raft(String),
}

/// The parts of a running node.
pub(crate) struct Node {
    pub(crate) options: Options,
    pub(crate) raft: Raft,
    pub(crate) engine: Arc<Engine>,
    pub(crate) log: LogStore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Random,
    pub(crate) spawner: Arc<dyn Spawner>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) gate: Arc<VoteGate>,
    pub(crate) peers: Peers,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) applied: watch::Receiver<Applied>,
    /// The revision of the catalog that is applied.
    pub(crate) catalog: watch::Receiver<u64>,
    pub(crate) voter: Voter,
    pub(crate) leader_reads: LeaderReads,
    pub(crate) reads: Reads,
    pub(crate) proposer: Proposer,
    pub(crate) submitter: Submitter,
    pub(crate) transfers: Arc<Transfers>,
    pub(crate) incoming: Arc<Incoming>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) fence: Fence,
    pub(crate) stop: CancellationToken,
    pub(crate) started: Duration,
    pub(crate) started_ms: u64,
    /// Held during a promotion.
    pub(crate) promoting: tokio::sync::Mutex<()>,
    /// What the other members said last.
    pub(crate) heard: Mutex<BTreeMap<u64, Heard>>,
    /// What leaders said that a majority stood behind.
    pub(crate) words: Mutex<LeadersWords>,
    pub(crate) lag_clock: Mutex<LagClock>,
    pub(crate) lag_samples: Mutex<std::collections::VecDeque<LagSample>>,
    /// True once this node has caught up with what the cluster had committed when it started.
    pub(crate) recovered: watch::Sender<bool>,
    /// True while a node whose data was lost learns what the others know.
    pub(crate) relearning: watch::Sender<bool>,
    /// True once this node's own bootstrap gave the cluster its key.
    pub(crate) named_cluster: watch::Sender<bool>,
    pub(crate) process: Process,
}

const LOG_SPEC: Spec = Spec { families: LOG_FAMILIES, logging: Logging::WriteAhead, write_buffer_bytes: 64 << 20 };

/// Starts a node. It takes part in its cluster from then on, until [`Handle::shutdown`].
///
/// # Errors
/// When the data, the address or the options are not good.
pub async fn start(options: Options, services: Services) -> Result<Handle, StartError> {
    let Services { env, clock, random, connector, spawner, machine, registry, limits, fence } = services;
    // Whoever meets an error of the storage, for whatever purpose: this node is done (A7).
    let env: Arc<dyn Env> = {
        let fence = fence.clone();
        Arc::new(Vigilant::new(env, Arc::new(move |error| fence.fence(&error.to_string()))))
    };
    let data = |reason: String| StartError::Data { dir: options.data_dir.display().to_string(), reason };
    let wrong = |error: prometheus::Error| StartError::Options(error.to_string());

    let process = Process::new(machine);
    let metrics = Arc::new(Metrics::new(&registry).map_err(wrong)?);
    let log_metrics = LogMetrics::new(&registry).map_err(wrong)?;
    let dir = &options.data_dir;
    std::fs::create_dir_all(dir.join("log")).map_err(|e| data(e.to_string()))?;
    let engine = Engine::open(env.clone(), &dir.join("state"), limits).map_err(|e| data(e.to_string()))?;
    let engine = Arc::new(engine);
    let log_db = env.open(&dir.join("log"), &LOG_SPEC).map_err(|e| data(e.to_string()))?;
    let hooks = LogHooks {
        durable_applied: {
            let engine = engine.clone();
            Arc::new(move || match engine.durable() {
                Ok(applied) => Ok(applied.map(|id| id.index)),
                Err(error) => Err(aerodb_engine::kv::Error::corruption("reading what is durable", error.to_string())),
            })
        },
        fatal: {
            let fence = fence.clone();
            Arc::new(move |reason| fence.fence(reason))
        },
        clock: clock.clone(),
        metrics: log_metrics,
    };
    let log =
        LogStore::open(log_db.clone(), spawner.clone(), options.log.clone(), hooks).map_err(|e| data(e.to_string()))?;
    let snapshots = SnapshotStore::open(dir.join("snapshots"), engine.clone()).map_err(|e| data(e.to_string()))?;
    let snapshots = Arc::new(snapshots);
    let incoming = Incoming::open(dir.join("snapshots").join("incoming"), spawner.clone());
    let incoming = Arc::new(incoming.await.map_err(|e| data(e.to_string()))?);

    let cluster_id = engine.cluster_id().map_err(|e| data(e.to_string()))?;
    let identity = Arc::new(Identity::new(options.node_id, &options.peer_addr, &cluster_id));
    let network_options = NetworkOptions::for_election(options.election_max);
    let channels = Arc::new(Channels::new(connector.clone(), spawner.clone(), network_options.clone()));
    let peers = Peers::new(channels.clone(), identity.clone(), members(&options));
    let network = {
        let log = log.clone();
        Network::new(identity.clone(), channels.clone(), spawner.clone(), Arc::new(move || log.first_index()))
    };
    let transfers = network.transfers().clone();

    // The port opens before Raft runs: nodes of a new cluster ask each other who they are.
    let gate = Arc::new(VoteGate::new(false));
    let consensus = Arc::new(LateConsensus::default());
    let mut log_here = log.clone();
    let found = bootstrap::look(&options, &mut log_here, &engine).await.map_err(|e| data(e.to_string()))?;
    let handler = Arc::new(Handler::new(found.clone(), identity.clone()));
    let stop = CancellationToken::new();
    let listen_failed =
        |e: std::io::Error| StartError::Listen { addr: options.peer_addr.clone(), reason: e.to_string() };
    let listener = connector.listen(&options.listen_peer).await.map_err(listen_failed)?;
    let service = PeerService {
        identity: identity.clone(),
        gate: gate.clone(),
        consensus: consensus.clone(),
        incoming: incoming.clone(),
        handler: handler.clone(),
        options: network_options,
        stop: stop.clone(),
    };
    spawner.consensus(Box::pin(async move {
        if let Err(error) = serve(listener, service).await {
            tracing::error!(%error, "the peer port stopped");
        }
    }));

    // What a power cut may have left: an older snapshot that nobody could go on from.
    snapshots.forget_before(log.first_index()).map_err(|e| data(e.to_string()))?;
    let begin = bootstrap::decide(&found, &mut log_here, &*log_db, &peers, &options.starting).await?;

    let (applied_tx, applied) = watch::channel(Applied::of(&engine.meta()));
    let (catalog_tx, catalog) = watch::channel(engine.meta().catalog_revision);
    let machine = StateMachine {
        engine: engine.clone(),
        snapshots: snapshots.clone(),
        applied: Arc::new(applied_tx),
        catalog: Arc::new(catalog_tx),
        spawner: spawner.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        fence: fence.clone(),
    };
    options.starting.say(match begin {
        Begin::Relearn => "this node's data is gone: it learns from the other members what the cluster has",
        Begin::New | Begin::Resume => "the node replays its log and catches up with the cluster",
    });
    let config = Arc::new(raft_config(&options).validate().map_err(|e| StartError::Options(e.to_string()))?);
    let raft = run_consensus(&*spawner, Raft::new(options.node_id, config, network, log.clone(), machine)).await;
    let raft = raft.map_err(|e| StartError::Raft(e.to_string()))?;
    if begin == Begin::Relearn {
        // Until it knows what the others know, it neither votes nor stands.
        raft.runtime_config().elect(false);
    }
    peers.attach(raft.clone());
    fence_when_it_ends(&raft, fence.clone(), stop.clone());
    consensus.set(raft.clone());

    let leadership = leadership::follow(&raft);
    let patience = options.election_max;
    let node_id = options.node_id;
    let relearning = watch::Sender::new(begin == Begin::Relearn);
    let voter = Voter { log: log.clone(), relearning: relearning.subscribe() };
    let seconds = Seconds::new(node_id, raft.clone(), peers.clone());
    // Mostly others ask it, and they ask there.
    let leader_reads = {
        let (raft, alone) = (raft.clone(), Alone::new(node_id, raft.clone(), peers.clone(), log.clone()));
        run_consensus(&*spawner, async move { LeaderReads::start(raft, alone, seconds, patience) }).await
    };
    let reads =
        Reads::start(node_id, leader_reads.clone(), voter.clone(), leadership.clone(), peers.clone(), patience * 2);
    let proposer = Proposer::start(Parts {
        node_id,
        raft: raft.clone(),
        engine: engine.clone(),
        clock: clock.clone(),
        leadership: leadership.clone(),
        applied: applied.clone(),
        reads: leader_reads.clone(),
        fence: fence.clone(),
        metrics: metrics.clone(),
        entry_bytes_max: options.entry_bytes_max,
        entries_in_flight_min: options.entries_in_flight_min,
        entries_in_flight_max: options.entries_in_flight_max,
        intake_max: options.intake_max,
        intake_bytes_max: options.intake_bytes_max,
    });
    let window = Window::new(options.session_window_max, options.session_window_bytes_max);
    let submitter =
        Submitter::new(node_id, proposer.clone(), leadership.clone(), peers.clone(), window, metrics.clone());

    let node = Arc::new(Node {
        started: clock.monotonic(),
        started_ms: clock.now_ms(),
        options,
        raft,
        engine,
        log,
        clock,
        random,
        spawner,
        identity,
        gate,
        peers,
        leadership,
        applied,
        catalog,
        voter,
        leader_reads,
        reads,
        proposer,
        submitter,
        transfers,
        incoming,
        metrics,
        fence,
        stop,
        promoting: tokio::sync::Mutex::default(),
        heard: Mutex::default(),
        words: Mutex::default(),
        lag_clock: Mutex::default(),
        lag_samples: Mutex::default(),
        recovered: watch::Sender::new(false),
        relearning,
        named_cluster: watch::Sender::new(false),
        process,
    });
    handler.attach(node.clone());
    bootstrap::begin(&node, begin, log_db).await?;
    upkeep::start(&node);
    Ok(Handle::new(node))
}

/// Raft ends by itself only when it can no longer vouch for something, also where no store of ours has said so (a damaged
/// snapshot that it was sending). A process that lives on without it would be asked for ever.
fn fence_when_it_ends(raft: &Raft, fence: Fence, stop: CancellationToken) {
    let mut metrics = raft.server_metrics();
    tokio::spawn(async move {
        while metrics.changed().await.is_ok() {}
        if !stop.is_cancelled() {
            fence.fence("replication has stopped by itself; the log lines before this one say why");
        }
    });
}

/// The members of a new cluster. Every first member writes this as the first entry of its own log, so it must come out
/// the same on all of them: it holds only what all were told alike, and no node's own word about itself.
fn members(options: &Options) -> BTreeMap<u64, Peer> {
    let peer = |addr: &String| Peer { http_addr: String::new(), peer_addr: addr.clone() };
    let mut members: BTreeMap<u64, Peer> = options.peers.iter().map(|(id, addr)| (*id, peer(addr))).collect();
    members.entry(options.node_id).or_insert_with(|| peer(&options.peer_addr));
    members
}

fn raft_config(options: &Options) -> Config {
    let ms = |duration: Duration| duration.as_millis() as u64;
    Config {
        cluster_name: "aerodb".to_owned(),
        heartbeat_interval: ms(options.heartbeat),
        election_timeout_min: ms(options.election_min),
        election_timeout_max: ms(options.election_max),
        // Hazard 5: the default gives a snapshot 200 ms. The transfer has its own idle timeout.
        install_snapshot_timeout: 10 * 60 * 1_000,
        // Hazard 4: snapshots are made by our own upkeep, by bytes and entries.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: options.log_keep_entries,
        max_payload_entries: 64,
        // Hazard 5: off by default.
        enable_pre_vote: Some(true),
        // Hazard 1: a restarted leader must not believe that it still leads.
        enable_leader_restore: Some(false),
        // A member whose data was lost begins anew (see `bootstrap`): without this the leader, which remembers how far
        // its log had come, never sends it anything again.
        allow_log_reversion: Some(true),
        ..Config::default()
    }
}

impl Node {
    /// Time since this leader heard from `node`.
    pub(crate) fn heartbeat_age(&self, node: u64) -> Option<Duration> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let acked = (*metrics.heartbeat.as_ref()?.get(&node)?)?;
        Some(openraft_rt::Instant::elapsed(&*acked))
    }

    /// On the leader: the time since it heard from as many voters as, with itself, make a majority. `None` before the first
    /// entry of its own term is applied: until then it may lack what its predecessor had acknowledged, whoever answers it.
    pub(crate) fn quorum_age(&self) -> Option<Duration> {
        let (leadership, applied) = (*self.leadership.borrow(), *self.applied.borrow());
        let own = applied.term == leadership.term || aerodb_engine::planted!("young-age-of-a-new-leader");
        if leadership.leader != Some(self.options.node_id) || !own {
            return None;
        }
        let voters = self.peers.voters();
        let others = voters.iter().filter(|&&id| id != self.options.node_id);
        let mut ages: Vec<Duration> = others.filter_map(|&id| self.heartbeat_age(id)).collect();
        ages.sort();
        match voters.len() / 2 {
            0 => Some(Duration::ZERO),
            needed => ages.get(needed - 1).copied(),
        }
    }

    /// The entry up to which the leader knows the log of `node` to agree.
    pub(crate) fn matched(&self, node: u64) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matched = metrics.replication.as_ref()?.get(&node)?;
        matched.as_ref().map(|id| id.index())
    }

    /// Entries that `node` is known to lack; only on the leader.
    pub(crate) fn replication_lag(&self, node: u64) -> Option<u64> {
        Some(self.last_index().saturating_sub(self.matched(node)?))
    }

    /// The end of this node's log.
    pub(crate) fn last_index(&self) -> u64 {
        self.raft.metrics().borrow_watched().last_log_index.unwrap_or(0)
    }

    /// The last entry that this node knows to be committed.
    pub(crate) fn committed_index(&self) -> u64 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.cluster_committed.as_ref().or(metrics.local_committed.as_ref()).map_or(0, |id| id.index())
    }

    /// What `node` said last.
    pub(crate) fn heard(&self, node: u64) -> Option<Heard> {
        self.heard.lock().get(&node).cloned()
    }

    /// True when this node leads, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        self.leadership.borrow().leader == Some(self.options.node_id)
    }

    /// This node's own status.
    pub(crate) fn status(&self) -> aerodb_proto::StatusResponse {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched().clone();
        let meta = self.engine.meta();
        let committed =
            metrics.cluster_committed.as_ref().or(metrics.local_committed.as_ref()).map(convert::log_id_proto);
        let age_ms = |age: Duration| age.as_micros().div_ceil(1_000) as u64;
        aerodb_proto::StatusResponse {
            group: crate::network::GROUP,
            node_id: self.options.node_id,
            cluster_id: self.identity.cluster_id().to_string(),
            initialized: metrics.membership_config.nodes().next().is_some(),
            vote: Some(convert::vote_proto(&metrics.vote)),
            last_log_id: metrics.last_log_index.map(|index| aerodb_proto::LogId { term: 0, index }),
            // What is applied may be acknowledged already, and Raft's own figure comes a moment later.
            committed: [committed, meta.applied].into_iter().flatten().max_by_key(|id| id.index),
            applied: meta.applied,
            durable: Some(aerodb_proto::LogId { term: 0, index: self.metrics.durable_index.get() as u64 }),
            version: self.options.version.clone(),
            http_addr: self.options.http_addr.clone(),
            peer_addr: self.options.peer_addr.clone(),
            started_ms: self.started_ms,
            uptime_ms: (self.clock.monotonic() - self.started).as_millis() as u64,
            cpu_micros: self.process.cpu_micros(),
            memory_bytes: self.process.memory_bytes(),
            disk_free_bytes: self.process.disk_free_bytes(),
            disk_used_bytes: self.process.disk_used_bytes(),
            revision: meta.revision,
            zone: self.options.zone.clone(),
            recovering: *self.relearning.borrow(),
            feature_level: aerodb_proto::FEATURE_LEVEL,
            incarnation: 0,
            quorum_age_ms: self.quorum_age().map(age_ms),
        }
    }
}
