//! Several whole nodes in this process: real stores, and a network in memory whose links can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aerodb_engine::Limits;
use aerodb_engine::kv::rocks::RocksEnv;
use aerodb_engine::kv::{self, Cf, Env, Snapshot, Spec, Store, WriteBatch};
use aerodb_engine::view::api_key_id;
use aerodb_proto as proto;
use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use proto::command::Op;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{KEY, Outcome, PATIENCE};
use crate::leadership::Leadership;
use crate::node::Node;
use crate::{
    BoxedIo, Connector, Consistency, Error, Fence, Handle, Listener, Options, Services, SystemClock, SystemMachine,
    Threads, start,
};

/// Bytes under way on a connection in memory.
const PIPE_BYTES: usize = 1 << 20;

/// Some nodes, by id from 1.
pub(super) struct Group {
    pub(super) net: Arc<Net>,
    nodes: BTreeMap<u64, Member>,
    _dir: TempDir,
}

/// A running node.
pub(super) struct Member {
    pub(super) handle: Handle,
    pub(super) node: Arc<Node>,
    pub(super) fence: Fence,
    pub(super) disk: Arc<Disk>,
    threads: Threads,
}

impl Group {
    /// Starts `n` nodes and waits until they are one cluster.
    pub(super) async fn start(n: u64, tweak: impl Fn(&mut Options)) -> Self {
        let dir = TempDir::new().unwrap();
        let net = Arc::new(Net::default());
        let address = |id: u64| format!("node-{id}:1");
        let peers: BTreeMap<u64, String> = (1..=n).map(|id| (id, address(id))).collect();
        let starting = peers.keys().map(|&id| {
            let mut options = Options {
                peer_addr: address(id),
                listen_peer: address(id),
                service_key: KEY.to_owned(),
                peers: peers.clone(),
                ..Options::new(id, dir.path().join(id.to_string()))
            };
            tweak(&mut options);
            let net = net.clone();
            async move { (id, Member::start(options, net).await) }
        });
        let nodes = futures::future::join_all(starting).await.into_iter().collect();
        let group = Self { net, nodes, _dir: dir };
        for member in group.nodes.values() {
            tokio::time::timeout(PATIENCE, member.handle.wait_recovered()).await.expect("the node catches up");
            tokio::time::timeout(PATIENCE, member.handle.wait_named()).await.expect("the cluster gets its name");
        }
        group.leader().await;
        group
    }

    pub(super) fn node(&self, id: u64) -> &Member {
        &self.nodes[&id]
    }

    /// The others than `id`.
    pub(super) fn others(&self, id: u64) -> Vec<u64> {
        self.nodes.keys().copied().filter(|other| *other != id).collect()
    }

    /// Cuts `id` off from all others.
    pub(super) fn isolate(&self, id: u64) {
        self.others(id).into_iter().for_each(|other| self.net.cut(id, other));
    }

    fn is_isolated(&self, id: u64) -> bool {
        let others = self.others(id);
        !others.is_empty() && others.iter().all(|&other| self.net.is_cut(id, other))
    }

    /// Waits until all nodes that are not cut off know one leader, and gives it.
    pub(super) async fn leader(&self) -> Leadership {
        self.leader_after(0).await
    }

    /// The same, of a later term than `term`.
    pub(super) async fn leader_after(&self, term: u64) -> Leadership {
        until("one leader", || {
            let known: BTreeSet<(u64, Option<u64>)> = self
                .nodes
                .iter()
                .filter(|(id, _)| !self.is_isolated(**id))
                .map(|(_, member)| *member.node.leadership.borrow())
                .map(|known| (known.term, known.leader))
                .collect();
            match known.iter().next() {
                Some(&(found, Some(leader))) if known.len() == 1 && found > term => {
                    Some(Leadership { term: found, leader: Some(leader) })
                }
                _ => None,
            }
        })
        .await
    }
}

/// Waits for what `look` gives.
///
/// # Panics
/// When that takes longer than any test should.
pub(super) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Member {
    pub(super) async fn start(options: Options, net: Arc<Net>) -> Self {
        let disk = Arc::new(Disk::default());
        let (fence, threads) = (Fence::default(), Threads::default());
        let services = Services {
            env: Arc::new(Slow { env: RocksEnv::new(8 << 20), disk: disk.clone() }),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(|bytes| bytes.fill(7)),
            connector: Arc::new(Wire { net, id: options.node_id }),
            spawner: Arc::new(threads.clone()),
            machine: Arc::new(SystemMachine),
            registry: prometheus::Registry::new(),
            limits: Limits::default(),
            fence: fence.clone(),
        };
        let handle = start(options, services).await.unwrap();
        let node = handle.node();
        Self { handle, node, fence, disk, threads }
    }

    /// Writes; a refusal is an outcome too.
    pub(super) async fn try_write(&self, op: Op, timeout: Duration) -> Result<proto::Outcome, Error> {
        let caller = Some(proto::Caller { key_id: api_key_id(KEY) });
        self.handle.write(proto::Command { caller, op: Some(op), ..Default::default() }, timeout).await
    }

    /// Writes, which must succeed.
    pub(super) async fn write(&self, op: Op) -> proto::Outcome {
        let outcome = self.try_write(op, PATIENCE).await.unwrap();
        assert!(!matches!(outcome.result, Some(Outcome::Refusal(_))), "{outcome:?}");
        outcome
    }

    pub(super) async fn read(&self, timeout: Duration) -> Result<u64, Error> {
        let read = self.handle.read(Consistency::Linearizable, timeout).await?;
        Ok(read.view.revision())
    }
}

