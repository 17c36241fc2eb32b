//! Line 2 of issue 2: a chosen replica is made the leader, under load, and clients do not notice. A replica that is not
//! fit is refused, and nothing changes.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use anyhow::ensure;
use cluster_tests::workload::{Load, Options as Work, Timed};
use cluster_tests::{
    Answer, Cluster, Fault, Leader, NodeId, Options, Stalls, figure, longest, median, rounds, wait_until,
};
use reqwest::Method;
use serde_json::{Value, json};

/// How long a write may wait because of a promotion: usually, and ever.
const MEDIAN_MAX: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// A machine that stood still for so long excuses a single long pause.
const STALL_MIN: Duration = Duration::from_millis(50);
/// Longer than the product's own time for it, which is 15 s.
const PROMOTE_TIMEOUT: Duration = Duration::from_secs(25);
const SOON: Duration = Duration::from_secs(10);

async fn promote(cluster: &Cluster, by: NodeId, node: NodeId) -> Answer {
    let request = cluster.client(by).request(Method::POST, &format!("/cluster/nodes/{node}/promote"));
    request.timeout(PROMOTE_TIMEOUT).send().await.unwrap()
}

fn longest_wait(writes: &[Timed]) -> Duration {
    longest(&writes.iter().map(Timed::took).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_promoted_and_clients_do_not_notice() {
    let rounds = rounds(8, 20);
    let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    let stalls = Stalls::watch();
    let load = Load::start(&cluster, Work::default()).await.unwrap();
    let (mut pauses, mut usual, mut took, mut inexcusable) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        // What a write takes just before, with no promotion: what is beyond that is the promotion's.
        let quiet = Instant::now();
        load.wait_progress(200, SOON * 3).await.unwrap();
        usual.push(longest_wait(&load.writes_between(quiet, Instant::now(), SOON).await.unwrap()));

        let before = cluster.wait_leader(SOON).await.unwrap();
        let target = before.id % 3 + 1;
        // Asked of any node: the leader, the one that is to lead, and the third.
        let by = (round as u64) % 3 + 1;
        let begun = Instant::now();
        let answer = promote(&cluster, by, target).await.expect_status(200).unwrap();
        let ended = Instant::now();
        assert_eq!(answer.body["leader"], target, "the one that was asked for: {answer}");
        assert!(answer.body["term"].as_u64() > Some(before.term), "a new term: {answer}");
        took.push(Duration::from_millis(answer.body["took_ms"].as_u64().unwrap()));

        let after = cluster.wait_leader_after(before.term, SOON).await.unwrap();
        assert_eq!(after, Leader { id: target, term: answer.body["term"].as_u64().unwrap() }, "and it stays");
        load.wait_progress(24, SOON).await.unwrap();
        let writes = load.writes_between(begun, ended, SOON).await.unwrap();
        let pause = longest_wait(&writes);
        let stalled = stalls.worst(begun, ended + pause);
        eprintln!(
            "round {round}: {} -> {target} asked of {by}: took {}, longest write {pause:.0?} of {} (just before {:.0?}; worst stall {stalled:.0?})",
            before.id,
            answer.body["took_ms"],
            writes.len(),
            usual.last().unwrap(),
        );
        if pause > PAUSE_MAX && stalled < STALL_MIN {
            inexcusable.push(pause);
        }
        pauses.push(pause);
    }
    let report = load.stop().await;
    figure("promotion_load", report.figures());
    let ms = |time: &Duration| time.as_millis() as u64;
    let all = |times: &[Duration]| json!({"median": ms(&median(times)), "max": ms(&longest(times)), "all": times.iter().map(ms).collect::<Vec<_>>()});
    let figures =
        json!({"rounds": rounds, "pause": all(&pauses), "longest_write_without": all(&usual), "took": all(&took)});
    figure("promotion_ms", figures);
    report.verify(&cluster, Duration::from_secs(60)).await;

    assert!(report.failures.is_empty(), "no request fails: {:#?}", &report.failures[..report.failures.len().min(5)]);
    assert!(report.unresolved.is_empty());
    assert!(
        median(&pauses) <= MEDIAN_MAX,
        "median {:?} of {pauses:?} (without a promotion: {usual:?})",
        median(&pauses)
    );
    assert!(inexcusable.is_empty(), "longer than {PAUSE_MAX:?}, and the machine had time: {inexcusable:?}");
}

/// A cluster that is held to changing nothing.
struct Held {
    cluster: Cluster,
    leader: Leader,
    /// The replica that is not fit, and one that is.
    unfit: NodeId,
    other: NodeId,
}

impl Held {
    async fn start(proxy: bool) -> Self {
        let cluster = Cluster::start(3, Options { proxy, ..Options::default() }).await.unwrap();
        let leader = cluster.wait_leader(SOON).await.unwrap();
        let (unfit, other) = (leader.id % 3 + 1, (leader.id + 1) % 3 + 1);
        let client = cluster.client(leader.id);
        client.post("/admin/collections", &json!({"name": "notes"})).await.unwrap().expect_status(201).unwrap();
        let held = Self { cluster, leader, unfit, other };
        held.write_through(leader.id).await;
        held
    }

    async fn write_through(&self, node: NodeId) {
        let client = self.cluster.client(node);
        client.post("/api/notes", &json!({"n": 1})).await.unwrap().expect_status(201).unwrap();
    }

    /// Asks for the impossible, and checks that it is refused, says why, and leaves everything as it was.
    async fn refused(&self, when: &str) -> Vec<Value> {
        // Asked of the leader and of a follower: both must refuse.
        let mut reasons = Vec::new();
        for by in [self.other, self.leader.id] {
            let answer = promote(&self.cluster, by, self.unfit).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (409, Some("not_eligible")),
                "{when}, asked of {by}: {answer}"
            );
            let checks = answer.body["checks"].as_array().cloned().unwrap_or_default();
            assert!(!checks.is_empty(), "{when}: the failed checks are named: {answer}");
            for check in &checks {
                let detail = check["detail"].as_str().unwrap_or_default();
                assert!(check["ok"] == false && check["name"].is_string() && !detail.is_empty(), "{when}: {check}");
            }
            reasons = checks;
            self.nothing_changed(when).await;
        }
        let path = format!("/cluster/nodes/{}/promotion", self.unfit);
        let look = self.cluster.client(self.other).get(&path).await.unwrap().expect_status(200).unwrap();
        assert_eq!(look.body["eligible"], false, "{when}: {look}");
        reasons
    }

    /// The same leader in the same term, and it still leads: a write does not wait for anything.
    async fn nothing_changed(&self, when: &str) {
        let begun = Instant::now();
        self.write_through(self.other).await;
        let took = begun.elapsed();
        for id in [self.leader.id, self.other] {
            let status = self.cluster.status(id).await.unwrap();
            let leader = Leader { id: status["leader"].as_u64().unwrap_or(0), term: status["term"].as_u64().unwrap() };
            assert_eq!(leader, self.leader, "{when}, as node {id} says");
        }
        assert!(took < Duration::from_millis(1_000), "{when}: a write took {took:?} after the refusal");
    }

    async fn recover(&self) {
        self.cluster.wait_ready(SOON * 3).await.unwrap();
        self.cluster.wait_converged(SOON * 3).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_exist_is_not_found() {
    let held = Held::start(false).await;
    for by in [held.leader.id, held.other] {
        let answer = promote(&held.cluster, by, 9).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, Some("node_not_found")), "asked of {by}: {answer}");
        let look = held.cluster.client(by).get("/cluster/nodes/9/promotion").await.unwrap();
        assert_eq!((look.status.as_u16(), look.code()), (404, Some("node_not_found")), "asked of {by}: {look}");
        held.nothing_changed("after a node that does not exist").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_the_leader_already() {
    let held = Held::start(false).await;
    for by in held.cluster.ids() {
        let begun = Instant::now();
        let answer = promote(&held.cluster, by, held.leader.id).await.expect_status(200).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1), "at once: {:?}", begun.elapsed());
        assert_eq!((&answer.body["leader"], &answer.body["term"]), (&held.leader.id.into(), &held.leader.term.into()));
        held.nothing_changed("after promoting the leader").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_down_is_refused() {
    let held = Held::start(false).await;
    // At once: before anybody can have noticed that it is gone.
    held.cluster.node(held.unfit).kill().unwrap();
    held.refused("killed just now").await;
    let unreachable = || async {
        let status = held.cluster.status(held.leader.id).await?;
        let states: Vec<_> = status["nodes"].as_array().into_iter().flatten().collect();
        ensure!(states.iter().any(|node| node["id"] == held.unfit && node["state"] == "unreachable"), "{status}");
        Ok(())
    };
    held.cluster.wait_until(SOON, "the dead node to be seen as such", unreachable).await.unwrap();
    let reasons = held.refused("down for a while").await;
    assert!(reasons.iter().any(|check| check["name"] == "contact"), "{reasons:?}");
    held.cluster.node(held.unfit).start().unwrap();
    held.recover().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_paused_is_refused() {
    let held = Held::start(false).await;
    held.cluster.node(held.unfit).pause().unwrap();
    held.refused("paused just now").await;
    // Its connections stay open; that nothing comes from it must be enough.
    held.refused("paused for a while").await;
    held.cluster.node(held.unfit).resume().unwrap();
    held.recover().await;
    held.nothing_changed("after it was resumed").await;
}

/// A promotion stops the leader's intake for a moment. A client that goes away just then must not leave it stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_stops_nothing() {
    let held = Held::start(false).await;
    for patience_ms in [5, 20, 40, 80, 120, 160] {
        // A replica that does not answer keeps the promotion waiting, writes stopped.
        held.cluster.node(held.unfit).pause().unwrap();
        held.write_through(held.leader.id).await;
        let request = held
            .cluster
            .client(held.leader.id)
            .request(Method::POST, &format!("/cluster/nodes/{}/promote", held.unfit));
        let answer = request.timeout(Duration::from_millis(patience_ms)).send().await;
        eprintln!(
            "{patience_ms} ms: {:?}",
            answer.map(|answer| answer.to_string()).map_err(|error| format!("{error:#}"))
        );
        held.nothing_changed(&format!("after a client that waited {patience_ms} ms")).await;
        held.cluster.node(held.unfit).resume().unwrap();
        held.recover().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_behind_is_refused() {
    let held = Held::start(true).await;
    // It hears nothing and says nothing, and no connection breaks.
    held.cluster.network().isolate_with(held.unfit, Fault::Hold);
    let body: Vec<Value> = (0..20).map(|n| json!({"n": n})).collect();
    for _ in 0..150 {
        let client = held.cluster.client(held.leader.id);
        client.post("/api/notes", &Value::from(body.clone())).await.unwrap().expect_status(201).unwrap();
    }
    let reasons = held.refused("3,000 documents behind").await;
    assert!(reasons.iter().any(|check| check["name"] == "lag"), "{reasons:?}");
    held.cluster.heal();
    held.recover().await;
    held.nothing_changed("after it came back").await;

    // It is fit again, and can be promoted, once its leader has heard so.
    let answer = wait_until(SOON, "it is promoted", || async {
        promote(&held.cluster, held.unfit, held.unfit).await.expect_status(200)
    });
    assert_eq!(answer.await.unwrap().body["leader"], held.unfit);
}
