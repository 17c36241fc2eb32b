//! The network between the nodes: a small TCP proxy in front of every peer port, which can cut who it is told to.
//!
//! Node K listens on its own port, and everybody knows it under its proxy's address. A proxy must know who connects,
//! because `isolate(k)` has to stop what k sends as well as what it gets. Source addresses tell nothing on one machine,
//! so the proxy looks up which process owns the other end of the connection ([`owner`]).
//!
//! A look at the rules and the write that it allows are one step, under the rules' lock: once a call that blocks has
//! returned, no further byte passes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::NodeId;
use crate::owner::owner;

/// How much one connection takes out of a socket at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// What happens to traffic that is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Connections are reset and new ones refused: both ends notice at once. For a directed block this concerns the
    /// connections that `from` opened to `to`, in both directions, because a connection cannot be half reset.
    Reset,
    /// Connections stay open and nothing arrives; after healing, what was held arrives late and in order. This is what
    /// a short cut looks like to TCP, which sends again. A directed block stops only the bytes from `from` to `to`, on
    /// whichever connection.
    Hold,
    /// Connections stay open and what is sent is lost for good; after healing, connections that lost something are
    /// reset. Directed like [`Fault::Hold`].
    Swallow,
}

/// Who is at one end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A node of the cluster.
    Node(NodeId),
    /// Somebody else on this machine, such as the test itself.
    Other,
}

/// The peer network of one cluster. Faults add up until healed.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    /// The address under which the others know each node.
    addrs: BTreeMap<NodeId, SocketAddr>,
    /// A thread of its own carries the traffic: a test that keeps its own thread busy must not slow the cluster down.
    /// `None` only while dropping.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    /// What is blocked now.
    rules: watch::Sender<Rules>,
    /// The process of each running node.
    pids: Mutex<BTreeMap<NodeId, u32>>,
    /// Bytes carried from one end to another since the start.
    carried: Mutex<BTreeMap<(Source, Source), u64>>,
}

#[derive(Clone, Debug, Default)]
struct Rules {
    /// Nodes cut off from everyone.
    isolated: BTreeMap<NodeId, Fault>,
    /// Directed blocks from one node to another.
    blocked: BTreeMap<(NodeId, NodeId), Fault>,
}

impl Rules {
    fn fault(&self, from: Source, to: Source) -> Option<Fault> {
        let alone = |end| {
            if let Source::Node(id) = end { self.isolated.get(&id) } else { None }
        };
        let pair = || match (from, to) {
            (Source::Node(from), Source::Node(to)) => self.blocked.get(&(from, to)),
            _ => None,
        };
        alone(from).or_else(|| alone(to)).or_else(pair).copied()
    }
}

