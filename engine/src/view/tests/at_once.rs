//! What is answered at once is what would have been answered, and it never waits for the disk.

use super::*;

fn leader_on_disk() -> (Leader, Arc<Collection>) {
    let mut leader = Leader::new();
    leader.submit(&create_index("c", r#"{"name":"n","fields":["n"]}"#));
    // So long that a page of them lies in several blocks.
    let long = "x".repeat(400);
    for n in 0..300 {
        leader.submit(&put("c", &format!("{n:03}"), &format!(r#"{{"n":{n},"long":"{long}"}}"#)));
    }
    leader.build(1_000);
    leader.node.engine().flush().unwrap();
    // What was on disk, and empty caches.
    leader.node.crash();
    let collection = leader.node.view().collection("c").unwrap();
    (leader, collection)
}

#[test]
fn what_lies_on_disk_is_for_who_may_wait() {
    let (leader, collection) = leader_on_disk();
    let view = leader.node.view();
    assert_eq!(view.get_at_once(&collection, "007", None).unwrap(), None, "it is on disk");
    let found = view.get(&collection, "007").unwrap();
    assert!(found.is_some());
    assert_eq!(view.get_at_once(&collection, "007", None).unwrap(), Some(found), "it was just read");

    let query = ListQuery { order: Order::parse("n").unwrap(), filter: filter(r#"{"n":{"$gte":20}}"#), ..query(50) };
    assert_eq!(view.list_at_once(&collection, &query).unwrap(), None);
    // The index alone, by another query.
    let counting = ListQuery { count: Count::Exact, limit: 1, ..query.clone() };
    assert_eq!(view.list(&collection, &counting, &|| false).unwrap().count, Some(280));
    assert_eq!(view.list_at_once(&collection, &query).unwrap(), None, "its documents are still on disk");
    let page = view.list(&collection, &query, &|| false).unwrap();
    assert_eq!(view.list_at_once(&collection, &query).unwrap(), Some(page));
}

/// Keys that are there, and keys that are not and lie between two blocks or two keys: none is found in memory, and none is taken
/// for what it is not.
#[test]
fn of_several_keys_none_is_made_up() {
    const COUNT: usize = 20_000;
    let (dir, env) = (tempfile::tempdir().unwrap(), crate::testing::env());
    let open = || crate::kv::Env::open(&*env, dir.path(), &crate::state::SPEC).unwrap();
    let key = |n: usize| format!("{n:06}").into_bytes();
    {
        let store = open();
        let mut batch = crate::kv::WriteBatch::new();
        (0..COUNT).step_by(2).for_each(|n| batch.put(DOC, key(n), vec![n as u8; 100]));
        store.write(batch, false).unwrap();
        store.flush().unwrap();
    }
    let store = open();
    let (snapshot, in_memory) = (store.snapshot(), store.snapshot().in_memory());
    // Index and filter of the table come into memory, and one block of it.
    assert!(snapshot.get(DOC, &key(0)).unwrap().is_some());
    let (mut answered, mut left) = (0, 0);
    for first in (0..COUNT - 64).step_by(64) {
        let keys: Vec<_> = (first..first + 64).flat_map(|n| [key(n), [&key(n)[..], b"x"].concat()]).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        for asked in keys.chunks(2).chain([&keys[..]]) {
            match in_memory.get_many(DOC, asked) {
                Ok(found) => {
                    answered += 1;
                    assert_eq!(found, snapshot.get_many(DOC, asked).unwrap(), "{first}");
                }
                Err(error) => {
                    left += 1;
                    assert_eq!(error.kind, crate::kv::ErrorKind::NotInMemory);
                }
            }
        }
    }
    assert!(answered > 0 && left > 0, "{answered} answered, {left} left");
}

#[test]
fn what_takes_long_is_for_who_may_take_long() {
    let (leader, collection) = leader_on_disk();
    let view = leader.node.view();
    let long: [(&str, ListQuery); 4] = [
        ("looks at all", ListQuery { filter: filter(r#"{"x":1}"#), ..query(10) }),
        ("sorts", ListQuery { order: Order::parse("x").unwrap(), ..query(10) }),
        ("counts", ListQuery { count: Count::Exact, ..query(10) }),
        ("skips", ListQuery { offset: 250, ..query(10) }),
    ];
    for (what, query) in long {
        view.list(&collection, &query, &|| false).unwrap();
        assert_eq!(view.list_at_once(&collection, &query).unwrap(), None, "{what}");
    }
    let used = |view: &View| view.uses.of(collection.id, 1);
    let before = used(&view);
    let short = ListQuery { filter: filter(r#"{"n":{"$gte":20}}"#), order: Order::parse("n").unwrap(), ..query(10) };
    view.list(&collection, &short, &|| false).unwrap();
    assert!(view.list_at_once(&collection, &short).unwrap().is_some());
    assert_eq!(used(&view), before + 2, "each is one use of the index");
}

#[test]
fn what_cannot_be_read_is_said_at_once() {
    let (leader, collection) = leader_on_disk();
    let ahead = ListQuery { as_of: Some(leader.node.view().revision() + 1), ..query(1) };
    let error = leader.node.view().list_at_once(&collection, &ahead).unwrap_err();
    assert!(matches!(error, ReadError::RevisionAhead { .. }), "{error}");
    assert!(leader.node.view().get_at_once(&collection, "none", None).unwrap().is_none_or(|found| found.is_none()));
}
