//! W2: a set that only grows: single inserts and batches, scanned by filter and by walking the list.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use rand::RngExt;
use serde_json::json;

use super::{Worker, Workload};
use crate::checker::Checker;
use crate::checker::set::Set as SetChecker;
use crate::client::{Op, Query, Read};

const COLLECTION: &str = "set";
/// Elements of one bucket.
const BUCKET: u64 = 100;
/// Elements of a batch.
const BATCH_MAX: u64 = 5;
/// Items of a page of a walk through everything, and through one bucket.
const PAGES: (u64, u64) = (400, 15);
/// Walks through everything end when there are so many elements: what they find would grow with the square of the time.
const WALKED_MAX: u64 = 3_000;

/// A set of numbers.
#[derive(Debug, Default)]
pub(super) struct Set {
    next: AtomicU64,
}

impl Set {
    fn insert(&self, worker: &mut Worker, number: u64) -> Op {
        let first = self.next.fetch_add(number, Ordering::Relaxed);
        let documents = (first..first + number).map(|n| {
            // The ids do not follow the numbers, so that inserts fall between what a walk has read already.
            let id = format!("{:04}-{n}", (n * 7_919) % 10_000);
            json!({ "id": id, "n": n, "bucket": n / BUCKET, "w": worker.tag() })
        });
        Op::Insert { collection: COLLECTION.into(), documents: documents.collect(), many: number > 1, key: None }
    }

    /// A query for all of one bucket.
    fn bucket(&self, worker: &mut Worker) -> Query {
        let bucket = worker.rng.random_range(0..=self.next.load(Ordering::Relaxed) / BUCKET);
        Query { filter: Some(json!({ "bucket": bucket })), select: Some("n".to_owned()), ..Query::default() }
    }

    fn query(query: Query) -> Op {
        Op::List { collection: COLLECTION.into(), query, read: Read::default() }
    }
}

#[async_trait]
impl Workload for Set {
    fn collections(&self) -> Vec<String> {
        vec![COLLECTION.into()]
    }

    async fn step(&self, worker: &mut Worker) {
        match worker.rng.random_range(0..1_000) {
            0..600 => {
                let op = self.insert(worker, 1);
                worker.run(op).await;
            }
            600..850 => {
                let number = worker.rng.random_range(2..=BATCH_MAX);
                let op = self.insert(worker, number);
                worker.run(op).await;
            }
            850..980 => {
                let query = self.bucket(worker);
                let (limit, as_body) = (Some(1_000), worker.chance(30));
                worker.run(Self::query(Query { limit, count: true, as_body, ..query })).await;
            }
            980..985 if self.next.load(Ordering::Relaxed) < WALKED_MAX => {
                let query = Query { select: Some("n".into()), limit: Some(PAGES.0), ..Query::default() };
                worker.walk(COLLECTION, query).await;
            }
            _ => {
                let query = self.bucket(worker);
                worker.walk(COLLECTION, Query { limit: Some(PAGES.1), ..query }).await;
            }
        }
    }

    fn checkers(&self) -> Vec<Box<dyn Checker>> {
        vec![Box::new(SetChecker)]
    }
}
