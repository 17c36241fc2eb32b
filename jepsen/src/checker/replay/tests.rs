//! Histories that must be accepted, and others that must be refused, each for its reason.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::checker::testing::{Script, change, deleted, document, get, put, rules, with};
use crate::checker::{Change, Verdict};
use crate::client::{Condition, Consistency, Query, Read};
use crate::history::{Completion, Kind};

fn finding(script: &Script, feed: &[Change]) -> Finding {
    Replay.check(&script.run(feed))
}

fn check(script: &Script, feed: &[Change], rule: &str) {
    let finding = finding(script, feed);
    assert_eq!(finding.verdict, Verdict::Invalid, "{rule}: {finding:?}");
    assert!(rules(&finding).contains(&rule), "{rule}: {:?}", finding.anomalies);
}

fn fine(script: &Script, feed: &[Change]) {
    let finding = finding(script, feed);
    assert_eq!(finding.verdict, Verdict::Valid, "{finding:?}");
}

/// Two writes and the feed that shows them.
fn two() -> (Script, Vec<Change>) {
    let script = Script::default();
    script.does(0, &put("a", "1"), 5, with("a", 5, "1")).does(0, &put("a", "2"), 7, with("a", 7, "2"));
    (script, vec![change(5, "a", "1", None), change(7, "a", "2", Some((5, "1")))])
}

fn cas(tag: &str, revision: u64) -> Op {
    let condition = Condition::Revision(revision);
    Op::Put { collection: "c".into(), id: "a".into(), document: json!({ "w": tag }), condition, key: None }
}

fn delete(id: &str) -> Op {
    Op::Delete { collection: "c".into(), id: id.into(), condition: Condition::None, key: None }
}

fn batch(tags: &[&str]) -> Op {
    let documents = tags.iter().map(|tag| json!({ "id": format!("b{tag}"), "w": tag })).collect();
    Op::Insert { collection: "c".into(), documents, many: true, key: None }
}

fn batch_changes(revision: u64, tags: &[&str]) -> Vec<Change> {
    let one = |(position, tag): (usize, &&str)| Change {
        position: position as u64,
        ..change(revision, &format!("b{tag}"), tag, None)
    };
    tags.iter().enumerate().map(one).collect()
}

fn batch_answer(revision: u64, tags: &[&str]) -> Value {
    let documents: Vec<Value> = tags.iter().map(|tag| document(&format!("b{tag}"), revision, tag)).collect();
    json!({ "documents": documents })
}

#[test]
fn reads_refusals_and_deletes_that_are_right() {
    let (script, mut feed) = two();
    script.does(1, &get("a"), 8, with("a", 7, "2")).does(1, &get("none"), 8, json!({ "document": null }));
    script.begin(1, &cas("3", 5)).fail(1, "put", Some(8), "precondition_failed");
    script.does(1, &delete("a"), 9, Value::Null).begin(1, &delete("a")).fail(1, "delete", Some(9), "not_found");
    let as_of = Read { as_of: Some(6), ..Read::default() };
    let old = Op::Get { collection: "c".into(), id: "a".into(), read: as_of };
    script.does(1, &old, 6, with("a", 5, "1"));
    feed.push(deleted(9, "a", (7, "2")));
    fine(&script, &feed);
}

#[test]
fn a_lost_write() {
    let (script, feed) = two();
    check(&script, &feed[..1], "lost write");
}

#[test]
fn a_lost_delete() {
    let (script, feed) = two();
    script.does(0, &delete("a"), 9, Value::Null);
    check(&script, &feed, "lost write");
}

#[test]
fn a_write_that_nobody_asked_for() {
    let (script, mut feed) = two();
    feed.push(change(8, "z", "9", None));
    check(&script, &feed, "write of no request");
    feed[2] = deleted(8, "a", (7, "2"));
    check(&script, &feed, "write of no request");
}

#[test]
fn a_write_that_took_effect_twice() {
    let (script, mut feed) = two();
    feed.push(change(9, "a", "1", Some((7, "2"))));
    check(&script, &feed, "written twice");
}

#[test]
fn a_refused_write_that_took_effect() {
    let (script, mut feed) = two();
    script.begin(0, &put("a", "3")).fail(0, "put", None, "no_leader");
    fine(&script, &feed);
    feed.push(change(9, "a", "3", Some((7, "2"))));
    check(&script, &feed, "refused write took effect");
}

