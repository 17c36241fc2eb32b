//! The nine properties of a change feed (as etcd's robustness tests have them), for every subscriber over all of its
//! connections: filter, ordered, unique, atomic, bookmarkable, resumable, reliable, previous value right, is-create
//! right.
//!
//! Each subscriber keeps its own picture of what there is. Against the feed at the end its changes must be a part
//! without a gap, and whatever was acknowledged up to where it came must have come. And it must get somewhere: without
//! faults it keeps up, and at the end everybody comes to the last revision, and so does somebody new at every node.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::availability::SERVES_MS_MAX;
use super::{Change, Checker, Finding, Run};
use crate::client::Op;
use crate::history::{Kind, Operation};

/// How far a subscriber may be behind what is acknowledged where there is no fault, milliseconds.
const LAG_MS_MAX: u64 = 4_000;

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
        let mut owed: BTreeMap<(String, u64), u64> = BTreeMap::new();
        for operation in run.history.operations.iter().filter(|operation| operation.f == "follow") {
            let Ok(Op::Follow { collection, subscriber, since, until }) =
                serde_json::from_value(operation.asked.clone())
            else {
                continue;
            };
            let who = (collection, subscriber);
            if let Some(until) = until {
                owed.insert(who.clone(), until);
            }
            let connections = connections.entry(who).or_default();
            if operation.kind == Kind::Ok {
                connections.push((operation, since));
            }
        }
        for (who @ (collection, number), connections) in &connections {
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
            match owed.get(who) {
                Some(owed) => subscriber.reached(*owed, &mut finding),
                None => finding.unknown(format!("subscriber {number} was not followed to the end")),
            }
            subscriber.acknowledged(collection, &run.history.operations, &mut finding);
            let begun = |(connection, _): &&(&Operation, u64)| !disturbed(run, connection);
            for (connection, _) in connections.iter().filter(begun) {
                subscriber.keeps_up(connection, collection, &run.history.operations, &mut finding);
            }
        }
        for node in &run.nodes {
            let served = connections.iter().filter(|(who, _)| owed.contains_key(who));
            if !served
                .flat_map(|(_, connections)| connections)
                .any(|(one, since)| one.node == Some(*node) && *since == 0)
            {
                finding.unknown(format!("nobody followed the whole feed of node {node}"));
            }
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

    /// With nothing against it any more, all there is has come.
    fn reached(&self, owed: u64, finding: &mut Finding) {
        finding.count("subscribers followed to the end");
        if self.position < owed {
            let text =
                format!("{owed} was reached and nothing is wrong any more, and it came to {} only", self.position);
            self.wrong("not live", text, finding);
        }
    }

    /// Where no fault was near, a connection that is kept brings what was acknowledged some seconds before its end.
    fn keeps_up(&mut self, connection: &Operation, collection: &str, operations: &[Operation], finding: &mut Finding) {
        let due_ns = connection.end_ns.saturating_sub(LAG_MS_MAX * 1_000_000);
        if connection.error.is_some() || due_ns < connection.begin_ns {
            return;
        }
        finding.count("connections that had to keep up");
        let written = operations.iter().take_while(|operation| operation.begin_ns <= due_ns).filter(|operation| {
            operation.kind == Kind::Ok
                && operation.end_ns <= due_ns
                && matches!(operation.f.as_str(), "insert" | "put" | "patch" | "delete")
                && operation.asked["collection"].as_str() == Some(collection)
        });
        let due = written.filter_map(|operation| operation.revision).max().unwrap_or(0);
        let complete = connection.answer["complete"].as_u64().unwrap_or(0);
        if complete < due {
            self.begin = connection.begin;
            let text =
                format!("{due} was acknowledged {LAG_MS_MAX} ms before the connection's end, {complete} had come");
            self.wrong("not live", text, finding);
        }
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

/// Whether a fault, or the time that recovery is given after one, lay within a connection.
fn disturbed(run: &Run, connection: &Operation) -> bool {
    run.history.faults.iter().any(|fault| {
        let recovered_ns = fault.end_ns.saturating_add(SERVES_MS_MAX * 1_000_000);
        fault.begin_ns <= connection.end_ns && connection.begin_ns <= recovered_ns
    })
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

    /// One connection: node, since, changes, bookmarks, complete.
    type Connection = (u64, u64, Vec<Value>, Value, u64);

    /// What one subscriber's connections and, once the load is over, those of a new one at each node came to. The last one
    /// of each must bring everything.
    fn run(connections: &[Connection], at_each_node: &[Connection]) -> Run {
        let script = Script::default();
        script.does(0, &put("a", "4"), 4, with("a", 4, "4"));
        let first = connections.iter().enumerate().map(|(at, one)| (0, one, at + 1 == connections.len()));
        let all: Vec<_> = first.chain(at_each_node.iter().map(|one| (one.0, one, true))).collect();
        for (subscriber, (_, since, changes, bookmarks, complete), last) in &all {
            let (collection, until) = ("c".to_owned(), last.then_some(6));
            let op = Op::Follow { collection, subscriber: *subscriber, since: *since, until };
            let answer = json!({ "changes": changes, "bookmarks": bookmarks, "complete": complete });
            script.does(1, &op, *complete, answer);
        }
        let mut run = script.run(&feed());
        for (operation, (_, connection, _)) in run.history.operations.iter_mut().skip(1).zip(&all) {
            operation.node = Some(connection.0);
        }
        run
    }

    fn whole(node: u64) -> Connection {
        (node, 0, all(), json!([[9, 5]]), 9)
    }

    fn check(connections: &[Connection]) -> Finding {
        Feed.check(&run(connections, &[whole(1), whole(2), whole(3)]))
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
    fn who_receives_nothing_is_owed_everything() {
        let live = |finding: &Finding| !rules(finding).contains(&"not live");
        let nothing = |since: u64| (2, since, Vec::new(), json!([[since, 0]]), since);
        let first = (1, 0, all()[..3].to_vec(), json!([[3, 3]]), 3);
        assert!(!live(&check(&[first.clone(), nothing(3)])));
        // A node that gives a new subscriber nothing, while others get all of it elsewhere.
        let last = (2, 3, all()[3..].to_vec(), json!([[9, 2]]), 9);
        let finding =
            Feed.check(&run(&[first.clone(), last.clone()], &[whole(1), whole(2), (3, 0, vec![], json!([]), 0)]));
        assert!(!live(&finding));
        // Nobody looked.
        let finding = Feed.check(&run(&[first.clone(), last.clone()], &[whole(1), whole(2)]));
        assert_eq!(finding.verdict, Verdict::Unknown, "{finding:?}");
        assert_eq!(check(&[first, last]).verdict, Verdict::Valid);
    }

    #[test]
    fn where_there_is_no_fault_it_keeps_up() {
        let check = |lasts_ms: u64, fault: bool| {
            let first = (1, 0, all()[..1].to_vec(), json!([[1, 1]]), 1);
            let mut run =
                run(&[first, (2, 1, all()[1..].to_vec(), json!([[9, 4]]), 9)], &[whole(1), whole(2), whole(3)]);
            run.history.operations[1].end_ns = run.history.operations[1].begin_ns + lasts_ms * 1_000_000;
            if fault {
                let (name, detail) = ("kill".to_owned(), Value::Null);
                run.history.faults.push(crate::history::Fault { name, detail, begin_ns: 0, end_ns: 1 });
            }
            Feed.check(&run)
        };
        // Revision 4 was acknowledged before it began, and it came to 1.
        assert!(rules(&check(LAG_MS_MAX + 1_000, false)).contains(&"not live"));
        assert_eq!(check(LAG_MS_MAX + 1_000, true).verdict, Verdict::Valid);
        assert_eq!(check(LAG_MS_MAX - 1_000, false).verdict, Verdict::Valid);
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