impl Network {
    /// Puts a proxy in front of each of `nodes`, given the address on which each listens or will listen.
    pub fn start(nodes: &[(NodeId, SocketAddr)]) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("network")
            .enable_all()
            .build()
            .context("start the network's thread")?;
        let shared = Arc::new(Shared {
            rules: watch::Sender::new(Rules::default()),
            pids: Mutex::default(),
            carried: Mutex::default(),
        });
        let mut addrs = BTreeMap::new();
        for &(node, target) in nodes {
            // Stays bound as long as the network lives, so any port will do.
            let listener = std::net::TcpListener::bind("127.0.0.1:0").context("bind a proxy")?;
            listener.set_nonblocking(true)?;
            addrs.insert(node, listener.local_addr()?);
            let _inside = runtime.enter();
            runtime.spawn(serve(shared.clone(), TcpListener::from_std(listener)?, node, target));
        }
        Ok(Self { shared, addrs, runtime: Some(runtime) })
    }

    /// The address under which the others reach `node`.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn addr(&self, node: NodeId) -> SocketAddr {
        self.addrs[&node]
    }

    /// Cuts `node` off from all others, both ways, with resets.
    pub fn isolate(&self, node: NodeId) {
        self.isolate_with(node, Fault::Reset);
    }

    /// Cuts `node` off from all others, both ways.
    pub fn isolate_with(&self, node: NodeId, fault: Fault) {
        self.shared.rules.send_modify(|rules| _ = rules.isolated.insert(node, fault));
    }

    /// Ends what [`Network::isolate`] did to `node`.
    pub fn rejoin(&self, node: NodeId) {
        self.shared.rules.send_modify(|rules| _ = rules.isolated.remove(&node));
    }

    /// Blocks one direction; see [`Fault`] for what that means.
    pub fn block(&self, from: NodeId, to: NodeId, fault: Fault) {
        self.shared.rules.send_modify(|rules| _ = rules.blocked.insert((from, to), fault));
    }

    /// Ends what [`Network::block`] did.
    pub fn unblock(&self, from: NodeId, to: NodeId) {
        self.shared.rules.send_modify(|rules| _ = rules.blocked.remove(&(from, to)));
    }

    /// Blocks every pair with one node in `left` and one in `right`, both ways.
    pub fn split(&self, left: &[NodeId], right: &[NodeId], fault: Fault) {
        self.shared.rules.send_modify(|rules| {
            for &a in left {
                for &b in right {
                    rules.blocked.insert((a, b), fault);
                    rules.blocked.insert((b, a), fault);
                }
            }
        });
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.shared.rules.send_modify(|rules| *rules = Rules::default());
    }

    /// Bytes carried from one end to another since the start: shows that a cut really cut, or that it met traffic.
    pub fn carried_bytes(&self, from: Source, to: Source) -> u64 {
        lock(&self.shared.carried).get(&(from, to)).copied().unwrap_or(0)
    }

    /// Starts a process as `node`: from its first connection on it is known who it is.
    pub(crate) fn enter(&self, node: NodeId, start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
        // Held over the start, so that no lookup can come between the start and the note of the pid.
        let mut pids = lock(&self.shared.pids);
        let child = start()?;
        pids.insert(node, child.id());
        Ok(child)
    }

    /// The process of `node` has ended.
    pub(crate) fn leave(&self, node: NodeId) {
        lock(&self.shared.pids).remove(&node);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A plain drop would block, which is not allowed inside of a test's own runtime.
            runtime.shutdown_background();
        }
    }
}

/// A panic elsewhere leaves plain figures behind, still good to read.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn source(&self, inbound: &TcpStream) -> Source {
        let (Ok(from), Ok(here)) = (inbound.peer_addr(), inbound.local_addr()) else {
            return Source::Other;
        };
        let pids = lock(&self.pids);
        let candidates: Vec<u32> = pids.values().copied().collect();
        let Some(pid) = owner(from, here, &candidates) else {
            return Source::Other;
        };
        pids.iter().find(|(_, of)| **of == pid).map_or(Source::Other, |(node, _)| Source::Node(*node))
    }

    fn write(&self, way: Way, write: &OwnedWriteHalf, bytes: &[u8]) -> io::Result<usize> {
        // Held over the write, so that nobody finds bytes arrived and not counted.
        let mut carried = lock(&self.carried);
        let wrote = write.try_write(bytes)?;
        *carried.entry((way.from, way.to)).or_default() += wrote as u64;
        Ok(wrote)
    }
}

