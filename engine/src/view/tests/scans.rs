//! Collections that forbid looking at every document, and what is told of the use of indexes.

use aerodb_proto as proto;
use proto::command::Op;

use super::*;

/// Whether lists may look at every document.
fn allow(leader: &mut Leader, allowed: bool) {
    leader.submit(&command(Op::ChangeSettings(proto::ChangeSettings {
        collection: "c".into(),
        full_scans_forbidden: Some(!allowed),
        ..Default::default()
    })));
    leader.apply();
}

fn asked(filter_text: &str, order: &str, count: Count) -> ListQuery {
    let filter = if filter_text.is_empty() { None } else { filter(filter_text) };
    ListQuery { filter, order: Order::parse(order).unwrap(), count, ..query(2) }
}

fn grouped() -> ListQuery {
    let aggregates = vec![("n".to_owned(), Aggregate::Count(None))];
    ListQuery { grouping: Some(Grouping { group_by: vec![], aggregates }), ..query(2) }
}

/// Bulk writes find their documents in the same way.
fn matched(leader: &Leader, text: &str) -> String {
    let view = leader.node.view();
    word(view.matching(&view.collection("c").unwrap(), filter(text).unwrap(), &|| false))
}

#[test]
fn what_may_look_at_every_document_is_refused() {
    let mut leader = Leader::new();
    for id in IDS {
        leader.submit(&put("c", id, r#"{"n":1,"m":2}"#));
    }
    for name in ["n", "m"] {
        leader.submit(&create_index("c", &format!(r#"{{"name":"{name}","fields":["{name}"]}}"#)));
        leader.build(100);
    }
    leader.apply();
    let everything = [
        (asked(r#"{"x":1}"#, "", Count::None), "full scan"),
        (asked("", "x", Count::None), "full scan"),
        (asked(r#"{"x":1}"#, "n", Count::None), "full scan"),
        (asked(r#"{"x":1}"#, "", Count::Exact), "full scan"),
        (grouped(), "full scan"),
        (asked("", "", Count::None), "fine"),
        (asked("", "", Count::Exact), "fine"),
        (asked("", "n", Count::None), "fine"),
        (asked(r#"{"n":1}"#, "", Count::Exact), "fine"),
        (asked(r#"{"n":1,"x":1}"#, "x", Count::None), "fine"),
        (ListQuery { filter: filter(r#"{"n":1}"#), ..grouped() }, "fine"),
    ];
    for (query, expected) in &everything {
        assert_eq!(word(list(&leader, "c", query)), "fine", "{query:?}");
        allow(&mut leader, false);
        assert_eq!(word(list(&leader, "c", query)), *expected, "{query:?}");
        allow(&mut leader, true);
    }
    allow(&mut leader, false);
    assert_eq!((matched(&leader, r#"{"x":1}"#), matched(&leader, r#"{"n":1}"#)), ("full scan".into(), "fine".into()));
    // It can be explained all the same.
    let view = leader.node.view();
    let explained = view.explain(&view.collection("c").unwrap(), &everything[0].0, false, &|| false).unwrap();
    let scan = explained.candidates.iter().find(|way| way.chosen).unwrap();
    assert!(scan.way == Way::Scan && scan.cost.is_infinite() && scan.reason.contains("forbids"), "{scan:?}");
}

#[test]
fn the_use_of_an_index_is_counted() {
    let mut leader = Leader::new();
    leader.submit(&put("c", "a", r#"{"n":1}"#));
    leader.submit(&create_index("c", r#"{"name":"n","fields":["n"]}"#));
    let figures = |leader: &Leader| {
        let view = leader.node.view();
        let index = view.indexes(&view.collection("c").unwrap()).unwrap().remove(0);
        (index.uses, index.built_documents, view.builds().unwrap().len())
    };
    leader.apply();
    assert_eq!(figures(&leader), (0, Some(0), 1));
    leader.build(100);
    leader.apply();
    assert_eq!(figures(&leader), (0, None, 0));
    CHEAP.set(Cheap::Fetches);
    let view = leader.node.view();
    let collection = view.collection("c").unwrap();
    for _ in 0..3 {
        view.list(&collection, &asked(r#"{"n":1}"#, "", Count::None), &|| false).unwrap();
        view.list(&collection, &asked("", "", Count::None), &|| false).unwrap();
    }
    assert_eq!(figures(&leader), (3, None, 0));
}

#[test]
fn a_long_stretch_of_an_index_is_estimated_by_its_size() {
    const DOCUMENTS: usize = 20_000;
    let mut leader = Leader::new();
    leader.submit(&create_index("c", r#"{"name":"n","fields":["n"]}"#));
    leader.build(100);
    for from in (0..DOCUMENTS).step_by(500) {
        let documents: Vec<String> = (from..from + 500).map(|n| format!(r#"{{"id":"d{n:05}","n":{n}}}"#)).collect();
        leader.submit(&crate::testing::insert("c", &format!("[{}]", documents.join(","))));
        leader.apply();
    }
    let estimated = |leader: &Leader, text: &str| {
        let view = leader.node.view();
        let query = asked(text, "", Count::None);
        let explained = view.explain(&view.collection("c").unwrap(), &query, false, &|| false).unwrap();
        explained.candidates.iter().find(|way| matches!(way.way, Way::Index(_))).unwrap().rows
    };
    // Nothing is on disk yet: half is as good a guess as any.
    assert_eq!(estimated(&leader, r#"{"n":{"$lt":5000}}"#), 10_000.0);
    leader.node.engine().flush().unwrap();
    for (text, expected) in
        [(r#"{"n":{"$lt":5000}}"#, 5_000.0), (r#"{"n":{"$gte":2000}}"#, 18_000.0), (r#"{"n":{"$gte":0}}"#, 20_000.0)]
    {
        let rows = estimated(&leader, text);
        assert!((rows - expected).abs() < 0.15 * expected, "{text}: {rows}, and not {expected}");
    }
    assert_eq!(estimated(&leader, r#"{"n":{"$lt":700}}"#), 700.0);
}
