//! The reckoning: is everything there that was acknowledged, once, and nothing that nobody asked for?
//!
//! The change feed is the witness. It holds every version within retention, in order, so that each acknowledged write
//! can be found at its revision, not only those that were not overwritten later.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::Value;

use super::record::{Acknowledged, Left, Unresolved, fingerprint};
use super::report::Report;
use crate::{Client, Cluster, Converged, NodeId};

/// How long reading all of a collection may take.
const READ_ALL_TIMEOUT: Duration = Duration::from_secs(120);
/// How many problems are shown.
const SHOWN_MAX: usize = 10;

/// What was found.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What all nodes agree on.
    pub converged: Converged,
    /// Changes in the feeds.
    pub changes: usize,
    /// Documents there are.
    pub documents: usize,
    /// Writes without an answer that turned out to have happened.
    pub happened: usize,
}

impl Report {
    /// Waits until all nodes hold the same, and holds the cluster to the record.
    ///
    /// # Panics
    /// If anything is missing, doubled, halved, unasked for, or was answered as it must not be.
    pub async fn verify(&self, cluster: &Cluster, deadline: Duration) -> Verified {
        let mut problems = self.violations.clone();
        let converged = cluster.wait_converged(deadline).await.expect("all nodes come to hold the same");
        assert!(converged.digest.is_some(), "the nodes offer digests");
        let ids: Vec<NodeId> = cluster.nodes().iter().filter(|node| node.is_running()).map(|node| node.id()).collect();
        let (mut changes, mut documents, mut happened) = (0, 0, 0);
        for collection in &self.collections {
            let mut first: Option<(NodeId, String, String)> = None;
            for id in &ids {
                let client = cluster.client(*id);
                let feed = feed(&client, collection).await.expect("the change feed can be read");
                let list = list(&client, collection).await.expect("the documents can be read");
                match &first {
                    None => {
                        let mut ledger = Ledger::new(self, collection);
                        let end = ledger.replay(&feed).expect("the feed is one");
                        ledger.compare(&end, &list).expect("the list is one");
                        (changes, documents) = (changes + ledger.changes, documents + end.len());
                        happened += ledger.happened();
                        problems.extend(ledger.problems);
                        first = Some((*id, feed, list));
                    }
                    Some((one, its_feed, its_list)) => {
                        if feed != *its_feed {
                            problems.push(format!("nodes {one} and {id} have different feeds of {collection}"));
                        }
                        if list != *its_list {
                            problems.push(format!("nodes {one} and {id} have different documents in {collection}"));
                        }
                    }
                }
            }
        }
        let shown = problems.iter().take(SHOWN_MAX).map(|problem| format!("\n- {problem:.2000}"));
        assert!(problems.is_empty(), "{} things are wrong:{}", problems.len(), shown.collect::<String>());
        Verified { converged, changes, documents, happened }
    }
}

/// All changes of a collection, as the node has them.
async fn feed(client: &Client, collection: &str) -> Result<String> {
    let path = format!("/api/{collection}/_changes?since=0&consistency=stale");
    let answer = client.request(Method::GET, &path).timeout(READ_ALL_TIMEOUT).send().await?.ok()?;
    text(answer.body)
}

/// All documents of a collection, as the node has them, a line each.
async fn list(client: &Client, collection: &str) -> Result<String> {
    let path = format!("/api/{collection}?consistency=stale");
    let request = client.request(Method::GET, &path).header("accept", "application/x-ndjson");
    text(request.timeout(READ_ALL_TIMEOUT).send().await?.ok()?.body)
}

/// The body as text, also when it happens to be a single line, which reads as JSON.
fn text(body: Value) -> Result<String> {
    match body {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        value @ Value::Object(_) => Ok(format!("{value}\n")),
        other => anyhow::bail!("not lines of JSON: {other}"),
    }
}

/// What must be in a collection, and what was found.
struct Ledger<'r> {
    acknowledged: HashMap<u64, &'r Acknowledged>,
    unresolved: HashMap<&'r str, &'r Unresolved>,
    /// Deletes without an answer, by id: they leave no token.
    deletes: HashMap<&'r str, usize>,
    /// Tokens of unresolved writes that were found, with their documents.
    found: HashMap<String, HashSet<String>>,
    seen: HashSet<u64>,
    changes: usize,
    deleted: usize,
    problems: Vec<String>,
}

impl<'r> Ledger<'r> {
    fn new(report: &'r Report, collection: &str) -> Self {
        let mut problems = Vec::new();
        let mut acknowledged = HashMap::new();
        for write in report.acknowledged.iter().filter(|write| write.collection == collection) {
            if let Some(other) = acknowledged.insert(write.revision, write) {
                let (one, other): (&Acknowledged, &Acknowledged) = (write, other);
                problems.push(format!("{} and {} were both given revision {}", one.token, other.token, one.revision));
            }
        }
        let mut deletes = HashMap::new();
        let unresolved: Vec<_> = report.unresolved.iter().filter(|write| write.collection == collection).collect();
        for write in unresolved.iter().filter(|write| write.kind == "delete") {
            for id in &write.ids {
                *deletes.entry(id.as_str()).or_default() += 1;
            }
        }
        Self {
            acknowledged,
            unresolved: unresolved.into_iter().map(|write| (write.token.as_str(), write)).collect(),
            deletes,
            found: HashMap::new(),
            seen: HashSet::new(),
            changes: 0,
            deleted: 0,
            problems,
        }
    }

