//! W10: everything that the data API can do, drawn at random. The replay compares every answer with a naive model.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use rand::RngExt;
use serde_json::{Value, json};

use super::{Worker, Workload};
use crate::checker::Checker;
use crate::client::{Answer, Condition, Consistency, Op, Query, Read};

const COLLECTIONS: [&str; 2] = ["model-a", "model-b"];
/// Ids that are worked on.
const IDS_MAX: u64 = 60;
/// One write in so many is retried under an idempotency key until its outcome is known, percent.
const SURE_PERCENT: u32 = 25;
/// How far back in revisions history is read.
const BACK_MAX: u64 = 400;

/// Documents that got their ids from the cluster and are kept: lists stay short enough to be compared one by one.
const UNNAMED_MAX: usize = 200;

/// The whole data API.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// Documents that got their ids from the cluster, the oldest first: collection and id.
    unnamed: Mutex<VecDeque<(String, String)>>,
}

impl Model {
    /// The oldest of too many.
    fn superfluous(&self) -> Option<(String, String)> {
        let mut unnamed = self.unnamed.lock().unwrap_or_else(PoisonError::into_inner);
        if unnamed.len() > UNNAMED_MAX { unnamed.pop_front() } else { None }
    }

    /// Remembers what an insert brought beside the ids that are drawn.
    fn remember(&self, collection: &str, answer: &Answer) {
        let mut unnamed = self.unnamed.lock().unwrap_or_else(PoisonError::into_inner);
        for document in answer.body["documents"].as_array().into_iter().flatten() {
            if let Some(id) = document["id"].as_str().filter(|id| !id.starts_with('m')) {
                unnamed.push_back((collection.to_owned(), id.to_owned()));
            }
        }
    }
}

#[async_trait]
impl Workload for Model {
    fn collections(&self) -> Vec<String> {
        COLLECTIONS.map(str::to_owned).to_vec()
    }

    async fn step(&self, worker: &mut Worker) {
        if let Some((collection, id)) = self.superfluous() {
            worker.run(Op::Delete { collection, id, condition: Condition::None, key: None }).await;
            return;
        }
        let collection = COLLECTIONS[worker.rng.random_range(0..COLLECTIONS.len())].to_owned();
        let id = id(worker);
        let op = match worker.rng.random_range(0..100) {
            0..14 => Op::Put { collection, id, document: document(worker), condition: condition(worker), key: None },
            14..28 => Op::Patch { collection, id, patch: patch(worker), condition: condition(worker), key: None },
            28..36 => {
                let mut document = document(worker);
                if worker.chance(75) {
                    document["id"] = id.into();
                }
                Op::Insert { collection, documents: vec![document], many: worker.chance(20), key: None }
            }
            36..41 => {
                let number = worker.rng.random_range(1..6);
                let documents = (0..number).map(|_| batched(worker)).collect();
                Op::Insert { collection, documents, many: true, key: None }
            }
            41..53 => Op::Delete { collection, id, condition: condition(worker), key: None },
            53..70 => Op::Get { collection, id, read: read(worker) },
            70..86 => Op::List { collection, query: query(worker), read: read(worker) },
            86..91 => {
                let limit = worker.chance(50).then(|| worker.rng.random_range(1..8));
                Op::History { collection, id, limit }
            }
            91..95 => {
                let since = worker.seen.saturating_sub(worker.rng.random_range(0..60));
                let limit = worker.chance(60).then(|| worker.rng.random_range(1..50));
                Op::Changes { collection, since, limit }
            }
            _ => {
                let query = Query { offset: None, limit: Some(worker.rng.random_range(5..30)), ..query(worker) };
                return worker.walk(&collection, query).await;
            }
        };
        let (collection, inserts) = (op.collection().to_owned(), matches!(op, Op::Insert { .. }));
        let answer = if op.is_write() && worker.chance(SURE_PERCENT) {
            worker.run_surely(op).await
        } else {
            worker.run(op).await
        };
        if inserts {
            self.remember(&collection, &answer);
        }
    }

    fn checkers(&self) -> Vec<Box<dyn Checker>> {
        // The replay, which every run has, is the checker.
        Vec::new()
    }
}

/// Mostly plain ids; some that paths have to escape.
fn id(worker: &mut Worker) -> String {
    let n = worker.rng.random_range(0..IDS_MAX);
    match n % 12 {
        0 => format!("m/{n}"),
        1 => format!("m {n}%?#"),
        2 => format!("mü{n}"),
        _ => format!("m{n}"),
    }
}