#[test]
fn an_unknown_write_may_take_effect_or_not() {
    let (script, mut feed) = two();
    script.begin(0, &put("a", "3")).info(0, "put");
    fine(&script, &feed);
    feed.push(change(9, "a", "3", Some((7, "2"))));
    fine(&script, &feed);
}

#[test]
fn an_unknown_write_takes_no_effect_before_it_was_asked() {
    let script = Script::default();
    script.does(0, &put("a", "1"), 5, with("a", 5, "1")).begin(1, &put("b", "2")).info(1, "put");
    let feed = [change(4, "b", "2", None), change(5, "a", "1", None)];
    check(&script, &feed, "write into the past");
}

#[test]
fn unknown_deletes_are_matched() {
    let (script, mut feed) = two();
    script.begin(1, &delete("a")).info(1, "delete");
    fine(&script, &feed);
    feed.push(deleted(8, "a", (7, "2")));
    fine(&script, &feed);
    script.begin(0, &delete("a")).fail(0, "delete", None, "no_leader");
    fine(&script, &feed);
}

#[test]
fn stale_and_wrong_reads() {
    let (script, feed) = two();
    script.does(1, &get("a"), 6, with("a", 5, "1"));
    check(&script, &feed, "stale read");
    let (script, feed) = two();
    script.does(1, &get("a"), 8, with("a", 5, "1"));
    check(&script, &feed, "wrong read");
    let (script, feed) = two();
    script.does(1, &get("a"), 8, json!({ "document": null }));
    check(&script, &feed, "wrong read");
}

#[test]
fn writes_out_of_real_time_order() {
    let script = Script::default();
    script.does(0, &put("a", "1"), 7, with("a", 7, "1")).does(0, &put("b", "2"), 5, with("b", 5, "2"));
    check(&script, &[change(5, "b", "2", None), change(7, "a", "1", None)], "write into the past");
}

#[test]
fn an_ignored_precondition() {
    let (script, mut feed) = two();
    script.does(1, &cas("3", 5), 9, with("a", 9, "3"));
    feed.push(change(9, "a", "3", Some((7, "2"))));
    check(&script, &feed, "precondition ignored");
}

#[test]
fn a_refusal_without_a_reason() {
    let (script, feed) = two();
    script.begin(1, &cas("3", 7)).fail(1, "put", Some(7), "precondition_failed");
    check(&script, &feed, "false refusal");
    let (script, feed) = two();
    script.begin(1, &delete("a")).fail(1, "delete", Some(4), "not_found");
    check(&script, &feed, "stale read");
}

#[test]
fn batches_are_whole() {
    let script = Script::default();
    script.does(0, &batch(&["1", "2", "3"]), 5, batch_answer(5, &["1", "2", "3"]));
    fine(&script, &batch_changes(5, &["1", "2", "3"]));
    check(&script, &batch_changes(5, &["1", "2"]), "batch split");
    let split = [batch_changes(5, &["1", "2"]), batch_changes(6, &["3"])].concat();
    check(&script, &split, "batch split or written twice");
}

#[test]
fn an_answer_that_names_another_revision_or_content() {
    let script = Script::default();
    script.does(0, &put("a", "1"), 6, with("a", 6, "1"));
    check(&script, &[change(5, "a", "1", None)], "wrong revision");
    let script = Script::default();
    script.does(0, &put("a", "1"), 5, with("a", 5, "0"));
    check(&script, &[change(5, "a", "1", None)], "wrong answer to a write");
}

#[test]
fn a_feed_that_is_wrong_in_itself() {
    let (script, feed) = two();
    let mut swapped = feed.clone();
    swapped.swap(0, 1);
    check(&script, &swapped, "feed out of order");
    let mut previous = feed.clone();
    previous[1].previous = Some(document("a", 4, "0"));
    check(&script, &previous, "feed with a wrong previous value");
    let mut kind = feed.clone();
    kind[1].kind = "insert".into();
    check(&script, &kind, "feed with a wrong kind of change");
    let mut image = feed;
    image[0].document = Some(document("a", 6, "1"));
    check(&script, &image, "feed with a wrong image");
}

