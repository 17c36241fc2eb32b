//! Sequences of all operations that there are, beside the naive model, thousands of them; one that shows a difference shrinks
//! to the shortest that does.

use std::cell::RefCell;

use aerodb_model::{Answer, FILTERS, Model as Naive, Op, sequence};
use aerodb_proto as proto;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use proto::outcome::Result as Told;
use serde_json::Value as Json;

use super::*;
use crate::apply::ApplyEntry;
use crate::testing::{Node, command_of, drop, outcome, replay};

/// Sequences of a run, and operations of a sequence at most.
const SEQUENCES: u32 = 3_000;
const LONGEST: usize = 20;

/// Sequences whose logs are applied in other ways: each needs stores of its own.
const LOGS: u32 = 16;
const LOG_LONGEST: usize = 60;

/// Sequences with one store, which grows with them.
const SEQUENCES_A_STORE: u32 = 500;

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() }
}

/// A leader that plays one sequence after the other, each in collections of its own.
struct Stage {
    leader: Leader,
    sequences: u32,
}

#[test]
fn the_engine_does_what_the_model_does() {
    CHEAP.set(Cheap::Fetches);
    let stage = RefCell::new(Stage { leader: Leader::new(), sequences: 0 });
    let mut runner = TestRunner::new_with_rng(config(SEQUENCES), rng(1));
    let played = runner.run(&sequence(LONGEST), |ops| {
        let stage = &mut *stage.borrow_mut();
        if stage.sequences.is_multiple_of(SEQUENCES_A_STORE) {
            stage.leader = Leader::new();
        }
        stage.sequences += 1;
        let prefix = format!("x{}", stage.sequences);
        play(&mut stage.leader, &ops, &prefix)?;
        for name in ["c", "d"] {
            stage.leader.submit(&drop(&format!("{prefix}{name}")));
        }
        Ok(())
    });
    played.unwrap_or_else(|problem| panic!("{problem}"));
}

#[test]
fn a_log_ends_in_one_state_however_it_is_applied() {
    let mut runner = TestRunner::new_with_rng(config(LOGS), rng(2));
    let played = runner.run(&(sequence(LOG_LONGEST), any::<u64>()), |(ops, ways)| {
        let mut leader = Leader::new();
        play(&mut leader, &ops, "y")?;
        let expected = leader.node.digest();
        let at_once = Node::new();
        at_once.apply(&leader.log, leader.log.len() as u64);
        prop_assert_eq!(at_once.digest(), expected.clone());
        let dice = &mut Dice::new(ways);
        let log: &[ApplyEntry] = &leader.log;
        prop_assert_eq!(replay(log, dice).digest(), expected);
        Ok(())
    });
    played.unwrap_or_else(|problem| panic!("{problem}"));
}

/// The same sequences in each run: a change is to blame for what it changes.
fn rng(seed: u8) -> proptest::test_runner::TestRng {
    proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &[seed; 32])
}

fn play(leader: &mut Leader, ops: &[Op], prefix: &str) -> Result<(), TestCaseError> {
    let mut model = Naive::new(leader.node.view().revision());
    for op in ops {
        leader.clock_ms += 1;
        let Some(command) = command_of(leader, op, prefix) else {
            prop_assert_eq!(model.play(op).answer, Answer::Refused("collection_not_found"));
            continue;
        };
        let told = leader.submit(&command);
        let done = model.play(op);
        prop_assert_eq!(answer(&told), done.answer.clone(), "{:?}", op);
        prop_assert_eq!(told.changed, done.changed, "{:?}: {:?}, and the model {:?}", op, told, done);
        prop_assert_eq!(told.revision, done.revision, "{:?}: {:?}, and the model {:?}", op, told, done);
        settle(leader);
        prop_assert_eq!(leader.node.view().revision(), model.revision(), "{:?}: {:?}", op, done.settles);
    }
    look(leader, &model, prefix)
}

/// What the system does by itself: builds and checks come to their ends.
fn settle(leader: &mut Leader) {
    leader.build(2);
    while let Some(verdict) = leader.schema_step(2) {
        outcome(verdict);
        leader.append();
        leader.apply();
    }
}

/// Everything that there is in the end.
fn look(leader: &Leader, model: &Naive, prefix: &str) -> Result<(), TestCaseError> {
    let view = leader.node.view();
    let names: Vec<String> = view.collections().iter().map(|found| found.name.clone()).collect();
    let own: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix(prefix)).collect();
    // One prefix begins with another.
    let own: Vec<&str> = own.into_iter().filter(|name| matches!(*name, "c" | "d")).collect();
    prop_assert!(own.iter().copied().eq(model.collections()), "{:?}", own);
    for name in own {
        let collection = view.collection(&format!("{prefix}{name}")).expect("it is in the list");
        prop_assert_eq!(view.index_problems(&collection).unwrap(), Vec::<String>::new());
        for text in FILTERS {
            let query = ListQuery { filter: filter(text), ..query(100) };
            let page = view.list(&collection, &query, &|| false).unwrap();
            let found: Vec<Json> = page.items.iter().map(|body| without_times(body)).collect();
            let expected = model.list(name, &serde_json::from_str(text).unwrap());
            prop_assert_eq!(found, expected, "{} of {}", text, name);
        }
    }
    Ok(())
}

fn without_times(body: &[u8]) -> Json {
    let mut shown: Json = serde_json::from_slice(body).unwrap();
    let fields = shown.as_object_mut().unwrap();
    for name in ["_created_at", "_updated_at"] {
        fields.remove(name).expect("a stored document has its times");
    }
    shown
}

/// What the caller is told, as the model says it.
fn answer(outcome: &proto::Outcome) -> Answer {
    let shown = |document: &proto::DocumentRef| without_times(&document.body);
    match outcome.result.as_ref().unwrap() {
        Told::Refusal(refusal) => Answer::Refused(Box::leak(refusal.code.clone().into_boxed_str())),
        Told::Documents(documents) => {
            Answer::Documents(documents.documents.iter().map(|one| Some(shown(one))).collect())
        }
        Told::Transacted(transacted) => {
            Answer::Documents(transacted.operations.iter().map(|one| one.document.as_ref().map(shown)).collect())
        }
        Told::Affected(affected) => Answer::Affected(affected.matched, affected.modified),
        _ => Answer::Done,
    }
}
