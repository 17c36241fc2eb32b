//! A set that only grows, without a look at any revision: what was acknowledged before a scan began is in it, what was
//! refused is in none, nothing is in it twice.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{Checker, Finding, Run};
use crate::client::{Op, Query};
use crate::history::{Kind, Operation};

/// Elements and scans.
#[derive(Debug)]
pub struct Set;

/// An element: which insert brought it.
struct Element<'r> {
    insert: &'r Operation,
    bucket: Option<&'r Value>,
}

/// A scan: of a bucket, or of everything, whose pages count as one.
struct Scan {
    bucket: Option<Value>,
    begin: u64,
    end: u64,
    found: Vec<u64>,
    whole: bool,
}

impl Checker for Set {
    fn name(&self) -> &'static str {
        "set"
    }

    fn check(&self, run: &Run) -> Finding {
        let mut finding = Finding::new(self.name());
        let elements = elements(&run.history.operations);
        finding.add("elements", elements.len() as u64);
        for scan in scans(&run.history.operations) {
            finding.count(if scan.bucket.is_some() { "scans by filter" } else { "scans by walking" });
            judge(&scan, &elements, &mut finding);
        }
        for (collection, nodes) in &run.last.collections {
            for last in nodes.iter().filter(|last| last.error.is_none()) {
                let found = last.documents.iter().filter_map(|document| document["n"].as_u64()).collect();
                let scan = Scan { bucket: None, begin: u64::MAX - 1, end: u64::MAX, found, whole: true };
                finding.count("scans at the end");
                let before = finding.anomalies_total;
                judge(&scan, &elements, &mut finding);
                if finding.anomalies_total > before {
                    finding.add(&format!("wrong at the end on node {} in {collection}", last.node), 1);
                }
            }
        }
        finding.needs("elements");
        finding.needs("scans at the end");
        finding
    }
}

fn elements(operations: &[Operation]) -> HashMap<u64, Element<'_>> {
    let inserts = operations.iter().filter(|operation| operation.f == "insert");
    let documents = inserts.flat_map(|insert| {
        let documents = insert.asked["documents"].as_array().into_iter().flatten();
        documents.filter_map(move |document| {
            Some((document["n"].as_u64()?, Element { insert, bucket: document.get("bucket") }))
        })
    });
    documents.collect()
}

fn scans(operations: &[Operation]) -> Vec<Scan> {
    let (mut scans, mut walks): (Vec<Scan>, BTreeMap<String, Scan>) = (Vec::new(), BTreeMap::new());
    for operation in operations.iter().filter(|operation| operation.f == "list" && operation.kind == Kind::Ok) {
        let Ok(Op::List { query, .. }) = serde_json::from_value(operation.asked.clone()) else { continue };
        let items = operation.answer["items"].as_array().into_iter().flatten();
        let found = items.filter_map(|item| item["n"].as_u64());
        let Query { filter, walk, .. } = query;
        let whole = operation.answer["more"].as_bool() == Some(false);
        let bucket = filter.and_then(|filter| filter.get("bucket").cloned());
        let (begin, end) = (operation.begin, operation.end);
        match walk {
            None => scans.push(Scan { bucket, begin, end, found: found.collect(), whole }),
            Some(walk) => {
                let scan = walks.entry(walk).or_insert(Scan { bucket, begin, end, found: Vec::new(), whole });
                // All pages are of the revision at which the walk began: what was inserted later may be missing.
                scan.found.extend(found);
                (scan.end, scan.whole) = (end, whole);
            }
        }
    }
    scans.extend(walks.into_values());
    scans
}

