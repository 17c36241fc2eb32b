//! Watermarks, and what is collected below them.

use std::sync::Arc;

use aerodb_proto as proto;
use proto::command::Op;

use super::*;
use crate::kv::Cf;
use crate::state::{CHANGE, HISTORY};

pub(super) fn mark(leader: &mut Leader, name: &str, revision: u64) {
    let collection_id = leader.node.view().collection(name).unwrap().id;
    let watermarks = vec![proto::Watermark { collection_id, revision }];
    leader.submit(&command(Op::AdvanceWatermarks(proto::AdvanceWatermarks { watermarks })));
}

pub(super) fn collect(leader: &Leader) {
    while leader.node.engine().collect_step().unwrap() {}
}

/// How many records a column family holds for a collection.
fn records(leader: &Leader, cf: Cf, collection: u32) -> usize {
    let snapshot = leader.node.engine().current().store.snapshot();
    let mut scan = snapshot.scan(cf, &keys::collection_prefix(collection), &keys::collection_end(collection), false);
    let mut count = 0;
    while scan.next().unwrap().is_some() {
        count += 1;
    }
    count
}

/// What nobody can read any more is really gone, and only that.
#[test]
fn collecting_frees_what_is_below_the_watermark() {
    // Written at 3, 4, 5, deleted at 6, written at 7 and 8.
    let mut leader = check(
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
    );
    for (watermark, history, changes) in [(0, 4, 6), (3, 4, 5), (4, 3, 4), (5, 2, 3), (6, 1, 2), (7, 1, 1), (8, 0, 0)] {
        mark(&mut leader, "c", watermark);
        let before = leader.node.digest();
        let shared = Arc::downgrade(&leader.node.view());
        collect(&leader);
        assert!(shared.upgrade().is_none(), "it would keep on the disk what was collected, until the next write");
        let left = (records(&leader, HISTORY, 2), records(&leader, CHANGE, 2));
        assert_eq!(left, (history, changes), "below {watermark}");
        assert_eq!(leader.node.digest(), before);
        let view = leader.node.view();
        let collection = view.collection("c").unwrap();
        for revision in 0..=8 {
            let found = view.get_at(&collection, "a", revision).map(|found| found.map(|found| found.revision));
            match revision {
                _ if revision < watermark => assert_eq!(word(found), format!("compacted {watermark}")),
                3..=5 | 7..=8 => assert_eq!(found.unwrap(), Some(revision)),
                _ => assert_eq!(found.unwrap(), None),
            }
        }
    }
}

/// Kept by the id in the keys, and by `drop_one`: nothing of the former collection shows in the new one of its name.
#[test]
fn a_dropped_collection_is_gone() {
    let mut leader = check(
        r#"
        create d                        => changed 3 collection 3
        put d a {"n":1}
        put d a {"n":2}
        put d b {"n":3}
        put c a {"n":4}
        append
        apply
        drop d
        create d                        => changed 9 collection 4
        append
        apply
        get d a                         => none
        "#,
    );
    assert_eq!(records(&leader, DOC, 3), 2);
    let before = leader.node.digest();
    collect(&leader);
    assert_eq!(leader.node.digest(), before);
    for cf in [DOC, HISTORY, CHANGE] {
        assert_eq!(records(&leader, cf, 3), 0);
    }
    assert_eq!((records(&leader, DOC, 2), records(&leader, DOC, 4)), (1, 0), "its neighbours are untouched");
    leader.submit(&put("d", "a", "{}"));
    let view = leader.node.view();
    let (c, d) = (view.collection("c").unwrap(), view.collection("d").unwrap());
    assert_eq!(view.changes(&d, 0, 10, usize::MAX).unwrap().items.len(), 1);
    assert_eq!(versions::all(&view, &d, "a", 10).len(), 1);
    assert_eq!(view.changes(&c, 0, 10, usize::MAX).unwrap().items.len(), 1);
}

