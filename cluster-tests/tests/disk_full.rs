//! A disk without room ends a node, and nothing but room is needed for it to come back.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use cluster_tests::{Cluster, Options};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(60);
const DISK_BYTES: u64 = 64 << 20;

/// A small disk in memory, gone when this is dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None` where none can be had: that takes root.
    fn mount(dir: &Path) -> Option<Self> {
        std::fs::create_dir_all(dir).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "tmpfs"]).arg(dir).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(dir.to_owned()))
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let full = std::fs::write(self.0.join("ballast"), vec![1; DISK_BYTES as usize]);
        assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the node may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_room_waits_for_it_and_comes_back_by_itself() {
    let cluster = Cluster::start(3, Options::default()).await.unwrap();
    let leader = cluster.wait_leader(SOON).await.unwrap().id;
    let victim = leader % 3 + 1;
    let (node, client) = (cluster.node(victim), cluster.client(leader));
    client.post("/admin/collections", &json!({"name": "c"})).await.unwrap().ok().unwrap();
    node.kill().unwrap();
    node.wipe().unwrap();
    let Some(disk) = Disk::mount(node.data_dir()) else {
        eprintln!("left out: a small disk cannot be mounted here");
        return;
    };
    node.start().unwrap();
    cluster.wait_converged(LATER).await.unwrap();
    let pid = node.pid();
    let log = || std::fs::read_to_string(node.log_path()).unwrap();

    disk.fill();
    // Others go on, and the node finds out at its next write.
    let pad = "x".repeat(100_000);
    for n in 0..50 {
        client.put(&format!("/api/c/{n}"), &json!({"pad": pad})).await.unwrap().ok().unwrap();
    }
    let waits = || async {
        ensure!(log().contains("this node waits for room"), "it does not say that it waits");
        Ok(())
    };
    cluster.wait_until(LATER, "the node to find its disk full", waits).await.unwrap();
    client.put("/api/c/meanwhile", &json!({"n": 1})).await.unwrap().ok().unwrap();
    assert!(cluster.client(victim).get("/health/live").await.is_err(), "it must not serve anything");
    assert!(!log().contains("there is room"));

    disk.empty();
    cluster.wait_converged(LATER).await.unwrap();
    assert_eq!((node.pid(), node.died()), (pid, None), "it came back by itself");
    let read = cluster.client(victim).get("/api/c/meanwhile").await.unwrap().ok().unwrap();
    assert_eq!(read.body["n"], 1);
    node.kill().unwrap();
    drop(disk);
}
