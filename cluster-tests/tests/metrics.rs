//! The Prometheus section of issue 2: what each node shows, and that Prometheus can read it.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use cluster_tests::{Cluster, Exposition, NodeId, Options};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
/// How many different values of its labels a metric may have on a node that was asked for little.
const SERIES_MAX: usize = 400;

/// Names and types that the issue asks for.
const NAMES: [(&str, &str); 11] = [
    ("aerodb_raft_term", "gauge"),
    ("aerodb_raft_is_leader", "gauge"),
    ("aerodb_raft_commit_index", "gauge"),
    ("aerodb_raft_applied_index", "gauge"),
    ("aerodb_raft_durable_index", "gauge"),
    ("aerodb_replication_lag_entries", "gauge"),
    ("aerodb_replication_lag_seconds", "gauge"),
    ("aerodb_http_request_duration_seconds", "histogram"),
    ("aerodb_apply_duration_seconds", "histogram"),
    ("aerodb_log_fsync_duration_seconds", "histogram"),
    ("process_resident_memory_bytes", "gauge"),
];
/// Parts of names: batch sizes, queue depths, the storage's size and stalls, figures of the process.
const PARTS: [&str; 6] = ["batch", "queue_depth", "storage", "log_bytes", "process_cpu_seconds", "process_open_fds"];

