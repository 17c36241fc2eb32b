//! What is kept of the last writes and reads never shows: a view says what its snapshot has.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::limits::Limits;
use crate::packed::Packed;

/// Small enough that documents are driven out all the time, large enough for all, and none.
const BOUNDS: [usize; 3] = [1_500, 1 << 20, 0];

#[track_caller]
fn as_in_the_snapshot(view: &View) {
    for collection in view.collections() {
        let ids: Vec<&str> = IDS.iter().copied().chain(["zz"]).collect();
        let stored = |id: &&str| {
            let bytes = view.snapshot.get(DOC, &keys::doc(collection.id, id.as_bytes())).unwrap();
            bytes.map(|bytes| Document::decode(bytes).unwrap())
        };
        let stored: Vec<Option<Document>> = ids.iter().map(stored).collect();
        for (id, stored) in ids.iter().zip(&stored) {
            let found = view.get(&collection, id).unwrap();
            assert_eq!(found, stored.clone().map(Stored::from), "{id} at revision {}", view.revision());
        }
        let mut keys = Packed::default();
        ids.iter().for_each(|id| keys.push(keys::doc_parts(&collection.id.to_be_bytes(), id.as_bytes())));
        assert_eq!(view.documents(&keys).unwrap(), stored, "at revision {}", view.revision());
    }
}

#[test]
fn views_are_held_over_what_comes_after_them() {
    for document_cache_bytes_max in BOUNDS {
        let mut dice = Dice::new(7);
        let mut leader = Leader::with(Limits { document_cache_bytes_max, ..Limits::default() });
        let mut views = Vec::new();
        for _ in 0..120 {
            for _ in 0..=dice.below(4) {
                let revision = leader.node.engine().meta().revision;
                leader.decide(&random(&mut dice, revision));
                leader.append();
            }
            leader.apply();
            views.push(leader.node.view());
            views.iter().for_each(|view| as_in_the_snapshot(view));
        }
    }
}

#[test]
fn views_are_taken_while_a_batch_is_written() {
    let mut leader = Leader::new();
    let (engine, done) = (leader.node.engine().clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut views, mut former) = (0, engine.view().unwrap());
            while !done.load(Ordering::Relaxed) {
                let view = engine.view().unwrap();
                as_in_the_snapshot(&view);
                // What it fetches is old by now.
                as_in_the_snapshot(&former);
                former = view;
                views += 1;
            }
            views
        });
        for n in 0..1_500 {
            for id in &IDS[..3] {
                let change = if n % 5 == 4 { delete("c", id) } else { put("c", id, &format!(r#"{{"n":{n}}}"#)) };
                leader.decide(&change);
            }
            leader.append();
            leader.apply();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 100);
    });
}

/// An installed snapshot has other documents under the same keys.
#[test]
fn an_installed_state_begins_with_nothing_in_memory() {
    let mut leader = Leader::new();
    leader.submit(&put("c", "a", r#"{"n":1}"#));
    let copy = tempfile::TempDir::new().unwrap();
    leader.node.engine().checkpoint(&copy.path().join("s")).unwrap();
    leader.submit(&put("c", "a", r#"{"n":2}"#));
    leader.node.engine().install(&copy.path().join("s")).unwrap();
    as_in_the_snapshot(&leader.node.view());
    let view = leader.node.view();
    let found = view.get(&view.collection("c").unwrap(), "a").unwrap().unwrap();
    assert_eq!(found.revision, 3);
}
