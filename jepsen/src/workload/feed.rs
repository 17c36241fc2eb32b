//! W8: the change feed. Some workers write, in batches too; others subscribe, are cut off now and then, and go on from
//! where they were at another node.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{Worker, Workload};
use crate::checker::Checker;
use crate::checker::feed::Feed as FeedChecker;
use crate::client::{Answer, Condition, MALFORMED, Op, Read, describe};
use crate::history::Kind;

const COLLECTION: &str = "feed";
/// Written too: none of it belongs into the feed.
const OTHER: &str = "feed-other";
/// Ids that documents are written to.
const IDS_MAX: u64 = 40;
/// Workers that subscribe; all others write.
const SUBSCRIBERS: u64 = 3;
/// How long it may take, once nothing is written and nothing is wrong any more, until a subscriber has everything.
const LAST_WITHIN: Duration = Duration::from_secs(20);
/// How long a connection is kept, milliseconds.
const CONNECTION_MS: (u64, u64) = (300, 6_000);

/// Writers and subscribers.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// How far each subscriber has come.
    positions: Mutex<HashMap<u64, u64>>,
}

#[async_trait]
impl Workload for Feed {
    fn collections(&self) -> Vec<String> {
        vec![COLLECTION.into(), OTHER.into()]
    }

    async fn step(&self, worker: &mut Worker) {
        match worker.number < SUBSCRIBERS {
            true => self.subscribe(worker).await,
            false => write(worker).await,
        }
    }

    async fn finish(&self, worker: &mut Worker) {
        // Without it nobody is followed to the end, which the checker takes for no pass.
        let Some(last) = last_revision(worker).await else { return };
        let nodes = worker.client().nodes();
        for subscriber in 0..SUBSCRIBERS {
            self.follow_to(worker, subscriber, nodes[subscriber as usize % nodes.len()], last).await;
        }
        // And somebody new at every node, from the beginning.
        for node in nodes {
            self.follow_to(worker, SUBSCRIBERS + node, node, last).await;
        }
    }

    fn checkers(&self) -> Vec<Box<dyn Checker>> {
        vec![Box::new(FeedChecker)]
    }
}

impl Feed {
    fn position(&self, subscriber: u64, to: Option<u64>) -> u64 {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        let position = positions.entry(subscriber).or_insert(0);
        *position = to.unwrap_or(*position);
        *position
    }

    /// One connection, from where the subscriber was, at any node.
    async fn subscribe(&self, worker: &mut Worker) {
        let (subscriber, node) = (worker.number, worker.any_node());
        let lasts = Duration::from_millis(worker.rng.random_range(CONNECTION_MS.0..CONNECTION_MS.1));
        self.connect(worker, subscriber, node, Instant::now() + lasts, None).await;
    }

    /// Connects until this revision has come or the time for it is over.
    async fn follow_to(&self, worker: &mut Worker, subscriber: u64, node: u64, last: u64) {
        let deadline = Instant::now() + LAST_WITHIN;
        loop {
            self.connect(worker, subscriber, node, deadline, Some(last)).await;
            if self.position(subscriber, None) >= last || Instant::now() >= deadline {
                return;
            }
        }
    }

    async fn connect(&self, worker: &mut Worker, subscriber: u64, node: u64, deadline: Instant, until: Option<u64>) {
        let since = self.position(subscriber, None);
        let op = Op::Follow { collection: COLLECTION.into(), subscriber, since, until };
        worker.begin(&op, node);
        let mut received = Received { complete: since, ..Received::default() };
        let (kind, error) = match worker.client().follow(node, COLLECTION, since).await {
            Err(error) => (Kind::Fail, Some(error)),
            Ok(response) => (Kind::Ok, received.read(response, deadline, until).await.err()),
        };
        let answer = Answer {
            kind,
            node,
            // What was told complete was reached.
            revision: Some(received.complete),
            body: received.body(),
            reached: error.is_none(),
            error,
            cursor: None,
        };
        worker.end(&op, answer).await;
        self.position(subscriber, Some(received.complete));
    }
}

