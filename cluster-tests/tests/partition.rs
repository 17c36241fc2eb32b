//! Line 5 of issue 2: a node that is cut off from the majority says so, and never gives old data for fresh.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cluster_tests::workload::{Load, Options as Work};
use cluster_tests::{Answer, Cluster, Fault, NodeId, Options};
use reqwest::Method;
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(60);
/// Within which a node must say that it cannot answer: its own time for a request is 10 s.
const REFUSED_WITHIN: Duration = Duration::from_secs(15);
/// Longer than that: a test must be able to tell a late answer from none.
const PATIENCE: Duration = Duration::from_secs(25);
/// What clients of a node that is cut off, and of a cluster that elects, may get to see.
const FAILURES: [&str; 5] = ["broken", "no_leader", "quorum_lost", "deadline_exceeded", "outcome_unknown"];

/// Which node is cut off, and how.
struct Case {
    leader: bool,
    fault: Fault,
    /// How long the nodes work on a request; their own time without.
    request_ms_max: Option<u64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_cut_off_by_resets() {
    check(Case { leader: false, fault: Fault::Reset, request_ms_max: None }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_cut_off_by_resets() {
    check(Case { leader: true, fault: Fault::Reset, request_ms_max: Some(4_000) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_cut_off_in_silence() {
    check(Case { leader: true, fault: Fault::Hold, request_ms_max: Some(4_000) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_cut_off_in_silence() {
    check(Case { leader: false, fault: Fault::Swallow, request_ms_max: Some(4_000) }).await;
}

/// Both others are dead, so that nothing can have been handed over to them: a write is refused, and not of unknown fate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_one_refuses() {
    let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    let leader = cluster.wait_leader(SOON).await.unwrap();
    let node = leader.id % 3 + 1;
    cluster.client(node).post("/admin/collections", &json!({"name": "notes"})).await.unwrap().ok().unwrap();
    let written = cluster.client(node).put("/api/notes/a", &json!({"n": "old"})).await.unwrap().ok().unwrap();
    let old = written.revision().unwrap();
    let cut_at = Instant::now();
    for other in cluster.ids().filter(|id| *id != node) {
        cluster.node(other).kill().unwrap();
    }
    let cut = Cut { node, old, new: old + 1, cluster };
    tokio::join!(cut.linearizable(), cut.stale(cut_at), cut.session(), cut.topology());
    let writes = cut.writes().await;
    assert!(writes.iter().all(|(_, status)| *status == 503), "never handed over, so 503 and not 504: {writes:?}");
    for other in cut.cluster.ids().filter(|id| *id != node) {
        cut.cluster.node(other).start().unwrap();
    }
    let written = || async { cut.cluster.client(node).put("/api/notes/a", &json!({"n": "new"})).await?.ok() };
    cut.cluster.wait_until(LATER, "the cluster to be back", written).await.unwrap();
    cut.healed(&writes).await;
    cut.cluster.wait_converged(LATER).await.unwrap();
}

/// A node that is cut off, and what the client knows of before and after.
struct Cut {
    cluster: Cluster,
    node: NodeId,
    /// The revision of the note that the node has.
    old: u64,
    /// The revision of the one that it has not.
    new: u64,
}

/// Reads and writes go on at all nodes all the while, and every linearizable answer is held to what was known when its
/// request began (see `workload`): that is the heart of it. The rest asks the node that is cut off, one thing after the
/// other.
async fn check(case: Case) {
    let limit = case.request_ms_max.map(|ms| ["--limit".to_owned(), format!("request_ms_max={ms}")]);
    let args = limit.into_iter().flatten().collect();
    let cluster = Cluster::start(3, Options { args, ..Options::default() }).await.unwrap();
    let leader = cluster.wait_leader(SOON).await.unwrap();
    let node = if case.leader { leader.id } else { leader.id % 3 + 1 };
    let other = cluster.ids().find(|id| *id != node && *id != leader.id).unwrap();
    cluster.client(node).post("/admin/collections", &json!({"name": "notes"})).await.unwrap().ok().unwrap();
    let written = cluster.client(node).put("/api/notes/a", &json!({"n": "old"})).await.unwrap().ok().unwrap();
    let old = written.revision().unwrap();
    let work = Work { rest: Some(Duration::from_millis(2)), writes_percent: 30, ..Work::default() };
    let load = Load::start(&cluster, work).await.unwrap();
    load.wait_progress(100, LATER).await.unwrap();

    let cut_at = Instant::now();
    cluster.network().isolate_with(node, case.fault);
    if case.leader {
        cluster
            .wait_until(SOON, "the majority to have a leader", || next_leader(&cluster, node, leader.term))
            .await
            .unwrap();
    }
    // The majority goes on.
    let client = cluster.client(other);
    let written = client.put("/api/notes/a", &json!({"n": "new"})).await.unwrap().ok().unwrap();
    let cut = Cut { node, old, new: written.revision().unwrap(), cluster };
    load.first_write_begun_after(Instant::now(), LATER).await.unwrap();

    // Side by side: each that waits for the deadline takes 10 s.
    tokio::join!(cut.linearizable(), cut.stale(cut_at), cut.session(), cut.topology());
    let writes = cut.writes().await;
    let after = cut.cluster.client(other).get("/api/notes/a").await.unwrap().ok().unwrap();
    assert_eq!(after.body["n"], "new", "the majority has gone on all the while");

    cut.cluster.heal();
    cut.healed(&writes).await;
    let report = load.stop().await;
    eprintln!("{}", report.figures());
    let verified = report.verify(&cut.cluster, LATER).await;
    eprintln!("verified: {verified:?}");
    report.assert_only_failures(&FAILURES);
    assert!(!report.failures.is_empty(), "clients of the node that was cut off must have noticed");
    assert!(verified.changes > 200, "the load was one: {verified:?}");
}

async fn next_leader(cluster: &Cluster, without: NodeId, after: u64) -> Result<()> {
    for id in cluster.ids().filter(|id| *id != without) {
        let status = cluster.status(id).await?;
        let leads = status["leader"].as_u64().is_some_and(|leader| leader != without);
        ensure!(leads && status["term"].as_u64() > Some(after), "{status}");
    }
    Ok(())
}

fn assert_unavailable(answer: &Answer, took: Duration, codes: &[&str]) {
    assert_eq!(answer.status.as_u16(), 503, "{answer}");
    assert!(answer.code().is_some_and(|code| codes.contains(&code)), "one of {codes:?}: {answer}");
    let retry: Option<u64> = answer.header("retry-after").and_then(|text| text.parse().ok());
    assert!(retry.is_some(), "Retry-After: {:?}", answer.headers);
    assert!(took < REFUSED_WITHIN, "{answer} took {took:?}");
}

impl Cut {
    async fn ask(&self, method: Method, path: &str, header: Option<(&str, u64)>) -> (Answer, Duration) {
        let begun = Instant::now();
        let mut request = self.cluster.client(self.node).request(method, path).timeout(PATIENCE);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        (answer, begun.elapsed())
    }

    async fn linearizable(&self) {
        let reads = [
            "/api/notes/a",
            "/api/notes?limit=5",
            "/api/notes/missing",
            "/api/nowhere/a",
            "/admin/collections",
            "/api/notes/_changes?since=0",
        ];
        let asked = reads.map(async |path| (path, self.ask(Method::GET, path, None).await));
        for (path, (answer, took)) in futures::future::join_all(asked).await {
            eprintln!("GET {path}: {:?} after {took:.1?}", answer.code());
            assert_unavailable(&answer, took, &["no_leader", "quorum_lost"]);
        }
    }

    /// What it has, and how old that is.
    async fn stale(&self, cut_at: Instant) {
        let path = "/api/notes/a?consistency=stale";
        let mut last = None;
        let deadline = Instant::now() + SOON;
        // Until it has grown by a second, seen growing at least three times.
        let mut grown = 0;
        let mut first = None;
        while grown < 3 || last.unwrap_or(0) < first.unwrap_or(0) + 1_000 {
            let (answer, took) = self.ask(Method::GET, path, None).await;
            assert_eq!(answer.status.as_u16(), 200, "{answer}");
            assert!(took < Duration::from_secs(2), "a stale read waits for nobody: {took:?}");
            assert_eq!((&answer.body["n"], &answer.body["_revision"]), (&"old".into(), &self.old.into()), "{answer}");
            assert!(answer.revision() < Some(self.new), "it cannot have seen what came after the cut");
            let age = answer.header("aerodb-age-ms").expect("a stale answer says its age").to_owned();
            let age: u64 = age.parse().unwrap_or_else(|_| panic!("the age of a stale answer is {age:?}, not a number"));
            assert!(Some(age) >= last, "it grows: {age} after {last:?}");
            grown += usize::from(Some(age) > last);
            first = first.or(Some(age));
            last = Some(age);
            assert!(Instant::now() < deadline, "it does not grow: {first:?} to {last:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // It must cover what has really passed since the cut, and not much more.
        let real = cut_at.elapsed();
        let said = Duration::from_millis(last.unwrap_or(0));
        let slack = Duration::from_millis(1_500);
        assert!(said + Duration::from_millis(300) >= real, "it says {said:?}, and {real:?} have passed since the cut");
        assert!(said <= real + slack, "it says {said:?}, and only {real:?} have passed since the cut");

        let (answer, took) = self.ask(Method::GET, "/api/notes/a?consistency=stale&max_staleness_ms=500", None).await;
        assert_unavailable(&answer, took, &["too_stale"]);
        let (answer, _) = self.ask(Method::GET, "/api/notes/a?consistency=stale&max_staleness_ms=600000", None).await;
        assert_eq!((answer.status.as_u16(), &answer.body["n"]), (200, &"old".into()), "{answer}");
    }

    /// Nothing older than what the client has seen.
    async fn session(&self) {
        let path = "/api/notes/a?consistency=session";
        let (has, has_not) = tokio::join!(
            self.ask(Method::GET, path, Some(("aerodb-min-revision", self.old))),
            self.ask(Method::GET, path, Some(("aerodb-min-revision", self.new))),
        );
        assert_eq!((has.0.status.as_u16(), &has.0.body["n"]), (200, &"old".into()), "{}", has.0);
        assert_unavailable(&has_not.0, has_not.1, &["deadline_exceeded", "no_leader"]);
        let (answer, took) = self.ask(Method::GET, &format!("/api/notes/a?as_of={}", self.new), None).await;
        assert_unavailable(&answer, took, &["no_leader", "quorum_lost", "deadline_exceeded"]);
    }

    /// It says that it is alone.
    async fn topology(&self) {
        let alone = || async {
            let status = self.cluster.status(self.node).await?;
            ensure!(status["quorum"]["ok"] == false, "{status}");
            let others = status["nodes"].as_array().into_iter().flatten().filter(|node| node["id"] != self.node);
            for other in others {
                ensure!(other["state"] == "unreachable", "{other}");
            }
            Ok(())
        };
        self.cluster.wait_until(SOON, "the node to see that it is alone", alone).await.unwrap();
    }

    /// Writes to it; returns what became of each.
    async fn writes(&self) -> Vec<(String, u16)> {
        let write = async |n: usize| {
            let id = format!("cut-{n}");
            let begun = Instant::now();
            let request = self.cluster.client(self.node).request(Method::PUT, &format!("/api/notes/{id}"));
            let request = request.header("idempotency-key", &id).json(&json!({"n": n})).timeout(PATIENCE);
            let answer = request.send().await.unwrap();
            let took = begun.elapsed();
            eprintln!("PUT {id}: {:?} after {took:.1?}", answer.code());
            match answer.status.as_u16() {
                504 => assert_eq!(answer.code(), Some("outcome_unknown"), "{answer}"),
                _ => assert_unavailable(&answer, took, &["no_leader", "quorum_lost", "deadline_exceeded"]),
            }
            assert!(took < REFUSED_WITHIN, "{took:?}");
            (id, answer.status.as_u16())
        };
        futures::future::join_all((0..5).map(write)).await
    }

    /// It is one of them again, and what it refused has not happened.
    async fn healed(&self, writes: &[(String, u16)]) {
        self.cluster.wait_leader(SOON).await.unwrap();
        self.cluster.wait_ready(SOON).await.unwrap();
        let fresh = || async {
            let (answer, _) = self.ask(Method::GET, "/api/notes/a", None).await;
            ensure!(answer.status.as_u16() == 200, "{answer}");
            assert_eq!(answer.body["n"], "new", "a linearizable answer is never old");
            Ok(())
        };
        self.cluster.wait_until(SOON, "the node to answer again", fresh).await.unwrap();
        for (id, status) in writes {
            let (answer, _) = self.ask(Method::GET, &format!("/api/notes/{id}"), None).await;
            match status {
                503 => assert_eq!(
                    answer.status.as_u16(),
                    404,
                    "{id} was refused with 503, which says that nothing was written"
                ),
                _ => assert!(matches!(answer.status.as_u16(), 200 | 404), "{answer}"),
            }
            // Sent again under its key it happens, once.
            let n: usize = id.trim_start_matches("cut-").parse().unwrap();
            let request = self.cluster.client(self.node).request(Method::PUT, &format!("/api/notes/{id}"));
            request.header("idempotency-key", id).json(&json!({"n": n})).send().await.unwrap().ok().unwrap();
            let history = self.ask(Method::GET, &format!("/api/notes/{id}/_history"), None).await.0.ok().unwrap();
            assert_eq!(history.body["items"].as_array().map(Vec::len), Some(1), "{id} was written once: {history}");
        }
    }
}
