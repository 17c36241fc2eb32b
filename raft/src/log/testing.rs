//! What the log's tests are made of: a log on real RocksDB behind a store that can be watched, held and broken.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aerodb_engine::kv::rocks::RocksEnv;
use aerodb_engine::kv::{self, Cf, Env, ErrorKind, Logging, Snapshot, Spec, Store, WriteBatch};
use bytes::Bytes;
use futures::FutureExt;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;

use super::{LOG_FAMILIES, LogHooks, LogMetrics, LogOptions, LogStore};
use crate::clock::SystemClock;
use crate::spawn::{Spawner, Threads};
use crate::types::{CommittedLeaderId, Entry, LogId, Payload, Proposal, TypeConfig};

pub(super) fn id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

/// An entry with `bytes` bytes of payload that tell it from every other.
pub(super) fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let seed = format!("{term}.{index}.");
    let payload: Vec<u8> = seed.bytes().cycle().take(bytes.max(seed.len())).collect();
    Entry { log_id: id(term, index), payload: Payload::Normal(Proposal(Bytes::from(payload))) }
}

/// Entries of `term` with the indexes in `range`.
pub(super) fn entries(term: u64, range: std::ops::Range<u64>) -> Vec<Entry> {
    range.map(|index| entry(term, index, 10)).collect()
}

