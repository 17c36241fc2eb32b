//! Whole nodes in this process, over real stores: one on its own here, several in [`group`].

mod alone;
mod group;
mod hazards;
mod rules;
mod second;

use std::sync::Arc;
use std::time::Duration;

use aerodb_engine::Limits;
use aerodb_engine::kv::rocks::RocksEnv;
use aerodb_engine::view::api_key_id;
use aerodb_proto as proto;
use proto::command::Op;
use proto::outcome::Result as Outcome;
use tempfile::TempDir;

use crate::{
    Consistency, Error, Fence, Handle, Options, Services, SystemClock, SystemMachine, TcpConnector, Threads, start,
};

const KEY: &str = "a key for tests";
const PATIENCE: Duration = Duration::from_secs(20);

/// A node on its own; what it holds is dropped in this order.
struct Alone {
    handle: Handle,
    threads: Threads,
    dir: TempDir,
}

impl Alone {
    async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap()).await
    }

    async fn start_in(dir: TempDir) -> Self {
        let threads = Threads::default();
        let options = Options {
            listen_peer: "127.0.0.1:0".to_owned(),
            peer_addr: "127.0.0.1:1".to_owned(),
            service_key: KEY.to_owned(),
            ..Options::new(1, dir.path())
        };
        let services = Services {
            env: Arc::new(RocksEnv::new(8 << 20)),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(|bytes| bytes.fill(7)),
            connector: Arc::new(TcpConnector),
            spawner: Arc::new(threads.clone()),
            machine: Arc::new(SystemMachine),
            registry: prometheus::Registry::new(),
            limits: Limits::default(),
            fence: Fence::default(),
        };
        let handle = start(options, services).await.unwrap();
        tokio::time::timeout(PATIENCE, handle.wait_named()).await.expect("the cluster gets its name");
        Self { handle, threads, dir }
    }

    async fn write(&self, op: Op) -> proto::Outcome {
        self.write_with(op, None).await
    }

    async fn write_with(&self, op: Op, key: Option<&str>) -> proto::Outcome {
        let idempotency = key.map(|key| proto::IdempotencyKey { key: key.to_owned(), ..Default::default() });
        let caller = Some(proto::Caller { key_id: api_key_id(KEY) });
        let command = proto::Command { caller, idempotency, op: Some(op), ..Default::default() };
        self.handle.write(command, PATIENCE).await.unwrap()
    }
}

fn create() -> Op {
    Op::CreateCollection(proto::CreateCollection { name: "notes".to_owned(), ..Default::default() })
}

fn insert(id: &str) -> Op {
    let document = proto::NewDocument { id: id.to_owned(), fields: bytes::Bytes::from_static(br#"{"n":1}"#) };
    Op::Insert(proto::InsertDocuments {
        collection: "notes".to_owned(),
        documents: vec![document],
        ..Default::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_and_retries_get_the_first_answer() {
    let node = Alone::start().await;
    node.write(create()).await;
    let first = node.write_with(insert("a"), Some("once")).await;
    let again = node.write_with(insert("a"), Some("once")).await;
    assert_eq!(again, first, "with its body, read anew from history");
    let refused = node.write(insert("a")).await;
    assert!(matches!(refused.result, Some(Outcome::Refusal(refusal)) if refusal.code == "already_exists"));

    let read = node.handle.read(Consistency::Linearizable, PATIENCE).await.unwrap();
    let notes = read.view.collection("notes").unwrap();
    assert_eq!(read.view.get(&notes, "a").unwrap().unwrap().revision, first.revision);
    let ahead = node.handle.read(Consistency::AtLeast { revision: first.revision + 9 }, PATIENCE).await;
    assert_eq!(ahead.err(), Some(Error::RevisionAhead { current: first.revision }));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_what_was_acknowledged() {
    let mut node = Alone::start().await;
    node.write(create()).await;
    for round in 0..3 {
        node.write(insert(&format!("round {round}"))).await;
        let before = node.handle.local().unwrap().digest().unwrap();
        let dir = node.end().await;
        node = Alone::start_in(dir).await;
        tokio::time::timeout(PATIENCE, node.handle.wait_recovered()).await.expect("it catches up with itself");
        let after = node.handle.read(Consistency::Linearizable, PATIENCE).await.unwrap().view;
        assert_eq!(after.revision(), before.revision);
        let notes = after.collection("notes").unwrap();
        for earlier in 0..=round {
            assert!(after.get(&notes, &format!("round {earlier}")).unwrap().is_some());
        }
    }
    node.end().await;
}

/// A node that has stopped leads nothing: its deciding task ends instead of finding itself the leader for ever.
#[tokio::test(flavor = "multi_thread")]
async fn deciding_ends_with_the_node() {
    let node = Alone::start().await;
    let proposer = node.handle.proposer();
    node.handle.shutdown().await;
    tokio::time::timeout(PATIENCE, proposer.ended()).await.expect("the deciding task ends");
    node.end().await;
}

impl Alone {
    /// Stops the node and waits until its folder is free.
    async fn end(self) -> TempDir {
        let Self { handle, threads, dir } = self;
        end(handle, threads).await;
        dir
    }
}

/// Stops a node and waits until nothing of it is left: a process that ends while RocksDB is still being closed aborts.
async fn end(handle: Handle, threads: Threads) {
    handle.shutdown().await;
    let weak = handle.downgrade();
    drop(handle);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while weak.strong_count() > 0 {
        assert!(tokio::time::Instant::now() < deadline, "something still holds the node");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::task::spawn_blocking(move || threads.join()).await.unwrap();
}
