//! What the upkeep of a node reads: which history has grown too old, which keys can be forgotten.

use aerodb_proto::{BuildIndex, Collection, IndexableDocument, WalkProgress, Watermark};
use bytes::Bytes;
use prost::Message;

use super::{ReadError, View};
use crate::body;
use crate::error::Error;
use crate::state::{CHANGE, META, keys, record};

/// Bytes of entries in one step of a build, about.
const STEP_BYTES_MAX: usize = 1 << 20;

impl View {
    /// For each collection the revision that its retention has passed, where it is above the watermark in force.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn watermarks_due(&self, now_ms: u64) -> Result<Vec<Watermark>, ReadError> {
        let mut due = Vec::new();
        for collection in self.catalog.iter() {
            let retention_ms = collection.history_retention_seconds.max(1).saturating_mul(1_000);
            let watermark = self.watermark(collection.id)?;
            let by_time = self.revision_at(now_ms.saturating_sub(retention_ms))?;
            let by_revisions = match collection.history_revisions_max {
                0 => 0,
                max => self.revision().saturating_sub(max),
            };
            let by_bytes = match collection.history_bytes_max {
                0 => 0,
                max => self.revision_beyond_bytes(collection, watermark, max)?,
            };
            let revision = by_time.max(by_revisions).max(by_bytes);
            if revision > watermark {
                due.push(Watermark { collection_id: collection.id, revision });
            }
        }
        Ok(due)
    }

    /// About how many bytes of history, events and former entries of indexes a collection keeps, before they are compressed.
    pub(super) fn history_bytes(&self, collection: &Collection) -> Result<u64, ReadError> {
        let written = self.counts(collection)?.history_bytes_written;
        let kept = self.watermark(collection.id)?.saturating_add(1);
        let (from, to) = (keys::change(collection.id, kept, 0), keys::collection_end(collection.id));
        let first = self.event(&from, &to, false)?;
        // What stands before the first event that is kept is collected, but for the version that this one replaced.
        Ok(first.map_or(0, |(_, event)| written.saturating_sub(event.written.saturating_sub(event.bytes()))))
    }

    /// The last revision which has to go, so that no more than `bytes_max` of history are kept and what is left of one revision
    /// more; 0 when none has to.
    fn revision_beyond_bytes(&self, collection: &Collection, watermark: u64, bytes_max: u64) -> Result<u64, ReadError> {
        let too_old = self.counts(collection)?.history_bytes_written.saturating_sub(bytes_max);
        if too_old == 0 {
            return Ok(0);
        }
        // Events from before there was a count say 0: they are the oldest, and go first.
        // The last event says how much was written up to the end of a revision.
        let last_event = |revision: u64| -> Result<Option<(u64, record::Change)>, ReadError> {
            let (from, to) = (watermark.saturating_add(1), revision.saturating_add(1));
            self.event(&keys::change(collection.id, from, 0), &keys::change(collection.id, to, 0), true)
        };
        let (mut goes, mut stays) = (watermark, self.revision());
        while stays - goes > 1 {
            let middle = goes + (stays - goes) / 2;
            let old = last_event(middle)?.is_none_or(|(_, event)| event.written <= too_old);
            if old { goes = middle } else { stays = middle }
        }
        Ok(last_event(goes)?.map_or(0, |(revision, _)| revision))
    }

    /// The first event between two keys, or the last one, and its revision.
    fn event(&self, from: &[u8], to: &[u8], last: bool) -> Result<Option<(u64, record::Change)>, ReadError> {
        let mut scan = self.snapshot.scan(CHANGE, from, to, last);
        let Some((key, value)) = scan.next()? else { return Ok(None) };
        let (revision, _) =
            keys::change_parts(key).ok_or_else(|| Error::malformed("an event", "its key is damaged"))?;
        Ok(Some((revision, record::Change::decode(value)?)))
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

    /// The next step of a build that is under way: up to `limit` documents, and about a MiB of entries; `None` when nothing is being built.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn build_step(&self, limit: usize) -> Result<Option<BuildIndex>, ReadError> {
        let Some((collection_id, index)) = self.catalog.building() else { return Ok(None) };
        let (index_id, after) = (index.definition.id, self.walk_progress(collection_id, index.definition.id)?.after);
        self.build_step_at(BuildIndex { collection_id, index_id, after, ..BuildIndex::default() }, limit)
    }

    /// The same at a place that the build has yet to come to: fills `step`, which names the index and where it begins. `None`
    /// when the index is gone.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn build_step_at(&self, mut step: BuildIndex, limit: usize) -> Result<Option<BuildIndex>, ReadError> {
        let indexes = self.catalog.indexes(step.collection_id);
        let Some(index) = indexes.iter().find(|index| index.definition.id == step.index_id) else { return Ok(None) };
        let after = Some(step.after.as_str()).filter(|after| !after.is_empty());
        let ids = keys::ids_behind(after);
        let mut found = self.documents_at(step.collection_id, self.revision(), &ids, false);
        (step.read_revision, step.last) = (self.revision(), true);
        let (mut met, mut bytes) = (0, 0);
        while let Some(document) = found.next()? {
            if met == limit || bytes > STEP_BYTES_MAX {
                step.last = false;
                break;
            }
            met += 1;
            let id = String::from_utf8(document.id.to_vec()).map_err(|e| Error::malformed("an id", e))?;
            step.up_to.clone_from(&id);
            // Whoever wrote it since then has kept the index.
            if document.revision < index.definition.created_revision {
                let read = body::read(document.body, &index.members);
                let read = read.map_err(|e| Error::malformed("a document", e))?;
                let (entries, unfit) = match index.entries(&read) {
                    Ok(entries) => (entries.iter().map(|(values, role)| role.entry(values)).collect(), String::new()),
                    Err(unfit) => (Vec::new(), unfit.to_string()),
                };
                bytes += id.len() + entries.iter().map(Bytes::len).sum::<usize>();
                step.documents.push(IndexableDocument { id, entries, unfit });
            }
        }
        Ok(Some(step))
    }

    /// How far the build of an index has come.
    pub(super) fn walk_progress(&self, collection: u32, index: u32) -> Result<WalkProgress, ReadError> {
        let bytes = self.snapshot.get(META, &keys::walk_progress(collection, index))?.unwrap_or_default();
        Ok(WalkProgress::decode(&*bytes).map_err(|e| Error::malformed("an index's progress", e))?)
    }
}
