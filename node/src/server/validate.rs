//! What must hold for a configuration before a node starts with it.

use std::collections::BTreeSet;

use super::address;
use super::config::{Mode, ServerConfig};
use crate::exit::Advice;
use crate::{logs, secret};

/// Service keys shorter than this can be guessed: they are taken, with a warning.
const SERVICE_KEY_CHARS_MIN: usize = 16;
/// The highest node id. Ids are numbers in JSON, which carries integers exactly up to here.
const NODE_ID_MAX: u64 = (1 << 53) - 1;
/// The most that one command may be allowed to have. Nodes refuse each other's messages far above it (64 MiB), and an entry
/// that no follower takes would stop all writes for ever.
const COMMAND_BYTES_MAX: u64 = 32 << 20;
/// The most that one body may be allowed to have: so much is kept of all bodies together.
const BODY_BYTES_MAX: u64 = 256 << 20;
/// The shortest heartbeat that makes sense beside the time that a fsync takes.
const HEARTBEAT_MS_MIN: u64 = 5;
/// How many heartbeats in a row must be missed before an election may begin.
const SILENCE_HEARTBEATS_MIN: u64 = 3;

/// Refuses a configuration that cannot work or is not safe.
pub(crate) fn check(config: &ServerConfig) -> Result<(), Advice> {
    check_identity(config)?;
    check_exposure(config)?;
    check_addresses(config)?;
    check_peers(config)?;
    check_timing(config)?;
    check_limits(config)?;
    check_origins(config)?;
    check_service_key(config)?;
    logs::check_filter(&config.log)
}

/// What is allowed but should be known.
pub(crate) fn warnings(config: &ServerConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if !config.http_addr.ip().is_loopback() {
        warnings.push(format!(
            "http_addr {} can be reached from other machines, and without TLS: keys and documents travel readable. \
             Put a proxy that terminates TLS in front",
            config.http_addr
        ));
    }
    if config.service_key.as_ref().is_some_and(|key| key.expose().len() < SERVICE_KEY_CHARS_MIN) {
        warnings.push(format!(
            "the service key has fewer than {SERVICE_KEY_CHARS_MIN} characters and can be guessed: use a longer one \
             wherever it matters"
        ));
    }
    if config.mode == Mode::Server && config.peers.len() == 2 {
        warnings.push("a cluster of two nodes stops as soon as either is away; run one or three".to_owned());
    }
    warnings
}

fn check_identity(config: &ServerConfig) -> Result<(), Advice> {
    if config.node_id == 0 || config.node_id > NODE_ID_MAX {
        return Err(Advice::usage(format!("node_id is {}", config.node_id))
            .why(format!("node ids go from 1 to {NODE_ID_MAX}"))
            .remedy("number the nodes of the cluster 1, 2, 3"));
    }
    Ok(())
}

fn check_addresses(config: &ServerConfig) -> Result<(), Advice> {
    if config.http_addr == config.peer_addr {
        return Err(Advice::usage(format!("http_addr and peer_addr are both {}", config.http_addr))
            .why("clients and the other nodes speak different protocols, so each needs a port of its own")
            .remedy("change the port of one of them"));
    }
    for (key, addr) in [("advertise_http", &config.advertise_http), ("advertise_peer", &config.advertise_peer)] {
        address::split(addr).map_err(|why| Advice::usage(format!("{key} is not an address")).why(why))?;
        if address::is_unspecified(addr) {
            return Err(Advice::usage(format!("{key} is {addr}"))
                .why("that means every address of this machine; nobody can connect to it by that name")
                .remedy(format!("set {key} to the name or address that others reach this node by")));
        }
    }
    Ok(())
}

/// Nothing that is not encrypted leaves the machine between nodes.
fn check_exposure(config: &ServerConfig) -> Result<(), Advice> {
    const WHY: &str = "whoever reaches the peer port of a node is a member of the cluster; only mutual TLS can keep others out, \
                       and TLS between nodes comes in a later version";
    const REMEDY: &str =
        "use loopback addresses (127.0.0.1) and run the nodes on one machine; --insecure does not change that";
    if config.insecure && !config.http_addr.ip().is_loopback() {
        return Err(Advice::usage(format!(
            "insecure is set and http_addr {} is not a loopback address",
            config.http_addr
        ))
        .why("--insecure is for machines that keep everything to themselves")
        .remedy("listen on 127.0.0.1, or leave --insecure out and put a proxy that terminates TLS in front"));
    }
    if !config.peer_addr.ip().is_loopback() {
        let what = format!("peer_addr {} is not a loopback address, and there is no TLS", config.peer_addr);
        return Err(Advice::usage(what).why(WHY).remedy(REMEDY));
    }
    for (id, addr) in &config.peers {
        address::split(addr).map_err(|why| {
            Advice::usage(format!("the address of node {id} in peers is not right"))
                .why(why)
                .remedy("write 1=host:port")
        })?;
        if !address::is_loopback(addr) {
            let what = format!("node {id} in peers is at {addr}, not a loopback address, and there is no TLS");
            return Err(Advice::usage(what).why(WHY).remedy(REMEDY));
        }
    }
    Ok(())
}

