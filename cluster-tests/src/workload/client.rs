//! One client: it chooses, asks, checks, and asks again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use super::load::Shared;
use super::op::{Change, Op, document, fields, merge_patch, merged};
use super::record::{Acknowledged, Failure, Timed, Unresolved};
use crate::{Answer, Client, NodeId};

/// Requests that a client sends to one node before it moves on to the next.
const STAY: u64 = 16;
/// The pause before a request is sent again; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest pause before a request is sent again.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// How long a write is tried again once the load is to stop.
const PATIENCE_AT_STOP: Duration = Duration::from_secs(20);

/// What a client knows of a document of its own.
#[derive(Clone, Debug)]
enum Own {
    Absent,
    Present(Value),
    /// A write to it was never answered: nothing can be said of it, and it is left alone.
    Lost,
}

/// What became of a write.
pub(super) enum Fate {
    Done(Vec<Value>),
    Unresolved,
    /// Refused, or never taken: it did not happen.
    NotDone,
}

pub(super) struct LoadClient {
    shared: Arc<Shared>,
    name: String,
    home: usize,
    random: StdRng,
    /// Requests begun.
    step: u64,
    own: Vec<Own>,
    /// The revision of its last acknowledged write.
    last_revision: u64,
}

impl LoadClient {
    pub(super) fn new(shared: Arc<Shared>, name: &str, home: usize) -> Self {
        let own = vec![Own::Absent; shared.options.own];
        let random = StdRng::seed_from_u64(home as u64 + 1);
        Self { shared, name: name.to_owned(), home, random, step: 0, own, last_revision: 0 }
    }

    /// Begins with this node, if it is one of those that the load talks to.
    pub(super) fn begin_at(&mut self, node: NodeId) {
        self.home = self.shared.clients.iter().position(|(id, _)| *id == node).unwrap_or(0);
    }

    pub(super) async fn run(mut self) {
        let mut stop = self.shared.stop.subscribe();
        while !*stop.borrow_and_update() {
            self.step += 1;
            if self.random.random_range(0..100) < self.shared.options.writes_percent {
                self.write_something().await;
            } else {
                self.read_something().await;
            }
            if let Some(rest) = self.shared.options.rest {
                tokio::time::sleep(rest).await;
            }
        }
    }

    /// The node whose turn it is, `beyond` places on.
    fn node(&self, beyond: usize) -> (NodeId, Client) {
        let turn = self.home + (self.step / STAY) as usize + beyond;
        self.shared.clients[turn % self.shared.clients.len()].clone()
    }

    // ---- writes ----

    async fn write_something(&mut self) {
        let token = format!("{}-{}", self.name, self.step);
        let number = self.step;
        let pad = self.random.random_range(20..300);
        let collection = self.shared.options.collection.clone();
        match self.random.random_range(0..100) {
            0..25 => {
                let at = self.random.random_range(0..self.shared.options.shared);
                let id = Shared::shared_id(at);
                let change = match self.random.random_range(0..2) {
                    0 => Change::Put { id, body: document(&token, "shared", number, pad) },
                    _ => Change::Patch { id, body: merge_patch(&token, number) },
                };
                if let Fate::Done(documents) = self.write(Op { token, collection, change }).await {
                    let revision = documents.first().and_then(|document| document["_revision"].as_u64());
                    self.shared.known.told_shared(at, revision.unwrap_or(0));
                }
            }
            25..28 => {
                let change = Change::Insert { body: document(&token, "fresh", number, pad) };
                self.write(Op { token, collection: self.shared.fresh(), change }).await;
            }
            28..32 => self.insert_many(token, collection).await,
            _ => {
                let at = self.random.random_range(0..self.own.len());
                self.write_own(at, token, collection).await;
            }
        }
    }

    fn own_id(&self, at: usize) -> String {
        format!("{}-d{at}", self.name)
    }

    async fn write_own(&mut self, at: usize, token: String, collection: String) {
        let (id, number, pad) = (self.own_id(at), self.step, self.random.random_range(20..300));
        let body = document(&token, &self.name, number, pad);
        let (change, expected) = match (&self.own[at], self.random.random_range(0..100)) {
            (Own::Lost, _) => return,
            (Own::Absent, 0..50) => {
                let mut named = body.clone();
                named["id"] = id.into();
                (Change::Insert { body: named }, Some(body))
            }
            (Own::Present(before), 0..50) => {
                let patch = merge_patch(&token, number);
                let expected = merged(&fields(before), &patch);
                (Change::Patch { id, body: patch }, Some(expected))
            }
            (Own::Present(_), 50..62) => (Change::Delete { id }, None),
            _ => (Change::Put { id, body: body.clone() }, Some(body)),
        };
        self.own[at] = match self.write(Op { token: token.clone(), collection, change }).await {
            Fate::Done(documents) => match (documents.into_iter().next(), expected) {
                (None, _) => Own::Absent,
                (Some(document), expected) => {
                    if Some(fields(&document)) != expected {
                        self.violation(format!("{token} left {document}, expected {expected:?}"));
                    }
                    Own::Present(document)
                }
            },
            Fate::Unresolved => Own::Lost,
            Fate::NotDone => return,
        };
    }

