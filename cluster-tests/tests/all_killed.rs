//! Line 3 of issue 2: all nodes are killed at once, under load. What was acknowledged is there when they are back.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use cluster_tests::workload::{Load, Options as Work};
use cluster_tests::{Cluster, Options, figure, longest, median, rounds};
use serde_json::json;

const FAILURES: [&str; 7] =
    ["connect", "broken", "starting", "no_leader", "quorum_lost", "deadline_exceeded", "outcome_unknown"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_are_killed_at_once() {
    let rounds = rounds(3, 10);
    let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    // Writes above all: the more there are under way, the more can be lost.
    let work = Work { clients: 16, writes_percent: 80, ..Work::default() };
    let load = Load::start(&cluster, work).await.unwrap();
    let mut back = Vec::new();
    for round in 1..=rounds {
        load.wait_progress(400, Duration::from_secs(60)).await.unwrap();
        let before = cluster.wait_leader(Duration::from_secs(10)).await.unwrap();
        std::thread::scope(|scope| {
            for node in cluster.nodes() {
                scope.spawn(|| node.kill().unwrap());
            }
        });
        let started = Instant::now();
        for node in cluster.nodes() {
            node.start().unwrap();
        }
        cluster.wait_ready(Duration::from_secs(60)).await.unwrap();
        let first = load.first_write_begun_after(started, Duration::from_secs(60)).await.unwrap();
        let after = cluster.wait_leader(Duration::from_secs(10)).await.unwrap();
        assert!(after.term > before.term, "a restarted leader does not go on in its old term: {before:?} {after:?}");
        eprintln!("round {round}: first write {first:.0?} after the start");
        back.push(first);
    }
    let report = load.stop().await;
    figure("all_killed_load", report.figures());
    let ms = |time: Duration| time.as_millis() as u64;
    figure("all_killed_back_ms", json!({"rounds": rounds, "median": ms(median(&back)), "max": ms(longest(&back))}));
    let verified = report.verify(&cluster, Duration::from_secs(60)).await;
    eprintln!("verified: {verified:?}");

    report.assert_only_failures(&FAILURES);
    assert!(report.unresolved.is_empty(), "every write had its answer in the end: {:?}", report.unresolved);
    assert!(report.acknowledged.iter().any(|write| write.attempts > 1), "some writes were under way when all died");
    assert!(verified.changes >= 400 * rounds, "the load was one: {verified:?}");
}
