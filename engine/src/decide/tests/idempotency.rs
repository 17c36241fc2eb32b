//! Rule 6: a retry under an `Idempotency-Key` gets the first answer.

use super::*;
use crate::testing::{command, keyed};

/// Kept by `idempotency::look_up` before the operation, and by the record in `Decider::conclude`.
#[test]
fn a_key_takes_effect_once() {
    check(
        r#"
        put c a {"n":1} key=k           => changed 3 a@3 created
        put c a {"n":1} key=k           => changed 3 a@3 created after 3
        put c a {"n":2} key=k           => idempotency_key_reused after 3
        put c a {"n":1} key=k scope=b   => changed 4 a@4
        append                          => seq 3
        put c a {"n":1} key=k           => changed 3 a@3 created after 3
        apply                           => [Effective]
        put c a {"n":1} key=k           => changed 3 a@3 created after 3
        delete c a                      => changed 5
        put c a {"n":1} key=k           => changed 3 a@3 created after 4
        append                          => seq 4
        term
        put c a {"n":1} key=k           => changed 3 a@3 created after 4
        put c a {"n":2} key=k           => idempotency_key_reused after 4
        get c a                         => none
        "#,
    );
}

/// A key belongs to its caller: another one's first use of the same word is a first use.
#[test]
fn a_key_is_scoped_to_its_caller() {
    check(
        r#"
        grant other
        put c a {"n":1} key=k           => changed 3 a@3 created
        put c a {"n":1} key=k by=other  => changed 4 a@4
        put c a {"n":1} key=k by=other  => changed 4 a@4 after 3
        put c a {"n":1} key=k           => changed 3 a@3 created after 3
        "#,
    );
}

/// A refusal is no success: the same key may be tried again. A lost entry's keys were never used.
#[test]
fn only_successes_are_remembered() {
    check(
        r#"
        patch c a {"n":1} key=k         => not_found a after 2
        put c a {}                      => changed 3 a@3 created
        patch c a {"n":1} key=k         => changed 4 a@4
        lose
        epoch
        put c a {}                      => changed 3 a@3 created
        patch c a {"n":1} key=k         => changed 4 a@4
        "#,
    );
}

/// A no-op under a key takes a place in the log, or its answer could change with the next attempt.
#[test]
fn no_ops_are_remembered() {
    check(
        r#"
        put c a {"n":1}                 => changed 3 a@3 created
        append                          => seq 3
        apply                           => [Effective]
        patch c a {"n":1}               => unchanged 3 a@3 after 3
        patch c a {"n":1} key=k         => unchanged 3 a@3
        append                          => seq 4
        apply                           => [Effective]
        state                           => index 5 seq 4 revision 3
        put c a {"n":2}                 => changed 4 a@4
        patch c a {"n":1} key=k         => unchanged 3 a@3 after 5
        append
        term
        patch c a {"n":1} key=k         => unchanged 3 a@3 after 5
        get c a                         => @4 {"n":2}
        "#,
    );
}

/// Past the bound new keys are refused, old ones still answer, and forgetting makes room: the count of bytes never drifts.
#[test]
fn remembered_keys_are_bounded_and_forgotten() {
    let mut leader = Leader::with(Limits { idempotency_bytes_max: 1, ..Limits::default() });
    let use_key = |leader: &mut Leader, key: &str| {
        let verdict = leader.decide(&keyed(put("c", key, "{}"), "PUT", key, "{}"));
        leader.append();
        leader.apply();
        show(&verdict)
    };
    let garbage = |leader: &Leader, before_ms: u64| {
        let idempotency_keys = leader.node.view().idempotency_before(before_ms, 10).unwrap();
        command(Op::CollectGarbage(proto::CollectGarbage { idempotency_before_ms: before_ms, idempotency_keys }))
    };
    for round in 0..3 {
        let (first, second) = (format!("a{round}"), format!("b{round}"));
        assert!(use_key(&mut leader, &first).starts_with("changed"));
        assert!(use_key(&mut leader, &second).starts_with("idempotency_full"));
        assert!(use_key(&mut leader, &first).contains("created after"));
        assert!(leader.node.engine().meta().idempotency_bytes > 0);
        // Not yet: it is as old as the clock, and only older ones go, whatever prepare asked for.
        let soon = garbage(&leader, leader.clock_ms + 1);
        let Some(Op::CollectGarbage(mut early)) = soon.op.clone() else { panic!("it is garbage") };
        early.idempotency_before_ms -= 1;
        leader.submit(&command(Op::CollectGarbage(early)));
        assert!(use_key(&mut leader, &second).starts_with("idempotency_full"));
        // Sent twice before either is applied: the bytes are counted once.
        leader.decide(&soon);
        leader.append();
        leader.decide(&soon);
        leader.append();
        leader.apply();
        assert_eq!(leader.node.engine().meta().idempotency_bytes, 0);
        assert_eq!(leader.node.view().idempotency_before(u64::MAX, 10).unwrap().len(), 0);
    }
}