    /// Inserts all documents of its own that are absent, at once.
    async fn insert_many(&mut self, token: String, collection: String) {
        let absent: Vec<usize> = (0..self.own.len()).filter(|at| matches!(self.own[*at], Own::Absent)).collect();
        if absent.len() < 2 {
            return;
        }
        let body = |at: &usize| {
            let mut body = document(&token, &self.name, self.step, 30);
            body["id"] = self.own_id(*at).into();
            body
        };
        let change = Change::InsertMany { bodies: absent.iter().map(body).collect() };
        let fate = self.write(Op { token, collection, change }).await;
        for (position, at) in absent.into_iter().enumerate() {
            match &fate {
                Fate::Done(documents) => self.own[at] = Own::Present(documents[position].clone()),
                Fate::Unresolved => self.own[at] = Own::Lost,
                Fate::NotDone => {}
            }
        }
    }

    /// Sends a write until it has an answer. Its outcome, whatever it is, is in the record when this returns.
    pub(super) async fn write(&mut self, op: Op) -> Fate {
        let begun = Instant::now();
        self.shared.pending().insert(op.token.clone(), begun);
        let fate = self.write_until_answered(&op, begun).await;
        if matches!(fate, Fate::Unresolved) {
            self.shared.log().unresolved.push(Unresolved {
                token: op.token.clone(),
                collection: op.collection.clone(),
                kind: op.kind(),
                ids: op.ids(),
                documents: op.documents(),
            });
        }
        self.shared.pending().remove(&op.token);
        fate
    }

