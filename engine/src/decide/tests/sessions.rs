//! Rule 5: numbers, attempts, acknowledgements, and sessions that end.

use super::*;
use crate::testing::ack;

/// A number takes effect once, however often it comes. Kept by the call of `look_up` at the head of `Decider::decide`, and
/// by `remember_outcome` (pending) and `applied_outcome` (applied).
#[test]
fn a_number_takes_effect_once() {
    check(
        r#"
        session 1                       => unchanged 2 session 3
        append                          => seq 3
        apply                           => [Effective]
        put c a {"n":1} as=3.1          => changed 3 a@3 created
        put c a {"n":1} as=3.1 again    => changed 3 a@3 created after 4
        append                          => seq 4
        put c a {"n":1} as=3.1 again    => changed 3 a@3 created after 4
        put c a {"n":2} as=3.2          => changed 4 a@4
        put c a {"n":1} as=3.1 again    => changed 3 a@3 created after 5
        apply                           => [Effective]
        put c a {"n":1} as=3.1 again    => changed 3 a@3 created after 5
        append                          => seq 5
        apply                           => [Effective]
        term
        put c a {"n":1} as=3.1 again    => changed 3 a@3 created after 5
        put c a {"n":2} as=3.2 again    => changed 4 a@4 after 5
        get c a                         => @4 {"n":2}
        "#,
    );
}

/// A number whose entry was lost or void has not happened: its next attempt is decided anew.
#[test]
fn a_lost_number_is_decided_again() {
    check(
        r#"
        session 1
        append
        apply
        put c a {} as=3.1               => changed 3 a@3 created
        lose
        put c b {} as=3.2               => changed 4 b@4 created
        append                          => seq 5
        epoch
        get c b                         => none
        put c b {} as=3.2 again         => changed 3 b@3 created
        put c a {} as=3.1 again         => changed 4 a@4 created
        append                          => seq 4
        apply                           => [Effective]
        put c a {} as=3.1 again         => changed 4 a@4 created after 4
        "#,
    );
}

/// Kept by `Known::Acknowledged` in `Overlay::look_up`: the outcome is forgotten, so without it the old message would take
/// effect a second time.
#[test]
fn an_acknowledged_number_is_stale() {
    check(
        r#"
        session 1
        append
        apply
        put c a {"n":1} as=3.1          => changed 3 a@3 created
        append
        apply
        ack 3 1 1
        put c a {"n":1} as=3.1 again    => stale
        put c a {"n":1} as=3.1          => stale
        append                          => seq 5
        apply                           => [Effective]
        put c a {"n":1} as=3.1 again    => stale
        term
        put c a {"n":1} as=3.1 again    => stale
        put c a {"n":2} as=3.2          => changed 4 a@4
        ack 3 1 1
        append                          => seq 6
        "#,
    );
}

/// Kept by `sessions::open` marking the former session, and by `Writer::new_session` deleting it.
#[test]
fn a_replaced_session_is_gone() {
    check(
        r#"
        session 1                       => unchanged 2 session 3
        append
        apply
        put c a {"n":1} as=3.1          => changed 3 a@3 created
        append
        session 1                       => unchanged 3 session 5
        put c a {"n":1} as=3.1 again    => session gone
        put c a {"n":2} as=3.2          => session gone
        append
        apply
        put c a {"n":1} as=3.1 again    => session gone
        put c a {"n":2} as=5.1          => changed 4 a@4
        term
        put c a {"n":1} as=3.1 again    => session gone
        put c a {"n":2} as=5.1 again    => changed 4 a@4
        session 2                       => unchanged 4 session 6
        put c a {"n":3} as=5.2          => changed 5 a@5
        put c a {"n":3} as=9.1          => session gone
        "#,
    );
}

