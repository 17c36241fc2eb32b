//! Our own TCP proxy between the nodes, for what the kernel cannot do here: delay with jitter, and answers that are lost
//! with their connection. Without namespaces it also cuts.
//!
//! TCP hands a program each byte once and in order, so a proxy can neither duplicate nor reorder within a connection
//! without making a stream that no network could. What a program does see is messages on *different* connections that
//! overtake each other, and its own messages twice, because it sent them again when an answer was lost. Both are here.
//!
//! Inside namespaces there is a listener for each pair, so the proxy knows who connects. On a shared loopback source
//! addresses tell nothing, and it looks up which process owns the other end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::network::{Faults, Party, Toll, Treatment};
use super::process;
use super::sync::Guarded;

/// How much one connection takes out of a socket at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces under way on one connection and direction.
const PIECES_MAX: usize = 256;

/// The proxy. Ends with its drop.
#[derive(Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    /// Threads of its own carry the traffic, so that a busy workload does not slow the cluster down. `None` only while
    /// dropping.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    seed: u64,
    connections: AtomicU64,
    rules: watch::Sender<Rules>,
    /// The process of each running node, on a shared loopback.
    pids: Guarded<BTreeMap<u64, u32>>,
    cut: AtomicU64,
    delayed: AtomicU64,
    answers_lost: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Rules {
    cut: BTreeSet<(u64, u64)>,
    treatment: BTreeMap<(u64, u64), Treatment>,
}

impl Proxy {
    pub(crate) fn start(seed: u64) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("proxy").enable_all().build();
        let shared = Shared {
            seed,
            connections: AtomicU64::new(0),
            rules: watch::Sender::new(Rules::default()),
            pids: Guarded::default(),
            cut: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            answers_lost: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared), runtime: Some(runtime.context("start the proxy's thread")?) })
    }

    /// Carries what `from` sends to `to` through this listener inside `from`'s namespace.
    pub(crate) fn serve_namespace(
        &self,
        listener: std::net::TcpListener,
        namespace: PathBuf,
        from: u64,
        to: u64,
        target: SocketAddr,
    ) -> Result<()> {
        self.serve(listener, to, Opener::Known(from), Target { addr: target, namespace: Some(namespace) })
    }

    /// Stands in front of `to` on the loopback; gives the address under which the others know it.
    pub(crate) fn serve_loopback(&self, to: u64, target: SocketAddr) -> Result<SocketAddr> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("bind a proxy")?;
        let addr = listener.local_addr()?;
        self.serve(listener, to, Opener::LookedUp, Target { addr: target, namespace: None })?;
        Ok(addr)
    }

    fn serve(&self, listener: std::net::TcpListener, to: u64, opener: Opener, target: Target) -> Result<()> {
        let runtime = self.runtime.as_ref().context("the proxy has ended")?;
        listener.set_nonblocking(true)?;
        let _inside = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        let shared = self.shared.clone();
        runtime.spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((inbound, _)) => drop(tokio::spawn(carry(shared.clone(), inbound, to, opener, target.clone()))),
                    // Out of file descriptors, most likely: nothing to wait for but that others close theirs.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
        Ok(())
    }

    /// Sets what is wrong from now on.
    pub(crate) fn set(&self, faults: &Faults, cuts: bool) {
        let pair = |way: &(Party, Party)| match way {
            (Party::Node(from), Party::Node(to)) => Some((*from, *to)),
            _ => None,
        };
        let cut = if cuts { faults.cut.iter().filter_map(pair).collect() } else { BTreeSet::new() };
        self.shared.rules.send_replace(Rules { cut, treatment: faults.treatment.clone() });
    }

    /// Says which process a node is, or that it is gone.
    pub(crate) fn set_pid(&self, node: u64, pid: Option<u32>) {
        let mut pids = self.shared.pids.lock();
        match pid {
            Some(pid) => _ = pids.insert(node, pid),
            None => _ = pids.remove(&node),
        }
    }

    pub(crate) fn toll(&self) -> Toll {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Toll {
            cut: count(&self.shared.cut),
            delayed: count(&self.shared.delayed),
            answers_lost: count(&self.shared.answers_lost),
            ..Toll::default()
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A plain drop would block, which is not allowed inside of another runtime.
            runtime.shutdown_background();
        }
    }
}

/// Who opens the connections of a listener.
#[derive(Clone, Copy)]
enum Opener {
    Known(u64),
    LookedUp,
}

/// Where a listener's connections go, and from where.
#[derive(Clone)]
struct Target {
    addr: SocketAddr,
    namespace: Option<PathBuf>,
}

impl Target {
    async fn connect(self) -> io::Result<TcpStream> {
        let socket = match self.namespace {
            None => TcpSocket::new_v4()?,
            // A socket belongs for good to the namespace of the thread that made it.
            Some(namespace) => {
                let make = move || {
                    process::inside(&namespace, || {
                        let kind = rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC;
                        let (family, stream) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM);
                        Ok(rustix::net::socket_with(family, stream, kind, None)?)
                    })
                };
                let made = tokio::task::spawn_blocking(make).await.map_err(io::Error::other)??;
                TcpSocket::from_std_stream(made.into())
            }
        };
        socket.connect(self.addr).await
    }
}

/// The connection ends now, with whatever is in flight lost.
struct Broken;

