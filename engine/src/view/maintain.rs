//! What the upkeep of a node reads: which history has grown too old, which keys can be forgotten.

use aerodb_proto::{BuildIndex, SeenDocument, WalkProgress, Watermark};
use prost::Message;

use super::{ReadError, View};
use crate::error::Error;
use crate::state::{META, keys, record};

impl View {
    /// For each collection the revision that its retention has passed, where it is above the watermark in force.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn watermarks_due(&self, now_ms: u64) -> Result<Vec<Watermark>, ReadError> {
        let mut due = Vec::new();
        for collection in self.catalog.iter() {
            let retention_ms = collection.history_retention_seconds.max(1).saturating_mul(1_000);
            let revision = self.revision_at(now_ms.saturating_sub(retention_ms))?;
            if revision > self.watermark(collection.id)? {
                due.push(Watermark { collection_id: collection.id, revision });
            }
        }
        Ok(due)
    }

    /// The last revision at or before a time; 0 when there is none.
    fn revision_at(&self, time_ms: u64) -> Result<u64, ReadError> {
        // A second's entry is its last revision, so only seconds that are over count.
        let Some(second) = (time_ms / 1_000).checked_sub(1) else { return Ok(0) };
        let (from, to) = keys::revision_times_until(second);
        let mut scan = self.snapshot.scan(META, &from, &to, true);
        Ok(scan.next()?.map(|(_, value)| record::number(value)).transpose()?.unwrap_or(0))
    }

    /// Up to `limit` idempotency keys that were remembered before `time_ms`.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn idempotency_before(&self, time_ms: u64, limit: usize) -> Result<Vec<bytes::Bytes>, ReadError> {
        let (from, to) = keys::idempotency_before(time_ms);
        let mut scan = self.snapshot.scan(META, &from, &to, false);
        let mut digests = Vec::new();
        while let Some((key, _)) = scan.next()? {
            if digests.len() == limit {
                break;
            }
            digests.push(bytes::Bytes::copy_from_slice(keys::idempotency_digest(key)));
        }
        Ok(digests)
    }

    /// The next step of a build that is under way: up to `limit` documents; `None` when nothing is being built.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn build_step(&self, limit: usize) -> Result<Option<BuildIndex>, ReadError> {
        let Some((collection_id, index)) = self.catalog.building() else { return Ok(None) };
        let (index_id, after) = (index.definition.id, self.walk_progress(collection_id, index.definition.id)?.after);
        self.build_step_at(BuildIndex { collection_id, index_id, after, ..BuildIndex::default() }, limit)
    }

    /// The same at a place that the build has yet to come to: fills `step`, which names the index and where it begins. `None`
    /// when the collection is gone.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn build_step_at(&self, mut step: BuildIndex, limit: usize) -> Result<Option<BuildIndex>, ReadError> {
        let Some(collection) = self.catalog.by_id(step.collection_id) else { return Ok(None) };
        let after = Some(step.after.as_str()).filter(|after| !after.is_empty());
        let mut found = self.documents_at(collection.id, self.revision(), &keys::ids_behind(after), false);
        while let Some(document) = found.next()? {
            if step.documents.len() == limit {
                return Ok(Some(step));
            }
            let id = String::from_utf8(document.id.to_vec()).map_err(|e| Error::malformed("an id", e))?;
            step.documents.push(SeenDocument { id, revision: document.revision });
        }
        step.last = true;
        Ok(Some(step))
    }

    /// How far the build of an index has come.
    pub(super) fn walk_progress(&self, collection: u32, index: u32) -> Result<WalkProgress, ReadError> {
        let bytes = self.snapshot.get(META, &keys::walk_progress(collection, index))?.unwrap_or_default();
        Ok(WalkProgress::decode(&*bytes).map_err(|e| Error::malformed("an index's progress", e))?)
    }
}
