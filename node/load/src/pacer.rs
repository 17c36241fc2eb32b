//! When requests are meant to start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::run::Load;

/// The shortest sleep of the clock's thread. More exact would cost the cluster's cores more than the figures gain.
const SLEEP_SHORTEST: Duration = Duration::from_micros(100);
/// How long after the end requests that were meant to start before it are still sent.
const GRACE: Duration = Duration::from_secs(10);

/// The common clock of all workers.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// When the first request starts.
    pub(crate) start: Instant,
    /// From when on requests are measured.
    pub(crate) measured_from: Instant,
    /// When the last request starts.
    pub(crate) end: Instant,
    open: Option<Open>,
    answered: AtomicU64,
}

/// An open load: a ticket for each request, given out when its time has come.
#[derive(Debug)]
struct Open {
    rate: f64,
    total: u64,
    due: Semaphore,
    taken: AtomicU64,
}

/// The start of a request.
pub(crate) struct Ticket {
    /// The time from which its latency counts.
    pub(crate) intended: Instant,
    /// Whether it is still worth sending.
    pub(crate) too_late: bool,
}

impl Schedule {
    /// The schedule of a load.
    pub(crate) fn new(load: &Load, start: Instant) -> Arc<Self> {
        let end = start + load.warmup + load.duration;
        let open = load.rate.map(|rate| Open {
            rate,
            total: ((end - start).as_secs_f64() * rate).round() as u64,
            due: Semaphore::new(0),
            taken: AtomicU64::new(0),
        });
        Arc::new(Self { start, measured_from: start + load.warmup, end, open, answered: AtomicU64::new(0) })
    }

    /// Waits for the next request's time. Nothing when there are no more.
    pub(crate) async fn next(&self) -> Option<Ticket> {
        let Some(open) = &self.open else {
            let now = Instant::now();
            return (now < self.end).then_some(Ticket { intended: now, too_late: false });
        };
        // The semaphore is never closed; if it were, there would be no more requests.
        open.due.acquire().await.ok()?.forget();
        let number = open.taken.fetch_add(1, Ordering::Relaxed);
        if number >= open.total {
            return None;
        }
        let intended = self.start + Duration::from_secs_f64(number as f64 / open.rate);
        Some(Ticket { intended, too_late: Instant::now() > self.end + GRACE })
    }

    /// Counts an answer, for those who watch.
    pub(crate) fn count_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// How many answers there were.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// How many requests had their time and were never taken by a worker.
    pub(crate) fn never_taken(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.total.saturating_sub(open.taken.load(Ordering::Relaxed)))
    }
}

/// Starts the thread that gives out tickets, if the load is open. A thread, because the timers of the workers' runtime
/// are only good to a millisecond.
pub(crate) fn start(schedule: &Arc<Schedule>, workers: u32) -> std::io::Result<Option<thread::JoinHandle<()>>> {
    if schedule.open.is_none() {
        return Ok(None);
    }
    let schedule = schedule.clone();
    let run = move || {
        if let Some(open) = &schedule.open {
            give_out(open, schedule.start);
            // One more for each worker, by which it learns that there are no more.
            open.due.add_permits(workers as usize);
        }
    };
    thread::Builder::new().name("bench-clock".into()).spawn(run).map(Some)
}

fn give_out(open: &Open, start: Instant) {
    let mut given = 0;
    while given < open.total {
        let now = Instant::now();
        let due = match now.checked_duration_since(start) {
            Some(passed) => ((passed.as_secs_f64() * open.rate) as u64 + 1).min(open.total),
            None => 0,
        };
        if due > given {
            open.due.add_permits((due - given) as usize);
            given = due;
        }
        let next = start + Duration::from_secs_f64(given as f64 / open.rate);
        thread::sleep(next.saturating_duration_since(Instant::now()).max(SLEEP_SHORTEST));
    }
}
