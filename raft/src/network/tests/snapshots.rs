//! A snapshot over the network, also over one that breaks.

use std::fs;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aerodb_proto as proto;
use futures::future::BoxFuture;
use openraft::RaftNetworkFactory;
use openraft::errors::{ReplicationClosed, StreamingError};
use openraft::network::NetSnapshot;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::snapshot::{Snapshot, SnapshotDir, manifest};
use crate::types::{TypeConfig, Vote};

use super::super::client::Node;
use super::super::*;
use super::fake::*;

/// A snapshot of several pieces.
fn snapshot(dir: &Path) -> Snapshot {
    let path = dir.join("snapshot");
    fs::create_dir_all(&path).unwrap();
    for (name, size) in [("000001.sst", 3 << 20), ("000002.sst", 1 << 20), ("CURRENT", 16), ("000003.log", 0)] {
        fs::write(path.join(name), vec![size as u8 ^ 0x5a; size]).unwrap();
    }
    let manifest = proto::SnapshotManifest {
        last_log_id: Some(proto::LogId { term: TERM, index: 50 }),
        files: manifest::scan(&path).unwrap(),
        revision: 1,
        cluster_id: "here".to_owned(),
        membership: None,
    };
    Snapshot { meta: manifest::meta(&manifest).unwrap(), snapshot: SnapshotDir::new(path, manifest) }
}

async fn send(node: &mut Node, snapshot: &Snapshot) -> Result<Vote, StreamingError<TypeConfig>> {
    let copy = Snapshot { meta: snapshot.meta.clone(), snapshot: snapshot.snapshot.clone() };
    let never = std::future::pending::<ReplicationClosed>();
    node.full_snapshot(leader(), copy, never, soft_ttl(5000)).await.map(|answer| answer.vote)
}

