//! A load from its beginning to its end.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::documents::DocumentMaker;
use crate::keys::{KeyChooser, Keys};
use crate::pacer::{self, Schedule};
use crate::stats::Stats;
use crate::target::{Request, Session, Target};
use crate::worker;

/// How long all connections may take to be made before the clock starts.
const LEAD_TIME: Duration = Duration::from_millis(300);

/// What to send, how much of it, and for how long.
#[derive(Clone, Debug)]
pub struct Load {
    /// Connections, each with one request at a time.
    pub connections: u32,
    /// Threads of the load generator.
    pub threads: u32,
    /// Requests a second that are meant to start; as fast as they are answered if none.
    pub rate: Option<f64>,
    /// How long to run before measuring.
    pub warmup: Duration,
    /// How long to measure.
    pub duration: Duration,
    /// How long one request may take.
    pub timeout: Duration,
    /// How many of 100 requests are reads.
    pub reads_percent: u8,
    /// Whether what is not a read is an insert and not the replacement of a document.
    pub inserts: bool,
    /// How many documents there are to read and replace.
    pub documents: u64,
    /// How big a document is, bytes of JSON.
    pub value_bytes: u32,
    /// How documents are chosen.
    pub keys: Keys,
}

/// What all workers share and nobody changes. Made before the clock starts, because it takes a while.
pub(crate) struct Tools<T> {
    pub(crate) load: Load,
    pub(crate) keys: KeyChooser,
    pub(crate) maker: DocumentMaker,
    pub(crate) target: T,
}

/// A load under way.
pub struct Running {
    schedule: Arc<Schedule>,
    threads: Vec<JoinHandle<Result<Stats>>>,
    pacer: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts to put `load` on `target`. The connections are spread over threads, each with a runtime of its own: they
    /// share nothing but the schedule.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start<T: Target>(load: Load, target: T) -> Result<Self> {
        let keys = KeyChooser::new(load.keys, load.documents);
        let maker = DocumentMaker::new(load.value_bytes);
        let schedule = Schedule::new(&load, Instant::now() + LEAD_TIME);
        let (connections, of_threads) = (load.connections, load.threads.clamp(1, load.connections.max(1)));
        let tools = Arc::new(Tools { load, keys, maker, target });
        let threads = (0..of_threads).map(|number| {
            let (tools, schedule) = (tools.clone(), schedule.clone());
            let work = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let workers = (0..connections).filter(move |worker| worker % of_threads == number);
                Ok(runtime.block_on(worker::run_all(tools, schedule, workers)))
            };
            thread::Builder::new().name(format!("load-{number}")).spawn(work).context("cannot start a thread")
        });
        let threads = threads.collect::<Result<_>>()?;
        let pacer = pacer::start(&schedule, connections)?;
        Ok(Self { schedule, threads, pacer })
    }

    /// Whether nothing is measured yet.
    pub fn is_warming_up(&self) -> bool {
        Instant::now() < self.schedule.measured_from
    }

    /// When measuring begins.
    pub fn measured_from(&self) -> Instant {
        self.schedule.measured_from
    }

    /// Requests that were answered so far, those of the warm-up too.
    pub fn answered(&self) -> u64 {
        self.schedule.answered()
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the end; gives what was measured.
    ///
    /// # Errors
    /// When the load generator itself broke.
    pub fn finish(self) -> Result<Stats> {
        let mut stats = Stats::new(self.schedule.measured_from);
        for thread in self.threads {
            stats.merge(thread.join().map_err(|_| anyhow!("a thread of the load generator broke"))??);
        }
        if let Some(pacer) = self.pacer {
            pacer.join().map_err(|_| anyhow!("the clock of the load generator broke"))?;
        }
        stats.unsent += self.schedule.never_taken();
        Ok(stats)
    }
}

/// Connections that fill at one time.
const FILLERS: u64 = 64;

/// Writes all of so many documents of a size once.
///
/// # Errors
/// When one cannot be written; says why.
pub async fn fill<T: Target>(target: T, documents: u64, value_bytes: u32) -> Result<()> {
    let (target, maker) = (Arc::new(target), Arc::new(DocumentMaker::new(value_bytes)));
    let mut tasks = tokio::task::JoinSet::<Result<()>>::new();
    for worker in 0..FILLERS.min(documents) {
        let (target, maker) = (target.clone(), maker.clone());
        tasks.spawn(async move {
            let mut session = target.session(worker as u32).map_err(anyhow::Error::msg)?;
            for number in (worker..documents).step_by(FILLERS as usize) {
                let document = maker.make(None, &mut rand::rng());
                let written = session.perform(&Request::Write { number, document }).await;
                written.map_err(|failure| anyhow!("document {number} cannot be written: {}", failure.code()))?;
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
