//! What apply does not take: a log that contradicts the state ends the node, it is never worked around.

use super::*;
use crate::state::{DOC, keys};

/// The counters after [`Leader::new`]: index 3, `seq` 2, revision 2; the collection `c` is number 2.
fn node() -> Node {
    let leader = Leader::new();
    let node = Node::new();
    node.apply(&leader.log, 3);
    node
}

fn entry(index: u64, batch: Batch) -> ApplyEntry {
    let payload = ApplyPayload::Batch(batch.encode_to_vec().into());
    ApplyEntry { log_id: LogId { term: 1, index }, payload }
}

/// A batch that builds on [`node`] and writes one document.
fn batch(kinds: Vec<Kind>) -> Batch {
    let effects = kinds.into_iter().map(|kind| Effect { kind: Some(kind) }).collect();
    Batch {
        decided_term: 1,
        base_seq: 2,
        revision: 3,
        time_ms: crate::testing::START_MS,
        effects: vec![Effects { revision: 3, effects, ..Effects::default() }],
        acks: Vec::new(),
        feature_level: proto::FEATURE_LEVEL,
    }
}

fn put_doc(id: &'static str, previous_revision: u64) -> Kind {
    let (id, body) = (Bytes::from_static(id.as_bytes()), Bytes::from_static(b"{}"));
    Kind::PutDoc(proto::PutDoc { collection_id: 2, id, body, previous_revision, created_ms: 0, indexes: Vec::new() })
}

fn delete_doc(id: &'static str, previous_revision: u64) -> Kind {
    let id = Bytes::from_static(id.as_bytes());
    Kind::DeleteDoc(proto::DeleteDoc { collection_id: 2, id, previous_revision, indexes: Vec::new() })
}

/// Applies `entries` on a fresh [`node`]; the error's kind, and nothing may have changed.
#[track_caller]
fn check(entries: &[ApplyEntry], expected: &str) {
    let node = node();
    let before = node.digest();
    let error = node.engine().apply(entries).expect_err("it does not fit");
    let kind = match error {
        Error::UnknownOperation(_) => "unknown",
        Error::Inconsistent(_) => "inconsistent",
        Error::Storage(_) => "storage",
        Error::Files { .. } => "files",
    };
    assert_eq!(kind, expected, "{error}");
    assert_eq!(node.digest(), before, "what fails leaves no trace");
}

#[test]
fn a_sound_entry_is_taken() {
    let node = node();
    assert_eq!(node.engine().apply(&[entry(4, batch(vec![put_doc("a", 0)]))]).unwrap(), [Applied::Effective]);
    assert_eq!(node.engine().meta().revision, 3);
}

/// A9: a node that does not know an operation stops; it never skips it.
#[test]
fn operations_of_newer_versions_stop_the_node() {
    let mut unknown = batch(vec![put_doc("a", 0)]);
    // What prost makes of a kind that it does not know.
    unknown.effects[0].effects.push(Effect { kind: None });
    check(&[entry(4, unknown)], "unknown");

    let newer = Batch { feature_level: proto::FEATURE_LEVEL + 1, ..batch(vec![put_doc("a", 0)]) };
    check(&[entry(4, newer.clone())], "unknown");
    // Also behind sound entries of the same run, and when it would be void.
    check(&[entry(4, batch(vec![put_doc("a", 0)])), entry(5, newer)], "unknown");

    // The bytes of an effect whose field number nobody has used yet.
    let effect: [u8; 4] = [0xca, 0x3e, 0x01, 0x00];
    assert_eq!(Effect::decode(&effect[..]).unwrap().kind, None);
}

#[test]
fn the_log_comes_in_order() {
    let sound = || batch(vec![put_doc("a", 0)]);
    check(&[entry(5, sound())], "inconsistent");
    check(&[entry(3, sound())], "inconsistent");
    check(&[entry(4, sound()), entry(4, sound())], "inconsistent");
    check(&[entry(4, sound()), entry(6, sound())], "inconsistent");
    let garbage = ApplyEntry { payload: ApplyPayload::Batch(Bytes::from_static(b"\xff")), ..entry(4, sound()) };
    check(&[garbage], "storage");
}

