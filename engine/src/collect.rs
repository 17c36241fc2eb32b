//! Collecting what history no longer needs. Each node does this by itself, in small steps, below watermarks that all
//! nodes agree on: nothing that can be read goes, so it needs no place in the log and is no part of the digest.

use crate::engine::Engine;
use crate::error::Error;
use crate::kv::{Snapshot, Store, WriteBatch};
use crate::state::record::{self, Change};
use crate::state::{self, CHANGE, DOC, HISTORY, INDEX, INDEX_HISTORY, META, keys};

/// Bytes of events that one step looks at.
const STEP_BYTES_MAX: usize = 4 << 20;
/// Events that one step looks at.
const STEP_EVENTS_MAX: usize = 2_000;

impl Engine {
    /// Does one step; true when there is more to do.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn collect_step(&self) -> Result<bool, Error> {
        let current = self.current();
        let snapshot = current.store.snapshot();
        let mut more = drop_one(&*current.store, &*snapshot)?;
        let mut oldest = current.meta.revision;
        for collection in current.catalog.iter() {
            let watermark = state::watermark(&*snapshot, collection.id)?;
            oldest = oldest.min(watermark);
            more |= trim(&*current.store, &*snapshot, collection.id, watermark)?;
        }
        forget_times(&*current.store, &*snapshot, oldest)?;
        // In a cluster that nobody writes to it would hold what was just removed until the next write.
        current.forget_view();
        Ok(more)
    }
}

/// Removes events up to the watermark, and with each the version that it replaced.
fn trim(store: &dyn Store, snapshot: &dyn Snapshot, collection: u32, watermark: u64) -> Result<bool, Error> {
    let (from, to) = (keys::collection_prefix(collection), keys::change(collection, watermark.saturating_add(1), 0));
    let mut scan = snapshot.scan(CHANGE, &from, &to, false);
    let mut batch = WriteBatch::new();
    let (mut events, mut bytes) = (0, 0);
    let mut more = false;
    while let Some((key, value)) = scan.next()? {
        if events == STEP_EVENTS_MAX || bytes > STEP_BYTES_MAX {
            more = true;
            break;
        }
        events += 1;
        bytes += value.len();
        let event = Change::decode(value)?;
        if event.previous != 0 {
            batch.delete(HISTORY, keys::history(collection, &event.id, event.previous));
        }
        for former in event.former_entries {
            batch.delete(INDEX_HISTORY, former);
        }
        batch.delete(CHANGE, key);
    }
    if !batch.is_empty() {
        store.write(batch, false)?;
    }
    Ok(more)
}

/// Removes the ranges of one dropped collection.
fn drop_one(store: &dyn Store, snapshot: &dyn Snapshot) -> Result<bool, Error> {
    let (from, to) = keys::all_dropped();
    let mut scan = snapshot.scan(META, &from, &to, false);
    let Some((key, _)) = scan.next()? else { return Ok(false) };
    let Some(id) = keys::dropped_id(key) else {
        return Err(Error::malformed("a dropped collection", "its key is damaged"));
    };
    let mut batch = WriteBatch::new();
    for cf in [DOC, HISTORY, CHANGE, INDEX, INDEX_HISTORY] {
        batch.delete_range(cf, keys::collection_prefix(id), keys::collection_end(id));
    }
    batch.delete(META, key);
    store.write(batch, false)?;
    Ok(true)
}

/// Removes entries of the table of times that no watermark will ask for again: all below `oldest` but the last.
fn forget_times(store: &dyn Store, snapshot: &dyn Snapshot, oldest: u64) -> Result<(), Error> {
    let (from, to) = keys::revision_times_until(u64::MAX - 1);
    let mut scan = snapshot.scan(META, &from, &to, false);
    let mut batch = WriteBatch::new();
    let mut events = 0;
    let mut last: Option<Vec<u8>> = None;
    while let Some((key, value)) = scan.next()? {
        let revision = record::number(value)?;
        if revision >= oldest || events == STEP_EVENTS_MAX {
            break;
        }
        events += 1;
        if let Some(former) = last.replace(key.to_vec()) {
            batch.delete(META, former);
        }
    }
    if batch.is_empty() { Ok(()) } else { Ok(store.write(batch, false)?) }
}
