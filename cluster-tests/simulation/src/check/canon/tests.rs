//! Logs that no leader may write.

use super::*;

fn batch(decided_term: u64, base_seq: u64) -> Option<Bytes> {
    Some(proto::Batch { decided_term, base_seq, ..Default::default() }.encode_to_vec().into())
}

/// The log of term 3 in which two entries took effect.
fn canon() -> Canon {
    let mut canon = Canon::default();
    canon.commit(At { index: 0, term: 3 }, None).unwrap();
    canon.commit(At { index: 1, term: 3 }, batch(3, 0)).unwrap();
    canon.commit(At { index: 2, term: 3 }, batch(3, 1)).unwrap();
    canon
}

#[test]
fn only_a_hole_in_front_makes_an_entry_void() {
    let next = At { index: 3, term: 3 };
    let mut canon = canon();
    canon.commit(next, batch(3, 3)).unwrap();
    assert_eq!((canon.voids, canon.after(3)), (1, Some((2, 0))));
    canon.commit(At { index: 4, term: 3 }, batch(3, 2)).unwrap();
    assert_eq!(canon.after(4), Some((3, 0)), "what was decided anew");
}

#[test]
fn two_deciders_are_found_out() {
    assert!(canon().commit(At { index: 3, term: 3 }, batch(3, 1)).is_err());
}

#[test]
fn an_entry_is_bound_to_the_leader_that_decided_it() {
    assert!(canon().commit(At { index: 3, term: 4 }, batch(3, 2)).is_err());
}
