//! W13: sessions and stale reads. A client asks any node for what is at least as new as what it has seen, or takes
//! whatever the node has and is told how old that may be.

use async_trait::async_trait;
use rand::RngExt;
use serde_json::json;

use super::{Worker, Workload};
use crate::checker::Checker;
use crate::checker::session::Session as SessionChecker;
use crate::client::{Condition, Consistency, Op, Read};

const COLLECTION: &str = "session";
/// Documents. None is ever deleted: one that was seen must be there.
const DOCUMENTS_MAX: u64 = 20;

/// A few documents that everybody writes and reads everywhere.
#[derive(Debug)]
pub(super) struct Session;

#[async_trait]
impl Workload for Session {
    fn collections(&self) -> Vec<String> {
        vec![COLLECTION.into()]
    }

    async fn step(&self, worker: &mut Worker) {
        let (collection, id) = (COLLECTION.to_owned(), format!("s{}", worker.rng.random_range(0..DOCUMENTS_MAX)));
        let consistency = match worker.rng.random_range(0..100) {
            0..30 => {
                let document = json!({ "w": worker.tag() });
                worker.run(Op::Put { collection, id, document, condition: Condition::None, key: None }).await;
                return;
            }
            30..65 => Consistency::Session(worker.seen),
            65..75 => Consistency::Stale(None),
            75..90 => Consistency::Stale(Some(worker.rng.random_range(50..3_000))),
            _ => Consistency::Linearizable,
        };
        let node = worker.any_node();
        worker.run_at(node, Op::Get { collection, id, read: Read { consistency, as_of: None } }).await;
    }

    fn checkers(&self) -> Vec<Box<dyn Checker>> {
        vec![Box::new(SessionChecker)]
    }
}