    /// Walks through the feed; returns the documents that it ends with.
    fn replay(&mut self, feed: &str) -> Result<BTreeMap<String, Value>> {
        let mut now: BTreeMap<String, Value> = BTreeMap::new();
        let mut revision: Vec<Value> = Vec::new();
        let (mut last, mut ended) = (0, false);
        for line in feed.lines() {
            ensure!(!ended, "more after the bookmark: {line}");
            let event: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
            if event["type"] == "bookmark" {
                ended = true;
                continue;
            }
            let at = event["revision"].as_u64().with_context(|| format!("no revision: {line}"))?;
            ensure!(at >= last, "revision {at} after {last}");
            if at != last {
                self.revision(last, &std::mem::take(&mut revision));
            }
            ensure!(event["position"] == revision.len(), "position {} at {}", event["position"], revision.len());
            self.step(&mut now, &event, at);
            last = at;
            revision.push(event);
        }
        ensure!(ended, "the feed breaks off");
        self.revision(last, &revision);
        for write in self.acknowledged.values().filter(|write| !self.seen.contains(&write.revision)) {
            let Acknowledged { token, kind, revision, node, .. } = write;
            self.problems.push(format!("LOST: {kind} {token}, acknowledged by node {node} at revision {revision}"));
        }
        for (token, ids) in &self.found {
            let asked = self.unresolved[token.as_str()].documents;
            if ids.len() != asked {
                self.problems.push(format!("HALF: {token} left {} of {asked} documents", ids.len()));
            }
        }
        Ok(now)
    }

    /// One change: it must fit what was there before.
    fn step(&mut self, now: &mut BTreeMap<String, Value>, event: &Value, at: u64) {
        self.changes += 1;
        let id = event["id"].as_str().unwrap_or_default().to_owned();
        let before = now.get(&id).cloned().unwrap_or_default();
        if event["previous"] != before {
            self.problems.push(format!("at {at} {id} was {before}, but the feed says {}", event["previous"]));
        }
        let after = &event["document"];
        let kind = match (before.is_null(), after.is_null()) {
            (true, false) => "insert",
            (false, false) => "update",
            _ => "delete",
        };
        if event["type"] != kind {
            self.problems.push(format!("at {at} {id}: {} is none: {event}", event["type"]));
        }
        if after["w"] != after["copy"]["w"] || (!after.is_null() && after["_revision"] != at) {
            self.problems.push(format!("at {at} {id} is no whole write: {after}"));
        }
        if after.is_null() {
            now.remove(&id);
        } else {
            now.insert(id, after.clone());
        }
    }

    /// All changes of one revision: they must be those of one write.
    fn revision(&mut self, revision: u64, events: &[Value]) {
        if events.is_empty() {
            return;
        }
        let id = |event: &Value| event["id"].as_str().unwrap_or_default().to_owned();
        let left = |event: &Value| {
            let content = Some(&event["document"]).filter(|document| !document.is_null()).map(fingerprint);
            Left { id: id(event), content }
        };
        if let Some(write) = self.acknowledged.get(&revision) {
            self.seen.insert(revision);
            let mut left: Vec<Left> = events.iter().map(left).collect();
            let mut answered = write.documents.clone();
            left.sort_by(|a, b| a.id.cmp(&b.id));
            answered.sort_by(|a, b| a.id.cmp(&b.id));
            if left != answered {
                let token = &write.token;
                self.problems.push(format!("{token} at {revision} was answered with something else: {events:?}"));
            }
            return;
        }
        for event in events {
            let token = event["document"]["w"].as_str().unwrap_or_default();
            let first = !self.found.get(token).is_some_and(|ids| ids.contains(&id(event)));
            if self.unresolved.contains_key(token) && first {
                self.found.entry(token.to_owned()).or_default().insert(id(event));
            } else if event["type"] == "delete" && self.deletes.get(id(event).as_str()).is_some_and(|count| *count > 0)
            {
                *self.deletes.entry(self.key(&id(event))).or_default() -= 1;
                self.deleted += 1;
            } else {
                self.problems
                    .push(format!("UNASKED: a change at {revision} that is no client's, or a second time: {event}"));
            }
        }
    }

    fn key(&self, id: &str) -> &'r str {
        self.deletes.get_key_value(id).map_or("", |(key, _)| *key)
    }

    fn happened(&self) -> usize {
        self.found.len() + self.deleted
    }

    /// The list must be what the feed ends with.
    fn compare(&mut self, end: &BTreeMap<String, Value>, list: &str) -> Result<()> {
        let mut listed = BTreeMap::new();
        for line in list.lines() {
            let document: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
            listed.insert(document["id"].as_str().unwrap_or_default().to_owned(), document);
        }
        let ids: HashSet<&String> = end.keys().chain(listed.keys()).collect();
        for id in ids {
            if end.get(id) != listed.get(id) {
                let (feed, list) = (end.get(id), listed.get(id));
                self.problems.push(format!("{id} is {list:?} in the list and {feed:?} in the feed"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
