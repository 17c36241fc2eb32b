//! Values of the state. Documents keep the JSON that a reader gets behind a small fixed header, so that a point read
//! copies bytes and parses nothing.

use bytes::{Buf, Bytes};

use crate::index::Role;
use crate::kv::Error;

const VERSION: u8 = 1;
/// Of an event that names former index entries.
const VERSION_WITH_ENTRIES: u8 = 2;
/// The same, with the bytes of history that were written up to there.
const VERSION_WITH_BYTES: u8 = 3;
const VERSION_WITH_BYTES_AND_ENTRIES: u8 = 4;
/// What the key of an event takes, and what stands before its id.
const CHANGE_KEY_BYTES: usize = 16;
const CHANGE_HEADER_BYTES: usize = 18;

/// A document as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// The revision that wrote this version.
    pub(crate) revision: u64,
    /// When the document was created, milliseconds since the epoch.
    pub(crate) created_ms: u64,
    /// The final JSON.
    pub(crate) body: Bytes,
}

impl Document {
    const HEADER: usize = 17;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::HEADER + self.body.len());
        self.encode_to(&mut bytes);
        bytes
    }

    fn encode_to(&self, bytes: &mut Vec<u8>) {
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.revision.to_le_bytes());
        bytes.extend_from_slice(&self.created_ms.to_le_bytes());
        bytes.extend_from_slice(&self.body);
    }

    pub(crate) fn decode(bytes: impl Into<Bytes>) -> Result<Self, Error> {
        let mut body: Bytes = bytes.into();
        let (revision, created_ms) = Self::header(&body)?;
        // Where it lies: a slice would be a second owner.
        body.advance(Self::HEADER);
        Ok(Self { revision, created_ms, body })
    }

    /// The revision and the body, where they lie.
    pub(crate) fn split(bytes: &[u8]) -> Result<(u64, &[u8]), Error> {
        let (revision, _) = Self::header(bytes)?;
        Ok((revision, &bytes[Self::HEADER..]))
    }

    /// The revision and the time of creation; there is a whole header when they are found.
    fn header(bytes: &[u8]) -> Result<(u64, u64), Error> {
        let header = (bytes.first() == Some(&VERSION)).then(|| word(bytes, 1).zip(word(bytes, 9)));
        header.flatten().ok_or_else(|| damaged("document"))
    }
}

/// An earlier version: it held from the revision in its key up to, not including, `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Past {
    /// The revision that replaced or deleted this version.
    pub(crate) to: u64,
    /// The version itself.
    pub(crate) document: Document,
}

impl Past {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + Document::HEADER + self.document.body.len());
        bytes.extend_from_slice(&self.to.to_le_bytes());
        self.document.encode_to(&mut bytes);
        bytes
    }

    pub(crate) fn decode(mut bytes: Vec<u8>) -> Result<Self, Error> {
        let to = word(&bytes, 0).ok_or_else(|| damaged("earlier version"))?;
        Ok(Self { to, document: Document::decode(bytes.split_off(8))? })
    }

    /// The end of the interval, and the document as [`Document`] encodes it, where it lies.
    pub(crate) fn split(bytes: &[u8]) -> Result<(u64, &[u8]), Error> {
        Ok((Self::decode_to(bytes)?, &bytes[8..]))
    }

    /// Only the end of the interval: most readers need no more.
    pub(crate) fn decode_to(bytes: &[u8]) -> Result<u64, Error> {
        word(bytes, 0).ok_or_else(|| damaged("earlier version"))
    }
}

/// What happened to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It did not exist before.
    Insert,
    /// It was replaced or patched.
    Update,
    /// It is gone.
    Delete,
}

/// An event of the feed; the images are in `doc` and `history`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    /// The revision of the version before; 0 when there was none.
    pub(crate) previous: u64,
    pub(crate) id: Bytes,
    /// Bytes of history that were written in the collection ([`Change::bytes`]), up to this event and with it; 0: written before
    /// there was a count.
    pub(crate) written: u64,
    /// Keys in `index_history` of the entries that went with it: they are collected with the event.
    pub(crate) former_entries: Vec<Vec<u8>>,
}

