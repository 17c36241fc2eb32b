//! The nine properties of a change feed (as etcd's robustness tests have them), for every subscriber over all of its
//! connections: filter, ordered, unique, atomic, bookmarkable, resumable, reliable, previous value right, is-create
//! right.
//!
//! Each subscriber keeps its own picture of what there is. Against the feed at the end its changes must be a part
//! without a gap, and whatever was acknowledged up to where it came must have come.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::{Change, Checker, Finding, Run};
use crate::client::Op;
use crate::history::{Kind, Operation};

/// The nine properties.
#[derive(Debug)]
pub struct Feed;

/// Revision and position.
type Place = (u64, u64);

impl Checker for Feed {
    fn name(&self) -> &'static str {
        "feed"
    }

    fn check(&self, run: &Run) -> Finding {
        let mut finding = Finding::new(self.name());
        let mut connections: BTreeMap<(String, u64), Vec<(&Operation, u64)>> = BTreeMap::new();
        for operation in &run.history.operations {
            if let Ok(Op::Follow { collection, subscriber, since }) = serde_json::from_value(operation.asked.clone())
                && operation.kind == Kind::Ok
            {
                connections.entry((collection, subscriber)).or_default().push((operation, since));
            }
        }
        for ((collection, number), connections) in &connections {
            let Some(feed) = run.last.feed(collection) else {
                finding.unknown(format!("no node gave the feed of {collection:?} at the end"));
                continue;
            };
            finding.count("subscribers");
            let mut subscriber = Subscriber::new(*number, feed);
            for (connection, since) in connections {
                finding.count("connections");
                subscriber.connection(connection, *since, &mut finding);
            }
            subscriber.acknowledged(collection, &run.history.operations, &mut finding);
        }
        finding.needs("changes received");
        finding.needs("resumed at another node");
        finding
    }
}

/// What a subscriber has come to know.
struct Subscriber<'r> {
    number: u64,
    feed: HashMap<Place, &'r Change>,
    order: Vec<Place>,
    /// The version of each document, by tag and revision.
    held: HashMap<String, Value>,
    tags: HashSet<String>,
    position: u64,
    node: Option<u64>,
    begin: u64,
}

impl<'r> Subscriber<'r> {
    fn new(number: u64, feed: &'r [Change]) -> Self {
        let place = |change: &Change| (change.revision, change.position);
        Self {
            number,
            order: feed.iter().map(place).collect(),
            feed: feed.iter().map(|change| (place(change), change)).collect(),
            held: HashMap::new(),
            tags: HashSet::new(),
            position: 0,
            node: None,
            begin: 0,
        }
    }

    fn connection(&mut self, operation: &Operation, since: u64, finding: &mut Finding) {
        self.begin = operation.begin;
        if self.node.is_some_and(|node| Some(node) != operation.node) && since > 0 {
            finding.count("resumed at another node");
        }
        self.node = operation.node;
        let changes = operation.answer["changes"].as_array().map_or(&[][..], Vec::as_slice);
        let complete = operation.answer["complete"].as_u64().unwrap_or(since);
        finding.add("changes received", changes.len() as u64);
        let mut before = (since, u64::MAX);
        let mut places = Vec::with_capacity(changes.len());
        for change in changes {
            let at = (change["revision"].as_u64().unwrap_or(0), change["position"].as_u64().unwrap_or(0));
            if at == before {
                self.wrong("not unique", format!("{at:?} came twice"), finding);
            } else if at < before {
                self.wrong("not ordered", format!("{at:?} came after {before:?}"), finding);
            }
            before = at;
            places.push(at);
            match self.feed.get(&at) {
                None => self.wrong("filter", format!("{at:?} is no change of this collection: {change}"), finding),
                Some(witness) => {
                    let same = change["id"].as_str() == Some(&witness.id)
                        && change["type"].as_str() == Some(&witness.kind)
                        && same_image(&change["document"], witness.document.as_ref())
                        && same_image(&change["previous"], witness.previous.as_ref());
                    if !same {
                        self.wrong("differs from the feed at the end", format!("{at:?}: {change}"), finding);
                    }
                }
            }
            // What is not complete comes again over the next connection: it is not taken up yet.
            if at.0 <= complete {
                self.take(change, at, finding);
            }
        }
        // Ordered, unique, and nothing missing: all that lies between the two ends.
        let from = self.order.partition_point(|place| place.0 <= since);
        let to = self.order.partition_point(|place| place.0 <= complete);
        let came: Vec<Place> = places.iter().copied().filter(|place| place.0 <= complete).collect();
        let expected = &self.order[from..to.max(from)];
        if came != expected {
            let missing = expected.iter().find(|place| !came.contains(place));
            let split = missing.is_some_and(|missing| came.iter().any(|place| place.0 == missing.0));
            let rule = if split { "not atomic" } else { "not reliable" };
            let text = format!(
                "from {since} to {complete}: {} came of {}; first missing {missing:?}",
                came.len(),
                expected.len()
            );
            self.wrong(rule, text, finding);
        }
        self.bookmarks(operation, since, &places, finding);
        if since != self.position {
            self.wrong("not resumable", format!("resumed from {since}, it had come to {}", self.position), finding);
        }
        self.position = complete;
    }

