//! What the state looks like on disk: column families, keys and values.

pub(crate) mod keys;
pub(crate) mod record;

use aerodb_proto::{CollectionCounts, IndexCounts};
use prost::Message;

use crate::error::Error;
use crate::kv::{self, Cf, Logging, Snapshot, Spec};

/// Latest version of each document.
pub(crate) const DOC: Cf = Cf(0);
/// Index entries, each with the revision that added it.
pub(crate) const INDEX: Cf = Cf(1);
/// The event log: what changed at which revision.
pub(crate) const CHANGE: Cf = Cf(2);
/// Earlier versions, each with the interval in which it held.
pub(crate) const HISTORY: Cf = Cf(3);
/// Former index entries, each with the interval in which it held.
pub(crate) const INDEX_HISTORY: Cf = Cf(4);
/// Counters, membership, catalog, sessions, idempotency.
pub(crate) const META: Cf = Cf(5);

/// How the state's store is opened. The Raft log is its write-ahead log.
pub(crate) const SPEC: Spec = Spec {
    families: &["doc", "index", "change", "history", "index_history", "meta"],
    logging: Logging::None,
    write_buffer_bytes: 32 << 20,
};

/// The revision below which nothing of `collection` is kept.
pub(crate) fn watermark(snapshot: &dyn Snapshot, collection: u32) -> Result<u64, Error> {
    let bytes = snapshot.get(META, &keys::watermark(collection))?;
    Ok(bytes.map(|bytes| record::number(&bytes)).transpose()?.unwrap_or(0))
}

/// Reads from `meta`.
type GetMeta<'a> = &'a dyn Fn(&[u8]) -> kv::Result<Option<Vec<u8>>>;

/// Figures of a collection.
pub(crate) fn collection_counts(get: GetMeta<'_>, collection: u32) -> Result<CollectionCounts, Error> {
    let bytes = get(&keys::collection_counts(collection))?.unwrap_or_default();
    CollectionCounts::decode(&*bytes).map_err(|e| Error::malformed("a collection's figures", e))
}

/// Figures of an index.
pub(crate) fn index_counts(get: GetMeta<'_>, collection: u32, index: u32) -> Result<IndexCounts, Error> {
    let bytes = get(&keys::index_counts(collection, index))?.unwrap_or_default();
    IndexCounts::decode(&*bytes).map_err(|e| Error::malformed("an index's figures", e))
}
