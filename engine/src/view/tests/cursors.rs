//! Cursors belong to one query of one caller, and to one life of the cluster.

use super::*;
use crate::kv::WriteBatch;
use prost::Message;

/// Five documents, and the cursor behind the first one.
fn start(query: &ListQuery) -> (Leader, String) {
    let mut leader = Leader::new();
    leader.submit(&create("d"));
    for (n, id) in IDS.iter().enumerate() {
        leader.submit(&put("c", id, &format!(r#"{{"n":{n}}}"#)));
    }
    let cursor = list(&leader, "c", query).unwrap().next_cursor.expect("there is more");
    (leader, cursor)
}

/// Kept by the fingerprint and the seal in `cursor.rs`.
#[test]
fn a_cursor_serves_its_query_only() {
    for order in ["", "n.desc"] {
        let base = ListQuery { order: Order::parse(order).unwrap(), filter: filter(r#"{"n":{"$gte":0}}"#), ..query(1) };
        let (leader, cursor) = start(&base);
        let with = |change: &dyn Fn(&mut ListQuery)| {
            let mut query = ListQuery { cursor: Some(cursor.clone()), ..base.clone() };
            change(&mut query);
            query
        };
        let check = |name: &str, query: ListQuery, expected: &str| {
            assert_eq!(word(list(&leader, name, &query)), expected, "{query:?}");
        };
        check("c", with(&|_| {}), "fine");
        check("c", with(&|query| query.limit = 3), "fine");
        check("c", with(&|query| query.count = Count::Exact), "fine");
        check("c", with(&|query| query.filter = filter(r#"{"n":{"$gte":1}}"#)), "invalid cursor");
        check("c", with(&|query| query.filter = None), "invalid cursor");
        check("c", with(&|query| query.order = Order::parse("n").unwrap()), "invalid cursor");
        check("c", with(&|query| query.select = Some(Select::parse("n").unwrap())), "invalid cursor");
        check("c", with(&|query| query.caller = "you".into()), "invalid cursor");
        check("c", with(&|query| query.as_of = Some(1)), "invalid cursor");
        check("d", with(&|_| {}), "invalid cursor");
        for made_up in
            ["", "a", "AAAAAAAAAAAAAAAAAAAAAAAAAAAA", "ü", &cursor[..cursor.len() - 1], &format!("{cursor}A")]
        {
            check("c", with(&|query| query.cursor = Some(made_up.into())), "invalid cursor");
        }
        for at in 0..cursor.len() {
            let mut tampered = cursor.clone().into_bytes();
            tampered[at] = if tampered[at] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(tampered).unwrap();
            check("c", with(&|query| query.cursor = Some(tampered.clone())), "invalid cursor");
        }
    }
}

/// Recovery and restore raise the epoch: what an old cursor meant is no more.
#[test]
fn a_cursor_dies_with_its_epoch() {
    let (leader, cursor) = start(&query(1));
    let next = ListQuery { cursor: Some(cursor), ..query(1) };
    assert_eq!(word(list(&leader, "c", &next)), "fine");
    let meta = StateMeta { epoch: 1, ..*leader.node.engine().meta() };
    let mut batch = WriteBatch::new();
    batch.put(META, keys::STATE, meta.encode_to_vec());
    leader.node.engine().meddle(batch);
    assert_eq!(word(list(&leader, "c", &next)), "invalid cursor");
}

/// Another cluster has another secret.
#[test]
fn a_cursor_is_sealed_with_the_secret() {
    let (leader, cursor) = start(&query(1));
    let next = ListQuery { cursor: Some(cursor), ..query(1) };
    let identity = aerodb_proto::Identity { cluster_id: "test".into(), secret: vec![8; 32].into() };
    let mut batch = WriteBatch::new();
    batch.put(META, keys::IDENTITY, identity.encode_to_vec());
    leader.node.engine().meddle(batch);
    assert_eq!(word(list(&leader, "c", &next)), "invalid cursor");
}

/// A cursor that history no longer reaches says so; so does one from the future of a node that lags.
#[test]
fn a_cursor_lives_as_long_as_its_history() {
    let (mut leader, cursor) = start(&query(1));
    let next = ListQuery { cursor: Some(cursor), ..query(1) };
    let revision = leader.node.view().revision();
    collecting::mark(&mut leader, "c", revision);
    assert_eq!(word(list(&leader, "c", &next)), "fine");
    leader.submit(&put("c", "a", "{}"));
    collecting::mark(&mut leader, "c", revision + 1);
    assert_eq!(word(list(&leader, "c", &next)), format!("compacted {}", revision + 1));

    let lagging = crate::testing::Node::new();
    let cut = leader.log.len() as u64 - 4;
    lagging.apply(&leader.log, cut);
    let view = lagging.view();
    let page = view.list(&view.collection("c").unwrap(), &next, &|| false);
    assert_eq!(word(page), format!("ahead {}", revision - 1));
}

/// The bytes of a page and the time of a query are bounded, and nothing is left out in silence.
#[test]
fn pages_are_bounded() {
    let mut leader = Leader::with(Limits { page_bytes_max: 400, ..Limits::default() });
    for n in 0..300 {
        leader.decide(&put("c", &format!("{n:03}"), &format!(r#"{{"n":{n}}}"#)));
    }
    leader.append();
    leader.apply();
    let mut next = query(1_000);
    let mut found = 0;
    loop {
        let page = list(&leader, "c", &next).unwrap();
        assert!(!page.items.is_empty() && page.items.len() < 10, "{}", page.items.len());
        found += page.items.len();
        next.cursor = page.next_cursor;
        if next.cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, 300);
    let by_n = ListQuery { order: Order::parse("n").unwrap(), ..query(100) };
    assert_eq!(word(list(&leader, "c", &by_n)), "too expensive");
    assert_eq!(word(list(&leader, "c", &ListQuery { limit: 3, ..by_n })), "fine");
    let view = leader.node.view();
    let collection = view.collection("c").unwrap();
    let none = ListQuery { filter: filter(r#"{"n":-1}"#), ..query(10) };
    assert_eq!(word(view.list(&collection, &none, &|| true)), "too expensive");
    assert_eq!(word(view.list(&collection, &none, &|| false)), "fine");
}

/// Kept by the byte behind the id in `Through::behind`: the former entry of a page's last document is passed over too.
#[test]
fn a_cursor_in_the_order_of_an_index_passes_over_what_has_changed_since() {
    CHEAP.set(Cheap::Fetches);
    for (order, pages) in [("n", [["a", "b"], ["d", "e"]]), ("n.desc", [["e", "d"], ["b", "a"]])] {
        let mut leader = check(
            r#"
            insert c [{"id":"a","n":1},{"id":"b","n":2},{"id":"d","n":3},{"id":"e","n":4}] => changed 3 a@3 b@3 d@3 e@3 created
            index c {"name":"n","fields":["n"]} => changed 4 collection 2
            append  => seq 3
            apply   => [Effective]
            build   => changed 5 collection 2
            append  => seq 4
            apply   => [Effective]
            "#,
        );
        let mut ask = ListQuery { order: Order::parse(order).unwrap(), ..query(2) };
        for expected in pages {
            let page = list(&leader, "c", &ask).unwrap();
            let ids: Vec<_> = page.items.iter().map(|item| model::parse(item).get("id").unwrap().clone()).collect();
            assert_eq!(ids, expected.map(Value::from), "{order}");
            leader.submit(&put("c", expected[1], r#"{"n":9}"#));
            ask.cursor = page.next_cursor;
        }
        assert_eq!(ask.cursor, None);
    }
}
