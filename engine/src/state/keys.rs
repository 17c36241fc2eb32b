//! Keys of the state. Numbers are big-endian, so that byte order is their order; every key of a document begins with
//! its collection, so that collections can be placed and dropped as ranges.
//!
//! ```text
//! doc      collection:u32 id
//! history  collection:u32 id 0x00 !from:u64          newest first; ids have no control characters, so 0x00 ends one
//! change   collection:u32 revision:u64 position:u32
//! index    collection:u32 index:u32 values id
//! index_history  collection:u32 index:u32 values id 0x00 added:u64
//! meta     tag:u8 …
//! ```

/// The counters ([`aerodb_proto::StateMeta`]).
pub(crate) const STATE: &[u8] = b"S";
/// The membership last applied.
pub(crate) const MEMBERSHIP: &[u8] = b"M";
/// The cluster's identity.
pub(crate) const IDENTITY: &[u8] = b"I";

const COLLECTION: u8 = b'c';
const DROPPED: u8 = b'd';
const SESSION: u8 = b's';
/// Not `o`: a record for each command stood there before the first release.
const OUTCOMES: u8 = b'O';
const NODE: u8 = b'n';
const IDEMPOTENCY: u8 = b'i';
const IDEMPOTENCY_TIME: u8 = b't';
const WATERMARK: u8 = b'w';
const COLLECTION_COUNTS: u8 = b'C';
const INDEX_COUNTS: u8 = b'x';
const WALK_PROGRESS: u8 = b'p';
const REVISION_TIME: u8 = b'r';

fn key(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Where all keys of `collection` begin, in `doc`, `history` and `change`.
pub(crate) fn collection_prefix(collection: u32) -> Vec<u8> {
    collection.to_be_bytes().to_vec()
}

/// Where the keys of the next collection begin.
pub(crate) fn collection_end(collection: u32) -> Vec<u8> {
    match collection.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![u8::MAX; 5],
    }
}

pub(crate) fn doc(collection: u32, id: &[u8]) -> Vec<u8> {
    doc_parts(&collection.to_be_bytes(), id).concat()
}

/// What a `doc` key is made of; `collection`: its number's bytes.
pub(crate) fn doc_parts<'k>(collection: &'k [u8; 4], id: &'k [u8]) -> [&'k [u8]; 2] {
    [collection, id]
}

/// What makes of an id the place behind it and before any that is greater: ids have no control characters.
pub(crate) const BEHIND_ID: u8 = 1;
/// Where ids end: no text holds this byte.
const IDS_END: u8 = u8::MAX;

/// All ids, or those behind one, as a stretch of bytes that ids lie in.
pub(crate) fn ids_behind(id: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    let from = id.map_or_else(Vec::new, |id| [id.as_bytes(), &[BEHIND_ID]].concat());
    (from, ids_end())
}

/// Where ids end.
pub(crate) fn ids_end() -> Vec<u8> {
    vec![IDS_END]
}

/// The id in a `doc` key.
pub(crate) fn doc_id(key: &[u8]) -> &[u8] {
    key.get(4..).unwrap_or_default()
}

pub(crate) fn history(collection: u32, id: &[u8], from: u64) -> Vec<u8> {
    key(&[&collection.to_be_bytes(), id, &[0], &(!from).to_be_bytes()])
}

/// Where the history of one document begins (its newest version).
pub(crate) fn history_of(collection: u32, id: &[u8]) -> Vec<u8> {
    key(&[&collection.to_be_bytes(), id, &[0]])
}

/// Where the history of one document ends.
pub(crate) fn history_end(collection: u32, id: &[u8]) -> Vec<u8> {
    key(&[&collection.to_be_bytes(), id, &[BEHIND_ID]])
}

/// The id and the first revision in a `history` key.
pub(crate) fn history_parts(key: &[u8]) -> Option<(&[u8], u64)> {
    let (id, from) = key.get(4..)?.split_last_chunk::<8>()?;
    let (end, id) = id.split_last()?;
    (*end == 0).then(|| (id, !u64::from_be_bytes(*from)))
}