    /// A bookmark says that everything up to there has come.
    fn bookmarks(&self, operation: &Operation, since: u64, places: &[Place], finding: &mut Finding) {
        let mut before = since;
        for bookmark in operation.answer["bookmarks"].as_array().into_iter().flatten() {
            let (revision, number) = (bookmark[0].as_u64().unwrap_or(0), bookmark[1].as_u64().unwrap_or(0) as usize);
            finding.count("bookmarks");
            let from = self.order.partition_point(|place| place.0 <= since);
            let to = self.order.partition_point(|place| place.0 <= revision);
            let expected = to.saturating_sub(from);
            let early = places[..number.min(places.len())].iter().any(|place| place.0 > revision);
            if revision < before || expected != number || early {
                let text = format!("bookmark {revision} after {before}: {number} changes came, {expected} there are");
                self.wrong("not bookmarkable", text, finding);
            }
            before = revision;
        }
    }

    /// Takes a change into the picture: it must fit what is there.
    fn take(&mut self, change: &Value, at: Place, finding: &mut Finding) {
        let id = change["id"].as_str().unwrap_or_default().to_owned();
        let held = self.held.get(&id).cloned().unwrap_or(Value::Null);
        if change["previous"] != held {
            let text = format!("{at:?} of {id}: previous {}, held {held}", change["previous"]);
            self.wrong("previous value wrong", text, finding);
        }
        let creates = change["type"].as_str() == Some("insert");
        if creates != held.is_null() {
            self.wrong("is-create wrong", format!("{at:?} of {id}: {} over {held}", change["type"]), finding);
        }
        if let Some(tag) = change["document"]["w"].as_str() {
            self.tags.insert(tag.to_owned());
        }
        self.held.insert(id, change["document"].clone());
    }

    /// Whatever was acknowledged at or below the position has come. This needs no witness.
    fn acknowledged(&mut self, collection: &str, operations: &[Operation], finding: &mut Finding) {
        for operation in operations.iter().filter(|operation| operation.kind == Kind::Ok) {
            let due = operation.revision.is_some_and(|revision| revision <= self.position);
            if !due || operation.asked["collection"].as_str() != Some(collection) {
                continue;
            }
            let asked = &operation.asked;
            let batch = asked["documents"].as_array().into_iter().flatten();
            let documents = batch.chain([&asked["document"], &asked["patch"]]);
            for tag in documents.filter_map(|document| document["w"].as_str()) {
                finding.count("acknowledged documents that came");
                if !self.tags.contains(tag) {
                    self.begin = operation.begin;
                    self.wrong("not reliable", format!("{tag} was acknowledged and never came"), finding);
                }
            }
        }
    }

    fn wrong(&self, rule: &str, text: String, finding: &mut Finding) {
        finding.wrong(rule, format!("subscriber {}: {text}", self.number), vec![self.begin]);
    }
}