/// Retention by time: what a collection's watermark may be raised to is the revision that was the last one back then.
#[test]
fn what_is_due_follows_the_clock() {
    let mut leader = Leader::new();
    let start = leader.clock_ms;
    // Revision 3 + n in second n.
    for n in 0..10 {
        leader.clock_ms = start + n * 1_000;
        leader.submit(&put("c", "a", &format!(r#"{{"n":{n}}}"#)));
    }
    let due = |leader: &Leader, now_ms: u64| {
        let due = leader.node.view().watermarks_due(now_ms).unwrap();
        due.into_iter().find(|mark| mark.collection_id == 2).map_or(0, |mark| mark.revision)
    };
    let retention = 3_600_000;
    assert_eq!(due(&leader, start), 0);
    assert_eq!(due(&leader, start + retention), 0);
    assert_eq!(due(&leader, start + retention + 1_000), 3);
    assert_eq!(due(&leader, start + retention + 4_999), 6);
    assert_eq!(due(&leader, start + retention + 1_000_000), 12);
    mark(&mut leader, "c", 6);
    assert_eq!(due(&leader, start + retention + 4_999), 0, "nothing above the watermark in force");
    // Collecting forgets times that nobody asks for again, and no others.
    let watermarks = leader.node.view().watermarks_due(start + retention + 4_999).unwrap();
    leader.submit(&command(Op::AdvanceWatermarks(proto::AdvanceWatermarks { watermarks })));
    collect(&leader);
    assert_eq!(due(&leader, start + retention + 6_000), 8);
    assert_eq!(due(&leader, start + retention + 1_000_000), 12);
}

fn settings(change: proto::ChangeSettings) -> proto::Command {
    command(Op::ChangeSettings(proto::ChangeSettings { collection: "c".into(), ..change }))
}

/// Retention by revisions and by bytes: whichever bound is passed first.
#[test]
fn what_is_due_follows_revisions_and_bytes() {
    let mut leader = Leader::new();
    for n in 0..100 {
        leader.submit(&put("c", "a", &format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(500))));
    }
    let now = leader.clock_ms;
    let due = |leader: &Leader| {
        let due = leader.node.view().watermarks_due(now).unwrap();
        due.into_iter().find(|mark| mark.collection_id == 2).map(|mark| mark.revision)
    };
    let kept = |leader: &Leader| {
        let view = leader.node.view();
        view.stats(&view.collection("c").unwrap()).unwrap().history_bytes
    };
    assert_eq!(due(&leader), None, "there is no such bound");
    let all = kept(&leader);
    assert!((99 * 600..100 * 800).contains(&all), "{all} bytes");
    leader.submit(&settings(proto::ChangeSettings { history_revisions_max: Some(60), ..Default::default() }));
    let revision = leader.node.view().revision();
    assert_eq!(due(&leader), Some(revision - 60));
    leader.submit(&settings(proto::ChangeSettings { history_bytes_max: Some(all / 4), ..Default::default() }));
    let quarter = due(&leader).unwrap();
    let events = |leader: &Leader, after: u64| {
        let view = leader.node.view();
        view.changes(&view.collection("c").unwrap(), after, 1_000, usize::MAX).unwrap().items.len()
    };
    let left = events(&leader, quarter);
    assert!((23..=26).contains(&left), "{left} events are left of a hundred");
    mark(&mut leader, "c", quarter);
    collect(&leader);
    assert_eq!(due(&leader), None, "what is kept is within the bounds");
    assert!(kept(&leader) <= all / 4, "{} bytes of {all}", kept(&leader));
    // It goes on with what is written later, and ends with the bound.
    for n in 0..10 {
        leader.submit(&put("c", "a", &format!(r#"{{"n":{n},"text":"{}"}}"#, "y".repeat(500))));
    }
    assert!(due(&leader).unwrap() > quarter);
    let none =
        proto::ChangeSettings { history_bytes_max: Some(0), history_revisions_max: Some(0), ..Default::default() };
    leader.submit(&settings(none));
    assert_eq!(due(&leader), None);
}

/// A command of many documents goes as a whole, and the latest revision stays, however small the bound.
#[test]
fn a_revision_goes_whole() {
    let mut leader = Leader::new();
    let documents: Vec<String> = (0..50).map(|n| format!(r#"{{"id":"d{n:02}"}}"#)).collect();
    leader.submit(&settings(proto::ChangeSettings { history_bytes_max: Some(1), ..Default::default() }));
    leader.submit(&crate::testing::insert("c", &format!("[{}]", documents.join(","))));
    let inserted = leader.node.view().revision();
    assert_eq!(leader.node.view().watermarks_due(leader.clock_ms).unwrap(), []);
    leader.submit(&delete("c", "d07"));
    let due = leader.node.view().watermarks_due(leader.clock_ms).unwrap().remove(0);
    assert_eq!(due.revision, inserted);
    mark(&mut leader, "c", due.revision);
    collect(&leader);
    assert_eq!((records(&leader, HISTORY, 2), records(&leader, CHANGE, 2)), (1, 1));
    assert_eq!(leader.node.view().watermarks_due(leader.clock_ms).unwrap(), []);
}