async fn serve(shared: Arc<Shared>, listener: TcpListener, node: NodeId, target: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((inbound, _)) => drop(tokio::spawn(carry(shared.clone(), inbound, node, target))),
            // Out of file descriptors, most likely: nothing to wait for but that others close theirs.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// The connection ends now, with whatever is in flight lost.
struct Broken;

/// Carries one connection from its opener to `node`, until it ends or is broken.
async fn carry(shared: Arc<Shared>, inbound: TcpStream, node: NodeId, target: SocketAddr) {
    let looking = shared.clone();
    // Reads files under /proc and may wait for a start to end.
    let looked = tokio::task::spawn_blocking(move || (looking.source(&inbound), inbound)).await;
    let Ok((opener, inbound)) = looked else { return };

    let forth = Way { from: opener, to: Source::Node(node), opened_by_from: true };
    let back = Way { from: forth.to, to: forth.from, opened_by_from: false };
    let mut forth = Pipe { way: forth, rules: shared.rules.subscribe(), shared: shared.clone(), lost: false };
    let back = Pipe { way: back, rules: shared.rules.subscribe(), shared: shared.clone(), lost: false };

    let opened = match forth.until_open().await {
        Ok(()) => TcpStream::connect(target).await.map_err(|_| Broken),
        Err(Broken) => Err(Broken),
    };
    let Ok(outbound) = opened else {
        let _ = inbound.set_zero_linger();
        return;
    };
    // Small messages must not wait for each other; the nodes set this on their ends too.
    let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
    let (in_read, mut in_write) = inbound.into_split();
    let (out_read, mut out_write) = outbound.into_split();

    let (way, mut rules) = (forth.way, forth.rules.clone());
    let cut = async { _ = rules.wait_for(|rules| way.is_reset(rules)).await };
    let ended = tokio::select! {
        ended = async { tokio::try_join!(forth.run(&in_read, &mut out_write), back.run(&out_read, &mut in_write)) } => ended,
        () = cut => Err(Broken),
    };
    if let Err(Broken) = ended {
        // The coming close is a reset then, not an orderly end.
        let _ = (in_read.as_ref().set_zero_linger(), out_read.as_ref().set_zero_linger());
        in_write.forget();
        out_write.forget();
    }
}

/// One direction of one connection.
#[derive(Clone, Copy)]
struct Way {
    from: Source,
    to: Source,
    /// Whether `from` opened the connection: a directed reset concerns the one who opens.
    opened_by_from: bool,
}

/// What may be done with bytes on a way now.
enum Verdict {
    Carry,
    Wait,
    Lose,
}

impl Way {
    /// Whether the connection that this is a way of must go.
    fn is_reset(self, rules: &Rules) -> bool {
        let (opener, other) = if self.opened_by_from { (self.from, self.to) } else { (self.to, self.from) };
        rules.fault(opener, other) == Some(Fault::Reset)
    }

    fn verdict(self, rules: &Rules, lost: bool) -> Result<Verdict, Broken> {
        if self.is_reset(rules) {
            return Err(Broken);
        }
        match rules.fault(self.from, self.to) {
            // The stream has a hole: what comes behind it must not arrive.
            None | Some(Fault::Reset) if lost => Err(Broken),
            // A reset here is one against the other end's own connections, not this one.
            None | Some(Fault::Reset) => Ok(Verdict::Carry),
            Some(Fault::Hold) => Ok(Verdict::Wait),
            Some(Fault::Swallow) => Ok(Verdict::Lose),
        }
    }
}

/// A way with what it takes to walk it.
struct Pipe {
    way: Way,
    rules: watch::Receiver<Rules>,
    shared: Arc<Shared>,
    /// Whether something was swallowed.
    lost: bool,
}

impl Pipe {
    /// Moves bytes until the reading end is done, then says so to the writing end.
    async fn run(mut self, read: &OwnedReadHalf, write: &mut OwnedWriteHalf) -> Result<(), Broken> {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let got = match read.readable().await.and_then(|()| read.try_read(&mut buffer)) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => {
                    // That one end broke is news to the other, and news does not pass a cut.
                    self.until_open().await?;
                    return Err(Broken);
                }
            };
            if got == 0 {
                self.until_open().await?;
                return write.shutdown().await.map_err(|_| Broken);
            }
            self.send(write, &buffer[..got]).await?;
        }
    }

    /// Writes `bytes` as far and as soon as the rules allow.
    async fn send(&mut self, write: &OwnedWriteHalf, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let wrote = {
                // The look and the write are one step under this lock.
                let rules = self.rules.borrow_and_update();
                match self.way.verdict(&rules, self.lost)? {
                    Verdict::Carry => Some(self.shared.write(self.way, write, bytes)),
                    Verdict::Wait => None,
                    Verdict::Lose => {
                        self.lost = true;
                        return Ok(());
                    }
                }
            };
            match wrote {
                Some(Ok(n)) => bytes = &bytes[n..],
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    write.writable().await.map_err(|_| Broken)?;
                }
                Some(Err(_)) => return Err(Broken),
                None => self.rules.changed().await.map_err(|_| Broken)?,
            }
        }
        Ok(())
    }

    async fn until_open(&mut self) -> Result<(), Broken> {
        loop {
            match self.way.verdict(&self.rules.borrow_and_update(), self.lost)? {
                Verdict::Carry => return Ok(()),
                Verdict::Wait => {}
                Verdict::Lose => self.lost = true,
            }
            self.rules.changed().await.map_err(|_| Broken)?;
        }
    }
}

#[cfg(test)]
mod tests;