fn check_installed(server: &Server, snapshot: &Snapshot) {
    let installed = server.raft.installed.lock();
    assert_eq!(installed.len(), 1);
    assert_eq!(installed[0].manifest, snapshot.snapshot.manifest);
    manifest::verify(installed[0].path(), &snapshot.snapshot.manifest).unwrap();
    assert_eq!(fs::read_dir(server.raft.home.path().join("incoming")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_snapshot_is_sent_and_installed() {
    let dir = tempfile::tempdir().unwrap();
    let (server, sent) = (Server::start(Raft::default()).await, snapshot(dir.path()));
    let mut factory = network();
    let mut node = factory.new_snapshot_client(NODE, &server.peer()).await;
    assert_eq!(send(&mut node, &sent).await.unwrap(), leader());
    check_installed(&server, &sent);
    assert_eq!(factory.transfers().running(), []);
    assert_eq!(server.incoming.progress(), None);
}

#[tokio::test]
async fn a_snapshot_of_which_nothing_is_missing_is_installed_too() {
    let dir = tempfile::tempdir().unwrap();
    let (server, sent) = (Server::start(Raft::default()).await, snapshot(dir.path()));
    let waiting = server.raft.home.path().join("incoming").join(manifest::name(&sent.snapshot.manifest));
    fs::create_dir(&waiting).unwrap();
    for file in &sent.snapshot.manifest.files {
        fs::copy(sent.snapshot.path().join(&file.name), waiting.join(&file.name)).unwrap();
    }
    manifest::write(&waiting, &sent.snapshot.manifest).unwrap();
    send(&mut client(&server).await, &sent).await.unwrap();
    check_installed(&server, &sent);
}

#[tokio::test]
async fn a_node_with_a_higher_vote_refuses_the_offer() {
    let dir = tempfile::tempdir().unwrap();
    let (server, sent) = (Server::start(Raft::default()).await, snapshot(dir.path()));
    let higher = Vote::new(TERM + 1, 3);
    *server.raft.known_vote.lock() = higher;
    assert_eq!(send(&mut client(&server).await, &sent).await.unwrap(), higher);
    assert!(server.raft.installed.lock().is_empty());
}

#[tokio::test]
async fn a_transfer_is_cancelled_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let sent = snapshot(dir.path());
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = crate::types::Peer { http_addr: String::new(), peer_addr: silent.local_addr().unwrap().to_string() };
    let mut factory = network();
    let mut node = factory.new_snapshot_client(NODE, &peer).await;
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ReplicationClosed::new("enough")
    };
    let copy = Snapshot { meta: sent.meta.clone(), snapshot: sent.snapshot.clone() };
    let ended = node.full_snapshot(leader(), copy, cancel, soft_ttl(5000)).await;
    assert!(matches!(ended, Err(StreamingError::Closed(_))));

    // And without: the offer gets no answer for the idle timeout.
    assert!(matches!(send(&mut node, &sent).await, Err(StreamingError::Timeout(_))));
}

#[tokio::test]
async fn a_sender_with_damaged_files_says_that_its_storage_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (server, sent) = (Server::start(Raft::default()).await, snapshot(dir.path()));
    fs::write(sent.snapshot.path().join("000002.sst"), vec![1; 1 << 20]).unwrap();
    let failed = send(&mut client(&server).await, &sent).await;
    assert!(matches!(failed, Err(StreamingError::StorageError(_))), "{failed:?}");
    fs::remove_file(sent.snapshot.path().join("000002.sst")).unwrap();
    // A piece that was under way may still be written meanwhile.
    let (incoming, deadline) = (server.raft.home.path().join("incoming"), Instant::now() + Duration::from_secs(10));
    while let Err(error) = fs::remove_dir_all(&incoming) {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let gone = send(&mut client(&server).await, &sent).await;
    assert!(matches!(gone, Err(StreamingError::Network(_))), "{gone:?}");
    assert!(server.raft.installed.lock().is_empty());
}

/// Connections that break after a number of bytes were written, a larger number each time.
#[derive(Default)]
struct Breaking {
    connections: AtomicUsize,
}

const FIRST_BREAK_BYTES: usize = 100_000;

impl Connector for Breaking {
    fn connect(&self, addr: &str) -> BoxFuture<'static, io::Result<BoxedIo>> {
        let addr = addr.to_owned();
        let nth = self.connections.fetch_add(1, Ordering::SeqCst) + 1;
        Box::pin(async move {
            let io = TcpStream::connect(addr.as_str()).await?;
            Ok(BoxedIo::new(Fragile { io, left: AtomicI64::new((FIRST_BREAK_BYTES * nth) as i64) }, addr))
        })
    }

    fn listen(&self, _: &str) -> BoxFuture<'static, io::Result<Listener>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

struct Fragile {
    io: TcpStream,
    left: AtomicI64,
}

impl AsyncRead for Fragile {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Fragile {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.left.fetch_sub(buf.len() as i64, Ordering::SeqCst) < 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_snapshot_gets_through_over_connections_that_break() {
    let dir = tempfile::tempdir().unwrap();
    let (server, sent) = (Server::start(Raft::default()).await, snapshot(dir.path()));
    let connector = Arc::new(Breaking::default());
    let mut factory = network_over(connector.clone());
    let mut node = factory.new_snapshot_client(NODE, &server.peer()).await;
    let mut failures = 0;
    loop {
        match send(&mut node, &sent).await {
            Ok(vote) => break assert_eq!(vote, leader()),
            Err(StreamingError::Network(_) | StreamingError::Unreachable(_) | StreamingError::Timeout(_)) => {
                failures += 1
            }
            Err(other) => panic!("{other}"),
        }
        assert!(failures < 100);
    }
    assert!(failures > 2, "it broke {failures} times");
    // More than one of these connections could carry: what came before a break was not sent again.
    let largest = connector.connections.load(Ordering::SeqCst) * FIRST_BREAK_BYTES;
    assert!(largest < 4 << 20, "{failures} failures, {largest} bytes");
    check_installed(&server, &sent);
}
