//! The harness itself, with a shell script in place of the binary; the test answers for the nodes over HTTP.

use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// Notes that it started, and ends on SIGTERM.
const PATIENT: &str = r#"echo "args $*"; echo "key $AERODB_SERVICE_KEY" >&2
data=; while [ $# -gt 0 ]; do [ "$1" = --data-dir ] && data=$2; shift; done
trap 'echo bye; exit 3' TERM; touch "$data/started"; while :; do sleep 0.01; done"#;

async fn cluster_of(script: &str, n: usize) -> (Cluster, TempDir) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("aerodb");
    std::fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let options = Options { ready_within: None, ..Options::default() };
    (start_when_written(&path, n, options).await, folder)
}

/// While another test forks, its child holds our script open for writing for a moment, and starting it is refused.
async fn start_when_written(path: &Path, n: usize, options: Options) -> Cluster {
    wait_until(SOON, "the script to be startable", || {
        let options = options.clone();
        async { Cluster::start_binary(path, n, options).await }
    })
    .await
    .unwrap()
}

async fn until_started(node: &Node) {
    wait_until(SOON, "the script to start", || async {
        ensure!(node.data_dir().join("started").exists(), "not yet");
        Ok(())
    })
    .await
    .unwrap();
}

/// Answers for node `id`: `/cluster` and `/health/ready` with `status`, all else with 404.
async fn answer_for(cluster: &Cluster, id: NodeId, status: Arc<Mutex<Value>>) {
    let addr = cluster.node(id).url().replace("http://", "");
    let listener = TcpListener::bind(addr).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let n = stream.read(&mut head).await.unwrap_or(0);
            let known = [&b"GET /cluster "[..], b"GET /health/ready "].iter().any(|route| head[..n].starts_with(route));
            let code = if known { 200 } else { 404 };
            let body = status.lock().unwrap().to_string();
            let length = body.len();
            let answer = format!("HTTP/1.1 {code} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
}

#[tokio::test]
async fn nodes_are_started_killed_paused_and_wiped() {
    let (cluster, _folder) = cluster_of(PATIENT, 3).await;
    for node in cluster.nodes() {
        until_started(node).await;
    }
    let node = cluster.node(2);
    let log = node.log_tail(100);
    for part in ["server --insecure --node-id 2 ", &format!("2={}", node.peer_addr()), &format!("key {SERVICE_KEY}")] {
        assert!(log.contains(part), "{part:?} in {log}");
    }
    let pid = node.pid().unwrap();
    assert!(node.start().is_err() && node.wipe().is_err(), "it runs");

    node.pause().unwrap();
    assert!(node.is_paused() && !node.is_running());
    assert_eq!(proc_state(pid), Some('T'));
    node.resume().unwrap();
    assert!(node.is_running() && proc_state(pid) != Some('T'));

    node.pause().unwrap();
    node.kill().unwrap();
    assert_eq!((node.pid(), node.is_paused(), proc_state(pid)), (None, false, None));
    node.kill().unwrap();
    assert!(node.pause().is_err() && node.resume().is_err(), "it does not run");
    cluster.check_alive().unwrap();

    node.wipe().unwrap();
    assert!(!node.data_dir().exists());
    node.wipe().unwrap();
    node.start().unwrap();
    until_started(node).await;
    assert!(node.log_tail(100).contains("start 2 of node 2"));

    let first = node.pid();
    node.restart().unwrap();
    assert!(node.is_running() && node.pid() != first);
}

#[tokio::test]
async fn a_node_that_is_asked_to_end_has_not_died() {
    let (cluster, _folder) = cluster_of(PATIENT, 1).await;
    until_started(cluster.node(1)).await;
    assert_eq!(cluster.node(1).terminate(SOON).await.unwrap().code(), Some(3));
    cluster.check_alive().unwrap();
    assert!(cluster.node(1).log_tail(1).contains("bye"));
    assert!(cluster.node(1).terminate(SOON).await.is_err(), "it does not run");
}

#[tokio::test]
async fn a_node_that_dies_ends_every_wait() {
    let (cluster, _folder) = cluster_of("echo out of luck; exit 7", 1).await;
    let error = cluster.wait_until(SOON, "the moon", || async { Err::<(), _>(anyhow!("clouds")) }).await.unwrap_err();
    let text = format!("{error:#}");
    assert!(["the moon", "exit status: 7", "out of luck"].iter().all(|part| text.contains(part)), "{text}");
    // It is evidence that is kept now; this test has no use for it.
    let folder = cluster.folder().to_owned();
    drop(cluster);
    assert!(folder.join("node-1.log").exists(), "kept");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn nothing_is_left_of_a_cluster_that_passed() {
    let (cluster, _folder) = cluster_of(PATIENT, 2).await;
    let (folder, pid) = (cluster.folder().to_owned(), cluster.node(1).pid().unwrap());
    drop(cluster);
    assert!(!folder.exists());
    assert_eq!(proc_state(pid), None);
}

#[tokio::test]
async fn a_leader_is_one_that_a_majority_names() {
    let (cluster, _folder) = cluster_of(PATIENT, 3).await;
    let view =
        |term: u64, leader: Option<u64>| Arc::new(Mutex::new(serde_json::json!({"term": term, "leader": leader})));
    let views = [view(4, Some(1)), view(5, Some(2)), view(5, None)];
    for (id, view) in cluster.ids().zip(&views) {
        answer_for(&cluster, id, view.clone()).await;
    }
    cluster.wait_ready(SOON).await.unwrap();
    assert_eq!(cluster.leader().await, Some(Leader { id: 2, term: 5 }));
    let error = wait_until(Duration::from_millis(300), "a leader", || async {
        cluster.wait_leader(Duration::from_millis(50)).await
    })
    .await
    .unwrap_err();
    assert!(format!("{error:#}").contains("node 3: term 5 leader None"), "{error:#}");

    views[2].lock().unwrap()["leader"] = 2.into();
    assert_eq!(cluster.wait_leader(SOON).await.unwrap(), Leader { id: 2, term: 5 });
    assert!(cluster.wait_leader_after(5, Duration::from_millis(50)).await.is_err());
    cluster.node(2).kill().unwrap();
    assert!(cluster.wait_leader(Duration::from_millis(50)).await.is_err(), "the leader itself does not answer");
    cluster.troubled.store(false, Ordering::Relaxed);
}

#[tokio::test]
async fn converged_is_when_all_have_applied_the_same() {
    let (cluster, _folder) = cluster_of(PATIENT, 2).await;
    let status = |applied: u64| {
        let nodes = serde_json::json!([{"id": 1, "applied_index": applied}, {"id": 2, "applied_index": applied}]);
        Arc::new(Mutex::new(serde_json::json!({"revision": 9, "nodes": nodes})))
    };
    let (one, two) = (status(8), status(7));
    answer_for(&cluster, 1, one).await;
    answer_for(&cluster, 2, two.clone()).await;
    assert!(cluster.wait_converged(Duration::from_millis(50)).await.is_err());
    *two.lock().unwrap() = status(8).lock().unwrap().clone();
    let same = Converged { applied_index: 8, revision: 9, digest: None };
    assert_eq!(cluster.wait_converged(SOON).await.unwrap(), same);
    cluster.troubled.store(false, Ordering::Relaxed);
}

/// The letter under which the kernel lists a process.
fn proc_state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