#[test]
fn sessions_and_ages() {
    let read =
        |consistency| Op::Get { collection: "c".into(), id: "a".into(), read: Read { consistency, as_of: None } };
    let (script, feed) = two();
    script.does(1, &read(Consistency::Session(5)), 6, with("a", 5, "1"));
    fine(&script, &feed);
    script.does(1, &read(Consistency::Session(7)), 6, with("a", 5, "1"));
    check(&script, &feed, "session broken");
    let aged = |age: Value| {
        let (script, feed) = two();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let mut answer = with("a", 5, "1");
        answer["age_ms"] = age;
        script.does(1, &read(Consistency::Stale(Some(10_000))), 6, answer);
        (script, feed)
    };
    let (script, feed) = aged(json!(1_000));
    fine(&script, &feed);
    let (script, feed) = aged(json!(0));
    check(&script, &feed, "dishonest age");
    let (script, feed) = aged(json!(20_000));
    check(&script, &feed, "too stale");
    let (script, feed) = aged(Value::Null);
    check(&script, &feed, "no age");
}

#[test]
fn lists_histories_and_feeds() {
    let (script, feed) = two();
    let list = |after| {
        let query = Query { limit: Some(1), count: true, after, at: after.map(|_| 8), ..Query::default() };
        Op::List { collection: "c".into(), query, read: Read::default() }
    };
    let page = |items: Value, more: bool| json!({ "items": items, "more": more, "count": 1, "revision": 8 });
    script.does(1, &list(None), 8, page(json!([document("a", 7, "2")]), false));
    script.does(1, &list(Some(1)), 8, page(json!([]), false));
    let history = Op::History { collection: "c".into(), id: "a".into(), limit: None };
    let versions = json!({ "items": [
        { "from": 5, "to": 7, "document": document("a", 5, "1") },
        { "from": 7, "to": null, "document": document("a", 7, "2") },
    ] });
    script.does(1, &history, 8, versions.clone());
    let changes = |limit| Op::Changes { collection: "c".into(), since: 0, limit };
    script.does(1, &changes(None), 8, json!({ "changes": feed, "bookmark": 8, "more": false }));
    script.does(1, &changes(Some(1)), 8, json!({ "changes": feed[..1], "bookmark": 5, "more": true }));
    fine(&script, &feed);

    let wrong = |op: &Op, answer: Value, rule: &str| {
        let (script, feed) = two();
        script.does(1, op, 8, answer);
        check(&script, &feed, rule);
    };
    wrong(&list(None), page(json!([]), false), "wrong read");
    wrong(&list(None), page(json!([document("a", 7, "2")]), true), "wrong read");
    wrong(&list(Some(1)), json!({ "items": [], "more": false, "count": 1, "revision": 9 }), "wrong read");
    wrong(&history, json!({ "items": versions["items"].as_array().unwrap()[1..] }), "wrong read");
    let gap = json!({ "changes": feed[1..], "bookmark": 8, "more": false });
    wrong(&changes(None), gap, "wrong feed page");
    wrong(&changes(None), json!({ "changes": feed[..1], "bookmark": 5, "more": true }), "wrong feed page");
    wrong(&changes(Some(1)), json!({ "changes": feed[..1], "bookmark": 5, "more": false }), "wrong feed page");
}

#[test]
fn errors_that_nobody_asked_for() {
    let (script, feed) = two();
    script.begin(1, &get("a")).fail(1, "get", Some(9), "internal");
    check(&script, &feed, "unexpected error");
    let (script, feed) = two();
    script.begin(1, &get("a")).fail(1, "get", None, "no connection: refused");
    script.begin(1, &get("a")).fail(1, "get", None, "no_leader");
    fine(&script, &feed);
}

