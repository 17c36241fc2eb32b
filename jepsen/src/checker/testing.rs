//! Histories made by hand, for the checkers' own tests.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Change, Finding, Last, NodeLast, Run};
use crate::client::Op;
use crate::history::{Completion, Event, History, Kind, Recorder};

/// A document as the cluster writes it.
pub(crate) fn document(id: &str, revision: u64, tag: &str) -> Value {
    let time = "2026-01-01T00:00:00Z";
    json!({ "id": id, "_revision": revision, "_created_at": time, "_updated_at": time, "w": tag })
}

/// A change that wrote `tag`, over a version that had this revision and tag.
pub(crate) fn change(revision: u64, id: &str, tag: &str, previous: Option<(u64, &str)>) -> Change {
    let previous = previous.map(|(revision, tag)| document(id, revision, tag));
    let kind = if previous.is_some() { "update" } else { "insert" };
    let document = Some(document(id, revision, tag));
    Change { revision, position: 0, kind: kind.into(), id: id.into(), document, previous }
}

/// A change that deleted what had this revision and tag.
pub(crate) fn deleted(revision: u64, id: &str, previous: (u64, &str)) -> Change {
    let previous = Some(document(id, previous.0, previous.1));
    Change { revision, position: 0, kind: "delete".into(), id: id.into(), document: None, previous }
}

/// The last words of nodes with these feeds, in the collection `c`.
pub(crate) fn last_of(feeds: &[&[Change]]) -> Last {
    let nodes = feeds.iter().enumerate().map(|(place, feed)| {
        let mut documents: BTreeMap<&str, Value> = BTreeMap::new();
        for change in *feed {
            match &change.document {
                Some(document) => documents.insert(&change.id, document.clone()),
                None => documents.remove(change.id.as_str()),
            };
        }
        NodeLast {
            node: place as u64 + 1,
            changes: feed.to_vec(),
            documents: documents.into_values().collect(),
            revision: feed.last().map_or(0, |change| change.revision),
            error: None,
        }
    });
    Last { collections: BTreeMap::from([("c".to_owned(), nodes.collect())]) }
}

/// A history that is written down operation by operation.
#[derive(Default)]
pub(crate) struct Script {
    recorder: Recorder,
}

impl Script {
    /// An operation begins.
    pub(crate) fn begin(&self, process: u64, op: &Op) -> &Self {
        self.recorder.invoke(process, op.name(), serde_json::to_value(op).unwrap(), Some(1));
        self
    }

    /// It ends well.
    pub(crate) fn ok(&self, process: u64, f: &str, revision: u64, value: Value) -> &Self {
        let answer = Completion { value, revision: Some(revision), node: Some(1), error: None };
        self.recorder.complete(process, Kind::Ok, f, answer);
        self
    }

    /// It ends in this way.
    pub(crate) fn ends(&self, process: u64, kind: Kind, f: &str, answer: Completion) -> &Self {
        self.recorder.complete(process, kind, f, answer);
        self
    }

    /// It is refused.
    pub(crate) fn fail(&self, process: u64, f: &str, revision: Option<u64>, code: &str) -> &Self {
        let answer = Completion { value: Value::Null, revision, node: Some(1), error: Some(code.into()) };
        self.recorder.complete(process, Kind::Fail, f, answer);
        self
    }

    /// Nobody knows.
    pub(crate) fn info(&self, process: u64, f: &str) -> &Self {
        let answer = Completion { error: Some("timeout".into()), ..Completion::default() };
        self.recorder.complete(process, Kind::Info, f, answer);
        self
    }

    /// An operation that begins and ends well, with nothing in between.
    pub(crate) fn does(&self, process: u64, op: &Op, revision: u64, value: Value) -> &Self {
        self.begin(process, op).ok(process, op.name(), revision, value)
    }

    /// Everything so far, as it was recorded.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.recorder.events()
    }

    /// Everything so far.
    pub(crate) fn history(&self) -> History {
        History::new(&self.recorder.events())
    }

    /// A run with this history and this feed, the same on three nodes.
    pub(crate) fn run(&self, feed: &[Change]) -> Run {
        Run { history: self.history(), last: last_of(&[feed, feed, feed]), nodes: vec![1, 2, 3], ..Run::default() }
    }
}

/// The rules that a finding says were broken.
pub(crate) fn rules(finding: &Finding) -> Vec<&str> {
    let mut rules: Vec<&str> = finding.anomalies.iter().map(|anomaly| anomaly.rule.as_str()).collect();
    rules.dedup();
    rules
}

/// `PUT` of a document with this tag.
pub(crate) fn put(id: &str, tag: &str) -> Op {
    let (collection, document) = ("c".to_owned(), json!({ "w": tag }));
    Op::Put { collection, id: id.into(), document, condition: Default::default(), key: None }
}

/// `GET`.
pub(crate) fn get(id: &str) -> Op {
    Op::Get { collection: "c".into(), id: id.into(), read: Default::default() }
}

/// The answer to either.
pub(crate) fn with(id: &str, revision: u64, tag: &str) -> Value {
    json!({ "document": document(id, revision, tag) })
}