    async fn write_until_answered(&mut self, op: &Op, begun: Instant) -> Fate {
        let mark = self.shared.known.mark();
        let (mut unknown, mut attempts, mut pause) = (false, 0, PAUSE_MIN);
        let mut patience = self.shared.options.patience;
        loop {
            let (node, client) = self.node(attempts as usize);
            attempts += 1;
            let sent = Instant::now();
            let answer = op.request(&client).timeout(self.shared.options.attempt_timeout).send().await;
            let what = || format!("{} {}", op.kind(), op.token);
            match &answer {
                Ok(answer) if answer.status.is_success() => {
                    return self.acknowledge(
                        op,
                        answer,
                        Timed { begun, ended: Instant::now(), node },
                        attempts,
                        mark.revision,
                    );
                }
                Ok(answer) if matches!(answer.status.as_u16(), 503 | 504 | 429) => {
                    unknown |= answer.status.as_u16() == 504;
                }
                Ok(answer) => {
                    // Nothing that is asked here may be refused: the client knows what is there.
                    self.violation(format!("{} on node {node}, attempt {attempts}: {answer}", what()));
                    self.failed(what(), node, sent, &Ok(answer.clone()));
                    return if unknown { Fate::Unresolved } else { Fate::NotDone };
                }
                Err(error) => unknown |= !never_left(error),
            }
            self.failed(what(), node, sent, &answer);
            if *self.shared.stop.borrow() {
                patience = patience.min(PATIENCE_AT_STOP);
            }
            if begun.elapsed() > patience {
                return if unknown { Fate::Unresolved } else { Fate::NotDone };
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn acknowledge(&mut self, op: &Op, answer: &Answer, timed: Timed, attempts: u32, mark: u64) -> Fate {
        let (revision, documents) = match op.answered(answer) {
            Ok(answered) => answered,
            Err(error) => {
                self.violation(format!("{} {} was answered with {answer}: {error:#}", op.kind(), op.token));
                return Fate::Unresolved;
            }
        };
        if revision <= mark {
            let token = &op.token;
            self.violation(format!("{token} was given revision {revision}, though {mark} was known before it began"));
        }
        self.shared.known.told(revision);
        self.last_revision = revision;
        let mut log = self.shared.log();
        log.writes.push(timed);
        log.acknowledged.push(Acknowledged {
            token: op.token.clone(),
            collection: op.collection.clone(),
            kind: op.kind(),
            documents: op.left(&documents),
            revision,
            node: timed.node,
            attempts,
        });
        Fate::Done(documents)
    }

    // ---- reads ----

    async fn read_something(&mut self) {
        match self.random.random_range(0..100) {
            0..40 => self.read_shared().await,
            40..80 => self.read_own("", 0).await,
            80..97 => self.read_own("?consistency=session", 1).await,
            _ => self.list_own().await,
        }
    }

    /// Sends a read and checks what holds for all of them. Only answers that may be judged further come back.
    async fn read(&mut self, path: &str, beyond: usize, least: u64) -> Option<(Answer, u64)> {
        let (node, client) = self.node(beyond);
        let request = client.request(Method::GET, path).timeout(self.shared.options.attempt_timeout);
        let request = match path.contains("consistency=session") {
            true => request.header("aerodb-min-revision", least),
            false => request,
        };
        let begun = Instant::now();
        let answer = request.send().await;
        let ended = Instant::now();
        let found = match &answer {
            Ok(found) if found.status.is_success() || found.status.as_u16() == 404 => found.clone(),
            _ => {
                self.failed(format!("GET {path}"), node, begun, &answer);
                return None;
            }
        };
        let Some(revision) = found.revision() else {
            self.violation(format!("GET {path} on node {node} names no revision: {found}"));
            return None;
        };
        if revision < least {
            self.violation(format!(
                "GET {path} on node {node} was read at revision {revision}, though {least} was known before it began"
            ));
        }
        self.shared.known.told(revision);
        self.shared.log().reads.push(Timed { begun, ended, node });
        Some((found, revision))
    }

    async fn read_shared(&mut self) {
        let at = self.random.random_range(0..self.shared.options.shared);
        let path = format!("/api/{}/{}", self.shared.options.collection, Shared::shared_id(at));
        let (least, least_of_it) = (self.shared.known.mark().revision, self.shared.known.mark_shared(at));
        let Some((answer, _)) = self.read(&path, 0, least).await else { return };
        let document = &answer.body;
        let revision = document["_revision"].as_u64().unwrap_or(0);
        if answer.status.as_u16() != 200 || revision < least_of_it {
            self.violation(format!("GET {path} went back from {least_of_it}: {answer}"));
        }
        if document["w"] != document["copy"]["w"] {
            self.violation(format!("GET {path} shows half a write: {answer}"));
        }
        self.shared.known.told_shared(at, revision);
    }

    /// Reads a document of its own: it must be exactly as this client left it.
    async fn read_own(&mut self, how: &str, beyond: usize) {
        let at = self.random.random_range(0..self.own.len());
        let path = format!("/api/{}/{}{how}", self.shared.options.collection, self.own_id(at));
        let least = if how.is_empty() { self.shared.known.mark().revision } else { self.last_revision };
        let Some((answer, _)) = self.read(&path, beyond, least).await else { return };
        let as_left = match &self.own[at] {
            Own::Lost => true,
            Own::Absent => answer.status.as_u16() == 404,
            Own::Present(document) => answer.status.as_u16() == 200 && answer.body == *document,
        };
        if !as_left {
            self.violation(format!("GET {path} does not show {:?} but {answer}", self.own[at]));
        }
    }

    /// Finds all documents of its own by a filter: those that are there, and no others.
    async fn list_own(&mut self) {
        let filter =
            json!({"owner": self.name}).to_string().replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
        let path = format!("/api/{}?limit=1000&filter={filter}", self.shared.options.collection);
        let least = self.shared.known.mark().revision;
        let Some((answer, _)) = self.read(&path, 0, least).await else { return };
        if self.own.iter().any(|own| matches!(own, Own::Lost)) {
            return;
        }
        let mut there: Vec<&Value> = Vec::new();
        there.extend(
            self.own.iter().filter_map(|own| if let Own::Present(document) = own { Some(document) } else { None }),
        );
        there.sort_by_key(|document| document["id"].as_str().unwrap_or_default());
        let found: Vec<&Value> = answer.body["items"].as_array().into_iter().flatten().collect();
        if found != there {
            self.violation(format!("GET {path} found {answer}, and not {there:?}"));
        }
    }

    // ---- the record ----

    fn violation(&self, what: String) {
        self.shared.log().violations.push(what);
    }

    fn failed(&self, what: String, node: NodeId, begun: Instant, answer: &anyhow::Result<Answer>) {
        let (status, code, detail) = match answer {
            Ok(answer) => {
                (Some(answer.status.as_u16()), answer.code().unwrap_or("none").to_owned(), answer.to_string())
            }
            Err(error) => {
                let code = if never_left(error) { "connect" } else { "broken" };
                (None, code.to_owned(), format!("{error:#}"))
            }
        };
        self.shared.log().failures.push(Failure { what, node, begun, ended: Instant::now(), status, code, detail });
    }
}

/// Whether a request failed before any of it was sent.
fn never_left(error: &anyhow::Error) -> bool {
    error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect)
}
