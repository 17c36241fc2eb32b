//! Cursors under writes: walks from node to node over documents that come, change and go.

use async_trait::async_trait;
use rand::RngExt;
use serde_json::json;

use super::{Worker, Workload};
use crate::checker::Checker;
use crate::checker::paging::Paging as PagingChecker;
use crate::client::{Condition, Op, Query};

const COLLECTION: &str = "paging";
/// Ids that documents are written to.
const IDS_MAX: u64 = 300;
/// Groups that filters ask for.
const GROUPS: u64 = 4;

/// Writers and walkers.
#[derive(Debug)]
pub(super) struct Paging;

#[async_trait]
impl Workload for Paging {
    fn collections(&self) -> Vec<String> {
        vec![COLLECTION.into()]
    }

    async fn step(&self, worker: &mut Worker) {
        let (collection, id) = (COLLECTION.to_owned(), format!("p{:03}", worker.rng.random_range(0..IDS_MAX)));
        let (n, g) = (worker.rng.random_range(0..1_000), worker.rng.random_range(0..GROUPS));
        let condition = Condition::None;
        let op = match worker.rng.random_range(0..100) {
            0..55 => {
                let document = json!({ "n": n, "g": g, "w": worker.tag() });
                Op::Put { collection, id, document, condition, key: None }
            }
            55..75 => Op::Patch { collection, id, patch: json!({ "n": n, "w": worker.tag() }), condition, key: None },
            75..92 => Op::Delete { collection, id, condition, key: None },
            _ => {
                let query = Query {
                    filter: match worker.rng.random_range(0..3) {
                        0 => None,
                        1 => Some(json!({ "g": g })),
                        _ => Some(json!({ "n": { "$gte": n / 2 } })),
                    },
                    order: match worker.rng.random_range(0..3) {
                        0 => None,
                        1 => Some("n.desc".into()),
                        _ => Some("g,n".into()),
                    },
                    limit: Some(worker.rng.random_range(15..60)),
                    count: worker.chance(30),
                    as_body: worker.chance(30),
                    ..Query::default()
                };
                return worker.walk(COLLECTION, query).await;
            }
        };
        worker.run(op).await;
    }

    fn checkers(&self) -> Vec<Box<dyn Checker>> {
        vec![Box::new(PagingChecker)]
    }
}