/// The revision that the cluster is at.
async fn last_revision(worker: &mut Worker) -> Option<u64> {
    let deadline = Instant::now() + LAST_WITHIN;
    while Instant::now() < deadline {
        let (collection, id) = (COLLECTION.to_owned(), "f0".to_owned());
        let answer = worker.run(Op::Get { collection, id, read: Read::default() }).await;
        if answer.is_ok() {
            return answer.revision;
        }
    }
    None
}

/// What came over one connection.
#[derive(Default)]
struct Received {
    changes: Vec<Value>,
    /// Bookmarks, each with the number of changes before it.
    bookmarks: Vec<(u64, usize)>,
    /// Everything up to this revision came: a later one followed, or a bookmark.
    complete: u64,
}

impl Received {
    /// Reads until the deadline, or until it is complete up to `until`; the code with which the feed ended, or what the
    /// connection did.
    async fn read(&mut self, mut response: Response, deadline: Instant, until: Option<u64>) -> Result<(), String> {
        let mut rest: Vec<u8> = Vec::new();
        while until.is_none_or(|until| self.complete < until)
            && let Ok(chunk) = timeout_at(deadline, response.chunk()).await
        {
            let Some(chunk) = chunk.map_err(|error| describe(&error))? else { return Err(self.ended(&rest)) };
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                self.line(serde_json::from_slice(&line).map_err(|_| MALFORMED.to_owned())?)?;
            }
        }
        Ok(())
    }

    /// A stream that came to its end in order says where with a bookmark; else something was left out.
    fn ended(&self, rest: &[u8]) -> String {
        let told = self.bookmarks.last().is_some_and(|(_, changes)| *changes == self.changes.len());
        if told && rest.is_empty() { "the feed ended".to_owned() } else { MALFORMED.to_owned() }
    }

    /// As it is recorded.
    fn body(&self) -> Value {
        json!({ "changes": self.changes, "bookmarks": self.bookmarks, "complete": self.complete })
    }

    fn line(&mut self, line: Value) -> Result<(), String> {
        let revision = line["revision"].as_u64();
        match line["type"].as_str() {
            Some("error") => return Err(line["code"].as_str().unwrap_or(MALFORMED).to_owned()),
            Some("bookmark") => {
                self.bookmarks.push((revision.unwrap_or(0), self.changes.len()));
                self.complete = revision.unwrap_or(self.complete);
            }
            _ => {
                let before = self.changes.last().and_then(|change| change["revision"].as_u64());
                if let Some(before) = before.filter(|before| Some(*before) != revision) {
                    self.complete = self.complete.max(before);
                }
                self.changes.push(brief(&line));
            }
        }
        Ok(())
    }
}

/// A change without the bodies: the tag of a version and its revision say which it is.
fn brief(change: &Value) -> Value {
    let image = |name: &str| match &change[name] {
        Value::Object(document) => json!({ "w": document.get("w"), "_revision": document.get("_revision") }),
        other => other.clone(),
    };
    let mut out = json!({ "document": image("document"), "previous": image("previous") });
    for name in ["revision", "position", "type", "id"] {
        out[name] = change[name].clone();
    }
    out
}

async fn write(worker: &mut Worker) {
    let (collection, condition) = (COLLECTION.to_owned(), Condition::None);
    let id = format!("f{}", worker.rng.random_range(0..IDS_MAX));
    let op = match worker.rng.random_range(0..100) {
        0..35 => Op::Put { collection, id, document: json!({ "w": worker.tag() }), condition, key: None },
        35..55 => Op::Patch { collection, id, patch: json!({ "w": worker.tag() }), condition, key: None },
        55..75 => Op::Delete { collection, id, condition, key: None },
        75..90 => {
            let number = worker.rng.random_range(2..6);
            let documents = (0..number).map(|_| json!({ "w": worker.tag() })).collect();
            Op::Insert { collection, documents, many: true, key: None }
        }
        90..95 => {
            let since = worker.seen.saturating_sub(worker.rng.random_range(0..50));
            let limit = worker.chance(70).then(|| worker.rng.random_range(1..40));
            Op::Changes { collection, since, limit }
        }
        _ => Op::Put { collection: OTHER.into(), id, document: json!({ "w": worker.tag() }), condition, key: None },
    };
    worker.run(op).await;
}
