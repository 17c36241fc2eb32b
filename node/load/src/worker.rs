//! What each connection does: take the time of a request, send it, note how long it took.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::pacer::Schedule;
use crate::run::Tools;
use crate::stats::{Kind, Stats};
use crate::target::{Failure, Request, Session, Target};

/// How long a worker rests after an error, so that a node that is down is not asked in a tight loop.
const REST_AFTER_ERROR: Duration = Duration::from_millis(10);
/// How long it rests when a node has too much to do: what `Retry-After` asks of a client then.
const REST_WHEN_OVERLOADED: Duration = Duration::from_secs(1);

/// Runs all the workers of a thread to the end.
pub(crate) async fn run_all<T: Target>(
    tools: Arc<Tools<T>>,
    schedule: Arc<Schedule>,
    workers: impl Iterator<Item = u32>,
) -> Stats {
    let mut tasks = tokio::task::JoinSet::new();
    for number in workers {
        let rng = SmallRng::from_rng(&mut rand::rng());
        let stats = Stats::new(schedule.measured_from);
        tasks.spawn(Worker { tools: tools.clone(), schedule: schedule.clone(), rng, stats }.run(number));
    }
    let mut stats = Stats::new(schedule.measured_from);
    while let Some(result) = tasks.join_next().await {
        match result {
            Ok(one) => stats.merge(one),
            Err(error) => stats.error(&format!("worker: {error}")),
        }
    }
    stats
}

struct Worker<T> {
    tools: Arc<Tools<T>>,
    schedule: Arc<Schedule>,
    rng: SmallRng,
    stats: Stats,
}

impl<T: Target> Worker<T> {
    async fn run(mut self, number: u32) -> Stats {
        let mut session = match self.tools.target.session(number) {
            Ok(session) => session,
            Err(why) => {
                self.stats.error(&why);
                return self.stats;
            }
        };
        session.open().await;
        tokio::time::sleep_until(self.schedule.start.into()).await;
        let timeout = self.tools.load.timeout;
        let mut patience = pin!(tokio::time::sleep(timeout));
        while let Some(ticket) = self.schedule.next().await {
            if ticket.too_late {
                self.stats.unsent += 1;
                continue;
            }
            let (kind, request) = self.request();
            let result = within(timeout, patience.as_mut(), session.perform(&request)).await;
            let now = Instant::now();
            self.schedule.count_answer();
            self.stats.answered += 1;
            if ticket.intended >= self.schedule.measured_from {
                self.stats.record(kind, ticket.intended, now, &result);
            }
            if let Err(failure) = result {
                if matches!(failure, Failure::Broken(_)) {
                    session.move_on();
                }
                let overloaded = failure.code() == "overloaded";
                tokio::time::sleep(if overloaded { REST_WHEN_OVERLOADED } else { REST_AFTER_ERROR }).await;
            }
        }
        self.stats
    }

    fn request(&mut self) -> (Kind, Request) {
        let Tools { load, keys, maker, .. } = &*self.tools;
        let rng = &mut self.rng;
        if rng.random_range(0..100) < load.reads_percent {
            return (Kind::Read, Request::Read { number: keys.choose(rng) });
        }
        let document = maker.make(None, rng);
        let request = match load.inserts {
            true => Request::Insert { document },
            false => Request::Write { number: keys.choose(rng), document },
        };
        (Kind::Write, request)
    }
}

/// What `performing` gives, if it does so in `timeout`. The timer is used again and again, and moved on only where it goes off too
/// early: to make one and take it back for each request was some hundredths of what a read costs here.
async fn within(
    timeout: Duration,
    mut timer: Pin<&mut tokio::time::Sleep>,
    performing: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut performing = pin!(performing);
    let mut deadline = None;
    poll_fn(|context| {
        if let Poll::Ready(result) = performing.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        let deadline = *deadline.get_or_insert_with(|| tokio::time::Instant::now() + timeout);
        while timer.as_mut().poll(context).is_ready() {
            if tokio::time::Instant::now() >= deadline {
                return Poll::Ready(Err(Failure::TIMEOUT));
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    })
    .await
}
