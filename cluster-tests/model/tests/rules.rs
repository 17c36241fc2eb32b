//! With all rules every state is right; without any one of them, some state is not.

#![allow(clippy::unwrap_used)]

use clap::ValueEnum;
use decide_model::print::Run;
use decide_model::rules::Break;
use decide_model::{Model, config, run};

/// Visits every state within the bounds called `name`.
fn holds(name: &str) {
    let model = Model::new(config::named(name).unwrap());
    let report = run::check(&model, false);
    if let Some((property, steps)) = report.broken.first() {
        panic!("{name}: broken: {property}\n{}", Run { model: &model, steps });
    }
    assert_eq!(report.missing, [] as [&str; 0], "{name}: what must happen in some run");
    eprintln!("{name}: {report}");
}

/// Leaves rules out, one at a time; each must do the harm that is known of it.
fn bites(rules: &[Break]) {
    for &rule in rules {
        let model = Model::without(rule);
        let report = run::check(&model, true);
        let found = report.broken.first().map(|(property, _)| *property);
        assert_eq!(found, rule.wrong().map(|wrong| wrong.property()), "{rule:?}: {report}");
        eprintln!("{rule:?}: {report}; {}", found.unwrap_or("nothing goes wrong"));
    }
}

macro_rules! holds {
    ($($test:ident = $name:literal;)*) => {
        $(#[test] fn $test() { holds($name); })*

        /// Every bounds that take seconds are in a test.
        #[test]
        fn no_bounds_are_left_out() {
            let tested = [$($name),*];
            for config in config::all().iter().filter(|config| !config.wide) {
                assert!(tested.contains(&config.name), "{}", config.name);
            }
        }
    };
}

holds! {
    epochs_hold = "epochs";
    leaders_hold = "leaders";
    terms_hold = "terms";
    deposed_leaders_hold = "deposed";
    transfers_hold = "transfer";
    reads_hold = "reads";
    reads_of_former_terms_hold = "reads-terms";
    linearizable_reads_hold = "linearizable";
    retries_hold = "retries";
    duplicates_hold = "duplicates";
    acknowledgements_hold = "acknowledged";
    sessions_hold = "sessions";
    replaced_sessions_hold = "replaced";
    requests_that_are_given_up_hold = "given-up";
    restarts_hold = "restarts";
    keys_hold = "keys";
    keyed_noops_hold = "keyed-noops";
}

macro_rules! bites {
    ($($test:ident = [$($rule:ident),*];)*) => {
        $(#[test] fn $test() { bites(&[$(Break::$rule),*]); })*

        #[test]
        fn no_rule_is_left_out() {
            let tested = [$($(Break::$rule),*),*];
            for rule in Break::value_variants() {
                assert!(tested.contains(rule), "{rule:?}");
            }
        }
    };
}

bites! {
    rule_1_bites = [BeginEarly, OutOfOrder, NotBoundToLeader, OverlayKept];
    rule_2_bites = [BaseSeq, DecidedTerm];
    rule_3_bites = [InFlightNotAwaited, VoidAcknowledged, NotBarred];
    rule_4_bites = [NoReadIndex, RoundUnderWay, AnyTerm, TermOfWatch, NotApplied];
    reads_bite = [ReadNotConfirmed, ReadNotReached];
    rule_5_bites_by_numbers = [NumbersForgotten, NewNumber, TermOfTask, LowerAttempt, FirstAttemptTwice];
    rule_5_bites_by_acknowledgements = [AttemptsForgottenEarly, Acknowledged, AcksFirst];
    rule_5_bites_by_sessions = [EndedSession, MovesOver, SharedEntry];
    rule_6_bites = [KeysForgotten, PendingKeys, KeyBody, KeyedNoop];
    what_another_rule_covers_does_not_bite = [DecidedTermAlone, NoStandstill, NotDrained];
}