impl Drop for Group {
    /// Ends all nodes; after a panic there is no need to.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let ending = std::mem::take(&mut self.nodes).into_values().map(|member| {
            let Member { handle, threads, .. } = member;
            super::end(handle, threads)
        });
        let ended = futures::future::join_all(ending);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(ended));
    }
}

/// The network: who listens where, and which links are cut.
#[derive(Default)]
pub(super) struct Net {
    listening: Mutex<BTreeMap<String, (u64, mpsc::UnboundedSender<BoxedIo>)>>,
    cut: Mutex<BTreeSet<(u64, u64)>>,
    open: Mutex<BTreeMap<(u64, u64), CancellationToken>>,
}

fn link(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}

impl Net {
    /// Resets what is open between two nodes and lets nothing through until [`Net::heal`].
    pub(super) fn cut(&self, a: u64, b: u64) {
        self.cut.lock().insert(link(a, b));
        if let Some(open) = self.open.lock().remove(&link(a, b)) {
            open.cancel();
        }
    }

    pub(super) fn heal(&self) {
        self.cut.lock().clear();
    }

    fn is_cut(&self, a: u64, b: u64) -> bool {
        self.cut.lock().contains(&link(a, b))
    }

    fn connect(&self, from: u64, addr: &str) -> io::Result<BoxedIo> {
        let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "nobody answers");
        let (to, listener) = self.listening.lock().get(addr).cloned().ok_or_else(refused)?;
        if self.is_cut(from, to) {
            return Err(refused());
        }
        let token = self.open.lock().entry(link(from, to)).or_default().clone();
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let end = |pipe| Pipe { pipe, cut: Box::pin(token.clone().cancelled_owned()) };
        listener.send(BoxedIo::new(end(far), format!("node {from}"))).map_err(|_| refused())?;
        Ok(BoxedIo::new(end(near), addr))
    }
}

/// One node's end of the network.
struct Wire {
    net: Arc<Net>,
    id: u64,
}

impl Connector for Wire {
    fn connect(&self, addr: &str) -> BoxFuture<'static, io::Result<BoxedIo>> {
        Box::pin(std::future::ready(self.net.connect(self.id, addr)))
    }

    fn listen(&self, addr: &str) -> BoxFuture<'static, io::Result<Listener>> {
        let (accepted, incoming) = mpsc::unbounded_channel();
        self.net.listening.lock().insert(addr.to_owned(), (self.id, accepted));
        let accepted = UnboundedReceiverStream::new(incoming).boxed();
        Box::pin(std::future::ready(Ok(Listener { local_addr: addr.to_owned(), accepted })))
    }
}

/// A connection that is reset when its link is cut.
struct Pipe {
    pipe: DuplexStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Pipe {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the link is cut")),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.pipe).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// What a test does to a node's disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// How long a write that must be durable takes, beside its own time, milliseconds.
    pub(super) sync_ms: AtomicU64,
    /// Errors that the store says it met in the background.
    pub(super) background_errors: AtomicU64,
}

/// RocksDB on such a disk.
struct Slow {
    env: RocksEnv,
    disk: Arc<Disk>,
}

impl Env for Slow {
    fn open(&self, dir: &std::path::Path, spec: &Spec) -> kv::Result<Arc<dyn Store>> {
        Ok(Arc::new(SlowStore { store: self.env.open(dir, spec)?, disk: self.disk.clone() }))
    }

    fn open_read_only(&self, dir: &std::path::Path, spec: &Spec) -> kv::Result<Arc<dyn Store>> {
        self.env.open_read_only(dir, spec)
    }
}

struct SlowStore {
    store: Arc<dyn Store>,
    disk: Arc<Disk>,
}

impl Store for SlowStore {
    fn get(&self, cf: Cf, key: &[u8]) -> kv::Result<Option<Vec<u8>>> {
        self.store.get(cf, key)
    }

    fn get_durable(&self, cf: Cf, key: &[u8]) -> kv::Result<Option<Vec<u8>>> {
        self.store.get_durable(cf, key)
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> kv::Result<()> {
        if sync {
            std::thread::sleep(Duration::from_millis(self.disk.sync_ms.load(Ordering::Relaxed)));
        }
        self.store.write(batch, sync)
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.store.snapshot()
    }

    fn flush(&self) -> kv::Result<()> {
        self.store.flush()
    }

    fn checkpoint(&self, dir: &std::path::Path) -> kv::Result<()> {
        self.store.checkpoint(dir)
    }

    fn is_stalled(&self) -> bool {
        self.store.is_stalled()
    }

    fn background_errors(&self) -> u64 {
        self.store.background_errors() + self.disk.background_errors.load(Ordering::Relaxed)
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        self.store.figures()
    }
}
