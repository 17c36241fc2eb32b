//! What the state looks like on disk: column families, keys and values.

pub(crate) mod keys;
pub(crate) mod record;

use crate::error::Error;
use crate::kv::{Cf, Logging, Snapshot, Spec};

/// Latest version of each document.
pub(crate) const DOC: Cf = Cf(0);
/// Index entries; filled once indexes can be created.
#[allow(dead_code, reason = "the layout is fixed from the start; the first index is created by a later version")]
pub(crate) const INDEX: Cf = Cf(1);
/// The event log: what changed at which revision.
pub(crate) const CHANGE: Cf = Cf(2);
/// Earlier versions, each with the interval in which it held.
pub(crate) const HISTORY: Cf = Cf(3);
/// Removed index entries; filled once indexes can be created.
#[allow(dead_code, reason = "the layout is fixed from the start; the first index is created by a later version")]
pub(crate) const INDEX_HISTORY: Cf = Cf(4);
/// Counters, membership, catalog, sessions, idempotency.
pub(crate) const META: Cf = Cf(5);

/// How the state's store is opened. The Raft log is its write-ahead log.
pub(crate) const SPEC: Spec = Spec {
    families: &["doc", "index", "change", "history", "index_history", "meta"],
    lasting: &["doc", "index"],
    logging: Logging::None,
    write_buffer_bytes: 32 << 20,
};

/// The revision below which nothing of `collection` is kept.
pub(crate) fn watermark(snapshot: &dyn Snapshot, collection: u32) -> Result<u64, Error> {
    let bytes = snapshot.get(META, &keys::watermark(collection))?;
    Ok(bytes.map(|bytes| record::number(&bytes)).transpose()?.unwrap_or(0))
}