fn document(worker: &mut Worker) -> Value {
    let mut document = json!({ "w": worker.tag(), "n": worker.rng.random_range(0..50) });
    let text = ["", "a", "ab", "abc", "b", "ü"][worker.rng.random_range(0..6)];
    for (name, value) in [
        ("s", json!(text)),
        ("t", [json!(true), json!(false), Value::Null][worker.rng.random_range(0..3)].clone()),
        ("a", json!([worker.rng.random_range(0..5), worker.rng.random_range(0..5)])),
        ("o", json!({ "k": worker.rng.random_range(0..5), "x": { "y": text } })),
        ("f", json!(f64::from(worker.rng.random_range(0..20)) + 0.5)),
    ] {
        if worker.chance(60) {
            document[name] = value;
        }
    }
    document
}

/// A document of a batch: mostly with an id of its own, sometimes with one that may be taken, so that all are refused.
fn batched(worker: &mut Worker) -> Value {
    let mut document = document(worker);
    if worker.chance(15) {
        document["id"] = id(worker).into();
    }
    document
}

fn patch(worker: &mut Worker) -> Value {
    if worker.chance(6) {
        // Changes nothing.
        return json!({});
    }
    let mut patch = json!({ "w": worker.tag() });
    for (name, value) in [
        ("n", json!(worker.rng.random_range(0..50))),
        ("s", Value::Null),
        ("t", json!(true)),
        ("o", json!({ "k": null, "z": worker.rng.random_range(0..5) })),
        ("a", json!([])),
    ] {
        if worker.chance(30) {
            patch[name] = value;
        }
    }
    patch
}

fn condition(worker: &mut Worker) -> Condition {
    match worker.rng.random_range(0..10) {
        0 => Condition::Exists,
        1 => Condition::Absent,
        // Rarely right: that is what the register is for.
        2 => Condition::Revision(worker.seen.saturating_sub(worker.rng.random_range(0..20))),
        _ => Condition::None,
    }
}

fn read(worker: &mut Worker) -> Read {
    let plain = Read::default();
    match worker.rng.random_range(0..10) {
        0 => Read { consistency: Consistency::Session(worker.seen), ..plain },
        1 => Read { consistency: Consistency::Stale(None), ..plain },
        2 => Read { consistency: Consistency::Stale(Some(worker.rng.random_range(50..2_000))), ..plain },
        3 | 4 => Read { as_of: Some(worker.seen.saturating_sub(worker.rng.random_range(0..BACK_MAX))), ..plain },
        // Far ahead: the cluster must say that it is not there yet.
        5 if worker.chance(20) => Read { as_of: Some(worker.seen + 1_000_000), ..plain },
        _ => plain,
    }
}

fn filter(worker: &mut Worker, depth: u32) -> Value {
    let n = worker.rng.random_range(0..50);
    let small = n % 5;
    match worker.rng.random_range(0..if depth == 0 { 12 } else { 16 }) {
        0 => json!({ "n": n }),
        1 => json!({ "n": { "$gte": n, "$lt": n + 15 } }),
        2 => json!({ "s": { "$in": ["a", "ab", null] } }),
        3 => json!({ "s": { "$startsWith": "a" } }),
        4 => json!({ "t": null }),
        5 => json!({ "t": { "$exists": small < 2 } }),
        6 => json!({ "a": small }),
        7 => json!({ "a.0": { "$lte": small } }),
        8 => json!({ "o.k": { "$ne": small } }),
        9 => json!({ "o.x.y": "ab", "n": { "$not": { "$gt": n } } }),
        10 => json!({ "f": { "$gt": n / 3 }, "s": { "$nin": ["b"] } }),
        11 => json!({ "a": { "$size": 2 } }),
        12 => json!({ "$or": [filter(worker, depth - 1), filter(worker, depth - 1)] }),
        13 => json!({ "$and": [filter(worker, depth - 1), filter(worker, depth - 1)] }),
        14 => json!({ "$nor": [filter(worker, depth - 1)] }),
        _ => json!({ "$not": filter(worker, depth - 1) }),
    }
}

fn query(worker: &mut Worker) -> Query {
    let orders = ["n.desc", "s,n", "t.desc,n", "o.k", "f.desc", "a"];
    Query {
        filter: worker.chance(75).then(|| filter(worker, 2)),
        select: worker.chance(30).then(|| "n,o.k,s".to_owned()),
        order: worker.chance(60).then(|| orders[worker.rng.random_range(0..orders.len())].to_owned()),
        limit: worker.chance(80).then(|| worker.rng.random_range(1..40)),
        offset: worker.chance(20).then(|| worker.rng.random_range(0..30)),
        count: worker.chance(40),
        as_body: worker.chance(40),
        ..Query::default()
    }
}
