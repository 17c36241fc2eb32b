//! Earlier versions: a document, or all of a collection, as of a revision.

use std::cmp::Ordering;

use aerodb_proto::Collection;

use super::{ReadError, Stored, View};
use crate::error::Error;
use crate::index::Stretch;
use crate::kv::{Pair, Scan};
use crate::packed::Packed;
use crate::state::record::{Document, Past};
use crate::state::{DOC, HISTORY, keys};

impl View {
    /// The document as it was at `revision`.
    ///
    /// # Errors
    /// When that revision is not reached or no longer kept, or the storage fails.
    pub fn get_at(&self, collection: &Collection, id: &str, revision: u64) -> Result<Option<Stored>, ReadError> {
        self.check_readable(collection, revision)?;
        Ok(self.document_at(collection.id, id.as_bytes(), revision)?.map(Stored::from))
    }

    /// The same, of a revision that can be read.
    pub(super) fn document_at(&self, collection: u32, id: &[u8], revision: u64) -> Result<Option<Document>, ReadError> {
        let latest = self.document(collection, id)?;
        self.held_at(collection, id, latest, revision)
    }

    /// The same of several documents of a collection, in the order of their `keys`.
    pub(super) fn documents_of(
        &self,
        collection: u32,
        keys: &Packed,
        revision: u64,
    ) -> Result<Vec<Option<Document>>, ReadError> {
        let latest = keys.iter().zip(self.documents(keys)?);
        latest.map(|(key, latest)| self.held_at(collection, keys::doc_id(key), latest, revision)).collect()
    }

    /// The version of a document that held at `revision`; `latest` is the latest one.
    fn held_at(
        &self,
        collection: u32,
        id: &[u8],
        latest: Option<Document>,
        revision: u64,
    ) -> Result<Option<Document>, ReadError> {
        if let Some(latest) = latest.filter(|latest| latest.revision <= revision) {
            return Ok(Some(latest));
        }
        if revision >= self.revision() {
            return Ok(None);
        }
        let (from, to) = (keys::history(collection, id, revision), keys::history_end(collection, id));
        let mut scan = self.snapshot.scan(HISTORY, &from, &to, false);
        Ok(match scan.next()? {
            Some((_, value)) if Past::decode_to(value)? > revision => Some(Past::decode(value.to_vec())?.document),
            _ => None,
        })
    }

    /// The documents of `collection` as of `revision` whose ids lie in the stretch, by id, from the last one if `reverse`.
    pub(super) fn documents_at<'a>(
        &'a self,
        collection: u32,
        revision: u64,
        (from, to): &Stretch,
        reverse: bool,
    ) -> DocumentsAt<'a> {
        // Former versions lie behind their id and before the place behind it: the same bounds are good for them.
        let (from, to) = (keys::doc(collection, from), keys::doc(collection, to));
        let scan = |cf| Peek::new(self.snapshot.scan(cf, &from, &to, reverse));
        // At the view's own revision every document is its latest version: history has nothing to add.
        let past = revision < self.meta.revision;
        let former = past.then(|| Former { scan: scan(HISTORY), id: Vec::new(), held: Vec::new() });
        DocumentsAt { revision, reverse, latest: scan(DOC), former, from_former: false }
    }

    /// The part of a collection's documents that lie in these stretches of ids, from 0 to 1, by what they take on disk; a half,
    /// while hardly any of it is there.
    pub(super) fn part_of_documents(&self, collection: u32, stretches: &[Stretch]) -> Result<f64, ReadError> {
        self.part_of(DOC, &keys::collection_prefix(collection), &keys::collection_end(collection), stretches)
    }
}

/// A document that a scan met. It lies in the scan's memory, until the next one.
#[derive(Clone, Copy)]
pub(super) struct Lent<'a> {
    pub(super) id: &'a [u8],
    pub(super) revision: u64,
    pub(super) body: &'a [u8],
}

/// A scan merged from the latest versions and the history.
pub(super) struct DocumentsAt<'a> {
    revision: u64,
    reverse: bool,
    latest: Peek<'a>,
    former: Option<Former<'a>>,
    /// Where the document lies that it went on to.
    from_former: bool,
}

/// Earlier versions in a merge.
struct Former<'a> {
    scan: Peek<'a>,
    /// The last id that was gone through, and the version of it that held at the revision, if one did.
    id: Vec<u8>,
    held: Vec<u8>,
}