pub(crate) fn change(collection: u32, revision: u64, position: u32) -> Vec<u8> {
    key(&[&collection.to_be_bytes(), &revision.to_be_bytes(), &position.to_be_bytes()])
}

/// Revision and position in a `change` key.
pub(crate) fn change_parts(key: &[u8]) -> Option<(u64, u32)> {
    let (revision, position) = key.get(4..)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*revision), u32::from_be_bytes(position.try_into().ok()?)))
}

/// Where the entries of an index begin, in `index` and `index_history`.
pub(crate) fn index_prefix(collection: u32, index: u32) -> Vec<u8> {
    key(&[&collection.to_be_bytes(), &index.to_be_bytes()])
}

/// Where the entries of an index end.
pub(crate) fn index_end(collection: u32, index: u32) -> Vec<u8> {
    match index.checked_add(1) {
        Some(next) => index_prefix(collection, next),
        None => collection_end(collection),
    }
}

pub(crate) fn index_entry(collection: u32, index: u32, values: &[u8], id: &[u8]) -> Vec<u8> {
    key(&[&collection.to_be_bytes(), &index.to_be_bytes(), values, id])
}

/// Values and id in an `index` key.
pub(crate) fn index_parts(key: &[u8]) -> &[u8] {
    key.get(8..).unwrap_or_default()
}

/// A former entry, by the entry's key.
pub(crate) fn index_past(entry: &[u8], added: u64) -> Vec<u8> {
    key(&[entry, &[0], &added.to_be_bytes()])
}

/// The key of the entry, and the revision that added it, in an `index_history` key.
pub(crate) fn index_past_parts(key: &[u8]) -> Option<(&[u8], u64)> {
    let (entry, added) = key.split_last_chunk::<8>()?;
    let (end, entry) = entry.split_last()?;
    (*end == 0).then(|| (entry, u64::from_be_bytes(*added)))
}

pub(crate) fn collection_counts(collection: u32) -> Vec<u8> {
    key(&[&[COLLECTION_COUNTS], &collection.to_be_bytes()])
}

pub(crate) fn index_counts(collection: u32, index: u32) -> Vec<u8> {
    key(&[&[INDEX_COUNTS], &collection.to_be_bytes(), &index.to_be_bytes()])
}

/// In the place of an index's id: the walk of the check of a schema. No index has this id.
pub(crate) const SCHEMA_WALK: u32 = 0;

/// How far a walk through a collection's documents has come, for an index or the check of a schema.
pub(crate) fn walk_progress(collection: u32, index: u32) -> Vec<u8> {
    key(&[&[WALK_PROGRESS], &collection.to_be_bytes(), &index.to_be_bytes()])
}

/// Ranges in `meta` of what is kept for each index of a collection.
pub(crate) fn index_notes(collection: u32) -> [(Vec<u8>, Vec<u8>); 2] {
    let range = |tag: u8| (key(&[&[tag], &collection.to_be_bytes()]), key(&[&[tag], &collection_end(collection)]));
    [INDEX_COUNTS, WALK_PROGRESS].map(range)
}

pub(crate) fn collection(id: u32) -> Vec<u8> {
    key(&[&[COLLECTION], &id.to_be_bytes()])
}

pub(crate) fn collections() -> (Vec<u8>, Vec<u8>) {
    (vec![COLLECTION], vec![COLLECTION + 1])
}

/// A dropped collection whose ranges are not deleted yet.
pub(crate) fn dropped(id: u32) -> Vec<u8> {
    key(&[&[DROPPED], &id.to_be_bytes()])
}

pub(crate) fn all_dropped() -> (Vec<u8>, Vec<u8>) {
    (vec![DROPPED], vec![DROPPED + 1])
}

