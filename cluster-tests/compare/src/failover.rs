//! From `kill -9` of the leader to the first write that is acknowledged.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use aerodb_load::{DocumentMaker, Request, Session, Target};
use anyhow::{Result, bail};
use serde_json::json;

use crate::product::{Aerodb, Etcd, Mode, READY_WITHIN};
use crate::table::{Report, Spread, Table};

/// How long the harness waits between two attempts at the same node.
const PAUSE: Duration = Duration::from_millis(2);
/// How long one attempt may take before another is made: a node may hold a request until a leader is there.
const ATTEMPT: Duration = Duration::from_secs(10);
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
    let ours = Aerodb::start(args.binary.as_ref()).await?;
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

/// How long it takes from now until one of the nodes that are left acknowledges a write. They are asked side by side,
/// each again as soon as it has refused.
async fn first_write<T: Target>(target: &T, nodes: u32, killed: usize) -> Result<Duration> {
    let began = Instant::now();
    let document = DocumentMaker::new(BYTES).make(None, &mut rand::rng());
    let mut tasks = tokio::task::JoinSet::new();
    for node in (0..nodes).filter(|node| *node as usize != killed) {
        let mut session = target.session(node).map_err(anyhow::Error::msg)?;
        let document = document.clone();
        tasks.spawn(async move {
            let write = Request::Write { number: u64::from(node), document };
            while began.elapsed() < READY_WITHIN {
                if let Ok(Ok(())) = tokio::time::timeout(ATTEMPT, session.perform(&write)).await {
                    return Some(began.elapsed());
                }
                tokio::time::sleep(PAUSE).await;
            }
            None
        });
    }
    while let Some(done) = tasks.join_next().await {
        if let Some(time) = done? {
            return Ok(time);
        }
    }
    bail!("nothing was written within {READY_WITHIN:?} after the leader was killed")
}
