//! When an entry is applied makes no difference to what is decided: the overlay says what the state will say.

use super::*;
use crate::testing::{ack, command, keyed, random};

/// One step of the history that is played under several delays.
#[derive(Clone)]
enum Step {
    Decide(Option<Number>, Box<Command>),
    Acknowledge(u64, u64, u64),
    Close,
}

fn steps(seed: u64) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    let open = |node_id| Box::new(command(Op::OpenSession(proto::OpenSession { node_id })));
    // The sessions 3 and 4.
    let mut steps = vec![Step::Decide(None, open(1)), Step::Close, Step::Decide(None, open(2)), Step::Close];
    for n in 0..120 {
        let command = random(&mut dice, 2 + n / 3);
        let command = match dice.below(8) {
            0 => keyed(command, "/", &dice.below(6).to_string(), &dice.below(2).to_string()),
            _ => command,
        };
        let number = Number { session: 3 + dice.below(2), number: dice.below(30), first_attempt: false };
        steps.push(match dice.below(24) {
            0 => Step::Acknowledge(number.session, number.number, number.number + dice.below(3)),
            1 => Step::Decide(None, open(1 + dice.below(4))),
            2..12 => Step::Decide(Some(number), command.into()),
            _ => Step::Decide(None, command.into()),
        });
        if dice.once_in(3) {
            steps.push(Step::Close);
        }
    }
    steps.push(Step::Close);
    steps
}

/// Plays the steps; `delay` says how many entries may wait to be applied.
fn play(steps: &[Step], mut delay: impl FnMut() -> u64) -> (String, crate::view::Digest) {
    let mut leader = Leader::new();
    let mut verdicts = String::new();
    for (n, step) in steps.iter().enumerate() {
        leader.clock_ms += 1;
        match step {
            Step::Decide(Some(number), command) => {
                verdicts += &format!("{n}: {}\n", show(&leader.decide_as(*number, command)));
            }
            Step::Decide(None, command) => verdicts += &format!("{n}: {}\n", show(&leader.decide(command))),
            Step::Acknowledge(session, first, last) => {
                leader.decider.acknowledge(*session, &ack(*first, *last)).unwrap()
            }
            Step::Close => {
                leader.append();
                let waiting = leader.log.len() as u64 - leader.node.applied_index();
                leader.apply_some(waiting.saturating_sub(delay()));
            }
        }
    }
    leader.apply();
    (verdicts, leader.node.digest())
}

/// Kept by every note of the overlay, and by `prune` dropping none too early.
#[test]
fn delays_change_nothing() {
    for seed in 0..12 {
        let steps = steps(seed);
        let at_once = play(&steps, || 0);
        for delays in 1..4 {
            let mut dice = Dice::new(seed * 10 + delays);
            let late = play(&steps, || if delays == 1 { u64::MAX } else { dice.below(6) });
            assert_eq!(late.0, at_once.0, "seed {seed}, delays {delays}");
            assert_eq!(late.1, at_once.1, "seed {seed}, delays {delays}");
        }
    }
}

/// Random losses: whoever was told that a write took effect finds it, and nobody else's shows.
#[test]
fn what_was_lost_was_never_there() {
    for seed in 0..12 {
        let mut dice = Dice::new(seed);
        let mut leader = Leader::new();
        let mut expected = None;
        for n in 0..60u64 {
            let verdict = leader.decide(&put("c", "a", &format!(r#"{{"n":{n}}}"#)));
            let revision = outcome(verdict).revision;
            assert!(revision > expected.unwrap_or(2), "the revision of an applied write is given again");
            if dice.once_in(4) {
                leader.lose();
            } else {
                leader.append();
            }
            if dice.once_in(3) {
                for applied in leader.apply() {
                    assert_ne!(applied, Applied::Internal);
                }
                leader.new_epoch();
                expected = Some(leader.node.engine().meta().revision).filter(|&revision| revision > 2);
            }
            let view = leader.node.view();
            let found = view.get(&view.collection("c").unwrap(), "a").unwrap().map(|found| found.revision);
            assert_eq!(found, expected);
        }
    }
}