async fn scrape(cluster: &Cluster, id: NodeId) -> Result<Exposition> {
    // Without a key: Prometheus has none.
    let answer = cluster.client(id).with_token(None).get("/metrics").await?.ok()?;
    let content_type = answer.header("content-type").unwrap_or_default().to_owned();
    ensure!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    Exposition::parse(answer.body.as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_shows_what_it_does() {
    let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    let leader = cluster.wait_leader(SOON).await.unwrap();
    let client = cluster.client(leader.id);
    client.post("/admin/collections", &json!({"name": "c"})).await.unwrap().ok().unwrap();
    for id in cluster.ids() {
        for n in 0..20 {
            let path = format!("/api/c/{id}-{n}");
            cluster.client(id).put(&path, &json!({"n": n})).await.unwrap().ok().unwrap();
            cluster.client(id).get(&path).await.unwrap().ok().unwrap();
        }
        // What nobody has must not make a series of its own.
        for n in 0..50 {
            cluster.client(id).get(&format!("/nowhere-{n}/at-all")).await.unwrap();
            cluster.client(id).get(&format!("/api/none-{n}/x")).await.unwrap();
        }
    }
    for id in cluster.ids() {
        let settled = || async { check(&scrape(&cluster, id).await?, &cluster, id, id == leader.id) };
        cluster.wait_until(SOON, &format!("node {id} to show it all"), settled).await.unwrap();
        promtool(&scrape(&cluster, id).await.unwrap());
    }
    let applied = async |id| scrape(&cluster, id).await.unwrap().value("aerodb_raft_applied_index").unwrap();
    let all_equal = || async {
        let all = [applied(1).await, applied(2).await, applied(3).await];
        ensure!(all.iter().all(|one| *one == all[0] && *one > 60.0), "{all:?}");
        Ok(())
    };
    cluster.wait_until(SOON, "all to have applied the same", all_equal).await.unwrap();

    // The figures follow what happens: a follower that is gone lags.
    let gone = leader.id % 3 + 1;
    cluster.node(gone).kill().unwrap();
    for n in 0..30 {
        client.put(&format!("/api/c/late-{n}"), &json!({"n": n})).await.unwrap().ok().unwrap();
    }
    let lags = || async {
        let found = scrape(&cluster, leader.id).await?;
        let entries = found.value(&format!("aerodb_replication_lag_entries{{peer=\"{gone}\"}}"))?;
        let seconds = found.value(&format!("aerodb_replication_lag_seconds{{peer=\"{gone}\"}}"))?;
        ensure!(entries >= 30.0 && seconds > 0.0, "{entries} entries, {seconds} s");
        Ok(())
    };
    cluster.wait_until(SOON, "the lag of a node that is gone to be shown", lags).await.unwrap();
}

fn check(found: &Exposition, cluster: &Cluster, id: NodeId, leads: bool) -> Result<()> {
    for (name, kind) in NAMES {
        ensure!(found.types.get(name).is_some_and(|found| found == kind), "{name} is {:?}", found.types.get(name));
    }
    let names = found.names();
    for part in PARTS {
        ensure!(names.iter().any(|name| name.contains(part)), "nothing is called {part}");
    }
    for (name, kind) in &found.types {
        let help = found.help.get(name).map_or("", String::as_str);
        ensure!(help.len() > 10 && help.ends_with('.'), "{name}: {help:?}");
        ensure!(name.starts_with("aerodb_") || name.starts_with("process_"), "{name}");
        ensure!(kind != "counter" || name.ends_with("_total"), "{name} is a counter");
        ensure!(!name.contains("_ms") && !name.contains("_kb") && !name.contains("_mb"), "{name}: base units");
    }
    for name in &names {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        ensure!(found.types.contains_key(*name) || found.types.contains_key(base), "{name} has no TYPE");
        ensure!(found.all(name).len() <= SERIES_MAX, "{name} has {} series", found.all(name).len());
    }
    ensure!(found.value("aerodb_raft_is_leader")? == f64::from(u8::from(leads)));
    ensure!(found.value("aerodb_raft_term")? >= 1.0);
    ensure!(found.value("aerodb_raft_commit_index")? >= found.value("aerodb_raft_applied_index")?);
    ensure!(found.value("aerodb_raft_applied_index")? >= found.value("aerodb_raft_durable_index")?);
    for name in ["aerodb_apply_duration_seconds_count", "aerodb_log_fsync_duration_seconds_count"] {
        ensure!(found.value(name)? > 0.0, "{name} is 0");
    }

    // The leader shows its peers, a follower itself.
    let peers: Vec<String> = match leads {
        true => cluster.ids().filter(|peer| *peer != id).map(|peer| peer.to_string()).collect(),
        false => vec![id.to_string()],
    };
    for name in ["aerodb_replication_lag_entries", "aerodb_replication_lag_seconds"] {
        let shown: Vec<&str> = found.all(name).iter().map(|(sample, _)| *sample).collect();
        let expected: Vec<String> = peers.iter().map(|peer| format!("{name}{{peer=\"{peer}\"}}")).collect();
        ensure!(shown == expected, "{shown:?}, not {expected:?}");
    }
    // By route, not by path, and by class of status.
    let requests = found.all("aerodb_http_request_duration_seconds_count");
    let of = |method: &str, route: &str, class: &str| {
        let parts = [format!("method=\"{method}\""), format!("route=\"{route}\""), format!("status_class=\"{class}\"")];
        requests
            .iter()
            .find(|(sample, _)| parts.iter().all(|part| sample.contains(part)))
            .map_or(0.0, |(_, count)| *count)
    };
    ensure!(of("PUT", "/api/{collection}/{id}", "2xx") >= 20.0, "{requests:?}");
    ensure!(of("GET", "/api/{collection}/{id}", "2xx") >= 20.0, "{requests:?}");
    ensure!(of("GET", "/api/{collection}/{id}", "4xx") >= 50.0, "{requests:?}");
    ensure!(!requests.iter().any(|(sample, _)| sample.contains("nowhere") || sample.contains("none-")), "{requests:?}");
    Ok(())
}

/// What Prometheus' own checker says, where it is installed (Debian: `prometheus`).
fn promtool(found: &Exposition) {
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut tool = match tool {
        Ok(tool) => tool,
        Err(error) => {
            return eprintln!("promtool is not here, so it was not asked ({error}): apt-get install prometheus");
        }
    };
    tool.stdin.take().unwrap().write_all(found.text.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool: {}", String::from_utf8_lossy(&said));
}
