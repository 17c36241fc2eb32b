//! How a node takes part in replication.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::log::LogOptions;
use crate::starting::Starting;

/// What a node needs to know to take part. Times are those of openraft unless they say otherwise.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node's id, 1 or more; never used again for another node.
    pub node_id: u64,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where clients reach this node: host:port.
    pub http_addr: String,
    /// Where the other nodes reach this node: host:port.
    pub peer_addr: String,
    /// Where this node listens for the other nodes: host:port.
    pub listen_peer: String,
    /// The zone or rack of this node, for the topology.
    pub zone: String,
    /// This program's version, for the topology.
    pub version: String,
    /// The members of a new cluster, by id: where the others reach them. This node is one of them.
    pub peers: BTreeMap<u64, String>,
    /// The secret of the first service key, for a new cluster.
    pub service_key: String,
    /// How often a leader says that it is alive.
    pub heartbeat: Duration,
    /// The shortest silence after which a follower stands for election.
    pub election_min: Duration,
    /// The longest, and the leader's lease.
    pub election_max: Duration,
    /// Bytes of the log since the last snapshot after which a new one is made.
    pub snapshot_log_bytes: u64,
    /// Entries of the log since the last snapshot after which a new one is made.
    pub snapshot_log_entries: u64,
    /// Entries kept behind a snapshot, so that a node that was away for a moment needs none.
    pub log_keep_entries: u64,
    /// Bytes of such entries at most; fewer are kept then.
    pub log_keep_bytes: u64,
    /// The bounds of the log store.
    pub log: LogOptions,
    /// Bytes of one log entry at most.
    pub entry_bytes_max: usize,
    /// Entries that the leader may always have handed to the log and not yet seen applied (see `propose/depth.rs`).
    pub entries_in_flight_min: usize,
    /// The same at most.
    pub entries_in_flight_max: usize,
    /// Commands that wait for the leader's decision, at most.
    pub intake_max: usize,
    /// Bytes of such commands, at most.
    pub intake_bytes_max: usize,
    /// Commands of one node without an answer, at most; fewer while the leader has too much to do.
    pub session_window_max: usize,
    /// Bytes of such commands, at most.
    pub session_window_bytes_max: usize,
    /// How far a replica may be behind, in entries, to be made the leader.
    pub promotion_lag_max: u64,
    /// How long a promotion waits for a replica that is a little behind.
    pub promotion_catch_up: Duration,
    /// Documents of one step of an index's build, at most: decided one after the other.
    pub build_step_documents_max: usize,
    /// Where the node says what it is at until it takes part.
    pub starting: Starting,
}

impl Options {
    /// Options with the usual times and bounds.
    pub fn new(node_id: u64, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            node_id,
            data_dir: data_dir.into(),
            http_addr: String::new(),
            peer_addr: String::new(),
            listen_peer: String::new(),
            zone: String::new(),
            version: String::new(),
            peers: BTreeMap::new(),
            service_key: String::new(),
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(400),
            snapshot_log_bytes: 256 << 20,
            snapshot_log_entries: 200_000,
            log_keep_entries: 20_000,
            log_keep_bytes: 256 << 20,
            log: LogOptions::default(),
            entry_bytes_max: 16 << 20,
            entries_in_flight_min: 1,
            entries_in_flight_max: 4,
            intake_max: 16_384,
            intake_bytes_max: 128 << 20,
            session_window_max: 4_096,
            session_window_bytes_max: 64 << 20,
            promotion_lag_max: 100,
            promotion_catch_up: Duration::from_secs(5),
            build_step_documents_max: 1_000,
            starting: Starting::default(),
        }
    }
}
