//! From `kill -9` of the leader to the first write that is acknowledged.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use aerodb_load::{DocumentMaker, Request, Session, Target};
use anyhow::{Result, bail};
use serde_json::json;

use crate::product::{Aerodb, Etcd, Mode, READY_WITHIN};
use crate::table::{Report, Spread, Table};

/// How often a client comes with a write at each node that is left.
const EVERY: Duration = Duration::from_millis(20);
/// How big the documents are.
const BYTES: u32 = 256;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often the leader of each is killed
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The AeroDB to measure [default: the one built beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) async fn run(args: &Args, report: &mut Report) -> Result<()> {
    let ours = Aerodb::start(args.binary.as_ref(), 3, &[]).await?;
    ours.create(BYTES).await?;
    let mut etcd = Etcd::start().await?;
    report.version("AeroDB", env!("CARGO_PKG_VERSION"));
    report.version("etcd", &etcd.version);
    let columns = [" product", "median ms", "least ms", "most ms", "kills"];
    let mut table = Table::new("kill -9 of the leader to the first acknowledged write", &columns);
    let mut times: [Vec<f64>; 2] = Default::default();
    for round in 0..args.rounds {
        let leader = ours.cluster.wait_leader(READY_WITHIN).await?.id;
        let index = usize::try_from(leader - 1)?;
        ours.cluster.node(leader).kill()?;
        let mine = first_write(&ours.target(Mode::Write, BYTES)?, 3, index).await?;
        ours.cluster.node(leader).start()?;
        ours.cluster.wait_ready(READY_WITHIN).await?;

        let leader = etcd.wait_leader().await?;
        etcd.nodes[leader].kill()?;
        let theirs = first_write(&etcd.target(Mode::Write, BYTES)?, 3, leader).await?;
        etcd.nodes[leader].again()?;
        etcd.wait_leader().await?;
        eprintln!("round {round}: AeroDB {mine:?}, etcd {theirs:?}");
        for (name, list, time) in [("AeroDB", 0, mine), ("etcd", 1, theirs)] {
            times[list].push(time.as_secs_f64() * 1e3);
            table.measured(json!({ "product": name, "round": round, "ms": time.as_secs_f64() * 1e3 }));
        }
    }
    for (name, list) in [("AeroDB", &times[0]), ("etcd", &times[1])] {
        let spread = Spread::of(list.iter().copied());
        let ms = |ms: f64| format!("{ms:.0}");
        table.row(vec![name.into(), ms(spread.median), ms(spread.least), ms(spread.most), list.len().to_string()]);
    }
    report.add(table);
    Ok(())
}

/// How long it takes from now until one of the nodes that are left acknowledges a write.
///
/// At each of them a client comes every few moments, and waits for as long as the node lets it: a write that came while
/// nobody led may be held, refused or lost, and must not be what the others are measured by.
async fn first_write<T: Target>(target: &T, nodes: u32, killed: usize) -> Result<Duration> {
    let began = Instant::now();
    let document = DocumentMaker::new(BYTES).make(None, &mut rand::rng());
    let mut clients = tokio::task::JoinSet::new();
    let mut ticks = tokio::time::interval(EVERY);
    while began.elapsed() < READY_WITHIN {
        tokio::select! {
            Some(written) = clients.join_next(), if !clients.is_empty() => if let Ok(Some(time)) = written {
                return Ok(time);
            },
            _ = ticks.tick() => for node in (0..nodes).filter(|node| *node as usize != killed) {
                let mut session = target.session(node).map_err(anyhow::Error::msg)?;
                let write = Request::Write { number: u64::from(node), document: document.clone() };
                clients.spawn(async move { session.perform(&write).await.is_ok().then(|| began.elapsed()) });
            },
        }
    }
    bail!("nothing was written within {READY_WITHIN:?} after the leader was killed")
}
