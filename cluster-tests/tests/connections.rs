//! What clients cost a node that keep a connection and do nothing with it.

// Tests stop at the first surprise.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cluster_tests::{Cluster, Node, Options, SERVICE_KEY, figure};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(10);
const CONNECTIONS: u64 = 10_000;
/// What each may take of a node's memory.
const BYTES_MAX: f64 = 15_000.0;
/// Files that the test and the node need beside their connections.
const OTHER_FILES: u64 = 1_000;

/// Connections that this process, and a node that it starts, may have: as many files as the machine grants.
#[allow(unsafe_code)]
fn connections() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write the one structure that they are given.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raised), 0);
    }
    CONNECTIONS.min(limit.rlim_max - OTHER_FILES)
}

fn memory_bytes(node: &Node) -> f64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", node.pid().unwrap())).unwrap();
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096.0
}

/// A connection over which one document was read.
async fn connection(addr: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET /api/c/x HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer {SERVICE_KEY}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 4096];
    let bytes = stream.read(&mut answer).await.unwrap();
    assert!(answer[..bytes].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..bytes]));
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_cost_little() {
    let count = connections();
    let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    let leader = cluster.wait_leader(SOON).await.unwrap();
    let client = cluster.client(leader.id);
    client.post("/admin/collections", &json!({"name": "c"})).await.unwrap().ok().unwrap();
    client.put("/api/c/x", &json!({"n": 1})).await.unwrap().ok().unwrap();

    let node = cluster.node(leader.id % 3 + 1);
    let addr = node.url().trim_start_matches("http://").to_owned();
    let mut idle = vec![connection(&addr).await];
    let before = memory_bytes(node);
    for _ in 0..count {
        idle.push(connection(&addr).await);
    }
    let each = (memory_bytes(node) - before) / count as f64;
    figure("idle_connections", json!({"connections": count, "bytes_each": each.round()}));
    assert!(each <= BYTES_MAX, "each of {count} connections takes {each:.0} bytes");
    // They are all still there, and served.
    cluster.client(node.id()).get("/api/c/x").await.unwrap().ok().unwrap();
    cluster.check_alive().unwrap();
}