/// Two sessions of one entry would have one id. Kept by `opens_session`.
#[test]
fn an_entry_opens_one_session() {
    check(
        r#"
        session 0                       => invalid_request after 2
        session 1                       => unchanged 2 session 3
        session 2                       => entry full
        put c a {}                      => changed 3 a@3 created
        append                          => seq 3
        session 2                       => unchanged 3 session 4
        append                          => seq 4
        apply                           => [Effective, Effective]
        put c b {} as=3.1               => changed 4 b@4 created
        put c d {} as=4.1               => changed 5 d@5 created
        "#,
    );
}

/// An outcome stands in a record with others of its entry, and records of other entries may lie before it.
#[test]
fn an_outcome_is_found_among_others() {
    check(
        r#"
        session 1                       => unchanged 2 session 3
        append                          => seq 3
        apply                           => [Effective]
        put c a {"n":1} as=3.1          => changed 3 a@3 created
        put c b {"n":4} as=3.4          => changed 4 b@4 created
        append                          => seq 4
        put c d {"n":2} as=3.2          => changed 5 d@5 created
        append                          => seq 5
        put c e {"n":3} as=3.3          => changed 6 e@6 created
        append                          => seq 6
        apply                           => [Effective, Effective, Effective]
        term
        put c a {"n":1} as=3.1 again    => changed 3 a@3 created after 6
        put c d {"n":2} as=3.2 again    => changed 5 d@5 created after 6
        put c e {"n":3} as=3.3 again    => changed 6 e@6 created after 6
        put c b {"n":4} as=3.4 again    => changed 4 b@4 created after 6
        put c f {"n":5} as=3.5 again    => changed 7 f@7 created
        "#,
    );
}

/// What a session remembered goes with it, and with its acknowledgements: the state does not grow.
#[test]
fn outcomes_are_forgotten() {
    use crate::state::{META, keys};
    let mut leader = check(
        r#"
        session 1
        append
        apply
        put c a {"n":1} as=3.1
        put c b {"n":2} as=3.2
        append
        put c a {"n":3} as=3.3
        append
        apply
        "#,
    );
    let held = |leader: &Leader| -> Vec<u64> {
        let store = leader.node.engine().current().store.clone();
        (1..=9).filter(|&largest| store.get(META, &keys::outcomes(3, largest)).unwrap().is_some()).collect()
    };
    assert_eq!(held(&leader), [2, 3], "one record for what one entry decided");
    let acknowledge = |leader: &mut Leader, first, last| {
        leader.decider.acknowledge(3, &ack(first, last)).unwrap();
        leader.append();
        leader.apply();
    };
    acknowledge(&mut leader, 2, 3);
    assert_eq!(held(&leader), [2, 3], "the first may be sent again");
    acknowledge(&mut leader, 1, 1);
    assert_eq!(held(&leader), [] as [u64; 0]);
    // A number may be given up while it is decided: its outcome and its acknowledgement share an entry then.
    let write = |leader: &mut Leader, number| {
        let number = Number { session: 3, number, first_attempt: true };
        leader.decide_as(number, &crate::testing::put("c", "b", "{}"));
    };
    write(&mut leader, 4);
    acknowledge(&mut leader, 4, 4);
    assert_eq!(held(&leader), [] as [u64; 0]);
    // As many that are applied at once.
    write(&mut leader, 5);
    leader.append();
    write(&mut leader, 6);
    leader.append();
    acknowledge(&mut leader, 5, 6);
    assert_eq!(held(&leader), [] as [u64; 0]);
    // However large the range, applying it takes no time.
    write(&mut leader, 8);
    acknowledge(&mut leader, 8, u64::MAX);
    assert_eq!(held(&leader), [8]);
    leader.submit(&crate::testing::command(Op::OpenSession(proto::OpenSession { node_id: 1 })));
    assert_eq!(held(&leader), [] as [u64; 0]);
    let store = leader.node.engine().current().store.clone();
    assert_eq!(store.get(META, &keys::session(3)).unwrap(), None);
}
