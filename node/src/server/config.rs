//! What a node runs with: flag over environment over file over default.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::Layer;
use super::limits::Limits;
use super::{address, validate};
use crate::exit::Advice;
use crate::logs::LogFormat;
use crate::secret::Secret;

/// What kind of node this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// A node of a cluster.
    Server,
    /// A node on its own, on somebody's desk.
    Dev,
}

/// The whole configuration of a node. It has been checked: whoever holds one may rely on it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServerConfig {
    /// A node of a cluster, or one on its own.
    #[serde(skip)]
    pub(crate) mode: Mode,
    /// The number of this node in its cluster.
    pub(crate) node_id: u64,
    /// Where this node keeps its data.
    pub(crate) data_dir: PathBuf,
    /// Where it listens for clients.
    pub(crate) http_addr: SocketAddr,
    /// Where it listens for the other nodes.
    pub(crate) peer_addr: SocketAddr,
    /// Where clients find it.
    pub(crate) advertise_http: String,
    /// Where the other nodes find it. The same as its entry in `peers`.
    pub(crate) advertise_peer: String,
    /// Whether it was said that running without TLS is meant.
    pub(crate) insecure: bool,
    /// The failure domain that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
    /// The origins whose pages may use it from a browser.
    pub(crate) cors_origins: Vec<String>,
    /// The service key for the first start of the cluster. Without one the cluster generates its own.
    #[serde(skip)]
    pub(crate) service_key: Option<Secret>,
    /// Which log lines are written.
    pub(crate) log: String,
    /// The form of log lines.
    pub(crate) log_format: LogFormat,
    /// How often the leader is heard from.
    pub(crate) heartbeat_ms: u64,
    /// The shortest silence after which a node stands for election.
    pub(crate) election_min_ms: u64,
    /// The longest silence after which a node stands for election.
    pub(crate) election_max_ms: u64,
    /// The nodes that the cluster starts with, this one too: peer addresses by id.
    pub(crate) peers: BTreeMap<u64, String>,
    /// Bounds on what this node takes.
    pub(crate) limits: Limits,
}

/// Puts the layers on top of each other, fills in defaults, and checks what results.
///
/// `top` holds flags and what the command line reader took from the environment for them; `env` is asked for what has
/// no flag.
pub(crate) fn resolve(
    top: Layer,
    file: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<ServerConfig, Advice> {
    let mut top = top;
    for pair in std::mem::take(&mut top.limit) {
        let (name, value) = Limits::parse_pair(&pair)?;
        top.limits.insert(name, value);
    }
    top.service_key = env("AERODB_SERVICE_KEY").map(|key| Secret::new(&key)).filter(|key| !key.expose().is_empty());
    let layer = match file {
        Some(path) => top.over(read_file(path)?),
        None => top,
    };
    let config = fill(layer)?;
    validate::check(&config)?;
    Ok(config)
}

fn read_file(path: &Path) -> Result<Layer, Advice> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Advice::usage(format!("cannot read the configuration file {}", path.display()))
            .why(error.to_string())
            .remedy("give the path of a TOML file with --config, or leave it out")
    })?;
    parse_file(&text, path)
}

fn parse_file(text: &str, path: &Path) -> Result<Layer, Advice> {
    toml::from_str(text).map_err(|error| {
        Advice::usage(format!("the configuration file {} is not right", path.display()))
            .why(error.to_string().trim_end().replace('\n', "\n       "))
            .remedy("`aerodb server --print-config` shows every key; keys are the flags with `_` for `-`")
    })
}

