//! Line 1 of issue 2: the leader is killed over and over under load. Nothing acknowledged is lost, no read goes
//! backwards, and writes go on soon.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use cluster_tests::workload::{Load, Options as Work};
use cluster_tests::{Cluster, Options, Stalls, figure, longest, median, rounds};
use serde_json::json;

/// From the kill to the first acknowledged write that began after it.
const MEDIAN_MAX: Duration = Duration::from_millis(1_000);
const LONGEST_MAX: Duration = Duration::from_millis(2_500);
/// A machine that stood still for so long excuses a single slow round.
const STALL_MIN: Duration = Duration::from_millis(50);

/// Requests may fail while there is no leader, or while the node that they were sent to dies; never for another reason.
const FAILURES: [&str; 7] =
    ["connect", "broken", "starting", "no_leader", "quorum_lost", "deadline_exceeded", "outcome_unknown"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed_over_and_over() {
    let rounds = rounds(8, 20);
    let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    let stalls = Stalls::watch();
    let mut load = Load::start(&cluster, Work::default()).await.unwrap();
    let mut times = Vec::new();
    let mut inexcusable = Vec::new();
    for round in 1..=rounds {
        load.wait_progress(200, Duration::from_secs(30)).await.unwrap();
        let leader = cluster.wait_leader(Duration::from_secs(10)).await.unwrap();

        let killed = Instant::now();
        cluster.node(leader.id).kill().unwrap();
        for survivor in cluster.ids().filter(|id| *id != leader.id) {
            load.probe(survivor);
        }
        let first = load.first_write_begun_after(killed, Duration::from_secs(30)).await.unwrap();
        let stalled = stalls.worst(killed, killed + first);
        eprintln!(
            "round {round}: node {} killed, first write after {first:.0?} (worst stall {stalled:.0?})",
            leader.id
        );
        if first > LONGEST_MAX && stalled < STALL_MIN {
            inexcusable.push(first);
        }
        times.push(first);

        cluster.node(leader.id).start().unwrap();
        cluster.wait_leader_after(leader.term, Duration::from_secs(10)).await.unwrap();
        cluster.wait_ready(Duration::from_secs(30)).await.unwrap();
    }
    let report = load.stop().await;
    figure("failover_load", report.figures());
    let ms = |time: &Duration| time.as_millis() as u64;
    figure(
        "failover_first_write_ms",
        json!({
            "rounds": rounds, "median": ms(&median(&times)), "max": ms(&longest(&times)),
            "all": times.iter().map(ms).collect::<Vec<_>>(),
        }),
    );
    let verified = report.verify(&cluster, Duration::from_secs(60)).await;
    eprintln!("verified: {verified:?}");

    report.assert_only_failures(&FAILURES);
    assert!(report.unresolved.is_empty(), "every write had its answer in the end: {:?}", report.unresolved);
    assert!(verified.changes >= 200 * rounds, "the load was one: {verified:?}");
    assert!(
        report.acknowledged.iter().any(|write| write.attempts > 1),
        "some writes were under way when the leader died"
    );
    assert!(median(&times) <= MEDIAN_MAX, "median {:?} of {times:?}", median(&times));
    assert!(inexcusable.is_empty(), "longer than {LONGEST_MAX:?}, and the machine had time: {inexcusable:?}");
}
