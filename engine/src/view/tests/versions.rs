//! The versions of a document and the change feed, page by page.

use super::*;

fn page_of(id: &str, limit: usize) -> VersionsQuery {
    VersionsQuery { id: id.into(), limit, cursor: None, caller: "me".into() }
}

/// All versions, read `limit` at a time.
pub(super) fn all(view: &View, collection: &Collection, id: &str, limit: usize) -> Vec<Version> {
    let mut query = page_of(id, limit);
    let mut found = Vec::new();
    loop {
        let page = view.history(collection, &query, &|| false).unwrap();
        assert!(page.items.len() == limit || page.next_cursor.is_none(), "{} of {limit}", page.items.len());
        found.extend(page.items);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return found;
        }
    }
}

fn page(leader: &Leader, query: &VersionsQuery) -> Result<Versions, ReadError> {
    let view = leader.node.view();
    view.history(&view.collection("c").unwrap(), query, &|| false)
}

/// The revisions of the versions of a page.
fn spans(page: &Versions) -> Vec<(u64, Option<u64>)> {
    page.items.iter().map(|version| (version.from, version.to)).collect()
}

/// A document with versions at 3, 4, 5, 7 and 8; it did not exist at 6.
fn five() -> Leader {
    check(
        r#"
        put c a {"n":1}
        put c a {"n":2}
        put c a {"n":3}
        delete c a
        put c a {"n":4}
        put c a {"n":5}
        append
        apply
        "#,
    )
}

/// What is written between two pages is in neither, and the version that it replaced is still shown as the latest.
#[test]
fn all_pages_are_read_at_one_revision() {
    let mut leader = five();
    let mut next = page_of("a", 2);
    let mut found = Vec::new();
    loop {
        let page = page(&leader, &next).unwrap();
        assert_eq!(page.revision, 8);
        found.extend(spans(&page));
        leader.submit(&put("c", "a", "{}"));
        next.cursor = page.next_cursor;
        if next.cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, [(3, Some(4)), (4, Some(5)), (5, Some(6)), (7, Some(8)), (8, None)]);
}

#[test]
fn a_cursor_belongs_to_one_document_and_one_caller() {
    let mut leader = five();
    leader.submit(&put("c", "b", "{}"));
    let cursor = page(&leader, &page_of("a", 2)).unwrap().next_cursor;
    assert!(cursor.is_some());
    let check = |query: VersionsQuery, expected: &str| {
        let query = VersionsQuery { cursor: cursor.clone(), ..query };
        assert_eq!(word(page(&leader, &query)), expected, "{query:?}");
    };
    check(page_of("a", 1), "fine");
    check(page_of("b", 2), "invalid cursor");
    check(VersionsQuery { caller: "you".into(), ..page_of("a", 2) }, "invalid cursor");
    let of_list = list(&leader, "c", &query(1)).unwrap().next_cursor;
    let as_versions = VersionsQuery { cursor: of_list, ..page_of("a", 2) };
    assert_eq!(word(page(&leader, &as_versions)), "invalid cursor");
}

/// A watermark that rises between two pages must not leave a hole between them.
#[test]
fn what_is_no_longer_kept_is_said() {
    for (watermark, expected) in [(4, "fine"), (5, "fine"), (6, "compacted 6"), (8, "compacted 8")] {
        let mut leader = five();
        // The page ends with the version that held up to 5.
        let first = page(&leader, &page_of("a", 2)).unwrap();
        assert_eq!(spans(&first), [(3, Some(4)), (4, Some(5))]);
        let next = VersionsQuery { cursor: first.next_cursor, ..page_of("a", 9) };
        collecting::mark(&mut leader, "c", watermark);
        collecting::collect(&leader);
        let second = page(&leader, &next);
        if let Ok(second) = &second {
            assert_eq!(spans(second), [(5, Some(6)), (7, Some(8)), (8, None)], "behind {watermark}");
        }
        assert_eq!(word(second), expected);
    }
}

#[test]
fn pages_are_bounded_in_bytes_and_time() {
    let mut leader = Leader::with(Limits { page_bytes_max: 400, ..Limits::default() });
    for n in 0..600 {
        leader.decide(&put("c", "a", &format!(r#"{{"n":{n}}}"#)));
    }
    leader.append();
    leader.apply();
    let mut query = page_of("a", 1_000);
    let mut found = Vec::new();
    loop {
        let page = page(&leader, &query).unwrap();
        assert!(!page.items.is_empty() && page.items.len() < 10, "{}", page.items.len());
        found.extend(page.items.iter().map(|version| version.from));
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    assert!(found.is_sorted_by(|a, b| a + 1 == *b) && found.len() == 600, "{found:?}");
    let view = leader.node.view();
    let collection = view.collection("c").unwrap();
    collecting::mark(&mut leader, "c", view.revision());
    let behind = leader.node.view();
    // All but the latest lie below the watermark: nothing fills the page, and still the clock is looked at.
    assert_eq!(word(behind.history(&collection, &page_of("a", 9), &|| true)), "too expensive");
    assert_eq!(all(&behind, &collection, "a", 9).len(), 1);

    // The feed: each piece ends once it holds so many bytes, and says that there is more.
    let (mut since, mut seen) = (view.revision() - 600, 0);
    loop {
        let piece = view.changes(&collection, since, usize::MAX, 400).unwrap();
        assert!((1..10).contains(&piece.items.len()), "{}", piece.items.len());
        seen += piece.items.len();
        since = piece.items[piece.items.len() - 1].revision;
        if !piece.more {
            break;
        }
    }
    assert_eq!((seen, since), (600, view.revision()));
}
