//! Line 4 of issue 5: an index is built under load on three nodes, the leader is killed in the middle, and afterwards the
//! index answers like a look at every document.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cluster_tests::{Client, Cluster, Dice, Options, figure, rounds};
use reqwest::Method;
use serde_json::{Value, json};

const DOCUMENTS: u64 = 60_000;
const SOON: Duration = Duration::from_secs(60);

fn document(dice: &mut Dice) -> Value {
    let mut document = json!({"a": dice.below(200), "b": dice.below(50), "t": [dice.below(20), dice.below(20)]});
    match dice.below(20) {
        0 => document["a"] = Value::Null,
        1 => document["a"] = json!(format!("s{}", dice.below(9))),
        2 => drop(document.as_object_mut().unwrap().remove("b")),
        3 => document["a"] = json!(dice.below(200) as f64 + 0.5),
        _ => {}
    }
    document
}

/// A filter that an index may serve, and an order.
fn query(dice: &mut Dice) -> Value {
    let n = dice.below(200);
    let filter = match dice.below(11) {
        0 => json!({"a": n}),
        1 => json!({"a": {"$gte": n, "$lt": n + 3}}),
        2 => json!({"a": {"$in": [n, "s3", null]}, "b": {"$lt": 10}}),
        3 if n.is_multiple_of(2) => json!({"a": {"$regex": "^s[0-4]"}}),
        3 => json!({"a": {"$startsWith": "s"}}),
        4 => json!({"t": n % 20, "b": n % 50}),
        5 => json!({"a": n, "b": {"$gt": 25}}),
        6 => json!({"t": {"$all": [n % 20, (n + 1) % 20]}}),
        7 => json!({"$or": [{"a": n, "b": n % 50}, {"t": {"$all": [n % 20, (n + 1) % 20]}, "b": n % 50}, {"a": "s1"}]}),
        8 => json!({"id": {"$gte": format!("{:05}", n * 300), "$lt": format!("{:05}", n * 300 + 90)}}),
        9 => {
            json!({"id": {"$in": ["00017", format!("{:05}", n * 7), "none"]}, "$or": [{"a": {"$gte": 0}}, {"t": n % 20}]})
        }
        _ => json!({"a": {"$gt": 195}}),
    };
    let order = ["", "a", "a.desc,b", "b.desc", "a,b.desc", "id.desc"][dice.below(6) as usize];
    json!({"filter": filter, "order": order, "limit": 1 + dice.below(60), "select": ["a", "b"]})
}

async fn fill(client: &Client) {
    let mut dice = Dice(1);
    for from in (0..DOCUMENTS).step_by(1_000) {
        let documents: Vec<_> = (from..from + 1_000)
            .map(|n| {
                let mut document = document(&mut dice);
                document["id"] = json!(format!("{n:05}"));
                document
            })
            .collect();
        client.post("/api/c", &json!(documents)).await.unwrap().expect_status(201).unwrap();
    }
}

/// Replaces, inserts and deletes until it is told to stop. Requests may fail while the leader changes.
async fn load(number: u64, clients: Vec<Client>, stop: Arc<AtomicBool>, written: Arc<AtomicU64>) {
    let mut dice = Dice(100 + number);
    while !stop.load(Ordering::Relaxed) {
        let path = format!("/api/c/{:05}", dice.below(DOCUMENTS + 500));
        let client = &clients[dice.below(3) as usize];
        let answer = match dice.below(8) {
            0 => client.delete(&path).await,
            _ => client.put(&path, &document(&mut dice)).await,
        };
        if answer.is_ok_and(|answer| answer.status.is_success()) {
            written.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn index(client: &Client, name: &str) -> anyhow::Result<Value> {
    Ok(client.get(&format!("/admin/collections/c/indexes/{name}")).await?.expect_status(200)?.body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_built_under_load_and_a_killed_leader_answers_like_a_scan() {
    let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    let clients: Vec<_> = cluster.ids().map(|id| cluster.client(id)).collect();
    clients[0].post("/admin/collections", &json!({"name": "c"})).await.unwrap().expect_status(201).unwrap();
    fill(&clients[0]).await;
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let loads: Vec<_> = (0..4).map(|n| tokio::spawn(load(n, clients.clone(), stop.clone(), written.clone()))).collect();

    let leader = cluster.wait_leader(SOON).await.unwrap();
    let others: Vec<_> = cluster.ids().filter(|id| *id != leader.id).collect();
    let other = cluster.client(others[0]);
    for (name, fields) in [("a_b", json!(["a", "b.desc"])), ("t", json!(["t"])), ("b", json!(["b"]))] {
        let body = json!({"name": name, "fields": fields});
        let make = other.post("/admin/collections/c/indexes", &body);
        let kill = async {
            // While it is built: some documents are in it, and not all.
            let begun = || async {
                let index = index(&other, name).await?;
                anyhow::ensure!(index["built_documents"].as_u64() > Some(0), "{index}");
                Ok(index)
            };
            let begun = cluster.wait_until(SOON, "a build that has begun", begun).await.unwrap();
            assert_eq!(begun["state"], "building", "{begun}");
            cluster.node(leader.id).kill().unwrap();
        };
        let made = match name {
            "a_b" => tokio::join!(make, kill).0,
            _ => make.await,
        };
        let made = made.unwrap();
        assert!([201, 202].contains(&made.status.as_u16()), "{made}");
        cluster.wait_leader(SOON).await.unwrap();
    }
    let before = written.load(Ordering::Relaxed);
    for name in ["a_b", "t", "b"] {
        let ready = || async {
            let index = index(&other, name).await?;
            anyhow::ensure!(index["state"] == "ready", "{index}");
            Ok(index)
        };
        cluster.wait_until(SOON, "a ready index", ready).await.unwrap();
    }
    cluster.node(leader.id).start().unwrap();
    cluster.wait_ready(SOON).await.unwrap();
    assert!(written.load(Ordering::Relaxed) > before, "writes went on during the builds");

    // While writes go on: both ways at one revision, on different nodes.
    let queries = rounds(300, 10_000);
    let (mut dice, mut through) = (Dice(7), 0);
    for n in 0..queries {
        let mut query = query(&mut dice);
        let (one, another) = (&clients[n % 3], &clients[(n + 1) % 3]);
        let path = "/api/c/query";
        let found = one.post(path, &query).await.unwrap().expect_status(200).unwrap();
        if n % 500 == 499 {
            println!("{} of {queries} queries, {} writes", n + 1, written.load(Ordering::Relaxed));
        }
        if n % 10 == 0 {
            let explained = one.post("/api/c/explain", &query).await.unwrap().expect_status(200).unwrap();
            through += usize::from(explained.body["plan"]["access"] != "scan");
        }
        query["as_of"] = found.body["revision"].clone();
        // No index bounds a double negation.
        query["filter"] = json!({"$not": {"$nor": [query["filter"]]}});
        let looked = another.request(Method::POST, path).json(&query).timeout(SOON).send().await.unwrap();
        let looked = looked.expect_status(200).unwrap();
        assert_eq!(found.body["items"], looked.body["items"], "{query}");
    }
    assert!(through * 10 > queries / 4, "{through} of {} queries went through an index", queries / 10);
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    cluster.wait_converged(SOON).await.unwrap();
    figure("index_queries", json!({"queries": queries, "writes": written.load(Ordering::Relaxed)}));
}