impl DocumentsAt<'_> {
    /// Goes on to the next document; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool, ReadError> {
        loop {
            let latest = self.latest.head()?.map(|(key, _)| keys::doc_id(key));
            let former = self.former.as_mut().map(Former::next_id).transpose()?.flatten();
            let order = match (latest, former) {
                (None, None) => return Ok(false),
                (Some(latest), Some(former)) if self.reverse => former.cmp(latest),
                (Some(latest), Some(former)) => latest.cmp(former),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            self.from_former = false;
            if let Some(former) = self.former.as_mut().filter(|_| order.is_ge()) {
                self.from_former = former.pass(self.revision)?;
            }
            if order.is_le() {
                self.latest.pass();
                if Document::split(self.latest.value())?.0 <= self.revision {
                    self.from_former = false;
                    return Ok(true);
                }
            }
            if self.from_former {
                return Ok(true);
            }
        }
    }

    /// The document that it went on to.
    pub(super) fn lend(&self) -> Result<Lent<'_>, ReadError> {
        if let Some(former) = self.former.as_ref().filter(|_| self.from_former) {
            return former.lend();
        }
        let (revision, body) = Document::split(self.latest.value())?;
        Ok(Lent { id: keys::doc_id(self.latest.key()), revision, body })
    }

    /// The next document.
    pub(super) fn next(&mut self) -> Result<Option<Lent<'_>>, ReadError> {
        if self.advance()? { self.lend().map(Some) } else { Ok(None) }
    }
}

impl Former<'_> {
    fn next_id(&mut self) -> Result<Option<&[u8]>, ReadError> {
        Ok(self.scan.head()?.map(|(key, _)| history_id(key)).transpose()?)
    }

    /// Passes over all versions of the next id; true when one of them held at `revision`.
    fn pass(&mut self, revision: u64) -> Result<bool, ReadError> {
        self.id.clear();
        let mut holds = false;
        while let Some((key, value)) = self.scan.head()? {
            let Some((id, from)) = keys::history_parts(key) else { return Err(damaged().into()) };
            // No id is empty.
            if self.id.is_empty() {
                self.id.extend_from_slice(id);
            }
            if *id != *self.id {
                break;
            }
            let (to, document) = Past::split(value)?;
            if from <= revision && revision < to {
                document.clone_into(&mut self.held);
                holds = true;
            }
            self.scan.pass();
        }
        Ok(holds)
    }

    fn lend(&self) -> Result<Lent<'_>, ReadError> {
        let (revision, body) = Document::split(&self.held)?;
        Ok(Lent { id: &self.id, revision, body })
    }
}

fn history_id(key: &[u8]) -> Result<&[u8], Error> {
    keys::history_parts(key).map(|(id, _)| id).ok_or_else(damaged)
}

fn damaged() -> Error {
    Error::malformed("an earlier version", "its key is damaged")
}

/// A scan that can be looked at before it goes on. It copies into memory of its own, always the same.
pub(super) struct Peek<'a> {
    scan: Box<dyn Scan + 'a>,
    key: Vec<u8>,
    value: Vec<u8>,
    head: Head,
}

/// What a [`Peek`] knows of the next pair.
enum Head {
    Unread,
    Read,
    Ended,
}

impl<'a> Peek<'a> {
    pub(super) fn new(scan: Box<dyn Scan + 'a>) -> Self {
        Self { scan, key: Vec::new(), value: Vec::new(), head: Head::Unread }
    }

    /// The next pair, which stays the next one.
    pub(super) fn head(&mut self) -> Result<Option<Pair<'_>>, ReadError> {
        if matches!(self.head, Head::Unread) {
            self.head = match self.scan.next()? {
                Some((key, value)) => {
                    key.clone_into(&mut self.key);
                    value.clone_into(&mut self.value);
                    Head::Read
                }
                None => Head::Ended,
            };
        }
        Ok(matches!(self.head, Head::Read).then_some((&*self.key, &*self.value)))
    }

    /// Passes over the pair that was read: it stays in memory until the next one is read.
    pub(super) fn pass(&mut self) {
        if matches!(self.head, Head::Read) {
            self.head = Head::Unread;
        }
    }

    /// The key of the pair that was read last.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Its value.
    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }
}
