//! What several threads find together is what one finds alone.

use super::*;
use crate::limits::Limits;
use crate::view::aggregate::{Aggregate, Grouping};

fn text(dice: &mut Dice, n: u64) -> String {
    let value = match dice.below(5) {
        0 => "null".to_owned(),
        1 => dice.below(1_000).to_string(),
        // No two of these have the same sum in every order.
        2 => format!("{}e{}", dice.below(1_000_000), dice.below(40)),
        3 => format!("-0.{}", dice.below(1_000_000)),
        _ => r#""x""#.to_owned(),
    };
    let id = ["a", "user/", "ü", ""][dice.below(4) as usize];
    format!(r#"{{"id":"{id}{n:x}","g":{},"v":{value}}}"#, dice.below(50))
}

#[test]
fn threads_find_together_what_one_finds_alone() {
    let mut leader = Leader::with(Limits { query_helpers_max: 3, ..Limits::default() });
    let mut dice = Dice::new(1);
    for from in (0..6_000).step_by(500) {
        let documents: Vec<String> = (from..from + 500).map(|n| text(&mut dice, n)).collect();
        leader.submit(&crate::testing::insert("c", &format!("[{}]", documents.join(","))));
        leader.apply();
    }
    let before = leader.node.view().revision();
    leader.submit(&delete("c", "a0"));
    leader.apply();
    leader.node.engine().flush().unwrap();
    let view = leader.node.view();
    let collection = view.collection("c").unwrap();
    let path = |text: &str| json::Path::parse(text).unwrap();
    let aggregates = vec![
        ("n".to_owned(), Aggregate::Count(None)),
        ("sum".to_owned(), Aggregate::Sum(path("v"))),
        ("mean".to_owned(), Aggregate::Avg(path("v"))),
        ("least".to_owned(), Aggregate::Min(path("v"))),
        ("greatest".to_owned(), Aggregate::Max(path("v"))),
    ];
    let grouped = |group_by: &[&str]| {
        Some(Grouping { group_by: group_by.iter().map(|text| path(text)).collect(), aggregates: aggregates.clone() })
    };
    let mut parted = 0;
    for (filter_text, grouping, order) in [
        (r#"{"g":{"$ne":7}}"#, grouped(&["g"]), "sum.desc"),
        ("{}", grouped(&[]), ""),
        ("{}", grouped(&["v"]), "n.desc"),
        (r#"{"v":{"$gte":0}}"#, None, "v.desc"),
        ("{}", None, "g,v"),
    ] {
        for as_of in [None, Some(before), Some(before - 3)] {
            let (filter, order) = (filter(filter_text), Order::parse(order).unwrap());
            let (grouping, count) = (grouping.clone(), Count::Exact);
            let query = ListQuery { filter, order, grouping, count, as_of, ..query(60) };
            let expired = &|| false;
            let (together, took) = view.run(&collection, &query, expired).unwrap();
            parted += usize::from(view.helpers.take(9).threads() == 3);
            let _nobody_helps = view.helpers.take(9);
            let (alone, took_alone) = view.run(&collection, &query, expired).unwrap();
            assert_eq!((together.items, together.count), (alone.items, alone.count), "{query:?}");
            assert_eq!(took, took_alone, "{query:?}");
            // Its cursor goes on where it ended, whoever helps.
            let next = ListQuery { cursor: together.next_cursor, ..query.clone() };
            let other = ListQuery { cursor: alone.next_cursor, ..query };
            assert_eq!(word(view.list(&collection, &next, expired)), word(view.list(&collection, &other, expired)));
        }
    }
    assert_eq!(parted, 15, "helpers come back");
}

/// Whether there is memory enough does not depend on how many threads help, and what is said is what is wrong.
#[test]
fn several_threads_take_no_more_memory_than_one_may() {
    let answered = |query_bytes_max| {
        let mut leader = Leader::with(Limits { query_helpers_max: 3, query_bytes_max, ..Limits::default() });
        for from in (0..4_000).step_by(500) {
            let document = |n| format!(r#"{{"id":"{n:04}","g":{},"v":{n}.5}}"#, n % 50);
            let documents: Vec<String> = (from..from + 500).map(document).collect();
            leader.submit(&crate::testing::insert("c", &format!("[{}]", documents.join(","))));
            leader.apply();
        }
        leader.node.engine().flush().unwrap();
        let path = |text: &str| json::Path::parse(text).unwrap();
        let figures = (0..5).map(|n| (format!("s{n}"), Aggregate::Sum(path("v"))));
        let grouping = Some(Grouping { group_by: vec![path("g")], aggregates: figures.collect() });
        list(&leader, "c", &ListQuery { grouping, ..query(100) })
    };
    // All groups are in every part: a quarter of this would not be enough for one.
    assert_eq!(answered(250_000).unwrap().items.len(), 50);
    let error = answered(100_000).unwrap_err().to_string();
    assert!(error.contains("more groups than a query may keep"), "{error}");
}

#[test]
fn parts_are_about_as_large_as_each_other() {
    let mut leader = Leader::with(Limits { query_helpers_max: 3, ..Limits::default() });
    let mut dice = Dice::new(2);
    for from in (0..20_000).step_by(500) {
        let documents: Vec<String> = (from..from + 500).map(|n| text(&mut dice, n)).collect();
        leader.submit(&crate::testing::insert("c", &format!("[{}]", documents.join(","))));
        leader.apply();
    }
    leader.node.engine().flush().unwrap();
    let view = leader.node.view();
    let collection = view.collection("c").unwrap();
    let parts = view.cuts(collection.id, 4).unwrap();
    assert_eq!(parts.len(), 3, "{parts:?}");
    let all = view.list(&collection, &query(20_000), &|| false).unwrap().items;
    let id = |body: &bytes::Bytes| model::parse(body).get("id").and_then(Value::as_str).unwrap().as_bytes().to_vec();
    let ids: Vec<_> = all.iter().map(id).collect();
    for (at, part) in parts.iter().enumerate() {
        let before = ids.iter().filter(|id| *id < part).count() as f64 / ids.len() as f64;
        assert!((before - (at + 1) as f64 / 4.0).abs() < 0.1, "{before} of all before part {}", at + 1);
    }
    // An error of one part is that of all, and nobody waits for the others.
    let mut calls = std::sync::atomic::AtomicUsize::new(0);
    let expired = || calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 2;
    let sorted = ListQuery { order: Order::parse("v").unwrap(), ..query(3) };
    assert_eq!(word(view.list(&collection, &sorted, &expired)), "too expensive");
    assert!(*calls.get_mut() > 2);
    assert_eq!(view.helpers.take(9).threads(), 3, "helpers come back");
}
