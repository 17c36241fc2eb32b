//! What the log's records look like on disk.
//!
//! | family | key | value |
//! |---|---|---|
//! | `entry` | index, 8 bytes big-endian | CRC-32C ‖ position, 8 bytes little-endian ‖ `proto::LogEntry` |
//! | `meta` | `vote` | CRC-32C ‖ `proto::Vote` |
//! | `meta` | `committed`, `purged` | CRC-32C ‖ `proto::LogId` |
//!
//! The CRC is 4 bytes, little-endian, over all that follows it. The position of an entry is the bytes of log up to its
//! end: two of them tell how many bytes lie between, without reading what does.

use aerodb_engine::kv::{Cf, Snapshot, Store};
use aerodb_proto as proto;
use bytes::Bytes;
use prost::Message;

use super::Error;
use crate::convert;
use crate::types::{Entry, LogId, Payload, Vote};

/// The column families of the log's store, in the order of their [`Cf`].
pub(crate) const LOG_FAMILIES: &[&str] = &["entry", "meta"];

pub(super) const ENTRY: Cf = Cf(0);
pub(super) const META: Cf = Cf(1);

pub(super) const VOTE: &[u8] = b"vote";
pub(super) const COMMITTED: &[u8] = b"committed";
pub(super) const PURGED: &[u8] = b"purged";

const CRC_BYTES: usize = 4;
const POSITION_BYTES: usize = 8;

/// What an entry weighs beside its payload, bytes: its record's frame, and what the ring holds for it.
const ENTRY_OVERHEAD_BYTES: u64 = 64;

/// An entry as it was stored.
pub(super) struct Stored {
    pub(super) entry: Entry,
    /// Bytes of log up to the end of this entry.
    pub(super) position: u64,
}

impl Stored {
    /// Bytes of log up to the beginning of this entry.
    pub(super) fn begins_at(&self) -> u64 {
        self.position.saturating_sub(weight(&self.entry))
    }
}

/// What an entry counts for in every bound and figure, bytes.
pub(super) fn weight(entry: &Entry) -> u64 {
    let payload = match &entry.payload {
        Payload::Blank => 0,
        Payload::Normal(proposal) => proposal.0.len(),
        Payload::Membership(membership) => convert::membership_proto(membership).encoded_len(),
    };
    payload as u64 + ENTRY_OVERHEAD_BYTES
}

pub(super) fn entry_key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

/// A key greater than that of every entry.
pub(super) const ENTRIES_END: &[u8] = &[0xff; 9];

/// The stored form of an entry.
pub(super) fn encode_entry(entry: &Entry, position: u64) -> Bytes {
    let body = convert::encode_entry(entry);
    let mut value = Vec::with_capacity(CRC_BYTES + POSITION_BYTES + body.len());
    value.extend_from_slice(&[0; CRC_BYTES]);
    value.extend_from_slice(&position.to_le_bytes());
    value.extend_from_slice(&body);
    seal(value)
}

/// The entry that was stored under `key`, if it is still what was written there.
pub(super) fn decode_entry(key: &[u8], value: Vec<u8>) -> Result<Stored, Error> {
    let index = key_index(key)?;
    let what = || format!("entry {index}");
    let mut rest = open(value, what)?;
    if rest.len() < POSITION_BYTES {
        return Err(Error::Damaged(format!("entry {index} is cut short")));
    }
    let mut position = [0; POSITION_BYTES];
    position.copy_from_slice(&rest.split_to(POSITION_BYTES));
    let entry = convert::decode_entry(rest)?;
    if entry.log_id.index() != index {
        return Err(Error::Damaged(format!("entry {} lies in the place of entry {index}", entry.log_id)));
    }
    Ok(Stored { entry, position: u64::from_le_bytes(position) })
}

pub(super) fn encode_vote(vote: &Vote) -> Bytes {
    encode_message(&convert::vote_proto(vote))
}

pub(super) fn encode_log_id(id: &LogId) -> Bytes {
    encode_message(&convert::log_id_proto(id))
}

