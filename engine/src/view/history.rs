//! Earlier versions: a document, or all of a collection, as of a revision.

use std::cmp::Ordering;

use aerodb_proto::Collection;

use super::{ReadError, Stored, View};
use crate::error::Error;
use crate::kv::{Pair, Scan};
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

    /// The same of several documents, in the order of `ids`.
    pub(super) fn documents_of(
        &self,
        collection: u32,
        ids: &[Vec<u8>],
        revision: u64,
    ) -> Result<Vec<Option<Document>>, ReadError> {
        let latest = ids.iter().zip(self.documents(collection, ids)?);
        latest.map(|(id, latest)| self.held_at(collection, id, latest, revision)).collect()
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

    /// The documents of `collection` as of `revision`, by id, beginning after `after`.
    pub(super) fn documents_at<'a>(
        &'a self,
        collection: &Collection,
        revision: u64,
        after: Option<&str>,
    ) -> DocumentsAt<'a> {
        let id = collection.id;
        // The smallest key behind an id is the id with a zero byte: ids have no control characters.
        let doc_from = after
            .map_or_else(|| keys::collection_prefix(id), |after| [&*keys::doc(id, after.as_bytes()), &[0]].concat());
        let history_from =
            after.map_or_else(|| keys::collection_prefix(id), |after| keys::history_end(id, after.as_bytes()));
        let end = keys::collection_end(id);
        let latest = self.snapshot.scan(DOC, &doc_from, &end, false);
        // At the view's own revision every document is its latest version: history has nothing to add.
        let past = (revision < self.meta.revision).then(|| self.snapshot.scan(HISTORY, &history_from, &end, false));
        let former = past.map(|scan| Former { scan: Peek::new(scan), id: Vec::new(), held: Vec::new() });
        DocumentsAt { revision, latest: Peek::new(latest), former }
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
    latest: Peek<'a>,
    former: Option<Former<'a>>,
}

/// Earlier versions in a merge.
struct Former<'a> {
    scan: Peek<'a>,
    /// The last id that was gone through, and the version of it that held at the revision, if one did.
    id: Vec<u8>,
    held: Vec<u8>,
}

impl DocumentsAt<'_> {
    /// The next document.
    pub(super) fn next(&mut self) -> Result<Option<Lent<'_>>, ReadError> {
        loop {
            let latest = self.latest.head()?.map(|(key, _)| keys::doc_id(key));
            let former = self.former.as_mut().map(Former::next_id).transpose()?.flatten();
            let order = match (latest, former) {
                (None, None) => return Ok(None),
                (Some(latest), Some(former)) => latest.cmp(former),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            let mut former_holds = false;
            if let Some(former) = self.former.as_mut().filter(|_| order.is_ge()) {
                former_holds = former.pass(self.revision)?;
            }
            if order.is_le() {
                self.latest.pass();
                if Document::split(self.latest.value())?.0 <= self.revision {
                    break;
                }
            }
            if former_holds {
                return self.former.as_ref().map(Former::lend).transpose();
            }
        }
        let (revision, body) = Document::split(self.latest.value())?;
        Ok(Some(Lent { id: keys::doc_id(self.latest.key()), revision, body }))
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
