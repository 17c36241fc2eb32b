//! W3: lists that are appended to, and several of them read at one revision. Today a transaction is a conditional write
//! of one list, or a read of several; when there are transactions over several documents they come in here, as more
//! micro-operations of one step, and the checker knows them already.

use async_trait::async_trait;
use rand::RngExt;
use serde_json::{Value, json};

use super::keys::Keys;
use super::{Worker, Workload};
use crate::checker::Checker;
use crate::checker::cycles::Cycles;
use crate::client::{Condition, Op, Query, Read};
use crate::history::Kind;

const COLLECTION: &str = "append";
/// Lists of one read.
const READ_MAX: usize = 4;

/// Lists.
#[derive(Debug)]
pub(super) struct Append {
    keys: Keys,
}

impl Default for Append {
    fn default() -> Self {
        // Lists are read whole: they are left before they grow long.
        Self { keys: Keys::new("l", 5, 120, 20) }
    }
}

#[async_trait]
impl Workload for Append {
    fn collections(&self) -> Vec<String> {
        vec![COLLECTION.into()]
    }

    async fn step(&self, worker: &mut Worker) {
        let (collection, id) = (COLLECTION.to_owned(), self.keys.pick(&mut worker.rng));
        if worker.chance(45) {
            let number = worker.rng.random_range(2..=READ_MAX);
            let keys: Vec<String> = (0..number).map(|_| self.keys.pick(&mut worker.rng)).collect();
            let filter = Some(json!({ "k": { "$in": keys } }));
            let query = Query { filter, select: Some("k,list".into()), ..Query::default() };
            worker.run(Op::List { collection, query, read: Read::default() }).await;
            return;
        }
        let read = worker.run(Op::Get { collection: collection.clone(), id: id.clone(), read: Read::default() }).await;
        if !read.is_ok() {
            return;
        }
        let condition = read.document_revision().map_or(Condition::Absent, Condition::Revision);
        let mut list = read.body["document"]["list"].as_array().cloned().unwrap_or_default();
        let tag = worker.tag();
        list.push(Value::from(tag.as_str()));
        let document = json!({ "k": id, "list": list, "w": tag });
        let answer = worker.run(Op::Put { collection, id: id.clone(), document, condition, key: None }).await;
        if answer.kind == Kind::Info {
            self.keys.unknown(&id);
        }
    }

    fn checkers(&self) -> Vec<Box<dyn Checker>> {
        vec![Box::new(Cycles)]
    }
}