fn fill(layer: Layer) -> Result<ServerConfig, Advice> {
    let node_id = layer.node_id.ok_or_else(|| {
        Advice::usage("this node has no id")
            .why("each node of a cluster needs a number of its own that it keeps")
            .remedy("give --node-id 1 (AERODB_NODE_ID, node_id in the file); for a single node try `aerodb dev`")
    })?;
    let http_addr = bind("http_addr", layer.http_addr.as_deref().unwrap_or("127.0.0.1:7400"))?;
    let peer_addr = bind("peer_addr", layer.peer_addr.as_deref().unwrap_or("127.0.0.1:7500"))?;
    let service_key = match (layer.service_key, layer.service_key_file) {
        (Some(key), _) => Some(key),
        (None, Some(path)) => Some(Secret::from_file(&path)?),
        (None, None) => None,
    };
    Ok(ServerConfig {
        mode: Mode::Server,
        node_id,
        data_dir: layer.data_dir.unwrap_or_else(|| "./aerodb-data".into()),
        http_addr,
        peer_addr,
        advertise_http: layer.advertise_http.unwrap_or_else(|| http_addr.to_string()),
        advertise_peer: layer.advertise_peer.unwrap_or_else(|| peer_addr.to_string()),
        insecure: layer.insecure.unwrap_or(false),
        zone: layer.zone.filter(|zone| !zone.is_empty()),
        cors_origins: layer.cors_origins.unwrap_or_default().into_iter().filter(|origin| !origin.is_empty()).collect(),
        service_key,
        log: layer.log.unwrap_or_else(|| "info,openraft=warn".into()),
        log_format: layer.log_format.unwrap_or_default(),
        heartbeat_ms: layer.heartbeat_ms.unwrap_or(200),
        election_min_ms: layer.election_min_ms.unwrap_or(250),
        election_max_ms: layer.election_max_ms.unwrap_or(400),
        peers: layer.peers.unwrap_or_default().0,
        limits: Limits::with(&layer.limits)?,
    })
}

