//! Exactly once, without a look at any revision: a counter stands between the increments that were acknowledged and those
//! that may have happened, at every read and at the end; a tally is there once if it was acknowledged, never if refused.

use std::collections::HashMap;

use super::{Checker, Finding, Run};
use crate::client::Op;
use crate::history::{Kind, Operation};

/// Increments and tallies.
#[derive(Debug)]
pub struct Counter;

impl Checker for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn check(&self, run: &Run) -> Finding {
        let mut finding = Finding::new(self.name());
        let mut counters: HashMap<String, Increments> = HashMap::new();
        let mut tallies: HashMap<String, &Operation> = HashMap::new();
        let mut reads = Vec::new();
        for operation in &run.history.operations {
            if operation.answer["attempts"].as_u64().is_some_and(|attempts| attempts > 1) {
                finding.count("operations that were retried");
            }
            match serde_json::from_value(operation.asked.clone()) {
                Ok(Op::Patch { id, .. }) => counters.entry(id).or_default().add(operation),
                Ok(Op::Get { id, .. }) if operation.kind == Kind::Ok => {
                    reads.extend(operation.answer["document"]["n"].as_u64().map(|n| (id, n, operation)));
                }
                Ok(Op::Insert { documents, .. }) => {
                    let tags = documents.iter().filter_map(|document| document["w"].as_str());
                    tallies.extend(tags.map(|tag| (tag.to_owned(), operation)));
                }
                _ => {}
            }
        }
        counters.values_mut().for_each(Increments::sort);
        for (id, n, read) in &reads {
            finding.count("reads of counters");
            let (least, most) = counters.get(id).map_or((0, 0), |counter| counter.bounds(read.begin, read.end));
            judge(id, *n, least, most, vec![read.begin], &mut finding);
        }
        for nodes in run.last.collections.values() {
            for last in nodes.iter().filter(|last| last.error.is_none()) {
                let mut found: HashMap<&str, u64> = HashMap::new();
                for document in &last.documents {
                    if let (Some(id), Some(n)) = (document["id"].as_str(), document["n"].as_u64()) {
                        finding.count("counters at the end");
                        let (least, most) = counters.get(id).map_or((0, 0), |counter| counter.bounds(u64::MAX, u64::MAX));
                        judge(id, n, least, most, Vec::new(), &mut finding);
                    } else if let Some(tag) = document["w"].as_str() {
                        *found.entry(tag).or_default() += 1;
                    }
                }
                let here = last.documents.iter().any(|document| document.get("one").is_some());
                for (tag, insert) in tallies.iter().filter(|_| here) {
                    finding.count("tallies at the end");
                    let times = found.get(tag.as_str()).copied().unwrap_or(0);
                    let right = match insert.kind {
                        Kind::Ok => times == 1,
                        Kind::Fail => times == 0,
                        _ => times <= 1,
                    };
                    if !right {
                        let text = format!("tally {tag}, {:?}, is there {times} times on node {}", insert.kind, last.node);
                        let rule = if times > 1 { "happened twice" } else { "lost or refused" };
                        finding.wrong(rule, text, vec![insert.begin]);
                    }
                }
            }
        }
        finding.needs("counters at the end");
        finding
    }
}

fn judge(id: &str, n: u64, least: u64, most: u64, operations: Vec<u64>, finding: &mut Finding) {
    if n < least {
        let text = format!("{id} is {n}, though {least} increments were acknowledged");
        finding.wrong("lost increment", text, operations);
    } else if n > most {
        let text = format!("{id} is {n}, though at most {most} increments can have happened");
        finding.wrong("duplicated increment", text, operations);
    }
}

/// The increments of a counter: when each was acknowledged, and when each that may have happened began.
#[derive(Default)]
struct Increments {
    acknowledged: Vec<u64>,
    possible: Vec<u64>,
}

impl Increments {
    fn add(&mut self, operation: &Operation) {
        match operation.kind {
            Kind::Ok => {
                self.acknowledged.push(operation.end);
                self.possible.push(operation.begin);
            }
            Kind::Info => self.possible.push(operation.begin),
            _ => {}
        }
    }

    fn sort(&mut self) {
        self.acknowledged.sort_unstable();
        self.possible.sort_unstable();
    }

    /// How many surely happened before a read began, and how many can have before it ended.
    fn bounds(&self, begin: u64, end: u64) -> (u64, u64) {
        let before = |times: &[u64], at: u64| times.partition_point(|time| *time < at) as u64;
        (before(&self.acknowledged, begin), before(&self.possible, end))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::checker::testing::{Script, get, rules};
    use crate::checker::{Last, NodeLast, Verdict};

    fn increment(n: u64) -> Op {
        let patch = json!({ "n": n, "w": n.to_string() });
        Op::Patch { collection: "c".into(), id: "c0".into(), patch, condition: Default::default(), key: Some("k".into()) }
    }

    fn tally(tag: &str) -> Op {
        let documents = vec![json!({ "one": 1, "w": tag })];
        Op::Insert { collection: "t".into(), documents, many: false, key: Some("k".into()) }
    }

    /// Two increments acknowledged and one unknown; one tally acknowledged, one unknown, one refused.
    fn check(read: u64, n: u64, tallies: &[&str]) -> Finding {
        let script = Script::default();
        script.does(0, &increment(1), 1, Value::Null).does(0, &increment(2), 2, Value::Null);
        script.does(1, &get("c0"), 2, json!({ "document": { "n": read } }));
        script.begin(2, &increment(3)).info(2, "patch").does(0, &tally("a"), 3, Value::Null);
        script.begin(3, &tally("b")).info(3, "insert").begin(4, &tally("x")).fail(4, "insert", None, "no_leader");
        let counter = vec![json!({ "id": "c0", "n": n, "w": "2" })];
        let heap = tallies.iter().enumerate().map(|(id, tag)| json!({ "id": id.to_string(), "one": 1, "w": tag })).collect();
        let node = |documents| vec![NodeLast { node: 1, documents, ..NodeLast::default() }];
        let collections = BTreeMap::from([("c".to_owned(), node(counter)), ("t".to_owned(), node(heap))]);
        Counter.check(&Run { history: script.history(), last: Last { collections }, ..Run::default() })
    }

    #[test]
    fn once_and_no_more() {
        assert_eq!(check(2, 2, &["a"]).verdict, Verdict::Valid);
        assert_eq!(check(2, 3, &["a", "b"]).verdict, Verdict::Valid);
        assert_eq!(rules(&check(1, 2, &["a"])), ["lost increment"]);
        assert_eq!(rules(&check(3, 3, &["a"])), ["duplicated increment"]);
        assert_eq!(rules(&check(2, 1, &["a"])), ["lost increment"]);
        assert_eq!(rules(&check(2, 4, &["a"])), ["duplicated increment"]);
        assert_eq!(rules(&check(2, 2, &["a", "a"])), ["happened twice"]);
        assert_eq!(rules(&check(2, 2, &["a", "b", "b"])), ["happened twice"]);
        assert_eq!(rules(&check(2, 2, &["b"])), ["lost or refused"]);
        assert_eq!(rules(&check(2, 2, &["a", "x"])), ["lost or refused"]);
    }
}