/// The collection in a `dropped` key.
pub(crate) fn dropped_id(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

pub(crate) fn session(id: u64) -> Vec<u8> {
    key(&[&[SESSION], &id.to_be_bytes()])
}

/// Outcomes of one entry for one session, by the largest of their numbers.
pub(crate) fn outcomes(session: u64, largest: u64) -> Vec<u8> {
    key(&[&[OUTCOMES], &session.to_be_bytes(), &largest.to_be_bytes()])
}

/// Keys of [`outcomes`] whose largest number is at least `number`: one of them holds that of `number`, if any does.
pub(crate) fn outcomes_from(session: u64, number: u64) -> (Vec<u8>, Vec<u8>) {
    (outcomes(session, number), key(&[&[OUTCOMES], &(session + 1).to_be_bytes()]))
}

/// Keys of [`outcomes`] whose largest number lies in `first..=last`.
pub(crate) fn outcomes_between(session: u64, first: u64, last: u64) -> (Vec<u8>, Vec<u8>) {
    (outcomes(session, first), key(&[&outcomes(session, last), &[0]]))
}

/// The session that a node owns.
pub(crate) fn node_session(node: u64) -> Vec<u8> {
    key(&[&[NODE], &node.to_be_bytes()])
}

pub(crate) fn idempotency(digest: &[u8]) -> Vec<u8> {
    key(&[&[IDEMPOTENCY], digest])
}

/// Finds idempotency records by age.
pub(crate) fn idempotency_time(time_ms: u64, digest: &[u8]) -> Vec<u8> {
    key(&[&[IDEMPOTENCY_TIME], &time_ms.to_be_bytes(), digest])
}

pub(crate) fn idempotency_before(time_ms: u64) -> (Vec<u8>, Vec<u8>) {
    (vec![IDEMPOTENCY_TIME], key(&[&[IDEMPOTENCY_TIME], &time_ms.to_be_bytes()]))
}

/// The digest in an `idempotency_time` key.
pub(crate) fn idempotency_digest(key: &[u8]) -> &[u8] {
    key.get(9..).unwrap_or_default()
}

pub(crate) fn watermark(collection: u32) -> Vec<u8> {
    key(&[&[WATERMARK], &collection.to_be_bytes()])
}

/// The last revision of one second.
pub(crate) fn revision_time(second: u64) -> Vec<u8> {
    key(&[&[REVISION_TIME], &second.to_be_bytes()])
}

/// Keys of [`revision_time`] up to and including `second`.
pub(crate) fn revision_times_until(second: u64) -> (Vec<u8>, Vec<u8>) {
    (vec![REVISION_TIME], revision_time(second.saturating_add(1)))
}

/// True for keys that each node trims by itself, so that they are no part of the digest.
pub(crate) fn is_local(key: &[u8]) -> bool {
    matches!(key.first(), Some(&REVISION_TIME | &DROPPED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_sorts_newest_first_and_never_mixes_ids() {
        let mut keys = [history(1, b"a", 1), history(1, b"a", 9), history(1, b"ab", 5), history(1, b"a", 3)];
        keys.sort();
        let parts: Vec<_> = keys.iter().filter_map(|k| history_parts(k)).collect();
        assert_eq!(parts, [(&b"a"[..], 9), (b"a", 3), (b"a", 1), (b"ab", 5)]);
        assert!(history_of(1, b"a") < history(1, b"a", u64::MAX) && history(1, b"a", 0) < history_end(1, b"a"));
        assert!(history_end(1, b"a") <= history_of(1, b"ab"));
    }

    #[test]
    fn parts_come_back() {
        assert_eq!(change_parts(&change(7, 8, 9)), Some((8, 9)));
        assert_eq!(doc_id(&doc(7, b"x")), b"x");
        assert_eq!(history_parts(b"short"), None);
        assert_eq!(dropped_id(&dropped(5)), Some(5));
        assert_eq!(idempotency_digest(&idempotency_time(5, b"abc")), b"abc");
    }
}
