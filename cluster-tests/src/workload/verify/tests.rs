//! The reckoning itself: each sort of mistake must be found, and none where there is none.

use serde_json::json;

use super::*;
use crate::workload::record::Log;

fn document(token: &str, id: &str, revision: u64) -> Value {
    json!({"id": id, "_revision": revision, "w": token, "copy": {"w": token}})
}

fn acknowledged(token: &str, revision: u64, documents: &[(&str, Option<Value>)]) -> Acknowledged {
    let left = |(id, document): &(&str, Option<Value>)| Left {
        id: (*id).to_owned(),
        content: document.as_ref().map(fingerprint),
    };
    Acknowledged {
        token: token.into(),
        collection: "c".into(),
        kind: "put",
        documents: documents.iter().map(left).collect(),
        revision,
        node: 1,
        attempts: 1,
    }
}

fn unresolved(token: &str, kind: &'static str, ids: &[&str]) -> Unresolved {
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    let documents = if kind == "delete" { 0 } else { ids.len() };
    Unresolved { token: token.into(), collection: "c".into(), kind, ids, documents }
}

fn event(revision: u64, position: u64, id: &str, document: Value, previous: Value) -> String {
    let kind = match (previous.is_null(), document.is_null()) {
        (true, _) => "insert",
        (_, true) => "delete",
        _ => "update",
    };
    let event = json!({"revision": revision, "position": position, "type": kind, "id": id, "document": document, "previous": previous});
    format!("{event}\n")
}

const END: &str = "{\"type\":\"bookmark\",\"revision\":9,\"more\":false}\n";

fn problems(acknowledged: Vec<Acknowledged>, unresolved: Vec<Unresolved>, events: &[String]) -> Vec<String> {
    let log = Log { acknowledged, unresolved, ..Log::default() };
    let report = Report::new(vec!["c".into()], log, Duration::ZERO);
    let mut ledger = Ledger::new(&report, "c");
    ledger.replay(&(events.concat() + END)).unwrap();
    ledger.problems
}

fn check(found: Vec<String>, expected: &[&str]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for expected in expected {
        assert!(found.iter().any(|found| found.contains(expected)), "{expected:?} in {found:#?}");
    }
}

fn two_writes() -> (Vec<Acknowledged>, [String; 2]) {
    let (one, two) = (document("t1", "a", 3), document("t2", "a", 4));
    let asked =
        vec![acknowledged("t1", 3, &[("a", Some(one.clone()))]), acknowledged("t2", 4, &[("a", Some(two.clone()))])];
    (asked, [event(3, 0, "a", one.clone(), Value::Null), event(4, 0, "a", two, one)])
}

#[test]
fn what_is_right_is_right() {
    let (asked, events) = two_writes();
    check(problems(asked, vec![], &events), &[]);
}

#[test]
fn a_lost_write_is_found_even_if_it_would_have_been_overwritten() {
    let (asked, _) = two_writes();
    let only = event(4, 0, "a", document("t2", "a", 4), Value::Null);
    check(problems(asked, vec![], &[only]), &["LOST: put t1"]);
}

#[test]
fn a_write_that_happened_twice_is_found() {
    let (asked, events) = two_writes();
    let again = event(5, 0, "a", document("t2", "a", 5), document("t2", "a", 4));
    check(problems(asked, vec![], &[&events[..], &[again]].concat()), &["UNASKED"]);
}

#[test]
fn a_write_without_an_answer_may_be_there_once_and_whole() {
    let open = || vec![unresolved("t9", "insert_many", &["x", "y"]), unresolved("t8", "delete", &["x"])];
    let x = event(5, 0, "x", document("t9", "x", 5), Value::Null);
    let y = event(5, 1, "y", document("t9", "y", 5), Value::Null);
    let gone = event(6, 0, "x", Value::Null, document("t9", "x", 5));
    check(problems(vec![], open(), &[]), &[]);
    check(problems(vec![], open(), &[x.clone(), y.clone(), gone.clone()]), &[]);
    check(problems(vec![], open(), std::slice::from_ref(&x)), &["HALF: t9"]);
    let back = event(7, 0, "x", document("t9", "x", 7), Value::Null);
    check(problems(vec![], open(), &[x, y, gone, back]), &["UNASKED"]);
}

#[test]
fn an_answer_must_be_what_is_there() {
    let (mut asked, events) = two_writes();
    asked[0].documents[0].content = Some(7);
    check(problems(asked, vec![], &events), &["t1 at 3 was answered with something else"]);
    let (mut asked, events) = two_writes();
    asked[1].revision = 3;
    check(problems(asked, vec![], &events), &["both given revision 3", "answered with something else", "UNASKED"]);
}

#[test]
fn a_change_must_fit_what_was_there() {
    let (asked, events) = two_writes();
    let torn = events[1].replace(r#""copy":{"w":"t2"}"#, r#""copy":{"w":"t1"}"#);
    let found = problems(asked, vec![], &[events[0].clone(), torn]);
    check(found, &["is no whole write", "answered with something else"]);
    let (asked, events) = two_writes();
    let other = events[1].replace(r#""w":"t1""#, r#""w":"t0""#);
    check(problems(asked, vec![], &[events[0].clone(), other]), &["but the feed says"]);
}
