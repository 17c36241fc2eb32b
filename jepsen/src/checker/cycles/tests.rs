//! Each anomaly by hand, and random serial histories that have none.

use proptest::prelude::*;

use super::transactions::{Part, Transaction};
use super::*;
use crate::checker::Verdict;
use crate::checker::testing::rules;
use crate::history::Kind;

fn append(list: &str, element: &str) -> Part {
    Part::Append(list.into(), element.into())
}

fn read(list: &str, elements: &[&str]) -> Part {
    Part::Read(list.into(), elements.iter().map(|element| (*element).to_owned()).collect())
}

/// Transactions that all ran at once.
fn at_once(parts: &[&[Part]]) -> Vec<Transaction> {
    let length = parts.len() as u64;
    let one = |(place, parts): (usize, &&[Part])| Transaction {
        begin: place as u64,
        end: length + place as u64,
        process: place as u64,
        kind: Kind::Ok,
        parts: parts.to_vec(),
    };
    parts.iter().enumerate().map(one).collect()
}

/// The same, one after the other.
fn in_turn(parts: &[&[Part]]) -> Vec<Transaction> {
    let mut transactions = at_once(parts);
    for (place, transaction) in transactions.iter_mut().enumerate() {
        (transaction.begin, transaction.end) = (2 * place as u64, 2 * place as u64 + 1);
    }
    transactions
}

fn own(transactions: &[Transaction]) -> Finding {
    let mut finding = Finding::new("cycles");
    judge(transactions, &mut finding);
    finding
}

fn check(transactions: &[Transaction], rule: &str) {
    let finding = own(transactions);
    let found = rules(&finding);
    assert!(found.contains(&rule), "{rule}: {:?}", finding.anomalies);
    assert!(found.contains(&"second opinion"), "adya sees nothing in {rule}");
}

#[test]
fn what_is_serial_is_fine() {
    let history = in_turn(&[
        &[append("x", "1")],
        &[read("x", &["1"]), append("y", "2"), append("x", "3")],
        &[read("x", &["1", "3"]), read("y", &["2"])],
    ]);
    let finding = own(&history);
    assert_eq!(finding.verdict, Verdict::Valid, "{:?}", finding.anomalies);
}

#[test]
fn g0() {
    let both = [append("x", "1"), append("y", "1")];
    let other = [append("x", "2"), append("y", "2")];
    let reads = [read("x", &["1", "2"]), read("y", &["2", "1"])];
    check(&at_once(&[&both, &other, &reads]), "G0");
}

#[test]
fn g1a() {
    let mut history = at_once(&[&[append("x", "1")], &[read("x", &["1"])]]);
    history[0].kind = Kind::Fail;
    check(&history, "G1a: read of a refused append");
}

#[test]
fn g1b() {
    check(
        &at_once(&[&[append("x", "1"), append("x", "2")], &[read("x", &["1"])], &[read("x", &["1", "2"])]]),
        "G1b: intermediate read",
    );
}

#[test]
fn g1c() {
    check(&at_once(&[&[append("x", "1"), read("y", &["2"])], &[append("y", "2"), read("x", &["1"])]]), "G1c");
}

#[test]
fn g_single() {
    // Read skew: the reader saw the first half of the writer and not the second.
    let history =
        [&[append("x", "1"), append("y", "1")][..], &[read("x", &["1"]), read("y", &[])], &[read("y", &["1"])]];
    check(&at_once(&history), "G-single");
}

#[test]
fn g2() {
    // Write skew: each missed what the other wrote.
    let history = [
        &[read("x", &[]), append("y", "1")][..],
        &[read("y", &[]), append("x", "2")],
        &[read("x", &["2"]), read("y", &["1"])],
    ];
    check(&at_once(&history), "G2");
}

#[test]
fn a_stale_read_is_found_by_real_time() {
    check(&in_turn(&[&[append("x", "1")], &[read("x", &[])], &[read("x", &["1"])]]), "G-single-realtime");
}

#[test]
fn orders_that_do_not_agree() {
    let history = at_once(&[&[append("x", "1")], &[append("x", "2")], &[read("x", &["1", "2"])], &[read("x", &["2"])]]);
    check(&history, "incompatible orders");
}

#[test]
fn an_append_that_no_later_reading_shows() {
    let finding = own(&in_turn(&[&[append("x", "1")], &[append("x", "2")], &[read("x", &["2"])]]));
    assert!(rules(&finding).contains(&"lost append"), "{:?}", finding.anomalies);
}

/// One after the other, or overlapping: each takes effect at its begin.
fn play(moves: &[(u8, bool, u8)]) -> Vec<Transaction> {
    let mut lists: std::collections::BTreeMap<String, Vec<String>> = Default::default();
    let (mut transactions, mut time): (Vec<Transaction>, u64) = (Vec::new(), 0);
    for (number, (list, writes, overlap)) in moves.iter().enumerate() {
        let name = format!("l{}", list % 3);
        let other = format!("l{}", (list + 1) % 3);
        let mut parts = vec![
            Part::Read(name.clone(), lists.get(&name).cloned().unwrap_or_default()),
            Part::Read(other.clone(), lists.get(&other).cloned().unwrap_or_default()),
        ];
        if *writes {
            parts.push(Part::Append(name.clone(), number.to_string()));
            lists.entry(name).or_default().push(number.to_string());
        }
        time += 100;
        let (begin, end) = (time, time + 1 + u64::from(*overlap) * 3);
        transactions.push(Transaction { begin, end, process: number as u64, kind: Kind::Ok, parts });
    }
    transactions
}

proptest! {
    #[test]
    fn random_serial_histories_are_accepted(moves in prop::collection::vec(any::<(u8, bool, u8)>(), 2..60)) {
        let finding = own(&play(&moves));
        prop_assert_ne!(finding.verdict, Verdict::Invalid, "{:?}", finding.anomalies);
    }

    /// A reading that forgets the last element of what was complete before it began is refused.
    #[test]
    fn a_random_history_with_one_stale_read_is_refused(moves in prop::collection::vec(any::<(u8, bool, u8)>(), 2..60)) {
        let mut history = play(&moves);
        let time = 100_000;
        for (place, elements) in [&["z"][..], &[]].into_iter().enumerate() {
            let begin = time + 10 * place as u64;
            let parts = if place == 0 { vec![append("q", "z")] } else { vec![read("q", elements)] };
            history.push(Transaction { begin, end: begin + 1, process: 900 + place as u64, kind: Kind::Ok, parts });
        }
        let last = time + 50;
        let parts = vec![read("q", &["z"])];
        history.push(Transaction { begin: last, end: last + 1, process: 990, kind: Kind::Ok, parts });
        prop_assert_eq!(own(&history).verdict, Verdict::Invalid);
    }
}
