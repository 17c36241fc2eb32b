//! Histories that must be accepted, and others that must be refused.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::checker::Verdict;
use crate::checker::testing::{Script, document, get, put, with};
use crate::client::{Condition, Op};

fn verdict(script: &Script) -> Verdict {
    Linearizable.check(&script.run(&[])).verdict
}

fn nothing() -> Value {
    json!({ "document": null })
}

fn cas(id: &str, tag: &str, revision: u64) -> Op {
    let condition = Condition::Revision(revision);
    Op::Put { collection: "c".into(), id: id.into(), document: json!({ "w": tag }), condition, key: None }
}

#[test]
fn one_after_the_other() {
    let script = Script::default();
    script.does(0, &get("a"), 0, nothing()).does(0, &put("a", "1"), 1, with("a", 1, "1"));
    script.does(1, &get("a"), 1, with("a", 1, "1")).does(0, &cas("a", "2", 1), 2, with("a", 2, "2"));
    script.begin(1, &cas("a", "3", 1)).fail(1, "put", Some(2), "precondition_failed");
    script.does(1, &get("a"), 2, with("a", 2, "2"));
    assert_eq!(verdict(&script), Verdict::Valid);
}

#[test]
fn a_stale_read_is_refused() {
    let script = Script::default();
    script.does(0, &put("a", "1"), 1, with("a", 1, "1")).does(0, &put("a", "2"), 2, with("a", 2, "2"));
    script.does(1, &get("a"), 1, with("a", 1, "1"));
    assert_eq!(verdict(&script), Verdict::Invalid);
}

#[test]
fn a_read_beside_a_write_may_see_either_but_not_go_back() {
    let beside = |first: Value, second: Value| {
        let script = Script::default();
        script.does(0, &put("a", "1"), 1, with("a", 1, "1")).begin(0, &put("a", "2"));
        script.does(1, &get("a"), 1, first).does(1, &get("a"), 1, second).ok(0, "put", 2, with("a", 2, "2"));
        verdict(&script)
    };
    let (old, new) = (with("a", 1, "1"), with("a", 2, "2"));
    assert_eq!(beside(old.clone(), old.clone()), Verdict::Valid);
    assert_eq!(beside(old.clone(), new.clone()), Verdict::Valid);
    assert_eq!(beside(new.clone(), new.clone()), Verdict::Valid);
    assert_eq!(beside(new, old), Verdict::Invalid);
}

#[test]
fn a_lost_write_is_refused() {
    let script = Script::default();
    script.does(0, &put("a", "1"), 1, with("a", 1, "1")).does(1, &get("a"), 1, nothing());
    assert_eq!(verdict(&script), Verdict::Invalid);
}

#[test]
fn two_compare_and_sets_of_one_value_cannot_both_win() {
    let script = Script::default();
    script.does(0, &put("a", "1"), 1, with("a", 1, "1"));
    script.begin(0, &cas("a", "2", 1)).begin(1, &cas("a", "3", 1));
    script.ok(0, "put", 2, with("a", 2, "2")).ok(1, "put", 3, with("a", 3, "3"));
    assert_eq!(verdict(&script), Verdict::Invalid);
}

#[test]
fn a_refusal_without_a_reason_is_refused() {
    let script = Script::default();
    script.does(0, &put("a", "1"), 1, with("a", 1, "1"));
    script.begin(0, &cas("a", "2", 1)).fail(0, "put", Some(1), "precondition_failed");
    assert_eq!(verdict(&script), Verdict::Invalid);
}

#[test]
fn what_is_unknown_may_happen_late_or_never_but_not_come_and_go() {
    let after = |reads: &[&str]| {
        let script = Script::default();
        script.does(0, &put("a", "1"), 1, with("a", 1, "1")).begin(1, &put("a", "2")).info(1, "put");
        for tag in reads {
            script.does(0, &get("a"), 1, with("a", 1, tag));
        }
        verdict(&script)
    };
    assert_eq!(after(&["1", "1"]), Verdict::Valid);
    assert_eq!(after(&["1", "2"]), Verdict::Valid);
    assert_eq!(after(&["2", "1"]), Verdict::Invalid);
    assert_eq!(after(&["3"]), Verdict::Invalid);
}