pub(super) fn read_vote(store: &dyn Store) -> Result<Option<Vote>, Error> {
    Ok(read_message::<proto::Vote>(store, VOTE)?.as_ref().map(convert::vote))
}

pub(super) fn read_log_id(store: &dyn Store, key: &[u8]) -> Result<Option<LogId>, Error> {
    Ok(read_message::<proto::LogId>(store, key)?.as_ref().map(convert::log_id))
}

/// The stored entry with `index`, which must be there.
pub(super) fn read_entry(store: &dyn Store, index: u64) -> Result<Stored, Error> {
    let key = entry_key(index);
    let value = store.get(ENTRY, &key)?.ok_or_else(|| Error::Damaged(format!("entry {index} is missing")))?;
    decode_entry(&key, value)
}

/// The first entry at or after `from`, or with `reverse` the last.
pub(super) fn read_end(view: &dyn Snapshot, from: u64, reverse: bool) -> Result<Option<Stored>, Error> {
    let mut scan = view.scan(ENTRY, &entry_key(from), ENTRIES_END, reverse);
    match scan.next()? {
        Some((key, value)) => decode_entry(key, value.to_vec()).map(Some),
        None => Ok(None),
    }
}

/// Adds the entries in `from..to`, all of which must be there, to `found`, up to the bounds on `found`; at least one
/// when it is empty.
pub(super) fn read_range(
    view: &dyn Snapshot,
    from: u64,
    to: u64,
    bytes_max: u64,
    entries_max: usize,
    mut found: Vec<Entry>,
) -> Result<Vec<Entry>, Error> {
    let mut scan = view.scan(ENTRY, &entry_key(from), &entry_key(to), false);
    let mut bytes: u64 = found.iter().map(weight).sum();
    for expected in from..to {
        let Some((key, value)) = scan.next()? else {
            return Err(Error::Damaged(format!("entry {expected} is missing")));
        };
        let stored = decode_entry(key, value.to_vec())?;
        let index = stored.entry.log_id.index();
        if index != expected {
            return Err(Error::Damaged(format!("entry {expected} is missing: {index} follows")));
        }
        bytes = bytes.saturating_add(weight(&stored.entry));
        if !found.is_empty() && bytes > bytes_max {
            break;
        }
        found.push(stored.entry);
        if found.len() >= entries_max {
            break;
        }
    }
    Ok(found)
}

fn key_index(key: &[u8]) -> Result<u64, Error> {
    let bytes = key.try_into().map_err(|_| Error::Damaged(format!("{key:?} is not the key of an entry")))?;
    Ok(u64::from_be_bytes(bytes))
}

fn encode_message(message: &impl Message) -> Bytes {
    let mut value = vec![0; CRC_BYTES];
    value.extend_from_slice(&message.encode_to_vec());
    seal(value)
}

fn read_message<M: Message + Default>(store: &dyn Store, key: &[u8]) -> Result<Option<M>, Error> {
    let Some(value) = store.get(META, key)? else {
        return Ok(None);
    };
    let what = || format!("the record `{}`", String::from_utf8_lossy(key));
    let body = open(value, what)?;
    M::decode(body).map(Some).map_err(|e| Error::Damaged(format!("{} cannot be read: {e}", what())))
}

/// Fills in the CRC of a record whose first bytes are left for it.
fn seal(mut value: Vec<u8>) -> Bytes {
    let crc = crc32c::crc32c(&value[CRC_BYTES..]);
    value[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    value.into()
}

/// A record without its CRC, if that holds.
fn open(value: Vec<u8>, what: impl Fn() -> String) -> Result<Bytes, Error> {
    let mut body = Bytes::from(value);
    if body.len() < CRC_BYTES {
        return Err(Error::Damaged(format!("{} is cut short", what())));
    }
    let crc = body.split_to(CRC_BYTES);
    if crc[..] != crc32c::crc32c(&body).to_le_bytes() {
        return Err(Error::Damaged(format!("the checksum of {} does not hold", what())));
    }
    Ok(body)
}