impl Change {
    /// What it takes in the feed, and its former entries in theirs.
    pub(crate) fn bytes(&self) -> u64 {
        let entries = self.former_entries.iter().map(|entry| 2 * entry.len() + 4 + Entry::BYTES);
        (CHANGE_KEY_BYTES + CHANGE_HEADER_BYTES + self.id.len() + entries.sum::<usize>()) as u64
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            ChangeKind::Insert => 1,
            ChangeKind::Update => 2,
            ChangeKind::Delete => 3,
        };
        let version = match (self.written != 0, self.former_entries.is_empty()) {
            (false, true) => VERSION,
            (false, false) => VERSION_WITH_ENTRIES,
            (true, true) => VERSION_WITH_BYTES,
            (true, false) => VERSION_WITH_BYTES_AND_ENTRIES,
        };
        let mut bytes = Vec::with_capacity(CHANGE_HEADER_BYTES + self.id.len());
        bytes.extend_from_slice(&[version, kind]);
        bytes.extend_from_slice(&self.previous.to_le_bytes());
        if self.written != 0 {
            bytes.extend_from_slice(&self.written.to_le_bytes());
        }
        if self.former_entries.is_empty() {
            bytes.extend_from_slice(&self.id);
            return bytes;
        }
        for part in std::iter::once(&*self.id).chain(self.former_entries.iter().map(Vec::as_slice)) {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (counted, with_entries) = match bytes.first() {
            Some(&VERSION) => (false, false),
            Some(&VERSION_WITH_ENTRIES) => (false, true),
            Some(&VERSION_WITH_BYTES) => (true, false),
            Some(&VERSION_WITH_BYTES_AND_ENTRIES) => (true, true),
            _ => return Err(damaged("change")),
        };
        let kind = match bytes.get(1) {
            Some(1) => ChangeKind::Insert,
            Some(2) => ChangeKind::Update,
            Some(3) => ChangeKind::Delete,
            _ => return Err(damaged("change")),
        };
        let previous = word(bytes, 2).ok_or_else(|| damaged("change"))?;
        let written = if counted { word(bytes, 10).ok_or_else(|| damaged("change"))? } else { 0 };
        let mut rest = &bytes[if counted { 18 } else { 10 }..];
        if !with_entries {
            let id = Bytes::copy_from_slice(rest);
            return Ok(Self { kind, previous, written, id, former_entries: Vec::new() });
        }
        let mut parts = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (part, after) =
                after.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(|| damaged("change"))?;
            parts.push(part.to_vec());
            rest = after;
        }
        if parts.is_empty() || !rest.is_empty() {
            return Err(damaged("change"));
        }
        Ok(Self { kind, previous, written, id: parts.remove(0).into(), former_entries: parts })
    }
}

/// An entry of an index: the revision that added it, or for a former one the revision that removed it, and its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) revision: u64,
    pub(crate) role: Role,
}

impl Entry {
    /// What it takes as a value.
    const BYTES: usize = 9;

    pub(crate) fn encode(self) -> Vec<u8> {
        [&self.revision.to_le_bytes()[..], &[self.role.byte()]].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let found =
            word(bytes, 0).zip(bytes.get(8).copied().and_then(Role::from_byte)).filter(|_| bytes.len() == Self::BYTES);
        let (revision, role) = found.ok_or_else(|| damaged("index entry"))?;
        Ok(Self { revision, role })
    }
}

/// A number that is a value by itself: a watermark, a session, the last revision of a second.
pub(crate) fn number(bytes: &[u8]) -> Result<u64, Error> {
    Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| damaged("number"))?))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn damaged(what: &'static str) -> Error {
    Error::corruption("reading the state", format!("a stored {what} has a form that this version does not know"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let document = Document { revision: 7, created_ms: 9, body: Bytes::from_static(b"{}") };
        let past = Past { to: 8, document: document.clone() };
        assert_eq!(Document::decode(document.encode()).ok(), Some(document));
        assert_eq!(Past::decode_to(&past.encode()).ok(), Some(8));
        assert_eq!(Past::decode(past.encode()).ok(), Some(past));
        for former_entries in [vec![], vec![b"one".to_vec(), vec![]]] {
            for written in [0, 9] {
                let (id, former_entries) = (Bytes::from_static(b"x"), former_entries.clone());
                let change = Change { kind: ChangeKind::Delete, previous: 3, written, id, former_entries };
                assert_eq!(Change::decode(&change.encode()).ok(), Some(change));
            }
        }
        let entry = Entry { revision: 7, role: Role::Whole };
        assert_eq!(Entry::decode(&entry.encode()).ok(), Some(entry));
    }

    #[test]
    fn damage_is_an_error() {
        assert!(Document::decode(vec![]).is_err());
        assert!(Document::decode(vec![9; 30]).is_err());
        assert!(Past::decode(vec![1, 2]).is_err());
        assert!(Change::decode(&[VERSION, 7, 0, 0]).is_err());
        assert!(Change::decode(&[VERSION_WITH_ENTRIES, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1]).is_err());
        assert!(Entry::decode(&[0; 8]).is_err() && Entry::decode(&[9; 9]).is_err());
        assert!(number(&[0; 7]).is_err());
    }
}
