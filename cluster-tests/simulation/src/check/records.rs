//! What is on the disks, read by somebody who shares no code with those who wrote it: the forms are those of
//! `raft/src/log/records.rs` and `engine/src/state/keys.rs`.

use aerodb_engine::kv::{Cf, Write, WriteBatch};
use aerodb_proto as proto;
use bytes::Bytes;
use prost::Message;

use crate::store::Content;

/// The family of the log's entries, and that of its other records.
pub(super) const ENTRY: Cf = Cf(0);
pub(super) const META: Cf = Cf(1);

/// The family of the state's counters.
const STATE_META: Cf = Cf(5);
const STATE: &[u8] = b"S";

const CRC_BYTES: usize = 4;
const POSITION_BYTES: usize = 8;

/// The log's records that are no entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Vote,
    Committed,
    Purged,
}

impl Key {
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        match key {
            b"vote" => Some(Self::Vote),
            b"committed" => Some(Self::Committed),
            b"purged" => Some(Self::Purged),
            _ => None,
        }
    }
}

pub(super) fn index(key: &[u8]) -> u64 {
    key.get(..8).and_then(|bytes| bytes.try_into().ok()).map_or(u64::MAX, u64::from_be_bytes)
}

pub(super) fn entry(value: &Bytes) -> Option<proto::LogEntry> {
    proto::LogEntry::decode(value.get(CRC_BYTES + POSITION_BYTES..)?).ok()
}

pub(super) fn message<M: Message + Default>(value: &Bytes) -> Option<M> {
    M::decode(value.get(CRC_BYTES..)?).ok()
}

pub(super) fn term_of(log: &Content, index: u64) -> Option<u64> {
    entry(log.get(ENTRY, &index.to_be_bytes())?)?.log_id.map(|id| id.term)
}

/// Index and term of every entry.
pub(super) fn terms(log: &Content) -> impl Iterator<Item = (u64, u64)> {
    log.iter(ENTRY).filter_map(|(_, value)| entry(value)?.log_id.map(|id| (id.index, id.term)))
}

pub(super) fn vote_of(log: &Content) -> Option<proto::Vote> {
    message(log.get(META, b"vote")?)
}

pub(super) fn purged_of(log: &Content) -> Option<proto::LogId> {
    message(log.get(META, b"purged")?)
}

/// The counters that `batch` writes.
pub(super) fn state(batch: &WriteBatch) -> Option<proto::StateMeta> {
    batch.writes().iter().rev().find_map(|write| match write {
        Write::Put { cf, key, value } if *cf == STATE_META && key == STATE => {
            proto::StateMeta::decode(value.clone()).ok()
        }
        _ => None,
    })
}

/// The counters of a state.
pub(super) fn state_of(content: &Content) -> Option<proto::StateMeta> {
    proto::StateMeta::decode(content.get(STATE_META, STATE)?.clone()).ok()
}
