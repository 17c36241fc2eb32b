//! Documents whose time is over go, on all nodes alike, whoever leads; all others stay.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::time::Duration;

use anyhow::ensure;
use cluster_tests::{Client, Cluster, Options};
use serde_json::{Value, json};

const EXPIRED: usize = 12_000;
const OTHERS: usize = 500;
const SOON: Duration = Duration::from_secs(60);

async fn insert(client: &Client, name: &str, count: usize, document: impl Fn(usize) -> Value) {
    for from in (0..count).step_by(1_000) {
        let documents: Vec<_> = (from..count.min(from + 1_000))
            .map(|n| {
                let mut document = document(n);
                document["id"] = json!(format!("{name}{n:05}"));
                document
            })
            .collect();
        client.post("/api/c", &json!(documents)).await.unwrap().expect_status(201).unwrap();
    }
}

async fn count(client: &Client) -> anyhow::Result<u64> {
    let page = client.get("/api/c?limit=1&count=exact").await?.expect_status(200)?;
    Ok(page.body["count"].as_u64().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_go_when_their_time_is_over_though_the_leader_is_killed() {
    let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    let leader = cluster.wait_leader(SOON).await.unwrap();
    let other = cluster.client(cluster.ids().find(|id| *id != leader.id).unwrap());
    other.post("/admin/collections", &json!({"name": "c"})).await.unwrap().expect_status(201).unwrap();
    insert(&other, "gone", EXPIRED, |n| json!({"at": format!("2020-01-01T00:00:{:02}Z", n % 60)})).await;
    insert(&other, "late", OTHERS, |_| json!({"at": "2999-01-01T00:00:00Z"})).await;
    insert(&other, "never", OTHERS, |n| json!({"at": n})).await;
    let index = json!({"name": "end", "fields": ["at"], "ttl_seconds": 3_600});
    let made = other.post("/admin/collections/c/indexes", &index).await.unwrap();
    assert!([201, 202].contains(&made.status.as_u16()), "{made}");

    let begun = || async {
        let left = count(&other).await?;
        ensure!(left < (EXPIRED + 2 * OTHERS) as u64, "{left} documents are left");
        Ok(left)
    };
    let left = cluster.wait_until(SOON, "the first documents to go", begun).await.unwrap();
    cluster.node(leader.id).kill().unwrap();
    cluster.wait_leader(SOON).await.unwrap();
    let over = || async {
        let left = count(&other).await?;
        ensure!(left == 2 * OTHERS as u64, "{left} documents are left");
        Ok(())
    };
    cluster.wait_until(SOON, "all documents whose time is over to go", over).await.unwrap();
    cluster.node(leader.id).start().unwrap();
    cluster.wait_ready(SOON).await.unwrap();
    cluster.wait_converged(SOON).await.unwrap();
    for id in cluster.ids() {
        let client = cluster.client(id);
        assert_eq!(count(&client).await.unwrap(), 2 * OTHERS as u64, "on node {id}");
        let found = client.get("/api/c?filter=%7B%22at%22%3A%7B%22%24lt%22%3A%222021%22%7D%7D").await.unwrap();
        assert_eq!(found.body["items"], json!([]), "on node {id}");
    }
    // Each went once, as the change feed has it.
    let feed = other.get("/api/c/_changes?since=0").await.unwrap().expect_status(200).unwrap();
    let deleted = feed.body.as_str().unwrap().lines().filter(|line| line.contains(r#""type":"delete""#)).count();
    assert_eq!(deleted, EXPIRED, "when the leader was killed {left} documents were left");
}
