//! A worker: one client that does one thing after the other, and records it.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::client::{Answer, Client, Op, Query, Read, is_definite};
use crate::history::{Kind, Recorder};

/// How often a worker asks its own node rather than another one, percent. Bound to one node, half of the workers go on
/// at full speed when the other half's nodes are cut off; never leaving it, no client would ever see two nodes.
const HOME_PERCENT: u32 = 70;
/// How long a worker keeps away from a node that it did not reach. With every worker waiting for the same dead node, few
/// operations would take place inside a fault.
const SHUN: Duration = Duration::from_millis(1_500);
/// How long a keyed operation is retried until its outcome is known. Longer than any single outage of a nemesis.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Pages of one walk, at most.
const PAGES_MAX: usize = 100;
/// How long a worker waits after it found nobody, milliseconds: from, to.
const PAUSE_MS: (u64, u64) = (20, 200);

/// One client.
pub struct Worker {
    /// Its number, from 0.
    pub number: u64,
    /// Draws everything that this worker does.
    pub rng: StdRng,
    /// The highest revision that this client has seen, for session reads.
    pub seen: u64,
    client: Client,
    recorder: Recorder,
    nodes: Vec<u64>,
    /// A node that was not reached, and until when it is left alone.
    shunned: Option<(u64, Instant)>,
    /// The number in the history; another one after each unknown outcome.
    process: u64,
    workers: u64,
    tags: u64,
}

impl Worker {
    /// Worker `number` of `workers`.
    pub fn new(number: u64, workers: u64, client: Client, recorder: Recorder, seed: u64) -> Self {
        let nodes = client.nodes();
        // Workers draw from streams of their own: what one does moves nobody else's choices.
        let rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number));
        Self { number, rng, seen: 0, client, recorder, nodes, shunned: None, process: number, workers, tags: 0 }
    }

    /// The client, for what is no operation of the history.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where it is recorded.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The number that its operations bear now.
    pub fn process(&self) -> u64 {
        self.process
    }

    /// A name that no other write of the run has. Every document that is written carries one as `w`, and by it the
    /// checkers know which write made it.
    pub fn tag(&mut self) -> String {
        self.tags += 1;
        format!("{}.{}", self.number, self.tags)
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// The node to ask next: mostly its own.
    pub fn node(&mut self) -> u64 {
        let home = self.nodes[(self.process as usize) % self.nodes.len()];
        if self.chance(HOME_PERCENT) && !self.shuns(home) { home } else { self.any_node() }
    }

    /// Any node, but not the one that was not reached just now.
    pub fn any_node(&mut self) -> u64 {
        let drawn = self.rng.random_range(0..self.nodes.len());
        let node = self.nodes[drawn];
        if self.shuns(node) { self.nodes[(drawn + 1) % self.nodes.len()] } else { node }
    }

    fn shuns(&self, node: u64) -> bool {
        self.shunned.is_some_and(|(shunned, until)| shunned == node && Instant::now() < until)
    }

    /// Does `op` once.
    pub async fn run(&mut self, op: Op) -> Answer {
        let node = self.node();
        self.run_at(node, op).await
    }

    /// Does `op` once, at `node`.
    pub async fn run_at(&mut self, node: u64, op: Op) -> Answer {
        self.begin(&op, node);
        let answer = self.client.call(node, &op).await;
        self.end(&op, answer).await
    }

    /// Does `op` under an idempotency key of its own, again and again at whatever node, until its outcome is known.
    pub async fn run_surely(&mut self, op: Op) -> Answer {
        let op = op.with_key(format!("key-{}", self.tag()));
        let mut node = self.node();
        self.begin(&op, node);
        let deadline = Instant::now() + RETRY_MAX;
        let (mut codes, mut unknown) = (Vec::new(), false);
        let mut answer = loop {
            let answer = self.client.call(node, &op).await;
            codes.push(answer.code().to_owned());
            let answer = if unknown { answer.after_unknown(&op) } else { answer };
            unknown |= answer.kind == Kind::Info;
            // The state stands against it now: asking again will tell no more about the attempt that is lost sight of.
            let settled = answer.kind != Kind::Info || is_definite(answer.code());
            if settled || Instant::now() >= deadline {
                break answer;
            }
            self.shunned = Some((node, Instant::now() + SHUN));
            self.pause().await;
            node = self.any_node();
        };
        if answer.body.is_null() {
            answer.body = json!({});
        }
        // The last answer is what came of it; those before it are judged, too.
        codes.pop();
        if let Some(body) = answer.body.as_object_mut() {
            body.insert("attempts".into(), (codes.len() + 1).into());
            body.insert("before".into(), codes.into());
        }
        self.end(&op, answer).await
    }

    /// Walks over all pages of a list, from node to node: a cursor holds everywhere. Ends early at the first page that
    /// cannot be had.
    pub async fn walk(&mut self, collection: &str, query: Query) {
        let walk = Some(self.tag());
        let (mut after, mut at, mut cursor) = (None, None, None);
        for _ in 0..PAGES_MAX {
            let query = Query { walk: walk.clone(), after, at, cursor, ..query.clone() };
            let op = Op::List { collection: collection.to_owned(), query, read: Read::default() };
            let node = self.any_node();
            let answer = self.run_at(node, op).await;
            let items = answer.body["items"].as_array().map_or(0, Vec::len) as u64;
            after = Some(after.unwrap_or(0) + items);
            at = answer.revision;
            cursor = answer.cursor;
            if answer.kind != Kind::Ok || cursor.is_none() {
                return;
            }
        }
    }

    /// Records that `op` begins; for operations that are not one request.
    pub fn begin(&self, op: &Op, node: u64) {
        let value = serde_json::to_value(op).unwrap_or_default();
        self.recorder.invoke(self.process, op.name(), value, Some(node));
    }

    /// Records how `op` ended.
    pub async fn end(&mut self, op: &Op, answer: Answer) -> Answer {
        self.recorder.complete(self.process, answer.kind, op.name(), answer.clone().completion());
        if answer.kind == Kind::Info {
            self.process += self.workers;
        }
        if answer.is_ok() {
            self.seen = self.seen.max(answer.revision.unwrap_or(0));
        }
        if !answer.reached {
            self.shunned = Some((answer.node, Instant::now() + SHUN));
            self.pause().await;
        }
        answer
    }

    /// A moment, so that a worker that finds nobody does not spin.
    async fn pause(&mut self) {
        let ms = self.rng.random_range(PAUSE_MS.0..PAUSE_MS.1);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}
