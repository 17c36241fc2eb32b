//! Apply: writes down what the leader decided. Dumb on purpose (A1): no document is parsed, no rule evaluated, no clock
//! read, and nothing is called that could change its mind between versions. Every replica runs exactly this.

mod effects;
mod indexes;
mod sessions;
#[cfg(test)]
mod tests;

use aerodb_proto as proto;
use bytes::Bytes;
use prost::Message;
use proto::StateMeta;

use crate::document_cache::DocumentCache;
use crate::error::Error;
use crate::kv::{Store, WriteBatch};
use crate::planted;
use crate::state::{META, keys};
use effects::Writer;

/// A committed entry of the Raft log.
#[derive(Clone, Debug)]
pub struct ApplyEntry {
    /// Its place in the log.
    pub log_id: proto::LogId,
    /// What it carries.
    pub payload: ApplyPayload,
}

/// What a committed entry carries.
#[derive(Clone, Debug)]
pub enum ApplyPayload {
    /// Nothing: the first entry of a term.
    Blank,
    /// A membership.
    Membership(proto::Membership),
    /// A serialized [`proto::Batch`].
    Batch(Bytes),
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// No application entry.
    Internal,
    /// It took effect.
    Effective,
    /// It did not build on what it found and changed nothing, on any node (rule 2).
    Void,
}

/// What a run of entries does, ready to be written.
pub(crate) struct Plan {
    pub(crate) batch: WriteBatch,
    pub(crate) meta: StateMeta,
    pub(crate) applied: Vec<Applied>,
}

/// Works out what `entries` do to the state whose counters are `meta`. Later entries see earlier ones.
pub(crate) fn plan(
    store: &dyn Store,
    cached: &DocumentCache,
    meta: &StateMeta,
    entries: &[ApplyEntry],
) -> Result<Plan, Error> {
    let mut writer = Writer::new(store, cached, *meta);
    let mut applied = Vec::with_capacity(entries.len());
    for entry in entries {
        let expected = writer.meta.applied.as_ref().map_or(0, |last| last.index + 1);
        if entry.log_id.index < expected || (writer.meta.applied.is_some() && entry.log_id.index > expected) {
            let problem = format!("entry {} follows {}", entry.log_id.index, expected.saturating_sub(1));
            return Err(Error::Inconsistent(problem));
        }
        applied.push(match &entry.payload {
            ApplyPayload::Blank => Applied::Internal,
            ApplyPayload::Membership(membership) => {
                writer.membership(entry.log_id, membership.clone());
                Applied::Internal
            }
            ApplyPayload::Batch(bytes) => batch(&mut writer, entry.log_id.term, bytes.clone())?,
        });
        writer.meta.applied = Some(entry.log_id);
    }
    let meta = writer.meta;
    let mut batch = writer.finish()?;
    batch.put(META, keys::STATE, meta.encode_to_vec());
    Ok(Plan { batch, meta, applied })
}

fn batch(writer: &mut Writer<'_>, term: u64, bytes: Bytes) -> Result<Applied, Error> {
    let batch = proto::Batch::decode(bytes).map_err(|e| Error::malformed("an entry of the log", e))?;
    if batch.feature_level > proto::FEATURE_LEVEL {
        let problem = format!("feature level {}, known are up to {}", batch.feature_level, proto::FEATURE_LEVEL);
        return Err(Error::UnknownOperation(problem));
    }
    let builds_on_this = batch.decided_term == term && batch.base_seq == writer.meta.seq;
    if !builds_on_this && !planted!("base-seq-ignored") {
        return Ok(Applied::Void);
    }
    writer.batch(batch)?;
    Ok(Applied::Effective)
}
