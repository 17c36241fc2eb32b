//! W1: documents as registers: read, write, compare-and-set, insert, delete.

use async_trait::async_trait;
use rand::RngExt;
use serde_json::json;

use super::keys::Keys;
use super::{Worker, Workload};
use crate::checker::{Checker, linearizable::Linearizable};
use crate::client::{Condition, Op};
use crate::history::Kind;

const COLLECTION: &str = "register";
/// Operations on one document: more would take the search for a linearization too long.
const OPERATIONS_MAX: u64 = 300;
/// Unknown outcomes on one document.
const UNKNOWN_MAX: u64 = 6;

/// A few registers at a time.
#[derive(Debug)]
pub(super) struct Register {
    keys: Keys,
}

impl Default for Register {
    fn default() -> Self {
        Self { keys: Keys::new("r", 3, OPERATIONS_MAX, UNKNOWN_MAX) }
    }
}

#[async_trait]
impl Workload for Register {
    fn collections(&self) -> Vec<String> {
        vec![COLLECTION.into()]
    }

    async fn step(&self, worker: &mut Worker) {
        let id = self.keys.pick(&mut worker.rng);
        let document = json!({ "w": worker.tag() });
        let collection = COLLECTION.to_owned();
        let op = match worker.rng.random_range(0..100) {
            0..45 => Op::Get { collection, id: id.clone(), read: Default::default() },
            45..65 => Op::Put { collection, id: id.clone(), document, condition: Condition::None, key: None },
            65..90 => {
                let get = Op::Get { collection: collection.clone(), id: id.clone(), read: Default::default() };
                let condition = match worker.run(get).await {
                    read if !read.is_ok() => return,
                    read => read.document_revision().map_or(Condition::Absent, Condition::Revision),
                };
                Op::Put { collection, id: id.clone(), document, condition, key: None }
            }
            90..95 => Op::Delete { collection, id: id.clone(), condition: Condition::None, key: None },
            _ => {
                let document = json!({ "id": id, "w": document["w"] });
                Op::Insert { collection, documents: vec![document], many: false, key: None }
            }
        };
        if worker.run(op).await.kind == Kind::Info {
            self.keys.unknown(&id);
        }
    }

    fn checkers(&self) -> Vec<Box<dyn Checker>> {
        vec![Box::new(Linearizable)]
    }
}