fn judge(scan: &Scan, elements: &HashMap<u64, Element<'_>>, finding: &mut Finding) {
    let mut found = scan.found.clone();
    found.sort_unstable();
    let all = found.len();
    found.dedup();
    let me = |insert: &Operation| match scan.begin >= u64::MAX - 1 {
        true => vec![insert.begin],
        false => vec![insert.begin, scan.begin],
    };
    if found.len() != all {
        finding.wrong("element twice", format!("{} of {all} elements are repeated", all - found.len()), vec![scan.begin]);
    }
    for n in &found {
        match elements.get(n) {
            None => finding.wrong("element of nobody", format!("{n} was inserted by nobody"), vec![scan.begin]),
            Some(element) if element.insert.kind == Kind::Fail => {
                finding.wrong("refused element", format!("{n} was refused and is there"), me(element.insert));
            }
            Some(element) if element.insert.begin > scan.end => {
                finding.wrong("element of the future", format!("{n} was inserted after the scan"), me(element.insert));
            }
            Some(_) => {}
        }
    }
    if !scan.whole {
        return;
    }
    for (n, element) in elements {
        let due = element.insert.kind == Kind::Ok && element.insert.end < scan.begin;
        let here = scan.bucket.is_none() || scan.bucket.as_ref() == element.bucket;
        if due && here && found.binary_search(n).is_err() {
            finding.wrong("lost element", format!("{n} was acknowledged and is missing"), me(element.insert));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checker::testing::{Script, rules};
    use crate::checker::{Last, NodeLast, Verdict};

    fn insert(n: u64) -> Op {
        let documents = vec![json!({ "id": n.to_string(), "n": n, "bucket": n / 10, "w": n.to_string() })];
        Op::Insert { collection: "c".into(), documents, many: false, key: None }
    }

    fn scan(script: &Script, bucket: Option<u64>, found: &[u64]) {
        let filter = bucket.map(|bucket| json!({ "bucket": bucket }));
        let op = Op::List { collection: "c".into(), query: Query { filter, ..Query::default() }, read: Default::default() };
        let items: Vec<Value> = found.iter().map(|n| json!({ "n": n })).collect();
        script.does(7, &op, 9, json!({ "items": items, "more": false }));
    }

    fn check(script: &Script, last: &[u64]) -> Finding {
        let documents = last.iter().map(|n| json!({ "n": n })).collect();
        let nodes = vec![NodeLast { node: 1, documents, ..NodeLast::default() }];
        let last = Last { collections: BTreeMap::from([("c".to_owned(), nodes)]) };
        Set.check(&Run { history: script.history(), last, ..Run::default() })
    }

    /// 1 and 11 acknowledged, 2 unknown, 3 refused.
    fn script() -> Script {
        let script = Script::default();
        script.does(0, &insert(1), 1, Value::Null).does(0, &insert(11), 2, Value::Null);
        script.begin(1, &insert(2)).info(1, "insert").begin(2, &insert(3)).fail(2, "insert", None, "no_leader");
        script
    }

    #[test]
    fn what_was_acknowledged_is_there() {
        let script = script();
        scan(&script, Some(0), &[1]);
        scan(&script, Some(0), &[1, 2]);
        scan(&script, None, &[1, 11]);
        assert_eq!(check(&script, &[1, 2, 11]).verdict, Verdict::Valid);
        assert_eq!(check(&script, &[1, 11]).verdict, Verdict::Valid);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |bucket, found: &[u64], last: &[u64], rule: &str| {
            let script = script();
            scan(&script, bucket, found);
            let finding = check(&script, last);
            assert_eq!(rules(&finding), [rule]);
        };
        wrong(Some(0), &[2], &[1, 11], "lost element");
        wrong(None, &[1], &[1, 11], "lost element");
        wrong(None, &[1, 11, 11], &[1, 11], "element twice");
        wrong(None, &[1, 3, 11], &[1, 11], "refused element");
        wrong(None, &[1, 5, 11], &[1, 11], "element of nobody");
        wrong(None, &[1, 11], &[11], "lost element");
        let script = script();
        scan(&script, Some(1), &[11, 12]);
        script.does(0, &insert(12), 3, Value::Null);
        assert_eq!(rules(&check(&script, &[1, 11, 12])), ["element of the future"]);
    }
}
