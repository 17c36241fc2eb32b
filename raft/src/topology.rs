//! What the cluster looks like from this node: for `/cluster`, the dashboard and promotions.

use std::collections::BTreeMap;

use aerodb_proto as proto;

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// The cluster's id; empty before its first leader named it.
    pub cluster_id: String,
    /// The Raft term.
    pub term: u64,
    /// Who leads, when it is known.
    pub leader: Option<u64>,
    /// The revision that this node has applied.
    pub revision: u64,
    /// Whether a majority can be reached.
    pub quorum: Quorum,
    /// All members, by id.
    pub nodes: Vec<NodeStatus>,
}

/// The health of the majority.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quorum {
    /// Voters.
    pub size: usize,
    /// Voters that answer.
    pub healthy: usize,
    /// True while a majority answers.
    pub ok: bool,
}

/// A member.
#[derive(Clone, Debug, Default)]
pub struct NodeStatus {
    /// Its id.
    pub id: u64,
    /// `leader`, `follower` or `learner`.
    pub role: &'static str,
    /// `healthy`, `lagging`, `recovering`, `unreachable`.
    pub state: &'static str,
    /// Where clients reach it.
    pub http_addr: String,
    /// Where the other nodes reach it.
    pub peer_addr: String,
    /// Its program's version; empty while it is not reachable.
    pub version: String,
    /// Its zone.
    pub zone: String,
    /// Since its process started, milliseconds.
    pub uptime_ms: u64,
    /// CPU time that its process has used, microseconds.
    pub cpu_micros: u64,
    /// Resident memory of its process.
    pub memory_bytes: u64,
    /// Room left on its disk.
    pub disk_free_bytes: u64,
    /// What its data takes.
    pub disk_used_bytes: u64,
    /// When this node heard from it last, milliseconds ago.
    pub last_contact_ms: Option<u64>,
    /// The end of its log.
    pub last_index: u64,
    /// Up to where the leader knows its log to agree; only on the leader.
    pub matched_index: Option<u64>,
    /// What it has applied.
    pub applied_index: u64,
    /// What it has applied durably.
    pub durable_index: u64,
    /// The revision that it has applied.
    pub revision: u64,
    /// How far it is behind the leader.
    pub lag: Lag,
    /// A snapshot on its way to it: bytes sent and bytes in all; only on the leader.
    pub snapshot_transfer: Option<(u64, u64)>,
}

/// A distance behind the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lag {
    /// Log entries.
    pub entries: u64,
    /// Bytes of them, as far as this node can tell.
    pub bytes: u64,
    /// For how long it has been behind.
    pub seconds: f64,
}

/// The lag of all members at one moment.
#[derive(Clone, Debug)]
pub struct LagSample {
    /// Milliseconds since the epoch.
    pub time_ms: u64,
    /// By member.
    pub nodes: BTreeMap<u64, Lag>,
}

/// A member's own word, and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) status: proto::StatusResponse,
    /// On this node's monotonic clock.
    pub(crate) at: std::time::Duration,
}