/// A random history of one client after the other, with everything right.
fn play(moves: &[(u8, u8, bool)]) -> (Script, Vec<Change>) {
    let (script, mut feed, mut revision) = (Script::default(), Vec::new(), 0_u64);
    let mut held: std::collections::BTreeMap<String, (u64, String)> = Default::default();
    for (number, (kind, id, known)) in moves.iter().enumerate() {
        let (id, tag, process) = (format!("d{}", id % 4), format!("t{number}"), number as u64);
        let before = held.get(&id).cloned();
        let previous = before.as_ref().map(|(revision, tag)| (*revision, tag.as_str()));
        let op = match (kind % 4, &before) {
            (0, _) => get(&id),
            (1, Some(_)) => delete(&id),
            (2, Some((at, _))) => Op::Put {
                collection: "c".into(),
                id: id.clone(),
                document: json!({ "w": tag }),
                condition: Condition::Revision(*at),
                key: None,
            },
            _ => put(&id, &tag),
        };
        script.begin(process, &op);
        let answer = match &op {
            Op::Get { .. } => json!({ "document": previous.map(|(at, tag)| document(&id, at, tag)) }),
            Op::Delete { .. } => {
                revision += 1;
                feed.push(deleted(revision, &id, previous.unwrap()));
                held.remove(&id);
                Value::Null
            }
            _ => {
                revision += 1;
                feed.push(change(revision, &id, &tag, previous));
                held.insert(id.clone(), (revision, tag.clone()));
                with(&id, revision, &tag)
            }
        };
        match *known || matches!(op, Op::Get { .. }) {
            true => script.ok(process, op.name(), revision, answer),
            false => script.info(process, op.name()),
        };
    }
    (script, feed)
}

proptest! {
    #[test]
    fn random_histories_are_accepted(moves in prop::collection::vec(any::<(u8, u8, bool)>(), 1..80)) {
        let (script, feed) = play(&moves);
        let finding = finding(&script, &feed);
        prop_assert_ne!(finding.verdict, Verdict::Invalid, "{:?}", finding);
    }

    /// Any acknowledged change that is taken out of the feed, or moved to another revision, is noticed.
    #[test]
    fn a_random_history_with_one_change_less_is_refused(
        moves in prop::collection::vec((any::<u8>(), any::<u8>(), Just(true)), 1..80),
        at in any::<prop::sample::Index>(),
    ) {
        let (script, mut feed) = play(&moves);
        prop_assume!(!feed.is_empty());
        feed.remove(at.index(feed.len()));
        prop_assert_eq!(finding(&script, &feed).verdict, Verdict::Invalid);
    }

    /// Any read that answers something else is noticed.
    #[test]
    fn a_random_history_with_one_lie_is_refused(
        moves in prop::collection::vec(any::<(u8, u8, bool)>(), 1..80),
        at in any::<prop::sample::Index>(),
    ) {
        let (script, feed) = play(&moves);
        let mut run = script.run(&feed);
        let reads: Vec<usize> = (0..run.history.operations.len())
            .filter(|place| run.history.operations[*place].f == "get")
            .collect();
        prop_assume!(!reads.is_empty());
        let read = &mut run.history.operations[reads[at.index(reads.len())]];
        read.answer = if read.answer["document"].is_null() { with("d0", 1, "x") } else { json!({ "document": null }) };
        prop_assert_eq!(read.kind, Kind::Ok);
        prop_assert_eq!(Replay.check(&run).verdict, Verdict::Invalid);
    }
}

#[test]
fn an_answer_that_cannot_be_understood_and_a_stream_that_ends_with_an_error_are_wrong() {
    let follow = |code: &str| {
        let (script, feed) = two();
        let op = Op::Follow { collection: "c".into(), subscriber: 0, since: 0, until: None };
        script.begin(1, &op);
        let answer = Completion { error: Some(code.into()), revision: Some(0), ..Completion::default() };
        script.ends(1, Kind::Ok, "follow", answer);
        (script, feed)
    };
    let read = |code: &str| {
        let (script, feed) = two();
        script.begin(1, &get("a")).fail(1, "get", None, code);
        (script, feed)
    };
    for code in ["malformed_answer", "internal", "compacted"] {
        for (script, feed) in [follow(code), read(code)] {
            check(&script, &feed, "unexpected error");
        }
    }
    for code in ["connection: reset", "the feed ended", "no_leader", "shutting_down", "revision_ahead"] {
        let (script, feed) = follow(code);
        fine(&script, &feed);
    }
}

#[test]
fn what_an_attempt_before_the_last_was_answered_is_judged_too() {
    let tried = |before: &[&str]| {
        let (script, mut feed) = two();
        let mut answer = with("b", 9, "3");
        answer["before"] = json!(before);
        script.does(1, &put("b", "3"), 9, answer);
        feed.push(change(9, "b", "3", None));
        (script, feed)
    };
    let (script, feed) = tried(&["no_leader", "timeout", "connection: reset"]);
    fine(&script, &feed);
    for code in ["internal", "status_500", "idempotency_key_reused", "malformed_answer"] {
        let (script, feed) = tried(&["timeout", code]);
        check(&script, &feed, "unexpected error");
    }
}
