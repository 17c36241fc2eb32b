//! One node, from its configuration to its end.

use std::sync::Arc;
use std::time::Duration;

use aerodb_api::{ApiOptions, ApiState, Door, Front};
use aerodb_engine::Limits as EngineLimits;
use aerodb_engine::kv::rocks::RocksEnv;
use aerodb_raft::{Fence, Handle, Options, Services, StartError, SystemClock, SystemMachine, TcpConnector, Threads};
use anyhow::Context;
use prometheus::Registry;
use rand::Rng;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Mode, ServerConfig};
use crate::exit::Advice;
use crate::output::{Format, Output};

/// Bytes of randomness in a generated service key.
const KEY_BYTES: usize = 24;

/// The node's storage failed it.
#[derive(Debug, thiserror::Error)]
#[error("this node can no longer vouch for its data: {0}")]
pub(super) struct Fenced(Arc<str>);

/// Runs a node until it is told to stop.
pub(crate) async fn run(config: ServerConfig) -> anyhow::Result<()> {
    let lacking = crate::os::lacking_instructions();
    if !lacking.is_empty() {
        return Err(Advice::failed("this processor lacks instructions that AeroDB is compiled for")
            .why(lacking.join(", "))
            .remedy("in a virtual machine, give it a CPU model that has them, such as `host`")
            .into());
    }
    crate::os::use_small_pages();
    crate::os::keep_freed_memory();
    crate::os::raise_open_files();
    // Ports first: a node that cannot be reached must not touch data.
    let listener = TcpListener::bind(config.http_addr).await.map_err(|error| {
        Advice::failed(format!("cannot listen for clients on {}", config.http_addr))
            .why(error.to_string())
            .remedy("stop what uses the port, or choose another with --http-addr")
    })?;
    let (key, generated) = match &config.service_key {
        Some(key) => (key.expose().to_owned(), false),
        None => (generate_key(), true),
    };
    let (registry, fence, stop) = (Registry::new(), Fence::default(), CancellationToken::new());
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process)).context("registering the figures of this process")?;
    let front = Front::new(config.node_id, registry.clone(), api_options(&config), stop.clone());
    let front = front.context("registering the figures of the API")?;
    let limits = engine_limits(&config);
    let services = Services {
        env: Arc::new(RocksEnv::new(config.limits.cache_bytes_max as usize / 2)),
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(|bytes| rand::rng().fill_bytes(bytes)),
        connector: Arc::new(TcpConnector),
        spawner: Arc::new(Threads::default()),
        machine: Arc::new(SystemMachine),
        registry,
        limits: limits.clone(),
        fence: fence.clone(),
    };
    let options = replication(&config, &key);
    // A node may wait long for the others: from the first moment on it says why.
    let door = Door::new(aerodb_api::starting(front.clone(), options.starting.clone()));
    let drain = Duration::from_millis(config.limits.drain_ms_max);
    let serving = tokio::spawn(aerodb_api::serve(listener, door.clone(), stop.clone(), drain));
    let starting = aerodb_raft::start(options, services);
    let handle = tokio::select! {
        started = starting => started.map_err(not_started)?,
        () = told_to_stop() => return Ok(()),
        reason = fence.fenced() => return Err(Fenced(reason).into()),
    };
    door.open(aerodb_api::service(ApiState::new(front, handle.clone(), limits)));
    tokio::spawn(announce(config.clone(), handle.clone(), generated.then_some(key)));

    let outcome = tokio::select! {
        () = told_to_stop() => Ok(()),
        reason = fence.fenced() => Err(Fenced(reason).into()),
    };
    tracing::info!("stopping: requests under way are finished first");
    stop.cancel();
    if outcome.is_ok() {
        // The drain comes first: requests under way still need replication.
        serving.await.context("serving clients")??;
        handle.shutdown().await;
    }
    tracing::info!("stopped");
    outcome
}