fn bind(key: &str, addr: &str) -> Result<SocketAddr, Advice> {
    address::to_bind(addr).map_err(|why| {
        Advice::usage(format!("{key} is not an address")).why(why).remedy("write it like 127.0.0.1:7400")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(list: &[&str]) -> Layer {
        use clap::{Args, FromArgMatches};
        let command = Layer::augment_args(clap::Command::new("server").no_binary_name(true).args_override_self(true));
        Layer::from_arg_matches(&command.get_matches_from(list)).unwrap()
    }

    const ONE: [&str; 2] = ["--node-id=1", "--peers=1=127.0.0.1:7500"];

    fn check(flag_list: &[&str], toml: &str, key: Option<&str>) -> Result<ServerConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("aerodb.toml");
        std::fs::write(&path, toml).unwrap();
        resolve(flags(flag_list), Some(&path), &|name| {
            (name == "AERODB_SERVICE_KEY").then(|| key.map(str::to_owned))?
        })
        .map_err(|advice| advice.to_string())
    }

    fn refused(flag_list: &[&str], toml: &str, says: &[&str]) {
        let error = check(&[&ONE[..], flag_list].concat(), toml, None).unwrap_err();
        for word in says {
            assert!(error.contains(word), "'{word}' is missing in: {error}");
        }
    }

    #[test]
    fn defaults() {
        let config = check(&ONE, "", None).unwrap();
        assert_eq!(config.http_addr.to_string(), "127.0.0.1:7400");
        assert_eq!(config.advertise_peer, "127.0.0.1:7500");
        assert_eq!((config.heartbeat_ms, config.election_min_ms, config.election_max_ms), (200, 250, 400));
        assert_eq!(config.limits.body_bytes_max, 8 << 20);
    }

    #[test]
    fn a_flag_is_over_the_file_and_the_file_over_the_default() {
        let toml =
            "http_addr = '127.0.0.1:9001'\nzone = 'a'\nlog = 'debug'\n[limits]\nbody_bytes_max = 1\ndrain_ms_max = 2";
        let config = check(&[&ONE[..], &["--zone=b", "--limit=drain_ms_max=3"]].concat(), toml, None).unwrap();
        assert_eq!(config.http_addr.port(), 9001);
        assert_eq!(config.advertise_http, "127.0.0.1:9001", "what is advertised follows what is bound");
        assert_eq!(config.zone.as_deref(), Some("b"));
        assert_eq!(config.log, "debug");
        assert_eq!((config.limits.body_bytes_max, config.limits.drain_ms_max), (1, 3));
    }

    #[test]
    fn origins_are_a_list_and_the_higher_layer_has_the_word() {
        let toml = "cors_origins = ['https://a.example']";
        assert_eq!(check(&ONE, "", None).unwrap().cors_origins, Vec::<String>::new());
        assert_eq!(check(&ONE, toml, None).unwrap().cors_origins, ["https://a.example"]);
        let flags = [&ONE[..], &["--cors-origins=http://localhost:3000,*"]].concat();
        assert_eq!(check(&flags, toml, None).unwrap().cors_origins, ["http://localhost:3000", "*"]);
        let none = [&ONE[..], &["--cors-origins="]].concat();
        assert!(check(&none, toml, None).unwrap().cors_origins.is_empty());
    }

    #[test]
    fn peers_in_the_file_are_a_table_or_a_text() {
        for toml in
            ["peers = '1=127.0.0.1:7501,2=127.0.0.1:7502'", "[peers]\n1 = '127.0.0.1:7501'\n2 = '127.0.0.1:7502'"]
        {
            let config = check(&["--node-id=2", "--peer-addr=127.0.0.1:7502"], toml, None).unwrap();
            assert_eq!(config.peers[&1], "127.0.0.1:7501");
            assert_eq!(config.peers.len(), 2);
        }
    }

    #[test]
    fn the_service_key_comes_from_environment_or_file() {
        let toml = "service_key = 'from-the-config-file-0123'";
        assert_eq!(check(&ONE, toml, None).unwrap().service_key.unwrap().expose(), "from-the-config-file-0123");
        let config = check(&ONE, toml, Some("from-the-environment-0123")).unwrap();
        assert_eq!(config.service_key.unwrap().expose(), "from-the-environment-0123");
        assert!(check(&ONE, "", Some(" ")).unwrap().service_key.is_none(), "an empty one is none");
        refused(&[], "service_key = 'with space'", &["service key", "no spaces"]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "from-a-file-0123456789\n").unwrap();
        let flag = format!("--service-key-file={}", file.display());
        let config = check(&[&ONE[..], &[&flag]].concat(), toml, None).unwrap();
        assert_eq!(config.service_key.unwrap().expose(), "from-a-file-0123456789", "a flag hides the file's key");
    }

    #[test]
    fn unknown_keys_are_named() {
        refused(&[], "htp_addr = 'x'", &["htp_addr", "http_addr"]);
        refused(&[], "[limits]\nbody = 1", &["'body'", "body_bytes_max"]);
        refused(&[], "heartbeat_ms = 'soon'", &["heartbeat_ms", "string"]);
    }

    #[test]
    fn a_wrong_configuration_says_why_and_what_to_do() {
        refused(&["--peer-addr=0.0.0.0:7500"], "", &["peer_addr", "TLS", "do:"]);
        refused(&["--peers=1=127.0.0.1:7500,2=10.0.0.2:7500"], "", &["node 2", "TLS"]);
        refused(&["--peers=2=127.0.0.1:7502"], "", &["node 1", "peers"]);
        refused(&["--peers=1=127.0.0.1:7501"], "", &["127.0.0.1:7501", "127.0.0.1:7500"]);
        refused(&["--peers=1=127.0.0.1:7500,2=127.0.0.1:7500"], "", &["same address"]);
        refused(&["--http-addr=127.0.0.1:7500"], "", &["http_addr", "peer_addr"]);
        refused(&["--http-addr=0.0.0.0:7400"], "", &["advertise_http"]);
        refused(&["--limit=command_bytes_max=67108864"], "", &["command_bytes_max", "33554432"]);
        refused(&["--limit=document_bytes_max=16777216"], "", &["document_bytes_max", "raise command_bytes_max"]);
        refused(&["--limit=body_bytes_max=1073741824"], "", &["body_bytes_max"]);
        refused(&["--cors-origins=app.example"], "", &["cors_origins", "https://"]);
        refused(&["--cors-origins=https://app.example/"], "", &["cors_origins", "https://app.example/"]);
        refused(&["--http-addr=nowhere"], "", &["http_addr", "host:port"]);
        refused(&["--election-min-ms=60"], "", &["election_min_ms", "heartbeat_ms"]);
        refused(&["--election-max-ms=200"], "", &["election_max_ms"]);
        refused(
            &["--insecure", "--http-addr=0.0.0.0:7400", "--advertise-http=db:7400"],
            "",
            &["insecure", "http_addr"],
        );
        let none = check(&["--node-id=1"], "", None).unwrap_err();
        assert!(none.contains("--peers"), "{none}");
        let no_id = check(&[], "", None).unwrap_err();
        assert!(no_id.contains("--node-id"), "{no_id}");
    }
}