#[test]
fn what_was_refused_must_not_be_read() {
    let script = Script::default();
    script.begin(0, &put("a", "1")).fail(0, "put", None, "no_leader").does(0, &get("a"), 1, with("a", 1, "1"));
    assert_eq!(verdict(&script), Verdict::Invalid);
}

#[test]
fn inserts_and_deletes() {
    let insert = |tag: &str| {
        let documents = vec![json!({ "id": "a", "w": tag })];
        Op::Insert { collection: "c".into(), documents, many: false, key: None }
    };
    let delete = Op::Delete { collection: "c".into(), id: "a".into(), condition: Condition::None, key: None };
    let inserted = |revision, tag| json!({ "documents": [document("a", revision, tag)] });
    let script = Script::default();
    script.does(0, &insert("1"), 1, inserted(1, "1")).does(0, &delete, 2, Value::Null);
    script.begin(0, &delete).fail(0, "delete", Some(2), "not_found");
    script.does(0, &insert("2"), 3, inserted(3, "2")).begin(1, &insert("3")).fail(
        1,
        "insert",
        Some(3),
        "already_exists",
    );
    assert_eq!(verdict(&script), Verdict::Valid);
    script.does(1, &insert("4"), 4, inserted(4, "4"));
    assert_eq!(verdict(&script), Verdict::Invalid);
}

#[test]
fn nothing_to_check_is_no_pass() {
    assert_eq!(verdict(&Script::default()), Verdict::Unknown);
}

/// Plays moves of several clients on one register. Each operation takes effect at some moment between its begin and its
/// end, so that what comes out is linearizable.
fn play(moves: &[(u64, u8)]) -> Script {
    let script = Script::default();
    let (mut state, mut revision): (Option<(u64, String)>, u64) = (None, 0);
    let mut open: std::collections::HashMap<u64, (Op, bool)> = Default::default();
    let mut results: std::collections::HashMap<u64, Result<Value, &'static str>> = Default::default();
    for (number, (process, kind)) in moves.iter().enumerate() {
        let tag = format!("t{number}");
        match open.get(process).cloned() {
            None => {
                let op = match kind % 3 {
                    0 => get("a"),
                    1 => put("a", &tag),
                    _ => cas("a", &tag, state.as_ref().map_or(1, |(revision, _)| *revision)),
                };
                script.begin(*process, &op);
                open.insert(*process, (op, false));
            }
            Some((op, false)) => {
                let result = match &op {
                    Op::Get { .. } => Ok(state.as_ref().map_or_else(nothing, |(at, tag)| with("a", *at, tag))),
                    Op::Put { document, condition, .. } => {
                        let holds = match condition {
                            Condition::Revision(wanted) => state.as_ref().is_some_and(|(at, _)| at == wanted),
                            _ => true,
                        };
                        if holds {
                            revision += 1;
                            let tag = document["w"].as_str().unwrap().to_owned();
                            state = Some((revision, tag.clone()));
                            Ok(with("a", revision, &tag))
                        } else {
                            Err("precondition_failed")
                        }
                    }
                    _ => unreachable!(),
                };
                results.insert(*process, result);
                open.insert(*process, (op, true));
            }
            Some((op, true)) => {
                open.remove(process);
                match results.remove(process).unwrap() {
                    Ok(value) => script.ok(*process, op.name(), revision, value),
                    Err(code) => script.fail(*process, op.name(), Some(revision), code),
                };
            }
        }
    }
    script
}

proptest! {
    #[test]
    fn random_histories_are_accepted(moves in prop::collection::vec((0_u64..5, any::<u8>()), 0..160)) {
        prop_assert_ne!(verdict(&play(&moves)), Verdict::Invalid);
    }

    /// A read at the very end that shows an overwritten value is refused.
    #[test]
    fn a_random_history_with_one_lie_is_refused(moves in prop::collection::vec((0_u64..5, any::<u8>()), 0..120)) {
        let script = play(&moves);
        script.does(9, &put("a", "x"), 1_000, with("a", 1_000, "x"));
        script.does(9, &put("a", "y"), 1_001, with("a", 1_001, "y"));
        prop_assert_ne!(verdict(&script), Verdict::Invalid);
        script.does(9, &get("a"), 1_001, with("a", 1_000, "x"));
        prop_assert_eq!(verdict(&script), Verdict::Invalid);
    }
}
