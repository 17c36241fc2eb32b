//! Rules 1 to 4: epochs, void entries, and when a read may be answered.

use super::*;
use crate::apply::ApplyPayload;

/// Rule 1. Kept by `Overlay::new` being empty in `Decider::begin`: an overlay that was carried over would answer
/// `already_exists` for a document that is nowhere.
#[test]
fn an_epoch_begins_with_nothing_pending() {
    check(
        r#"
        put c a {"n":1}                 => changed 3 a@3 created
        create d                        => changed 4 collection 3
        lose
        epoch
        insert c {"id":"a"}             => changed 3 a@3 created
        create d                        => changed 4 collection 3
        append                          => seq 3
        term
        insert c {"id":"a"}             => already_exists [0] a after 3
        get c a                         => @3 {}
        "#,
    );
}

/// Rules 2 and 3: what was decided behind a refused entry never takes effect, whatever is lost and in any pattern; what
/// was decided before it does. Kept by `base_seq` in `apply::batch`.
#[test]
fn nothing_behind_a_refusal_takes_effect() {
    for pattern in 0..1u32 << 6 {
        let mut leader = Leader::new();
        let mut expected = Vec::new();
        for n in 0..6 {
            leader.decide(&put("c", "a", &format!(r#"{{"n":{n}}}"#)));
            if pattern >> n & 1 == 1 {
                leader.lose();
            } else {
                leader.append();
                let all_before_came = pattern & ((1 << n) - 1) == 0;
                expected.push(if all_before_came { Applied::Effective } else { Applied::Void });
            }
        }
        let kept = expected.iter().filter(|applied| **applied == Applied::Effective).count() as u64;
        assert_eq!(leader.apply(), expected, "{pattern:06b}");
        let meta = leader.node.engine().meta();
        assert_eq!((meta.seq, meta.revision), (2 + kept, 2 + kept), "{pattern:06b}");
        // What was lost or void is decided again in the next epoch, and nothing is in its way.
        leader.new_epoch();
        leader.decide(&put("c", "b", "{}"));
        leader.append();
        assert_eq!(leader.apply(), [Applied::Effective], "{pattern:06b}");
    }
}

/// Rule 2. Kept by `decided_term` in `apply::batch`: a deposed leader's entry that a later term appends again builds on
/// the right `seq` and must still be void, because the later leader knows nothing of it.
#[test]
fn an_entry_of_another_term_is_void() {
    let mut leader = Leader::new();
    leader.decide(&put("c", "a", "{}"));
    let (seq, batch) = leader.decider.close().unwrap();
    assert_eq!((seq, batch.base_seq), (3, leader.node.engine().meta().seq));
    let batch = batch.encode_to_vec();
    leader.new_term();
    leader.push(ApplyPayload::Batch(batch.into()));
    assert_eq!(leader.apply(), [Applied::Void]);
    assert_eq!(leader.node.engine().meta().seq, 2);
    // The epoch of the new term goes on: the void entry took no `seq`.
    leader.decide(&put("c", "a", "{}"));
    leader.append();
    assert_eq!(leader.apply(), [Applied::Effective]);
}

/// Rule 2. Kept by `meta.seq += 1` in `Writer::batch`, whatever the entry holds, and by `has_work` counting
/// acknowledgements.
#[test]
fn entries_that_change_no_document_count() {
    check(
        r#"
        session 1                       => unchanged 2 session 3
        append                          => seq 3
        ack 3 1 1
        append                          => seq 4
        append                          => nothing
        apply                           => [Effective, Effective]
        state                           => index 5 seq 4 revision 2
        put c a {}                      => changed 3 a@3 created
        append                          => seq 5
        apply                           => [Effective]
        state                           => index 6 seq 5 revision 3
        "#,
    );
}

/// Rule 4. Kept by `Decider::read`: the answer rests on everything decided so far, the entry under construction too.
#[test]
fn a_read_waits_for_what_it_saw() {
    check(
        r#"
        delete c a                      => not_found a after 2
        put c a {"n":1}                 => changed 3 a@3 created
        insert c {"id":"a"}             => already_exists [0] a after 3
        append                          => seq 3
        insert c {"id":"a"}             => already_exists [0] a after 3
        patch c a {"n":1}               => unchanged 3 a@3 after 3
        put c b {}                      => changed 4 b@4 created
        patch c a {"n":1}               => unchanged 4 a@3 after 4
        put c a {} if=2                 => precondition_failed a after 4
        put nowhere a {}                => collection_not_found after 4
        append                          => seq 4
        apply                           => [Effective, Effective]
        insert c {"id":"a"}             => already_exists [0] a after 4
        insert c []                     => unchanged 4 after 4
        "#,
    );
}

/// Rule 4: the credential counts as it is at the command's place in the order. Kept by `caller::check` reading the overlay.
#[test]
fn the_credential_is_checked_in_order() {
    check(
        r#"
        put c a {} by=other             => unauthorized after 2
        grant other
        put c a {} by=other             => changed 3 a@3 created
        revoke other
        put c a {} by=other             => unauthorized after 3
        put c a {}                      => changed 4 a@4
        revoke secret
        put c a {}                      => unauthorized after 3
        session 1                       => unchanged 4 session 3
        append                          => seq 3
        "#,
    );
}