/// A store that notes what is written to it, and can hold or fail writes.
pub(super) struct Probe {
    inner: Arc<dyn Store>,
    /// Every batch that was written, and whether it was synced.
    pub(super) written: Mutex<Vec<(WriteBatch, bool)>>,
    /// Writes that were begun, held ones too.
    pub(super) begun: AtomicU64,
    held: Mutex<bool>,
    released: Condvar,
    pub(super) broken: AtomicBool,
    /// Done once, right before the next scan.
    pub(super) before_scan: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Probe {
    pub(super) fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            written: Mutex::default(),
            begun: AtomicU64::new(0),
            held: Mutex::new(false),
            released: Condvar::new(),
            broken: AtomicBool::new(false),
            before_scan: Mutex::new(None),
        })
    }

    /// Makes writes wait until [`Probe::release`].
    pub(super) fn hold(&self) {
        *self.held.lock() = true;
    }

    pub(super) fn release(&self) {
        *self.held.lock() = false;
        self.released.notify_all();
    }

    /// Waits until `count` writes were begun in all.
    pub(super) async fn begun(&self, count: u64) {
        while self.begun.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Store for Probe {
    fn get(&self, cf: Cf, key: &[u8]) -> kv::Result<Option<Vec<u8>>> {
        self.inner.get(cf, key)
    }

    fn get_durable(&self, cf: Cf, key: &[u8]) -> kv::Result<Option<Vec<u8>>> {
        self.inner.get_durable(cf, key)
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> kv::Result<()> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let mut held = self.held.lock();
        while *held {
            self.released.wait(&mut held);
        }
        drop(held);
        if self.broken.load(Ordering::SeqCst) {
            return Err(kv::Error::new(ErrorKind::Io, "writing", "the disk is gone"));
        }
        self.inner.write(batch.clone(), sync)?;
        self.written.lock().push((batch, sync));
        Ok(())
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let before = self.before_scan.lock().take();
        if let Some(before) = before {
            before();
        }
        self.inner.snapshot()
    }

    fn flush(&self) -> kv::Result<()> {
        self.inner.flush()
    }

    fn checkpoint(&self, dir: &std::path::Path) -> kv::Result<()> {
        self.inner.checkpoint(dir)
    }

    fn is_stalled(&self) -> bool {
        self.inner.is_stalled()
    }

    fn background_errors(&self) -> u64 {
        self.inner.background_errors()
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        self.inner.figures()
    }
}

/// A log in a folder of its own.
pub(super) struct Rig {
    pub(super) log: LogStore,
    pub(super) probe: Arc<Probe>,
    /// What the process was told to end for.
    pub(super) fatal: Arc<Mutex<Vec<String>>>,
    /// The state's durable applied index.
    pub(super) durable: Arc<AtomicU64>,
    pub(super) options: LogOptions,
    pub(super) dir: TempDir,
    pub(super) writers: Writers,
}

/// The threads that write: waited for at the end, because a process that ends while RocksDB is being closed aborts. The
/// last field of whatever holds one.
#[derive(Default)]
pub(super) struct Writers(pub(super) Threads);

impl Drop for Writers {
    fn drop(&mut self) {
        self.0.join();
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(LogOptions::default())
    }

    pub(super) fn with(options: LogOptions) -> Self {
        let writers = Writers::default();
        let dir = TempDir::new().unwrap();
        let probe = Probe::new(open_store(dir.path().join("log")));
        let (fatal, durable) = (Arc::default(), Arc::new(AtomicU64::new(u64::MAX)));
        let log = open_log(probe.clone(), Arc::new(writers.0.clone()), &options, &fatal, &durable).unwrap();
        Self { log, probe, fatal, durable, options, dir, writers }
    }

    /// The same log after the process ended and began again.
    pub(super) async fn reopen(self) -> Self {
        let Self { log, probe, fatal, durable, options, dir, writers } = self;
        let ended = Arc::downgrade(&probe);
        drop((log, probe));
        while ended.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let probe = Probe::new(open_store(dir.path().join("log")));
        let log = open_log(probe.clone(), Arc::new(writers.0.clone()), &options, &fatal, &durable).unwrap();
        Self { log, probe, fatal, durable, options, dir, writers }
    }

    /// Changes what is stored, behind the log's back.
    pub(super) fn tamper(&self, change: impl FnOnce(&mut WriteBatch)) {
        let mut batch = WriteBatch::new();
        change(&mut batch);
        self.probe.inner.write(batch, true).unwrap();
    }

    /// Hands entries over; the answer comes once they are durable.
    pub(super) async fn begin_append(&mut self, entries: Vec<Entry>) -> std::io::Result<Ack> {
        let (tx, rx) = TypeConfig::oneshot();
        self.log.append(entries, IOFlushed::signal(tx)).await?;
        Ok(Ack { rx })
    }

    /// Appends and waits until it is durable.
    pub(super) async fn append(&mut self, entries: Vec<Entry>) {
        self.begin_append(entries).await.unwrap().done().await.unwrap();
    }
}

type Receiver = openraft::type_config::alias::OneshotReceiverOf<TypeConfig, std::io::Result<()>>;

/// A callback of `append`.
pub(super) struct Ack {
    rx: Receiver,
}

impl Ack {
    pub(super) async fn done(self) -> std::io::Result<()> {
        self.rx.await.expect("the callback is called")
    }

    /// True when the callback was called already; ask no more then.
    pub(super) fn is_done(&mut self) -> bool {
        (&mut self.rx).now_or_never().is_some()
    }
}

pub(super) fn open_log(
    store: Arc<dyn Store>,
    spawner: Arc<dyn Spawner>,
    options: &LogOptions,
    fatal: &Arc<Mutex<Vec<String>>>,
    durable: &Arc<AtomicU64>,
) -> Result<LogStore, super::Error> {
    let (fatal, durable) = (fatal.clone(), durable.clone());
    let hooks = LogHooks {
        durable_applied: Arc::new(move || Ok(Some(durable.load(Ordering::SeqCst)))),
        fatal: Arc::new(move |reason| fatal.lock().push(reason.to_owned())),
        clock: Arc::new(SystemClock::new()),
        metrics: LogMetrics::new(&prometheus::Registry::new()).unwrap(),
    };
    LogStore::open(store, spawner, options.clone(), hooks)
}

/// Opens RocksDB; a store that was closed just now may take a moment to let go of its folder.
pub(super) fn open_store(dir: PathBuf) -> Arc<dyn Store> {
    let spec = Spec { families: LOG_FAMILIES, logging: Logging::WriteAhead, write_buffer_bytes: 4 << 20 };
    let env = RocksEnv::new(1 << 20);
    for _ in 0..1000 {
        match env.open(&dir, &spec) {
            Ok(store) => return store,
            Err(error) if error.kind == ErrorKind::Busy || error.detail.contains("LOCK") => {
                std::thread::sleep(Duration::from_millis(5))
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the store is still in use");
}
