//! A cluster that has nothing to do does next to nothing, also while one of its nodes is down: whoever tries to reach
//! it must not keep a core busy with that, nor fill the disk with words about it.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use anyhow::ensure;
use cluster_tests::{Cluster, NodeId, Options, figure};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
/// How long is measured.
const WINDOW: Duration = Duration::from_secs(3);
/// Of one core. Heartbeats and upkeep take a few hundredths.
const CPU_MAX: f64 = 0.25;
/// Of log, each second.
const LOG_BYTES_MAX: u64 = 40_000;

/// Processor time of a node so far, in seconds, and the size of its log.
fn used(cluster: &Cluster, id: NodeId) -> (f64, u64) {
    let pid = cluster.node(id).pid().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name, which may hold anything: the state, ten figures, then user and system time in hundredths.
    let figures = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
    let ticks: u64 = figures.map(|figure| figure.parse::<u64>().unwrap()).sum();
    (ticks as f64 / 100.0, std::fs::metadata(cluster.node(id).log_path()).unwrap().len())
}

async fn measure(cluster: &Cluster, what: &str) {
    let running: Vec<NodeId> = cluster.nodes().iter().filter(|node| node.is_running()).map(|node| node.id()).collect();
    let begun = Instant::now();
    let before: Vec<_> = running.iter().map(|id| used(cluster, *id)).collect();
    // The time is what is measured, not something that is waited for.
    tokio::time::sleep(WINDOW).await;
    let mut busy = Vec::new();
    for (id, (cpu, log)) in running.iter().zip(before) {
        let (cpu_now, log_now) = used(cluster, *id);
        let seconds = begun.elapsed().as_secs_f64();
        let (share, bytes) = ((cpu_now - cpu) / seconds, (log_now - log) as f64 / seconds);
        figure("quiet", json!({"what": what, "node": id, "cpu": share, "log_bytes_per_second": bytes.round()}));
        if share > CPU_MAX || bytes > LOG_BYTES_MAX as f64 {
            busy.push(format!("node {id}: {share:.2} of a core, {bytes:.0} bytes of log a second"));
        }
    }
    assert!(busy.is_empty(), "{what}: {busy:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_to_do_costs_nothing() {
    let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    let leader = cluster.wait_leader(SOON).await.unwrap();
    let client = cluster.client(leader.id);
    client.post("/admin/collections", &json!({"name": "c"})).await.unwrap().ok().unwrap();
    measure(&cluster, "all are there").await;

    // Something must be under way to the one that is gone, else nobody has a reason to reach it.
    let gone = leader.id % 3 + 1;
    cluster.node(gone).kill().unwrap();
    client.post("/api/c", &json!({"n": 1})).await.unwrap().ok().unwrap();
    measure(&cluster, "a follower is gone").await;

    let other = cluster.ids().find(|id| *id != leader.id && *id != gone).unwrap();
    cluster.node(leader.id).kill().unwrap();
    let alone = || async {
        let status = cluster.status(other).await?;
        ensure!(status["quorum"]["ok"] == false, "{status}");
        Ok(())
    };
    cluster.wait_until(SOON, "the last one to see that it is alone", alone).await.unwrap();
    measure(&cluster, "it is alone").await;
}
