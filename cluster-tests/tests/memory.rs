//! What a node keeps in memory: its caches, and a constant (ARCHITECTURE, "Memory").

// Tests stop at the first surprise.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cluster_tests::{Cluster, Node, Options, SERVICE_KEY, figure, rounds};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(30);
/// Nodes that were asked for much may have some way to go.
const LATER: Duration = Duration::from_secs(300);
/// The caches of a node, bytes: a fraction of the documents.
const CACHES: u64 = 32 << 20;
/// What a node may take beside its caches, bytes.
const CONSTANT: u64 = 512 << 20;
/// Documents of a bulk insert.
const BATCH: usize = 500;

/// The most that a node's process has had resident, bytes.
fn peak_bytes(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid().unwrap())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn options() -> Options {
    let args = vec![format!("--limit=cache_bytes_max={CACHES}")];
    Options { proxy: false, args, ..Options::default() }
}

fn document(n: usize) -> Value {
    json!({"id": format!("{:08x}", (n as u32).wrapping_mul(2_654_435_761)), "n": n, "kind": n % 7, "text": "x".repeat(900)})
}

/// Inserts the documents `from..to`.
async fn insert(cluster: &Cluster, from: usize, to: usize) {
    for first in (from..to).step_by(BATCH) {
        let documents: Vec<Value> = (first..to.min(first + BATCH)).map(document).collect();
        let client = cluster.client((first / BATCH) as u64 % 3 + 1);
        client.post("/api/c", &json!(documents)).await.unwrap().expect_status(201).unwrap();
    }
}

/// Asks for what has to look at everything, and for what cannot be had, until told to end.
async fn ask(cluster: &Cluster, id: u64, until: &tokio::sync::watch::Receiver<bool>) {
    let client = cluster.client(id);
    while !*until.borrow() {
        let page = client.get("/api/c?order=text.desc,n.desc&limit=1000").await.unwrap().ok().unwrap();
        assert_eq!(page.body["items"].as_array().map(Vec::len), Some(1_000));
        let query = json!({"group_by": ["kind"], "aggregates": {"n": {"count": "*"}, "sum": {"sum": "n"}}});
        let groups = client.post("/api/c/query", &query).await.unwrap().ok().unwrap();
        assert_eq!(groups.body["items"].as_array().map(Vec::len), Some(7));
        // Each document, whole, is a group of its own.
        let query = json!({"group_by": ["id", "text"], "aggregates": {"n": {"max": "text"}}, "limit": 10});
        let refused = client.post("/api/c/query", &query).await.unwrap();
        assert!(refused.status == 200 || refused.code() == Some("query_too_expensive"), "{refused}");
        client.patch(r#"/api/c?filter={"n":{"$lt":1000}}"#, &json!({"$inc": {"m": 1}})).await.unwrap().ok().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_within_the_caches_and_a_constant() {
    let count = rounds(80, 2_000) * 1_000;
    let cluster = Cluster::start(3, options()).await.unwrap();
    cluster.client(1).post("/admin/collections", &json!({"name": "c"})).await.unwrap().ok().unwrap();
    let index = json!({"name": "n", "fields": [{"path": "n"}]});
    cluster.client(1).post("/admin/collections/c/indexes", &index).await.unwrap().ok().unwrap();
    insert(&cluster, 0, 2_000).await;
    let (done, until) = tokio::sync::watch::channel(false);
    let writing = async {
        let quarter = (count - 2_000) / 4;
        let from = |part: usize| 2_000 + part * quarter;
        let parts = (0..4).map(|part| insert(&cluster, from(part), from(part + 1)));
        futures::future::join_all(parts).await;
        done.send(true).unwrap();
    };
    tokio::join!(writing, ask(&cluster, 1, &until), ask(&cluster, 2, &until), ask(&cluster, 3, &until));
    cluster.wait_converged(LATER).await.unwrap();
    let peaks: Vec<u64> = cluster.nodes().iter().map(peak_bytes).collect();
    figure("memory_under_load", json!({"documents": count, "caches": CACHES, "peak_bytes": peaks}));
    assert!(peaks.iter().all(|peak| *peak <= CACHES + CONSTANT), "{peaks:?}");
}

/// A connection that asks and does not read.
async fn unread(addr: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer {SERVICE_KEY}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_are_bounded() {
    const ANSWERS: usize = 40;
    let cluster = Cluster::start(1, options()).await.unwrap();
    let (node, client) = (cluster.node(1), cluster.client(1));
    client.post("/admin/collections", &json!({"name": "c"})).await.unwrap().ok().unwrap();
    for n in 0..32 {
        client.put(&format!("/api/c/{n}"), &json!({"text": "x".repeat(900_000)})).await.unwrap().ok().unwrap();
    }
    let addr = node.url().trim_start_matches("http://").to_owned();
    let (mut kept, mut refused) = (Vec::new(), 0);
    for _ in 0..ANSWERS {
        let mut stream = unread(&addr, "/api/c?limit=1000").await;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        match &status {
            b"HTTP/1.1 200" => kept.push(stream),
            b"HTTP/1.1 503" => refused += 1,
            _ => panic!("{}", String::from_utf8_lossy(&status)),
        }
    }
    let peak = peak_bytes(node);
    figure("unread_answers", json!({"kept": kept.len(), "refused": refused, "peak_bytes": peak}));
    assert!(!kept.is_empty() && refused > 0, "{} kept, {refused} refused", kept.len());
    assert!(peak <= CACHES + CONSTANT, "{peak}");
    // Who asks for less is served, and so is everybody once the others are gone.
    client.get("/api/c?select=id").await.unwrap().ok().unwrap();
    let again = client.get("/api/c?limit=1000").await.unwrap();
    assert_eq!((again.status.as_u16(), again.code()), (503, Some("overloaded")), "{}", again.status);
    drop(kept);
    let whole = || async { client.get("/api/c?limit=1000").await?.ok().map(drop) };
    cluster.wait_until(SOON, "room for answers", whole).await.unwrap();
}
