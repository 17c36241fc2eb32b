//! What three nodes cost that do nothing.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::processes::usage;
use crate::product::{Aerodb, Etcd, Product};
use crate::table::{Report, Table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seconds of idleness that are measured
    #[arg(long, default_value_t = 30)]
    time: u64,
    /// Seconds before that
    #[arg(long, default_value_t = 10)]
    warmup: u64,
    /// The AeroDB to measure [default: the one built beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) async fn run(args: &Args, report: &mut Report) -> Result<()> {
    let columns = [" product", "memory of each MB", "cores, together"];
    let mut table = Table::new("Three idle nodes", &columns);
    // One after the other: idle peers beside it would not be idle to the scheduler.
    for start_etcd in [false, true] {
        let product = match start_etcd {
            false => Product::Aerodb(Aerodb::start(args.binary.as_ref(), 3, &[]).await?),
            true => Product::Etcd(Etcd::start().await?),
        };
        tokio::time::sleep(Duration::from_secs(args.warmup)).await;
        let pids = product.pids();
        let before = usage(&pids);
        tokio::time::sleep(Duration::from_secs(args.time)).await;
        let after = usage(&pids);
        let memory: Vec<f64> = pids.iter().map(|pid| usage(&[*pid]).memory_bytes as f64 / 1e6).collect();
        let cores = (after.cpu - before.cpu).as_secs_f64() / args.time as f64;
        table.measured(json!({ "product": product.label(), "memory_mb": memory, "cores": cores }));
        let memory = memory.iter().map(|mb| format!("{mb:.0}")).collect::<Vec<_>>().join(", ");
        table.row(vec![product.label().to_owned(), memory, format!("{cores:.3}")]);
    }
    report.add(table);
    Ok(())
}