fn engine_limits(config: &ServerConfig) -> EngineLimits {
    EngineLimits {
        document_bytes_max: config.limits.document_bytes_max as usize,
        command_bytes_max: config.limits.command_bytes_max as usize,
        idempotency_bytes_max: config.limits.idempotency_bytes_max,
        history_seconds_default: config.limits.history_seconds,
        document_cache_bytes_max: config.limits.cache_bytes_max as usize / 2,
        ..EngineLimits::default()
    }
}

fn replication(config: &ServerConfig, key: &str) -> Options {
    Options {
        http_addr: config.advertise_http.clone(),
        peer_addr: config.advertise_peer.clone(),
        listen_peer: config.peer_addr.to_string(),
        zone: config.zone.clone().unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        peers: config.peers.clone(),
        service_key: key.to_owned(),
        heartbeat: Duration::from_millis(config.heartbeat_ms),
        election_min: Duration::from_millis(config.election_min_ms),
        election_max: Duration::from_millis(config.election_max_ms),
        snapshot_log_bytes: config.limits.snapshot_log_bytes,
        snapshot_log_entries: config.limits.snapshot_log_entries,
        log_keep_entries: config.limits.log_keep_entries,
        log_keep_bytes: config.limits.log_keep_bytes,
        ..Options::new(config.node_id, &config.data_dir)
    }
}

fn api_options(config: &ServerConfig) -> ApiOptions {
    let defaults = ApiOptions::default();
    ApiOptions {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        request_timeout: Duration::from_millis(config.limits.request_ms_max),
        requests_in_flight_max: config.limits.requests_in_flight_max as usize,
        body_bytes_max: config.limits.body_bytes_max as usize,
        cors_origins: config.cors_origins.clone(),
        ..defaults
    }
}

fn not_started(error: StartError) -> anyhow::Error {
    let advice = Advice::failed("the node did not start").why(error.to_string());
    match error {
        StartError::Data { .. } => advice.remedy(
            "see whether another node runs on this folder; if the data is damaged, move the folder away: the node fetches \
             everything from the others",
        ),
        StartError::Listen { .. } => advice.remedy("stop what uses the port, or choose another with --peer-addr"),
        StartError::Options(_) | StartError::Raft(_) => advice,
    }
    .into()
}

/// Says, once it serves, where this node is and what to try next.
async fn announce(config: ServerConfig, handle: Handle, generated: Option<String>) {
    let named_here = handle.wait_named().await;
    handle.wait_recovered().await;
    let url = format!("http://{}", config.advertise_http);
    tracing::info!(
        node = config.node_id, url, data = %config.data_dir.display(), version = env!("CARGO_PKG_VERSION"),
        "this node serves"
    );
    let shown = generated.filter(|_| named_here);
    let output = Output::new(Format::Table);
    if config.mode == Mode::Dev {
        output.note(dev_banner(&url, &config, shown.as_deref()));
    } else if let Some(key) = shown {
        output.note(format!("\nThe service key of this cluster, shown this once:\n\n  {key}\n"));
    }
}

fn dev_banner(url: &str, config: &ServerConfig, key: Option<&str>) -> String {
    let (key_line, token) = match key {
        Some(key) => (format!("\n  service key   {key}   (shown this once; keep it)"), key),
        // Whoever starts a node again has the key already; here it is known under the name that the node takes it from.
        None => (String::new(), "$AERODB_SERVICE_KEY"),
    };
    format!(
        "\nAeroDB is ready.\n\n  API           {url}\n  data          {}{key_line}\n\nTry:\n  \
         export AERODB_URL={url} AERODB_TOKEN={token}\n  \
         aerodb collection create notes\n  \
         curl -s -H \"Authorization: Bearer $AERODB_TOKEN\" -H 'Content-Type: application/json' \\\n       -d '{{\"text\":\"hello\"}}' {url}/api/notes\n\n\
         Ctrl-C stops it; the data stays.\n",
        config.data_dir.display()
    )
}

fn generate_key() -> String {
    let mut bytes = [0_u8; KEY_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("aero_sk_{text}")
}

/// Returns once the process is told to stop. A second time ends it at once.
pub(super) async fn told_to_stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("signals cannot be listened for: stop this node with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
}
