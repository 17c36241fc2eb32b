//! Histories that the oracle must refuse, each a small change of one that it must not.

use aerodb_engine::view::ChangeKind;
use bytes::Bytes;
use prost::Message;

use super::*;
use crate::check::At;
use crate::check::model::{Fields, Pre};

const NAME: &str = "long";
const COLLECTION: u32 = 7;
const BY: By = By { node: 1, asked_at: Duration::ZERO, age: None };

fn body(id: &str, revision: u64) -> Bytes {
    format!(r#"{{"id":"{id}","_revision":{revision},"_created_at":"t","_updated_at":"t","w":{revision}}}"#).into()
}

/// A log that creates the collection at revision 2, writes a document at each of 3, 4 and 5, and then gives up what was
/// below 4.
fn canon() -> Canon {
    let put = |id: &str, revision| {
        let body = body(id, revision);
        Kind::PutDoc(proto::PutDoc { collection_id: COLLECTION, id: id.to_owned().into(), body, ..Default::default() })
    };
    let created = proto::Collection { id: COLLECTION, name: NAME.to_owned(), ..Default::default() };
    let mark = proto::Watermark { collection_id: COLLECTION, revision: 4 };
    let steps = [
        (1, None),
        (2, Some(Kind::CreateCollection(created))),
        (3, Some(put("a", 3))),
        (4, Some(put("b", 4))),
        (5, Some(put("c", 5))),
        (0, Some(Kind::Watermark(mark))),
    ];
    let mut canon = Canon::default();
    canon.commit(At { index: 0, term: 1 }, None).unwrap();
    for (seq, (revision, kind)) in steps.into_iter().enumerate() {
        let effects = kind.into_iter().map(|kind| proto::Effect { kind: Some(kind) }).collect();
        let batch = proto::Batch {
            decided_term: 1,
            base_seq: seq as u64,
            revision: if revision == 0 { 5 } else { revision },
            effects: vec![proto::Effects { revision, effects, ..Default::default() }],
            ..Default::default()
        };
        canon.commit(At { index: seq as u64 + 1, term: 1 }, Some(batch.encode_to_vec().into())).unwrap();
    }
    canon
}

fn answered(op: Op, revision: u64, result: Told, changed: bool) -> Write {
    let outcome = proto::Outcome { revision, changed, result: Some(result), ..Default::default() };
    Write { op, key: Key::None, again: false, floor: 0, end: End::Answered(outcome) }
}

fn put(id: &str, revision: u64, body: Bytes) -> Write {
    let fields = Fields::from([("w".to_owned(), (revision as i64).into())]);
    let op = Op::Put { collection: NAME.to_owned(), id: id.to_owned(), fields, pre: Pre::Any };
    let document = proto::DocumentRef { id: id.to_owned(), revision, body };
    let (collection, documents) = (NAME.to_owned(), vec![document]);
    let told = Told::Documents(proto::Documents { collection, documents, ..Default::default() });
    answered(op, revision, told, true)
}

fn history() -> History {
    let create = Op::Create { name: NAME.to_owned(), retention_seconds: 1 };
    let told = Told::Collection(proto::CollectionInfo::default());
    let mut writes = vec![answered(create, 2, told, true)];
    writes.extend([("a", 3), ("b", 4), ("c", 5)].map(|(id, revision)| put(id, revision, body(id, revision))));
    History { writes, ..History::default() }
}

fn piece(since: u64, revision: u64, events: &[(&str, u64)], more: bool) -> Piece {
    let event = |(id, revision): &(&str, u64)| Change {
        revision: *revision,
        position: 0,
        kind: ChangeKind::Insert,
        id: (*id).to_owned(),
        after: Some(body(id, *revision)),
        before: None,
    };
    let events = events.iter().map(event).collect();
    Piece { collection: NAME.to_owned(), since, limit: 2, revision, floor: revision, events, more, by: BY }
}

fn denial(asked: Option<u64>, revision: u64, why: WhyNot) -> Denial {
    Denial { collection: NAME.to_owned(), asked, revision, floor: 0, why, by: BY }
}

/// Whether the oracle refuses the history with `change`.
fn refuses(forgets: &[&str], change: impl FnOnce(&mut History)) -> bool {
    let mut history = history();
    change(&mut history);
    !judge(&canon(), &history, forgets).wrong.is_empty()
}

#[test]
fn a_piece_of_the_feed_is_all_that_there_was() {
    let refuses = |piece: Piece| refuses(&[], |history| history.pieces.push(piece));
    assert!(!refuses(piece(2, 5, &[("a", 3), ("b", 4)], true)));
    assert!(!refuses(piece(4, 5, &[("c", 5)], false)));
    assert!(!refuses(piece(4, 4, &[], false)), "there was nothing yet");
    assert!(refuses(piece(4, 5, &[], false)), "an empty feed");
    assert!(refuses(piece(3, 5, &[("b", 4)], false)), "without the newest");
    assert!(refuses(piece(2, 5, &[("a", 3), ("b", 4)], false)), "there is more");
    assert!(refuses(Piece { floor: 5, ..piece(3, 4, &[("b", 4)], false) }), "stale");
}

#[test]
fn a_no_has_a_reason() {
    let refuses = |forgets: &[&str], denial: Denial| refuses(forgets, |history| history.denials.push(denial));
    assert!(!refuses(&[NAME], denial(Some(3), 5, WhyNot::Compacted(4))));
    assert!(refuses(&[], denial(Some(3), 5, WhyNot::Compacted(4))), "it keeps everything");
    assert!(refuses(&[NAME], denial(Some(4), 5, WhyNot::Compacted(4))), "4 is kept");
    assert!(refuses(&[NAME], denial(Some(3), 5, WhyNot::Compacted(5))), "nobody decided to give up 4");
    assert!(refuses(&[NAME], denial(None, 5, WhyNot::Compacted(4))), "what is now is always kept");
    assert!(!refuses(&[], denial(None, 1, WhyNot::NoCollection)));
    assert!(refuses(&[], denial(None, 2, WhyNot::NoCollection)), "it exists");
    assert!(!refuses(&[], denial(Some(5), 4, WhyNot::Ahead)));
    assert!(refuses(&[], denial(Some(4), 4, WhyNot::Ahead)), "it is reached");
    assert!(refuses(&[], Denial { floor: 5, ..denial(Some(5), 4, WhyNot::Ahead) }), "somebody has seen 5");
    assert!(refuses(&[], denial(None, 5, WhyNot::Other("the cursor is of another query".to_owned()))));
}

#[test]
fn only_an_answer_that_comes_again_may_lack_what_it_names() {
    let refuses = |forgets: &[&str], key, again| {
        refuses(forgets, |history| {
            history.writes[1] = Write { key, again, ..put("a", 3, Bytes::new()) };
        })
    };
    assert!(!refuses(&[NAME], Key::Own, true));
    assert!(refuses(&[], Key::Own, true), "everything is kept");
    assert!(refuses(&[NAME], Key::Own, false), "the first attempt has it");
    assert!(refuses(&[NAME], Key::None, false));
}

#[test]
fn a_key_that_was_used_is_of_no_other_request() {
    let refuses = |write: Write| {
        let write = Write { key: Key::Used, ..write };
        refuses(&[], |history| history.writes.push(write))
    };
    let refused = |code: &str| {
        let refusal = proto::Refusal { code: code.to_owned(), ..Default::default() };
        let op = Op::Delete { collection: NAME.to_owned(), id: "none".to_owned(), pre: Pre::Any };
        answered(op, 5, Told::Refusal(refusal), false)
    };
    assert!(!refuses(refused("idempotency_key_reused")));
    assert!(refuses(refused("not_found")), "decided as if it were a request of its own");
    assert!(!refuses(Write { end: End::Unknown, ..put("c", 5, Bytes::new()) }), "it was never answered");
    let mut history = history();
    history.writes[3] = Write { key: Key::Used, ..put("c", 5, body("c", 5)) };
    assert!(!judge(&canon(), &history, &[]).wrong.is_empty(), "it took effect");
}
