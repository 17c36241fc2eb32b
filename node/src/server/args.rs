//! One layer of a node's configuration: flags and environment, or the TOML file. Both have the same keys.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::peers::Peers;
use crate::logs::LogFormat;
use crate::secret::Secret;

/// What one source says about a node. Whatever it does not mention is left to the next source.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Layer {
    /// The number of this node in its cluster, from 1
    #[arg(long, env = "AERODB_NODE_ID", value_name = "N")]
    pub(crate) node_id: Option<u64>,
    /// Where this node keeps its data [default: ./aerodb-data]
    #[arg(long, env = "AERODB_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The address for clients [default: 127.0.0.1:7400]
    #[arg(long, env = "AERODB_HTTP_ADDR", value_name = "HOST:PORT")]
    pub(crate) http_addr: Option<String>,
    /// The address for the other nodes [default: 127.0.0.1:7500]
    #[arg(long, env = "AERODB_PEER_ADDR", value_name = "HOST:PORT")]
    pub(crate) peer_addr: Option<String>,
    /// Where clients find this node, if not at --http-addr
    #[arg(long, env = "AERODB_ADVERTISE_HTTP", value_name = "HOST:PORT")]
    pub(crate) advertise_http: Option<String>,
    /// Where the other nodes find this one, if not at --peer-addr
    #[arg(long, env = "AERODB_ADVERTISE_PEER", value_name = "HOST:PORT")]
    pub(crate) advertise_peer: Option<String>,
    /// The nodes that the cluster starts with, this one too: 1=host:port,2=host:port,3=host:port
    #[arg(long, env = "AERODB_PEERS", value_name = "LIST")]
    pub(crate) peers: Option<Peers>,
    /// Run without TLS; loopback addresses only
    #[arg(long, env = "AERODB_INSECURE", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) insecure: Option<bool>,
    /// The failure domain that this node is in (a rack, a data centre); shown in /cluster
    #[arg(long, env = "AERODB_ZONE", value_name = "NAME")]
    pub(crate) zone: Option<String>,
    /// Origins whose pages may use this node from a browser: https://app.example,https://admin.example, or * for all
    /// [default: none]
    #[arg(long, env = "AERODB_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) cors_origins: Option<Vec<String>>,
    /// A file with the service key for the first start (or AERODB_SERVICE_KEY in the environment)
    #[arg(long, env = "AERODB_SERVICE_KEY_FILE", value_name = "FILE")]
    pub(crate) service_key_file: Option<PathBuf>,
    /// How often the leader is heard from [default: 200]
    #[arg(long, env = "AERODB_HEARTBEAT_MS", value_name = "MS")]
    pub(crate) heartbeat_ms: Option<u64>,
    /// The shortest wait, after a silence of election-max-ms, before a node stands for election [default: 250]
    #[arg(long, env = "AERODB_ELECTION_MIN_MS", value_name = "MS")]
    pub(crate) election_min_ms: Option<u64>,
    /// The longest such wait, and the silence before it [default: 400]
    #[arg(long, env = "AERODB_ELECTION_MAX_MS", value_name = "MS")]
    pub(crate) election_max_ms: Option<u64>,
    /// A bound to change, by name: body_bytes_max=16777216 (repeatable; [limits] in the file)
    #[arg(long = "limit", env = "AERODB_LIMITS", value_name = "NAME=VALUE", value_delimiter = ',')]
    #[serde(skip)]
    pub(crate) limit: Vec<String>,

    /// Bounds by name, from the file.
    #[arg(skip)]
    pub(crate) limits: BTreeMap<String, u64>,
    /// The service key itself: from the file or the environment, never from a flag, which others could read.
    #[arg(skip)]
    pub(crate) service_key: Option<Secret>,
    /// Which log lines are written.
    #[arg(skip)]
    pub(crate) log: Option<String>,
    /// The form of log lines.
    #[arg(skip)]
    pub(crate) log_format: Option<LogFormat>,
}

impl Layer {
    /// This layer, with whatever it leaves open taken from a lower one.
    pub(crate) fn over(self, lower: Self) -> Self {
        let mut limits = lower.limits;
        limits.extend(self.limits);
        // A key and a file with a key are one setting in two forms: a layer that has either hides both of the lower.
        let has_key = self.service_key.is_some() || self.service_key_file.is_some();
        let (lower_key, lower_key_file) =
            if has_key { (None, None) } else { (lower.service_key, lower.service_key_file) };
        Self {
            node_id: self.node_id.or(lower.node_id),
            data_dir: self.data_dir.or(lower.data_dir),
            http_addr: self.http_addr.or(lower.http_addr),
            peer_addr: self.peer_addr.or(lower.peer_addr),
            advertise_http: self.advertise_http.or(lower.advertise_http),
            advertise_peer: self.advertise_peer.or(lower.advertise_peer),
            peers: self.peers.or(lower.peers),
            insecure: self.insecure.or(lower.insecure),
            zone: self.zone.or(lower.zone),
            cors_origins: self.cors_origins.or(lower.cors_origins),
            service_key_file: self.service_key_file.or(lower_key_file),
            heartbeat_ms: self.heartbeat_ms.or(lower.heartbeat_ms),
            election_min_ms: self.election_min_ms.or(lower.election_min_ms),
            election_max_ms: self.election_max_ms.or(lower.election_max_ms),
            limit: Vec::new(),
            limits,
            service_key: self.service_key.or(lower_key),
            log: self.log.or(lower.log),
            log_format: self.log_format.or(lower.log_format),
        }
    }
}