async fn carry(shared: Arc<Shared>, inbound: TcpStream, to: u64, opener: Opener, target: Target) {
    let from = match opener {
        Opener::Known(from) => from,
        Opener::LookedUp => {
            let looking = shared.clone();
            let (Ok(there), Ok(here)) = (inbound.peer_addr(), inbound.local_addr()) else { return };
            // Reads files under /proc.
            let found = tokio::task::spawn_blocking(move || owner(there, here, &looking.pids.lock())).await;
            found.ok().flatten().unwrap_or(0)
        }
    };
    let Ok(outbound) = target.connect().await else {
        let _ = inbound.set_zero_linger();
        return;
    };
    let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
    let random = |direction: u64| {
        let words = [shared.seed, from << 32 | to, number, direction];
        StdRng::from_seed(super::seed_of(&words))
    };
    let (in_read, in_write) = inbound.into_split();
    let (out_read, out_write) = outbound.into_split();
    let forth = Pipe { way: (from, to), answers: false, random: random(0), shared: shared.clone() };
    let back = Pipe { way: (to, from), answers: true, random: random(1), shared: shared.clone() };
    let (in_socket, out_socket) = (in_read, out_read);
    let (mut in_write, mut out_write) = (in_write, out_write);
    let ended = {
        let forth = forth.run(&in_socket, &mut out_write);
        let back = back.run(&out_socket, &mut in_write);
        tokio::try_join!(forth, back)
    };
    if let Err(Broken) = ended {
        // The coming close is a reset then, not an orderly end.
        let _ = (in_socket.as_ref().set_zero_linger(), out_socket.as_ref().set_zero_linger());
        in_write.forget();
        out_write.forget();
    }
}

/// One direction of one connection.
struct Pipe {
    way: (u64, u64),
    answers: bool,
    random: StdRng,
    shared: Arc<Shared>,
}

impl Pipe {
    /// Moves bytes until the reading end is done, then says so to the writing end.
    async fn run(self, read: &OwnedReadHalf, write: &mut OwnedWriteHalf) -> Result<(), Broken> {
        let (queue, due) = mpsc::channel(PIECES_MAX);
        let (shared, way) = (self.shared.clone(), self.way);
        tokio::try_join!(self.take(read, queue), deliver(shared, way, write, due)).map(drop)
    }

    async fn take(mut self, read: &OwnedReadHalf, queue: mpsc::Sender<(Instant, Bytes)>) -> Result<(), Broken> {
        let mut buffer = vec![0; PIECE_BYTES];
        let mut latest = Instant::now();
        loop {
            let got = match read.readable().await.and_then(|()| read.try_read(&mut buffer)) {
                Ok(0) => return Ok(()),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => return Err(Broken),
            };
            let treatment = self.shared.rules.borrow().treatment.get(&self.way).copied().unwrap_or_default();
            if self.answers && self.random.random_range(0..1_000) < treatment.answers_lost_permille {
                self.shared.answers_lost.fetch_add(1, Ordering::Relaxed);
                return Err(Broken);
            }
            let mut wait = treatment.delay;
            if !treatment.jitter.is_zero() {
                wait += treatment.jitter.mul_f64(self.random.random_range(0.0..1.0));
            }
            if !wait.is_zero() {
                self.shared.delayed.fetch_add(1, Ordering::Relaxed);
            }
            // In order, whatever was drawn.
            latest = latest.max(Instant::now() + wait);
            let piece = Bytes::copy_from_slice(&buffer[..got]);
            if queue.send((latest, piece)).await.is_err() {
                return Err(Broken);
            }
        }
    }
}

async fn deliver(
    shared: Arc<Shared>,
    way: (u64, u64),
    write: &mut OwnedWriteHalf,
    mut due: mpsc::Receiver<(Instant, Bytes)>,
) -> Result<(), Broken> {
    let mut rules = shared.rules.subscribe();
    while let Some((at, piece)) = due.recv().await {
        tokio::time::sleep_until(at).await;
        if rules.borrow_and_update().cut.contains(&way) {
            shared.cut.fetch_add(1, Ordering::Relaxed);
            // What a cut holds arrives late: TCP would have sent it again.
            rules.wait_for(|rules| !rules.cut.contains(&way)).await.map_err(|_| Broken)?;
        }
        write.write_all(&piece).await.map_err(|_| Broken)?;
    }
    write.shutdown().await.map_err(|_| Broken)
}

/// The node whose process holds the socket whose own address is `local` and whose other end is `remote`.
fn owner(local: SocketAddr, remote: SocketAddr, pids: &BTreeMap<u64, u32>) -> Option<u64> {
    // The kernel may skip a line of the table while others come and go, so one look is not proof of absence.
    let inode = (0..3).find_map(|_| inode(local, remote))?;
    let wanted = format!("socket:[{inode}]");
    let holds = |pid: u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        open.flatten().find(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == &*wanted))
    };
    pids.iter().find(|(_, pid)| holds(**pid).is_some()).map(|(node, _)| *node)
}

fn inode(local: SocketAddr, remote: SocketAddr) -> Option<String> {
    let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (local, remote) else { return None };
    let hex = |ip: &Ipv4Addr, port: u16| format!("{:08X}:{port:04X}", u32::from_ne_bytes(ip.octets()));
    let (local, remote) = (hex(local.ip(), local.port()), hex(remote.ip(), remote.port()));
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let matches = fields.next()? == local && fields.next()? == remote;
        matches.then(|| fields.nth(6).map(str::to_owned))?
    })
}
