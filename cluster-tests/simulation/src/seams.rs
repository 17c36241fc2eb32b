//! What a node is given instead of the machine: time, the network, threads, figures.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aerodb_raft::{BoxedIo, Clock, Connector, Listener, Machine, Spawner};
use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, Sleep, sleep};
use turmoil::net::{TcpListener, TcpStream};

/// When the simulated world begins: 2026-01-01, milliseconds since the Unix epoch.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// A node's clocks: simulated time, and a wall clock that somebody may turn.
pub struct SimClock {
    /// The simulated time at which this life began.
    began: Duration,
    here: Instant,
    skew_ms: Arc<AtomicI64>,
}

impl SimClock {
    /// A clock of a life that begins now. Call it within the node's runtime.
    pub fn new(began: Duration, skew_ms: Arc<AtomicI64>) -> Self {
        Self { began, here: Instant::now(), skew_ms }
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        let now = EPOCH_MS + self.monotonic().as_millis() as u64;
        now.saturating_add_signed(self.skew_ms.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.began + self.here.elapsed()
    }
}

/// Connections over the simulated network. Addresses are `host:port`.
#[derive(Clone, Copy, Debug)]
pub struct SimConnector;

impl Connector for SimConnector {
    fn connect(&self, addr: &str) -> BoxFuture<'static, io::Result<BoxedIo>> {
        let addr = addr.to_owned();
        Box::pin(async move {
            let (host, port) = split(&addr)?;
            let stream = TcpStream::connect((host, port)).await?;
            Ok(BoxedIo::new(stream, addr.clone()))
        })
    }

    fn listen(&self, addr: &str) -> BoxFuture<'static, io::Result<Listener>> {
        let addr = addr.to_owned();
        Box::pin(async move {
            let (_, port) = split(&addr)?;
            let listener = TcpListener::bind(("0.0.0.0", port)).await?;
            let accepted = futures::stream::unfold(listener, |listener| async move {
                loop {
                    if let Ok((stream, remote)) = listener.accept().await {
                        return Some((BoxedIo::new(stream, remote.to_string()), listener));
                    }
                }
            });
            Ok(Listener { local_addr: addr.clone(), accepted: accepted.boxed() })
        })
    }
}

fn split(addr: &str) -> io::Result<(&str, u16)> {
    let parts = addr.split_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{addr} is no host:port")))
}

/// Every node is the same machine.
#[derive(Clone, Copy, Debug)]
pub struct SimMachine;

impl Machine for SimMachine {
    fn cpu_micros(&self) -> u64 {
        1_000_000
    }

    fn memory_bytes(&self) -> u64 {
        64 << 20
    }

    fn disk_free_bytes(&self, _dir: &Path) -> u64 {
        1 << 40
    }

    fn disk_used_bytes(&self, _dir: &Path) -> u64 {
        1 << 20
    }
}

/// How long work takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slowness {
    /// Work away from the asynchronous threads (reading the log, building and installing snapshots) takes up to this.
    pub blocking: Duration,
    /// A batch of the log's writer waits up to this before it is written: its fsync takes that long.
    pub log: Duration,
}

/// Threads: tasks of the node's runtime. What would block takes simulated time *before* it is done at once; to everybody
/// else that looks the same, as nobody sees the work before its result. The log's writer is such work too: jobs that come
/// while a batch is under way queue up behind it, as they do behind an fsync.
pub struct SimThreads {
    slowness: Arc<Mutex<Slowness>>,
    rng: Arc<Mutex<SmallRng>>,
}

impl SimThreads {
    /// Threads whose delays follow from `seed`.
    pub fn new(seed: u64, slowness: Arc<Mutex<Slowness>>) -> Self {
        Self { slowness, rng: Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))) }
    }
}

fn draw(rng: &Mutex<SmallRng>, most: Duration) -> Duration {
    let most = most.as_micros() as u64;
    if most == 0 { Duration::ZERO } else { Duration::from_micros(rng.lock().random_range(0..=most)) }
}

impl Spawner for SimThreads {
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        let delay = draw(&self.rng, self.slowness.lock().blocking);
        if delay.is_zero() {
            return work();
        }
        tokio::spawn(async move {
            sleep(delay).await;
            work();
        });
    }

    fn dedicated(&self, _name: &'static str, work: BoxFuture<'static, ()>) {
        let (slowness, rng) = (self.slowness.clone(), self.rng.clone());
        tokio::spawn(Slow { work, slowness, rng, waiting: None });
    }

    fn consensus(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }
}

/// Work that is taken up only some time after something woke it.
struct Slow {
    work: BoxFuture<'static, ()>,
    slowness: Arc<Mutex<Slowness>>,
    rng: Arc<Mutex<SmallRng>>,
    /// The delay before the next step; none while nothing woke it.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Future for Slow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let waiting = match &mut this.waiting {
            Some(waiting) => waiting,
            // Woken by a job (or polled for the first time): the step begins after its delay.
            None => {
                let delay = draw(&this.rng, this.slowness.lock().log);
                this.waiting.insert(Box::pin(sleep(delay)))
            }
        };
        if waiting.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        this.waiting = None;
        this.work.as_mut().poll(context)
    }
}
