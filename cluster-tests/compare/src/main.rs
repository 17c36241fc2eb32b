//! AeroDB beside etcd and PostgreSQL: the same load by the same code, on the same machine, in the same run, one product
//! after the other and round after round.
//!
//! Every product runs on three nodes of this machine (`documents`: on one) and acknowledges a write when a majority has it on disk. What is
//! compared stands in the labels: over which protocol, to which nodes, with which promise of reads. PostgreSQL is spoken
//! to over its own protocol; the bare axum handler is the most that this machine, with this client, can do over HTTP.
//!
//! The peers come from Debian's packages: only their programs are unpacked, nothing is installed, no service is started.

// This stands outside of what is simulated: it measures real time.
#![allow(clippy::disallowed_methods)]

mod documents;
mod failover;
mod idle;
mod measured;
mod packages;
mod probe;
mod processes;
mod product;
mod table;
mod throughput;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use table::Report;

#[derive(Debug, Parser)]
#[command(version, about = "AeroDB beside its peers, on this machine, in one run")]
struct Cli {
    #[command(subcommand)]
    what: What,
    /// Also write all figures to this file, as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Writes and reads at several numbers of connections
    Throughput(throughput::Args),
    /// The document engine beside PostgreSQL: reads, groups and writes of a million documents
    Documents(documents::Args),
    /// From kill -9 of the leader to the first write that is acknowledged
    Failover(failover::Args),
    /// Memory and processor time of three nodes that do nothing
    Idle(idle::Args),
    /// Serves the same bytes for ever; the yardstick of `throughput` starts it
    #[command(hide = true)]
    Bare(product::bare::Args),
}

fn main() -> Result<()> {
    let Cli { what, json } = Cli::parse();
    let mut report = Report::begin();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match what {
        What::Throughput(args) => runtime.block_on(throughput::run(&args, &mut report))?,
        What::Documents(args) => runtime.block_on(documents::run(&args, &mut report))?,
        What::Failover(args) => runtime.block_on(failover::run(&args, &mut report))?,
        What::Idle(args) => runtime.block_on(idle::run(&args, &mut report))?,
        What::Bare(args) => return runtime.block_on(product::bare::serve(&args)),
    }
    writeln!(std::io::stdout().lock(), "{}", report.markdown())?;
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
