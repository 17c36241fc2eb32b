//! One log on several nodes.

use proto::command::Op;

use super::*;
use crate::decide::Number;

/// A log with everything that a log can hold: writes, refused entries and the void ones behind them, new terms,
/// memberships, sessions, acknowledgements, idempotency keys, watermarks.
fn random_leader(seed: u64) -> Leader {
    let mut dice = Dice::new(seed);
    let mut leader = Leader::new();
    let mut session = None;
    for n in 0..150 {
        leader.clock_ms += dice.below(700);
        let revision = leader.node.engine().meta().revision;
        match dice.below(30) {
            0 => {
                leader.append();
                let node_id = 1 + dice.below(2);
                leader.decide(&command(Op::OpenSession(proto::OpenSession { node_id })));
                session = leader.append();
                leader.apply();
            }
            1 => leader.push(ApplyPayload::Membership(membership(&mut dice))),
            2 => leader.new_term(),
            3 => leader.new_epoch(),
            4 if leader.decider.has_work() => leader.lose(),
            5 => {
                let watermarks = leader.node.view().watermarks_due(leader.clock_ms + 3_598_000).unwrap();
                leader.decide(&command(Op::AdvanceWatermarks(proto::AdvanceWatermarks { watermarks })));
            }
            6 => {
                let idempotency_before_ms = leader.clock_ms - 2_000;
                let idempotency_keys = leader.node.view().idempotency_before(idempotency_before_ms, 5).unwrap();
                let garbage = proto::CollectGarbage { idempotency_before_ms, idempotency_keys };
                leader.decide(&command(Op::CollectGarbage(garbage)));
            }
            7 => {
                let first = dice.below(n + 1);
                leader.decider.acknowledge(session.unwrap_or(1), &ack(first, first + dice.below(90))).unwrap();
            }
            28 if leader.decider.has_work() => {
                leader.append();
                leader.build_step(1 + dice.below(2) as usize);
            }
            29 => drop(leader.build_step(1 + dice.below(2) as usize)),
            8..12 => {
                let key = dice.below(20).to_string();
                leader.decide(&keyed(random(&mut dice, revision), "/", &key, ""));
            }
            12..18 => {
                let number = Number { session: session.unwrap_or(1), number: n, first_attempt: true };
                leader.decide_as(number, &random(&mut dice, revision));
            }
            _ => {
                leader.decide(&random(&mut dice, revision));
            }
        }
        if dice.once_in(2) {
            leader.append();
        }
        if dice.once_in(5) {
            leader.apply();
        }
    }
    leader.append();
    leader.apply();
    leader
}

fn membership(dice: &mut Dice) -> proto::Membership {
    let ids: Vec<u64> = (1..2 + dice.below(3)).collect();
    // One node only: the order in which a map of several is written is nobody's promise.
    let nodes = [(1, proto::NodeInfo { http_addr: "h".into(), peer_addr: "p".into() })].into();
    proto::Membership { configs: vec![proto::VoterSet { ids }], nodes }
}

/// Kept by `put_figures`: what comes and goes in one run leaves nothing that two runs leave, and the other way round.
#[test]
fn what_comes_and_goes_leaves_no_trace_in_figures() {
    let mut leader = Leader::new();
    let index = crate::testing::create_index("c", r#"{"name":"i","fields":["n"]}"#);
    for command in [index, crate::testing::put("c", "a", r#"{"n":1}"#), crate::testing::delete("c", "a")] {
        leader.decide(&command);
        leader.append();
    }
    let (at_once, one_by_one) = (Node::new(), Node::new());
    at_once.apply(&leader.log, leader.log.len() as u64);
    for index in 1..=leader.log.len() as u64 {
        one_by_one.apply(&leader.log, index);
    }
    assert_eq!(at_once.digest(), one_by_one.digest());
}

#[test]
fn one_log_makes_one_state() {
    let mut void = 0;
    for seed in 0..20 {
        let leader = random_leader(seed);
        let expected = leader.node.digest();
        let whole = Node::new();
        let applied = whole.apply(&leader.log, leader.log.len() as u64);
        void += applied.iter().filter(|applied| **applied == Applied::Void).count();
        assert!(applied.contains(&Applied::Effective) && applied.contains(&Applied::Internal), "seed {seed}");
        assert_eq!(whole.digest(), expected, "seed {seed}, as one batch");
        for way in 0..2 {
            let mut dice = Dice::new(seed * 100 + way);
            assert_eq!(replay(&leader.log, &mut dice).digest(), expected, "seed {seed}, way {way}");
        }
    }
    assert!(void > 20, "the logs hold void entries: {void}");
}

/// The digest sees every part of the state: one that missed something would make the test above worthless.
#[test]
fn the_digest_tells_states_apart() {
    let base = |last: &dyn Fn(&mut Leader)| {
        let mut leader = Leader::new();
        leader.submit(&put("c", "a", "{}"));
        leader.submit(&put("c", "a", r#"{"n":1}"#));
        last(&mut leader);
        leader.append();
        leader.apply();
        leader.node.digest().digest
    };
    let open = |node_id| command(Op::OpenSession(proto::OpenSession { node_id }));
    let mark = |leader: &Leader, revision| {
        let collection_id = leader.node.view().collection("c").unwrap().id;
        let watermarks = vec![proto::Watermark { collection_id, revision }];
        command(Op::AdvanceWatermarks(proto::AdvanceWatermarks { watermarks }))
    };
    let digests = [
        base(&|_| {}),
        base(&|leader| drop(leader.submit(&put("c", "a", r#"{"n":2}"#)))),
        base(&|leader| drop(leader.submit(&put("c", "b", r#"{"n":2}"#)))),
        base(&|leader| drop(leader.submit(&crate::testing::delete("c", "a")))),
        base(&|leader| drop(leader.submit(&crate::testing::create("d")))),
        base(&|leader| drop(leader.submit(&crate::testing::drop("c")))),
        base(&|leader| drop(leader.submit(&open(1)))),
        base(&|leader| drop(leader.submit(&open(2)))),
        base(&|leader| drop(leader.submit(&keyed(put("c", "a", r#"{"n":2}"#), "/", "k", "")))),
        base(&|leader| drop(leader.submit(&mark(leader, 3)))),
        base(&|leader| drop(leader.submit(&mark(leader, 4)))),
        base(&|leader| leader.new_term()),
        base(&|leader| leader.push(ApplyPayload::Membership(membership(&mut Dice::new(1))))),
    ];
    let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(distinct.len(), digests.len(), "{digests:?}");
}
