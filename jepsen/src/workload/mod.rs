//! What clients do: one file each.
//!
//! A workload draws operations from the worker's seeded generator and names the checkers that know what must come out.
//! The operations go through [`Worker`], which records them; whatever a workload does, the replay by revision checks
//! all of it, so a workload adds only what is particular to it. `README.md` walks through one.
//!
//! Places that are ready for what the product does not have yet: transactions over several documents come into
//! `append.rs` (its checker, `checker/cycles`, already knows them); unique and index workloads need only a file here
//! and a model in `checker/query.rs`; membership is a nemesis; rules need a second client with another key.

mod append;
mod bank;
mod counter;
mod feed;
mod keys;
mod model;
mod paging;
mod register;
mod session;
mod set;
mod worker;

use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;

pub use worker::Worker;

use crate::checker::Checker;

/// Something that clients do over and over.
#[async_trait]
pub trait Workload: Send + Sync {
    /// The collections that it works in; the runner makes them first.
    fn collections(&self) -> Vec<String>;

    /// What must be there before the first step. One worker does it.
    async fn setup(&self, _worker: &mut Worker) -> Result<()> {
        Ok(())
    }

    /// One thing that a client does; called over and over by many workers at once.
    async fn step(&self, worker: &mut Worker);

    /// What is asked for once the load is over and all nodes are well. One worker does it.
    async fn finish(&self, _worker: &mut Worker) {}

    /// What checks it, beside the checkers that every run has.
    fn checkers(&self) -> Vec<Box<dyn Checker>>;
}

/// A workload that can be named.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Makes one.
    pub make: fn() -> Arc<dyn Workload>,
}

/// All of them.
pub const ALL: &[Entry] = &[
    Entry {
        name: "register",
        about: "read, write, compare-and-set and delete of single documents; linearizable document by document",
        make: || Arc::new(register::Register::default()),
    },
    Entry {
        name: "set",
        about: "inserts, single and in batches; scanned by filter and by walking the list",
        make: || Arc::new(set::Set::default()),
    },
    Entry {
        name: "counter",
        about: "increments and inserts that are retried under one idempotency key until they are known",
        make: || Arc::new(counter::Counter),
    },
    Entry {
        name: "bank",
        about: "transfers by conditional writes, double entries by batches; the totals never move",
        make: || Arc::new(bank::Bank),
    },
    Entry {
        name: "session",
        about: "session and stale reads on any node: monotonic, read-your-writes, an honest age",
        make: || Arc::new(session::Session),
    },
    Entry {
        name: "paging",
        about: "cursors that wander over nodes while documents change: all pages are of one revision",
        make: || Arc::new(paging::Paging),
    },
    Entry {
        name: "feed",
        about: "subscribers of the change feed that resume on other nodes: the nine properties",
        make: || Arc::new(feed::Feed::default()),
    },
    Entry {
        name: "append",
        about: "appends to lists, several lists read at one revision; cycles as in Elle",
        make: || Arc::new(append::Append::default()),
    },
    Entry {
        name: "model",
        about: "random operations of the whole data API, each answer compared with a naive model",
        make: || Arc::new(model::Model::default()),
    },
];

/// The workload of this name.
///
/// # Errors
/// When there is none.
pub fn named(name: &str) -> Result<Arc<dyn Workload>> {
    let entry = ALL.iter().find(|entry| entry.name == name);
    Ok((entry.with_context(|| format!("there is no workload {name:?}: see `jepsen list`"))?.make)())
}