/// Whether an image in brief is this version.
fn same_image(brief: &Value, document: Option<&Value>) -> bool {
    match document {
        None => brief.is_null(),
        Some(document) => brief["w"] == document["w"] && brief["_revision"] == document["_revision"],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checker::Verdict;
    use crate::checker::testing::{Script, change, deleted, put, rules, with};

    fn feed() -> Vec<Change> {
        let second = |change| Change { position: 1, ..change };
        vec![
            change(1, "a", "1", None),
            change(3, "b", "2", None),
            second(change(3, "c", "3", None)),
            change(4, "a", "4", Some((1, "1"))),
            deleted(6, "a", (4, "4")),
        ]
    }

    fn brief(change: &Change) -> Value {
        let image = |document: &Option<Value>| match document {
            Some(document) => json!({ "w": document["w"], "_revision": document["_revision"] }),
            None => Value::Null,
        };
        json!({
            "revision": change.revision, "position": change.position, "type": change.kind, "id": change.id,
            "document": image(&change.document), "previous": image(&change.previous),
        })
    }

    /// Connections of one subscriber: node, since, changes, bookmarks, complete.
    fn check(connections: &[(u64, u64, Vec<Value>, Value, u64)]) -> Finding {
        let script = Script::default();
        script.does(0, &put("a", "4"), 4, with("a", 4, "4"));
        for (_, since, changes, bookmarks, complete) in connections {
            let op = Op::Follow { collection: "c".into(), subscriber: 0, since: *since };
            let answer = json!({ "changes": changes, "bookmarks": bookmarks, "complete": complete });
            script.does(1, &op, *complete, answer);
        }
        let mut run = script.run(&feed());
        for (operation, connection) in run.history.operations.iter_mut().skip(1).zip(connections) {
            operation.node = Some(connection.0);
        }
        Feed.check(&run)
    }

    fn all() -> Vec<Value> {
        feed().iter().map(brief).collect()
    }

    fn then(first: Vec<Value>, bookmarks: Value, complete: u64) -> Finding {
        let rest = feed().iter().filter(|change| change.revision > complete).map(brief).collect::<Vec<_>>();
        let number = rest.len();
        check(&[(1, 0, first, bookmarks, complete), (2, complete, rest, json!([[9, number]]), 9)])
    }

    #[test]
    fn all_nine_hold() {
        let finding = then(all()[..3].to_vec(), json!([[0, 0], [3, 3]]), 3);
        assert_eq!(finding.verdict, Verdict::Valid, "{finding:?}");
        // Cut off within a revision: it comes again.
        let finding = then(all()[..2].to_vec(), json!([]), 1);
        assert_eq!(finding.verdict, Verdict::Valid, "{finding:?}");
    }

    #[test]
    fn each_of_them_can_fail() {
        let wrong = |finding: Finding, rule: &str| {
            assert!(rules(&finding).contains(&rule), "{rule}: {:?}", finding.anomalies);
        };
        let other = brief(&change(2, "x", "9", None));
        wrong(then(vec![all()[0].clone(), other, all()[1].clone(), all()[2].clone()], json!([]), 3), "filter");
        wrong(then(vec![all()[1].clone(), all()[2].clone(), all()[0].clone()], json!([]), 3), "not ordered");
        wrong(then([&all()[..1], &all()[..3]].concat(), json!([]), 3), "not unique");
        wrong(then(all()[..2].to_vec(), json!([]), 3), "not atomic");
        wrong(then(all()[1..3].to_vec(), json!([]), 3), "not reliable");
        wrong(then(all()[..3].to_vec(), json!([[3, 2]]), 3), "not bookmarkable");
        wrong(then(all()[..3].to_vec(), json!([[3, 3], [2, 3]]), 3), "not bookmarkable");
        wrong(
            check(&[(1, 0, all()[..1].to_vec(), json!([]), 1), (2, 3, all()[3..].to_vec(), json!([]), 6)]),
            "not resumable",
        );
        let mut changes = all();
        changes[3]["previous"] = json!({ "w": "0", "_revision": 1 });
        wrong(then(changes, json!([]), 6), "previous value wrong");
        let mut changes = all();
        changes[3]["type"] = "insert".into();
        wrong(then(changes, json!([]), 6), "is-create wrong");
        wrong(then([&all()[..3], &all()[4..]].concat(), json!([]), 6), "not reliable");
    }
}