fn check_peers(config: &ServerConfig) -> Result<(), Advice> {
    if config.peers.is_empty() {
        return Err(Advice::usage("this node does not know which nodes its cluster has")
            .why("a cluster starts from a list that all of its first nodes share")
            .remedy(format!(
                "give --peers 1=host:port,2=host:port,3=host:port with this node in it; for a single node \
                 --peers {}={}, or `aerodb dev`",
                config.node_id, config.advertise_peer
            )));
    }
    if config.peers.keys().any(|id| *id == 0 || *id > NODE_ID_MAX) {
        return Err(Advice::usage("peers has a node with an id that is not allowed").why("ids begin at 1"));
    }
    let Some(own) = config.peers.get(&config.node_id) else {
        return Err(Advice::usage(format!("peers does not list node {}, which is this node", config.node_id))
            .why("every node starts from the same list, with itself in it")
            .remedy("use the same --peers on all nodes, and check --node-id"));
    };
    if *own != config.advertise_peer {
        return Err(Advice::usage(format!(
            "peers has this node at {own}, but the others are told to find it at {}",
            config.advertise_peer
        ))
        .why("both must be the same, else the nodes look for each other in two places")
        .remedy("change peers, or set advertise_peer (it follows peer_addr unless given)"));
    }
    let distinct: BTreeSet<&String> = config.peers.values().collect();
    if distinct.len() != config.peers.len() {
        return Err(Advice::usage("two nodes in peers have the same address").remedy("give each node its own"));
    }
    Ok(())
}

fn check_timing(config: &ServerConfig) -> Result<(), Advice> {
    if config.heartbeat_ms < HEARTBEAT_MS_MIN {
        return Err(Advice::usage(format!("heartbeat_ms is {}", config.heartbeat_ms))
            .why("a leader that has to be heard from so often does little else")
            .remedy(format!("use {HEARTBEAT_MS_MIN} or more; 200 is the default")));
    }
    let silence_min_ms = config.election_max_ms.saturating_add(config.election_min_ms);
    if config.election_min_ms <= config.heartbeat_ms
        || silence_min_ms < config.heartbeat_ms.saturating_mul(SILENCE_HEARTBEATS_MIN)
    {
        return Err(Advice::usage(format!(
            "election_min_ms is {}, election_max_ms {} and heartbeat_ms {}",
            config.election_min_ms, config.election_max_ms, config.heartbeat_ms
        ))
        .why("a few late heartbeats would already start an election: it begins after a silence of both together")
        .remedy(format!(
            "let election_min_ms be more than heartbeat_ms, and with election_max_ms at least {SILENCE_HEARTBEATS_MIN} times it"
        )));
    }
    if config.election_max_ms <= config.election_min_ms {
        return Err(Advice::usage(format!(
            "election_max_ms is {} and election_min_ms is {}",
            config.election_max_ms, config.election_min_ms
        ))
        .why("each node waits a random time between the two, so that they do not all stand at once")
        .remedy("let election_max_ms be greater; twice election_min_ms is the default"));
    }
    Ok(())
}

/// Bounds that would let through what another part cannot carry.
fn check_limits(config: &ServerConfig) -> Result<(), Advice> {
    let limits = &config.limits;
    let beyond = |name: &str, value: u64, max: u64, why: &str| match value > max {
        true => Err(Advice::usage(format!("the limit '{name}' is {value}; it can be at most {max}")).why(why)),
        false => Ok(()),
    };
    let carried = "a command travels between nodes in one piece";
    beyond("command_bytes_max", limits.command_bytes_max, COMMAND_BYTES_MAX, carried)?;
    let within = "a document travels in one command: raise command_bytes_max with it";
    beyond("document_bytes_max", limits.document_bytes_max, limits.command_bytes_max, within)?;
    beyond("body_bytes_max", limits.body_bytes_max, BODY_BYTES_MAX, "a node keeps no more of all bodies together")
}

/// A browser sends an origin as scheme, host and port; anything else would never match and look as if it did.
fn check_origins(config: &ServerConfig) -> Result<(), Advice> {
    let sound = |origin: &str| {
        let parsed = reqwest::Url::parse(origin);
        origin == "*" || parsed.is_ok_and(|url| url.origin().ascii_serialization() == origin)
    };
    match config.cors_origins.iter().find(|origin| !sound(origin)) {
        None => Ok(()),
        Some(origin) => Err(Advice::usage(format!("'{origin}' in cors_origins is not an origin"))
            .why("browsers name an origin by scheme, host and port, in lower case and without a path")
            .remedy("write it like https://app.example or http://localhost:3000, or * for all")),
    }
}

fn check_service_key(config: &ServerConfig) -> Result<(), Advice> {
    let Some(key) = &config.service_key else { return Ok(()) };
    if key.expose().is_empty() || !secret::is_header_safe(key.expose()) {
        return Err(Advice::usage("the service key cannot be sent")
            .why("a key has printable ASCII characters and no spaces")
            .remedy("leave it out at the first start and one is generated and shown"));
    }
    Ok(())
}
