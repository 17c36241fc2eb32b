//! One of the two that are compared: a product with the documents in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aerodb_load::{Failure, Load, Request, Running, Session, Stats, Target};
use anyhow::{Result, anyhow};
use tokio::task::JoinSet;

use super::answer::Answer;
use super::apart::Apart;
use super::cities::Cities;
use super::work::{Ask, BULK, Question, Work};
use super::{aerodb, postgres};
use crate::processes::usage;
use crate::product::{Aerodb, Postgres};

/// Connections that load the documents.
const LOADERS: u32 = 16;
/// How long a loader rests when it is told that there is too much to do.
const REST: Duration = Duration::from_millis(100);
/// How long one is looked at to see whether it still tidies up.
const LOOK: Duration = Duration::from_secs(2);
/// The share of a core that counts as nothing.
const IDLE_CORES_MAX: f64 = 0.05;
/// How long it is waited for that at most.
const IDLE_WITHIN: Duration = Duration::from_secs(180);

/// A product, and the number of the next document that it does not have.
pub(super) struct Side {
    name: &'static str,
    product: Product,
    fresh: Arc<AtomicU64>,
}

/// Who.
pub(super) enum Product {
    Ours(Aerodb),
    Theirs(Postgres),
}

impl Side {
    pub(super) fn new(name: &'static str, product: Product) -> Self {
        Self { name, product, fresh: Arc::default() }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The processes of its nodes; children count with them.
    pub(super) fn pids(&self) -> Vec<u32> {
        match &self.product {
            Product::Ours(product) => product.pids(),
            Product::Theirs(product) => product.pids(),
        }
    }

    /// Requests of this kind to it.
    pub(super) fn ask(&self, work: Work, cities: &Arc<Cities>) -> Ask {
        work.ask(cities.clone(), self.fresh.clone())
    }

    /// Puts load on it.
    pub(super) fn load(&self, load: Load, ask: Ask, apart: Option<Apart>) -> Result<Stats> {
        let start = || match &self.product {
            Product::Ours(product) => Running::start(load, aerodb::target(product, ask)?),
            Product::Theirs(product) => Running::start(load, postgres::target(product, ask)),
        };
        let running = match apart {
            Some(apart) => apart.start_load(start)?,
            None => start(),
        };
        running?.finish()
    }

    /// Asks once.
    pub(super) async fn answer(&self, question: &Question) -> Result<Answer> {
        match &self.product {
            Product::Ours(product) => aerodb::answer(product, question).await,
            Product::Theirs(product) => postgres::answer(product, question).await,
        }
    }

    /// Loads all documents, in requests of [`BULK`]; gives how long that took.
    pub(super) async fn fill(&self, cities: &Arc<Cities>) -> Result<Duration> {
        let batches = cities.documents.div_ceil(BULK);
        let ask: Ask = {
            let cities = cities.clone();
            Arc::new(move |batch| {
                let first = batch * BULK;
                Question::insert(&cities, first, BULK.min(cities.documents - first))
            })
        };
        let began = match &self.product {
            Product::Ours(product) => {
                aerodb::create(product).await?;
                let began = Instant::now();
                fill(aerodb::target(product, ask)?, batches).await?;
                began
            }
            Product::Theirs(product) => {
                postgres::create(product).await?;
                let began = Instant::now();
                fill(postgres::target(product, ask), batches).await?;
                began
            }
        };
        self.fresh.store(cities.documents, Ordering::Relaxed);
        Ok(began.elapsed())
    }

    /// Makes the indexes; gives how long that took.
    pub(super) async fn index(&self) -> Result<Duration> {
        let began = Instant::now();
        match &self.product {
            Product::Ours(product) => aerodb::index(product).await?,
            Product::Theirs(product) => postgres::index(product).await?,
        }
        Ok(began.elapsed())
    }

    /// Lets it tidy up what the load left, so that no measurement pays for it.
    pub(super) async fn settle(&self) -> Result<()> {
        if let Product::Theirs(product) = &self.product {
            postgres::tidy(product).await?;
        }
        let (pids, began) = (self.pids(), Instant::now());
        while began.elapsed() < IDLE_WITHIN {
            let before = usage(&pids).cpu;
            tokio::time::sleep(LOOK).await;
            let used = usage(&pids).cpu.saturating_sub(before);
            if used.as_secs_f64() < IDLE_CORES_MAX * LOOK.as_secs_f64() {
                return Ok(());
            }
        }
        eprintln!("{} is still busy after {IDLE_WITHIN:?}", self.name());
        Ok(())
    }
}

/// Sends the requests with the numbers below `requests`, each once.
async fn fill<T: Target>(target: T, requests: u64) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut loaders = JoinSet::<Result<()>>::new();
    for loader in 0..LOADERS {
        let mut session = target.session(loader).map_err(anyhow::Error::msg)?;
        let next = next.clone();
        loaders.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return Ok(());
                }
                loop {
                    match session.perform(&Request::Read { number }).await {
                        Ok(()) => break,
                        // Turned away before anything was done.
                        Err(Failure::Refused(code)) if code == "overloaded" => tokio::time::sleep(REST).await,
                        Err(failure) => return Err(anyhow!("request {number} failed: {}", failure.code())),
                    }
                }
            }
        });
    }
    while let Some(done) = loaders.join_next().await {
        done??;
    }
    Ok(())
}
