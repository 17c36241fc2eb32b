//! What each connection does: take the time of a request, send it, note how long it took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Method;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::connection::Connection;
use super::documents::{self, DocumentMaker};
use super::keys::KeyChooser;
use super::options::{Load, Mode};
use super::pacer::Schedule;
use super::stats::{Kind, Stats};
use crate::client::segment;

/// How long a worker rests after an error, so that a node that is down is not asked in a tight loop.
const REST_AFTER_ERROR: Duration = Duration::from_millis(10);

/// What all workers share and nobody changes. Made before the clock starts, because it takes a while.
pub(super) struct Tools {
    load: Arc<Load>,
    keys: KeyChooser,
    maker: DocumentMaker,
    path: String,
}

impl Tools {
    /// The tools for a load.
    pub(super) fn new(load: Arc<Load>) -> Arc<Self> {
        Arc::new(Self {
            keys: KeyChooser::new(load.keys, load.documents),
            maker: DocumentMaker::new(load.value_bytes),
            path: format!("/api/{}", segment(&load.collection)),
            load,
        })
    }
}

/// Runs all the workers of a thread to the end.
pub(super) async fn run_all(tools: Arc<Tools>, schedule: Arc<Schedule>, workers: impl Iterator<Item = u32>) -> Stats {
    let mut tasks = tokio::task::JoinSet::new();
    for number in workers {
        let rng = SmallRng::from_rng(&mut rand::rng());
        let worker = Worker { tools: tools.clone(), schedule: schedule.clone(), rng, stats: Stats::new() };
        tasks.spawn(worker.run(number));
    }
    let mut stats = Stats::new();
    while let Some(result) = tasks.join_next().await {
        match result {
            Ok(one) => stats.merge(one),
            Err(error) => stats.error(&format!("worker: {error}")),
        }
    }
    stats
}

struct Worker {
    tools: Arc<Tools>,
    schedule: Arc<Schedule>,
    rng: SmallRng,
    stats: Stats,
}

impl Worker {
    async fn run(mut self, number: u32) -> Stats {
        let mut connection = match Connection::new(&self.tools.load, number) {
            Ok(connection) => connection,
            Err(why) => {
                self.stats.error(&why);
                return self.stats;
            }
        };
        // Whether it works shows in the first request.
        let _ = connection.connect().await;
        tokio::time::sleep_until(self.schedule.start.into()).await;
        while let Some(ticket) = self.schedule.next().await {
            if ticket.too_late {
                self.stats.unsent += 1;
                continue;
            }
            let (kind, result) = self.request(&mut connection).await;
            self.schedule.count_answer();
            let failed = result.is_err();
            if ticket.intended >= self.schedule.measured_from {
                self.stats.record(kind, ticket.intended, Instant::now(), result);
            }
            if failed {
                tokio::time::sleep(REST_AFTER_ERROR).await;
            }
        }
        self.stats
    }

    async fn request(&mut self, connection: &mut Connection) -> (Kind, Result<(), String>) {
        let Tools { load, keys, maker, path } = &*self.tools;
        let rng = &mut self.rng;
        let kind = if rng.random_range(0..100) < load.reads_percent { Kind::Read } else { Kind::Write };
        let (method, path, body) = match kind {
            Kind::Write if load.mode == Mode::Insert => (Method::POST, path.clone(), Some(maker.make(None, rng))),
            Kind::Write => {
                let id = documents::id(keys.choose(rng));
                (Method::PUT, format!("{path}/{id}"), Some(maker.make(None, rng)))
            }
            Kind::Read => {
                let id = documents::id(keys.choose(rng));
                let consistency = if load.mode == Mode::StaleRead { "?consistency=stale" } else { "" };
                (Method::GET, format!("{path}/{id}{consistency}"), None)
            }
        };
        let answer = tokio::time::timeout(load.timeout, connection.send(method, &path, body)).await;
        let result = answer.unwrap_or_else(|_| Err("timeout".to_owned()));
        // A refusal is an answer, and the connection is good; without an answer it is not.
        if let Err(code) = &result
            && matches!(code.as_str(), "connect" | "connection_lost" | "timeout")
        {
            connection.move_on();
        }
        (kind, result)
    }
}