#[test]
fn revisions_and_time_go_forward_one_by_one() {
    let revision = |first: u64, last: u64| {
        let mut batch = batch(vec![put_doc("a", 0)]);
        batch.effects[0].revision = first;
        Batch { revision: last, ..batch }
    };
    check(&[entry(4, revision(4, 4))], "inconsistent");
    check(&[entry(4, revision(2, 2))], "inconsistent");
    check(&[entry(4, revision(3, 4))], "inconsistent");
    check(&[entry(4, revision(3, 1))], "inconsistent");
    // A document is written at a revision of its own.
    check(&[entry(4, revision(0, 2))], "inconsistent");
    check(&[entry(4, Batch { time_ms: 1, ..batch(vec![put_doc("a", 0)]) })], "inconsistent");
}

/// The decision named the version that it replaces; apply finds exactly that one (asserted in pairs).
#[test]
fn a_write_replaces_what_the_decision_saw() {
    let twice = |kinds: Vec<Kind>| {
        let mut second = batch(kinds);
        second.base_seq = 3;
        second.revision = 4;
        second.effects[0].revision = 4;
        [entry(4, batch(vec![put_doc("a", 0)])), entry(5, second)]
    };
    let node = node();
    node.engine().apply(&twice(vec![put_doc("a", 3)])).unwrap();
    for kind in [put_doc("a", 2), put_doc("a", 4), put_doc("b", 3), delete_doc("a", 2), delete_doc("b", 3)] {
        check(&twice(vec![kind]), "inconsistent");
    }
    // Nothing was there, says the decision, and something is.
    check(&twice(vec![put_doc("a", 0)]), "inconsistent");
    // The same among others, of the same run and of a former one.
    let [first, second] = twice(vec![put_doc("b", 0), put_doc("a", 0)]);
    check(&[first.clone(), second.clone()], "inconsistent");
    let node = self::node();
    node.engine().apply(&[first]).unwrap();
    assert!(matches!(node.engine().apply(&[second]), Err(Error::Inconsistent(_))));
    check(&[entry(4, batch(vec![delete_doc("a", 0)]))], "inconsistent");
    // One command leaves one net effect per document.
    check(&[entry(4, batch(vec![put_doc("a", 0), put_doc("a", 3)]))], "inconsistent");
}

/// Watermarks and the ids of collections only rise; a watermark that was not reached would hide what is there.
#[test]
fn watermarks_and_collection_ids_only_rise() {
    let mark = |revision| Kind::Watermark(proto::Watermark { collection_id: 2, revision });
    let internal = |kind: Kind| {
        let mut batch = batch(vec![kind]);
        batch.effects[0].revision = 0;
        Batch { revision: 2, ..batch }
    };
    let next = |batch: Batch| Batch { base_seq: 3, ..batch };
    let node = node();
    node.engine().apply(&[entry(4, internal(mark(1))), entry(5, next(internal(mark(2))))]).unwrap();
    check(&[entry(4, internal(mark(2))), entry(5, next(internal(mark(1))))], "inconsistent");
    check(&[entry(4, internal(mark(3)))], "inconsistent");
    let collection = |id| Kind::CreateCollection(proto::Collection { id, name: "d".into(), ..Default::default() });
    node.engine().apply(&[entry(6, Batch { base_seq: 4, ..batch(vec![collection(3)]) })]).unwrap();
    check(&[entry(4, batch(vec![collection(2)]))], "inconsistent");
}

#[test]
fn void_entries_change_only_the_applied_index() {
    for void in [
        Batch { decided_term: 2, ..batch(vec![put_doc("a", 0)]) },
        Batch { base_seq: 1, ..batch(vec![put_doc("a", 0)]) },
        Batch { base_seq: 3, ..batch(vec![put_doc("a", 0)]) },
        // Void before it is looked at: what it holds need not fit.
        Batch { base_seq: 1, revision: 0, time_ms: 0, ..batch(vec![put_doc("b", 9)]) },
        Batch { base_seq: 1, acks: vec![proto::SessionAck::default()], ..batch(Vec::new()) },
    ] {
        let node = node();
        let (before, counters) = (node.digest(), node.engine().meta());
        assert_eq!(node.engine().apply(&[entry(4, void.clone())]).unwrap(), [Applied::Void]);
        let meta = node.engine().meta();
        assert_eq!(*meta, StateMeta { applied: Some(LogId { term: 1, index: 4 }), ..*counters });
        assert_eq!(node.engine().current().store.get(DOC, &keys::doc(2, b"a")).unwrap(), None);
        // The same state as a blank entry leaves.
        let blank = self::node();
        let entry = ApplyEntry { log_id: LogId { term: 1, index: 4 }, payload: ApplyPayload::Blank };
        blank.engine().apply(&[entry]).unwrap();
        assert_eq!(node.digest(), blank.digest());
        assert_ne!(node.digest(), before);
    }
}
