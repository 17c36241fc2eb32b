//! A node that lost its data has forgotten what it acknowledged. Until it has learned that again it must not help to
//! elect a leader that does not have it either; and it must remember so if it dies while it learns.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use anyhow::ensure;
use cluster_tests::{Cluster, Fault, NodeId, Options, Source, wait_until};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(60);
/// Some election timeouts, which are 400 ms at most.
const ELECTIONS: Duration = Duration::from_secs(4);
/// How often the bytes on their way are looked at.
const LOOK: Duration = Duration::from_micros(300);

/// A write that is on the leader and on one follower, and that the other follower has never heard of.
struct Acknowledged {
    cluster: Cluster,
    leader: NodeId,
    /// Helped to acknowledge it.
    helper: NodeId,
    /// Has not got it.
    ignorant: NodeId,
}

impl Acknowledged {
    async fn start() -> Self {
        let cluster = Cluster::start(3, Options::default()).await.unwrap();
        let leader = cluster.wait_leader(SOON).await.unwrap().id;
        let (helper, ignorant) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let client = cluster.client(leader);
        client.post("/admin/collections", &json!({"name": "c"})).await.unwrap().ok().unwrap();
        // Enough that learning it takes a while.
        for n in 0..40 {
            let pad: String =
                (0..600_000).map(|at| char::from(b'a' + ((at * 7 + at / 13 * 5 + n) % 26) as u8)).collect();
            client.put(&format!("/api/c/big-{n}"), &json!({"pad": pad})).await.unwrap().ok().unwrap();
        }
        cluster.wait_converged(LATER).await.unwrap();
        // The leader's words no longer reach it, but it can still be asked how it is.
        cluster.network().block(leader, ignorant, Fault::Hold);
        client.put("/api/c/precious", &json!({"n": 1})).await.unwrap().ok().unwrap();
        Self { cluster, leader, helper, ignorant }
    }

    fn lose_helper(&self) {
        self.cluster.node(self.helper).kill().unwrap();
        self.cluster.node(self.helper).wipe().unwrap();
    }

    /// Starts the helper and kills it while it learns.
    fn kill_while_it_learns(&self) {
        let sent = || self.cluster.network().carried_bytes(Source::Node(self.leader), Source::Node(self.helper));
        let (from, deadline) = (sent(), Instant::now() + LATER);
        self.cluster.node(self.helper).start().unwrap();
        tokio::task::block_in_place(|| {
            while sent() < from + (1 << 20) {
                assert!(Instant::now() < deadline, "nothing flows to it: {} bytes", sent() - from);
                std::thread::sleep(LOOK);
            }
            self.cluster.node(self.helper).kill().unwrap();
        });
        let log = std::fs::read_to_string(self.cluster.node(self.helper).log_path()).unwrap();
        assert!(!log.contains("it votes again"), "it was to die before it had learned everything");
    }

    /// The leader goes, and leaves the two behind that do not know of the write; then it comes back.
    async fn the_write_survives(&self) {
        self.cluster.node(self.leader).kill().unwrap();
        self.cluster.heal();
        // They must not agree on a leader. That they do not cannot be waited for, only watched.
        let one_leads = || async {
            let leader = self.cluster.leader().await;
            ensure!(leader.is_some_and(|leader| leader.id != self.leader), "{leader:?}");
            Ok(leader)
        };
        let wrong = wait_until(ELECTIONS, "two that know too little to elect one of them", one_leads).await;
        assert!(wrong.is_err(), "elected without one that knows of an acknowledged write: {:?}", wrong.unwrap());

        self.cluster.node(self.leader).start().unwrap();
        self.cluster.wait_ready(LATER).await.unwrap();
        for id in self.cluster.ids() {
            let answer = self.cluster.client(id).get("/api/c/precious").await.unwrap();
            assert_eq!(answer.status.as_u16(), 200, "LOST: an acknowledged write, on node {id}: {answer}");
        }
        self.cluster.wait_converged(LATER).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_not_vote_before_it_has_learned() {
    let case = Acknowledged::start().await;
    case.lose_helper();
    // It can ask all others, as it must before it begins, and then hears nothing more from the leader.
    case.cluster.node(case.helper).start().unwrap();
    let begun = || async {
        let log = case.cluster.node(case.helper).log_tail(50);
        ensure!(log.contains("it learns from the others first"), "{log}");
        Ok(())
    };
    case.cluster.wait_until(SOON, "the helper to begin to learn", begun).await.unwrap();
    case.cluster.network().block(case.leader, case.helper, Fault::Hold);
    let log = std::fs::read_to_string(case.cluster.node(case.helper).log_path()).unwrap();
    assert!(!log.contains("it votes again"), "it was to be cut off before it had learned everything");
    eprintln!("{} knows nothing, {} too little", case.helper, case.ignorant);
    case.the_write_survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_not_vote_after_it_died_while_it_learned() {
    let case = Acknowledged::start().await;
    case.lose_helper();
    case.kill_while_it_learns();
    case.cluster.network().block(case.leader, case.helper, Fault::Hold);
    case.cluster.node(case.helper).start().unwrap();
    // It is up: it says so, ready or not.
    let up = || async {
        let answer = case.cluster.client(case.helper).with_token(None).get("/health/live").await?;
        ensure!(answer.status.is_success(), "{answer}");
        Ok(())
    };
    // A node that waits for the others before it serves is as good.
    let _ = wait_until(Duration::from_secs(3), "the helper to be up", up).await;
    case.the_write_survives().await;
}
