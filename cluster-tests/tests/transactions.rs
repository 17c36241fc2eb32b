//! Transactions on three nodes: money moves between accounts while the leader is killed, and none is ever made or lost.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cluster_tests::{Client, Cluster, Options};
use reqwest::Method;
use serde_json::{Value, json};

const ACCOUNTS: u64 = 6;
const START: i64 = 100;
const SOON: Duration = Duration::from_secs(30);

/// One mover of money: which node it asks, and what it has seen.
struct Teller {
    number: u64,
    turn: u64,
    clients: Vec<Client>,
}

#[derive(Default)]
struct Seen {
    moved: AtomicU64,
    conflicts: AtomicU64,
    sums: AtomicU64,
    stop: AtomicBool,
}

impl Teller {
    fn next(&mut self) -> Client {
        self.turn += 1;
        self.clients[(self.turn + self.number) as usize % self.clients.len()].clone()
    }

    /// Reads two accounts and writes what follows, at any node each time.
    async fn transfer(&mut self, seen: &Seen) {
        let from = (self.turn * 7 + self.number) % ACCOUNTS;
        let to = (from + 1 + self.turn % (ACCOUNTS - 1)) % ACCOUNTS;
        let (Some(a), Some(b)) = (self.read(from).await, self.read(to).await) else { return };
        let amount = 1 + (self.turn % 5) as i64;
        let put = |account: &Value, n: i64| {
            let (id, revision) = (&account["id"], &account["_revision"]);
            json!({"op": "put", "collection": "accounts", "id": id, "document": {"n": n}, "if_revision": revision})
        };
        let (x, y) = (a["n"].as_i64().unwrap(), b["n"].as_i64().unwrap());
        if x < amount {
            return;
        }
        let body = json!({"operations": [put(&a, x - amount), put(&b, y + amount)]});
        let key = format!("{}-{}", self.number, self.turn);
        loop {
            let request =
                self.next().request(Method::POST, "/transactions").header("idempotency-key", &key).json(&body);
            let Ok(answer) = request.timeout(SOON).send().await else { continue };
            match answer.status.as_u16() {
                200 => {
                    assert_eq!(answer.body["revision"].as_u64(), answer.revision(), "{answer}");
                    seen.moved.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                409 => {
                    assert_eq!(answer.code(), Some("conflict"), "{answer}");
                    assert!(answer.body["document_id"].is_string() && answer.body["index"].is_u64(), "{answer}");
                    seen.conflicts.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                503 | 504 => {}
                other => panic!("{other}: {answer}"),
            }
        }
    }

    async fn read(&mut self, account: u64) -> Option<Value> {
        let answer = self.next().get(&format!("/api/accounts/a{account}")).await.ok()?;
        (answer.status == 200).then_some(answer.body)
    }
}

/// Every list, on every node, shows all the money there is.
async fn audit(clients: Vec<Client>, seen: Arc<Seen>) {
    for turn in 0.. {
        if seen.stop.load(Ordering::Relaxed) {
            return;
        }
        let client: &Client = &clients[turn % clients.len()];
        let consistency = ["linearizable", "stale"][turn % 2];
        let Ok(answer) = client.get(&format!("/api/accounts?consistency={consistency}")).await else { continue };
        if answer.status != 200 {
            continue;
        }
        let items = answer.body["items"].as_array().unwrap();
        if consistency == "linearizable" || items.len() as u64 == ACCOUNTS {
            let sum: i64 = items.iter().map(|item| item["n"].as_i64().unwrap()).sum();
            assert_eq!(sum, START * ACCOUNTS as i64, "{answer}");
            seen.sums.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_neither_made_nor_lost() {
    let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    let clients: Vec<_> = cluster.ids().map(|id| cluster.client(id)).collect();
    clients[0].post("/admin/collections", &json!({"name": "accounts"})).await.unwrap().expect_status(201).unwrap();
    let accounts: Vec<_> = (0..ACCOUNTS).map(|n| json!({"id": format!("a{n}"), "n": START})).collect();
    clients[1].post("/api/accounts", &json!(accounts)).await.unwrap().expect_status(201).unwrap();

    let seen = Arc::new(Seen::default());
    let auditor = tokio::spawn(audit(clients.clone(), seen.clone()));
    let tellers: Vec<_> = (0..4)
        .map(|number| {
            let (seen, clients) = (seen.clone(), clients.clone());
            tokio::spawn(async move {
                let mut teller = Teller { number, turn: 0, clients };
                while !seen.stop.load(Ordering::Relaxed) {
                    teller.turn += 1;
                    teller.transfer(&seen).await;
                }
            })
        })
        .collect();
    for _ in 0..2 {
        let enough = seen.moved.load(Ordering::Relaxed) + 100;
        reach(&cluster, "transfers", &seen.moved, enough).await;
        let leader = cluster.wait_leader(SOON).await.unwrap();
        cluster.node(leader.id).kill().unwrap();
        cluster.wait_leader_after(leader.term, SOON).await.unwrap();
        cluster.node(leader.id).start().unwrap();
        cluster.wait_ready(SOON).await.unwrap();
    }
    reach(&cluster, "sums", &seen.sums, 20).await;
    seen.stop.store(true, Ordering::Relaxed);
    for teller in tellers {
        teller.await.unwrap();
    }
    auditor.await.unwrap();
    assert!(seen.conflicts.load(Ordering::Relaxed) > 0, "nobody ever got in anybody's way: this tested nothing");
    cluster.wait_converged(SOON).await.unwrap();
}

async fn reach(cluster: &Cluster, what: &str, count: &AtomicU64, enough: u64) {
    let condition = || async {
        let now = count.load(Ordering::Relaxed);
        anyhow::ensure!(now >= enough, "{now} {what}");
        Ok(())
    };
    cluster.wait_until(SOON, &format!("{enough} {what}"), condition).await.unwrap();
}
