//! `aerodb server` and `aerodb dev`: the configuration of a node, and the node itself.

mod address;
mod args;
pub(crate) mod config;
mod limits;
mod peers;
mod print;
mod room;
mod run;
mod validate;

use clap::Args;

pub(crate) use args::Layer;
pub(crate) use config::{Mode, ServerConfig};

use crate::logs::{self, LogFormat};
use crate::output::Output;
use crate::panics;

/// What `aerodb server` takes.
#[derive(Debug, Args)]
pub(crate) struct ServerCommand {
    /// A TOML file with the same keys as the flags, `_` for `-`
    #[arg(long, env = "AERODB_CONFIG", value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Show the configuration that results, with secrets hidden, and stop
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    layer: Layer,
}

/// What `aerodb dev` takes.
#[derive(Debug, Args)]
pub(crate) struct DevCommand {
    /// Where the data is kept
    #[arg(long, env = "AERODB_DATA_DIR", value_name = "DIR", default_value = "./aerodb-data")]
    data_dir: std::path::PathBuf,
    /// The port for clients, on the loopback address
    #[arg(long, env = "AERODB_HTTP_PORT", value_name = "PORT", default_value_t = 7400)]
    http_port: u16,
    /// The port for other nodes, on the loopback address (nobody uses it with one node)
    #[arg(long, env = "AERODB_PEER_PORT", value_name = "PORT", default_value_t = 7500)]
    peer_port: u16,
    /// Origins whose pages may use this node from a browser, such as http://localhost:3000, or * for all
    #[arg(long, env = "AERODB_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    cors_origins: Option<Vec<String>>,
}

/// Runs one node of a cluster, or prints what it would run with.
pub(crate) async fn server(
    command: ServerCommand,
    log: Option<String>,
    log_format: Option<LogFormat>,
    output: Output,
) -> anyhow::Result<()> {
    let layer = Layer { log, log_format, ..command.layer };
    let config = config::resolve(layer, command.config.as_deref(), &|name| std::env::var(name).ok())?;
    if command.print_config {
        return print::print(&config, output);
    }
    start(config).await
}

/// Runs a node on its own, for development.
pub(crate) async fn dev(command: DevCommand, log: Option<String>, log_format: Option<LogFormat>) -> anyhow::Result<()> {
    let layer = Layer {
        log,
        log_format,
        node_id: Some(1),
        data_dir: Some(command.data_dir),
        http_addr: Some(format!("127.0.0.1:{}", command.http_port)),
        peer_addr: Some(format!("127.0.0.1:{}", command.peer_port)),
        peers: Some(format!("1=127.0.0.1:{}", command.peer_port).parse().map_err(anyhow::Error::msg)?),
        insecure: Some(true),
        cors_origins: command.cors_origins,
        ..Layer::default()
    };
    let config = config::resolve(layer, None, &|name| std::env::var(name).ok())?;
    start(ServerConfig { mode: Mode::Dev, ..config }).await
}

async fn start(config: ServerConfig) -> anyhow::Result<()> {
    logs::start(&config.log, config.log_format)?;
    panics::judge_in_node();
    for warning in validate::warnings(&config) {
        tracing::warn!("{warning}");
    }
    let dir = config.data_dir.clone();
    if room::was_wanting() {
        tokio::select! {
            () = room::wait_for(&dir) => {}
            () = run::told_to_stop() => return Ok(()),
        }
    }
    let outcome = run::run(config).await;
    match outcome {
        Err(error) if room::is_wanting(&error, &dir) => Err(room::start_again(error).await),
        outcome => outcome,
    }
}
