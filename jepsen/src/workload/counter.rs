//! W7: exactly once through retries. Increments are compare-and-set under an idempotency key, tallies are inserts
//! without an id under one: sent again after an unknown outcome, at another node, each must take effect once.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use rand::RngExt;
use serde_json::json;

use super::{Worker, Workload};
use crate::checker::Checker;
use crate::checker::counter::Counter as CounterChecker;
use crate::client::{Condition, Op, Read};

const COUNTERS: &str = "counter";
const TALLIES: &str = "tally";
/// Counters: few, so that increments race.
const COUNTERS_MAX: u64 = 4;

/// A few counters and a heap of tallies.
#[derive(Debug)]
pub(super) struct Counter;

#[async_trait]
impl Workload for Counter {
    fn collections(&self) -> Vec<String> {
        vec![COUNTERS.into(), TALLIES.into()]
    }

    async fn setup(&self, worker: &mut Worker) -> Result<()> {
        for counter in 0..COUNTERS_MAX {
            let (id, document) = (format!("c{counter}"), json!({ "n": 0, "w": worker.tag() }));
            let op = Op::Put { collection: COUNTERS.into(), id, document, condition: Condition::None, key: None };
            let answer = worker.run_surely(op).await;
            ensure!(answer.is_ok(), "no counter: {:?}", answer.error);
        }
        Ok(())
    }

    async fn step(&self, worker: &mut Worker) {
        let (collection, id) = (COUNTERS.to_owned(), format!("c{}", worker.rng.random_range(0..COUNTERS_MAX)));
        if worker.chance(50) {
            let documents = vec![json!({ "one": 1, "w": worker.tag() })];
            worker.run_surely(Op::Insert { collection: TALLIES.into(), documents, many: false, key: None }).await;
            return;
        }
        let read = worker.run(Op::Get { collection: collection.clone(), id: id.clone(), read: Read::default() }).await;
        let (Some(revision), Some(n)) = (read.document_revision(), read.body["document"]["n"].as_u64()) else { return };
        let condition = Condition::Revision(revision);
        let patch = json!({ "n": n + 1, "w": worker.tag() });
        worker.run_surely(Op::Patch { collection, id, patch, condition, key: None }).await;
    }

    fn checkers(&self) -> Vec<Box<dyn Checker>> {
        vec![Box::new(CounterChecker)]
    }
}
