//! Earlier versions: a document, or all of a collection, as of a revision.

use aerodb_proto::Collection;

use super::{ReadError, Stored, View};
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
        DocumentsAt { revision, latest: Peek::new(latest), past: past.map(Peek::new) }
    }
}

/// A scan merged from the latest versions and the history.
pub(super) struct DocumentsAt<'a> {
    revision: u64,
    latest: Peek<'a>,
    past: Option<Peek<'a>>,
}

impl DocumentsAt<'_> {
    /// The next document's id and version.
    pub(super) fn next(&mut self) -> Result<Option<(Vec<u8>, Document)>, ReadError> {
        loop {
            let latest = self.latest.head()?.map(|(key, _)| keys::doc_id(key).to_vec());
            let past = self.past_id()?;
            let id = match (latest, past) {
                (None, None) => return Ok(None),
                (Some(a), Some(b)) => a.min(b),
                (Some(only), None) | (None, Some(only)) => only,
            };
            let latest = self.take_latest(&id)?;
            let past = self.take_past(&id)?;
            if let Some(document) = latest.or(past) {
                return Ok(Some((id, document)));
            }
        }
    }

    fn past_id(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(past) = &mut self.past else { return Ok(None) };
        Ok(past.head()?.and_then(|(key, _)| keys::history_parts(key)).map(|(id, _)| id.to_vec()))
    }

    /// Consumes the latest version of `id`; returns it if it held at the revision.
    fn take_latest(&mut self, id: &[u8]) -> Result<Option<Document>, ReadError> {
        let here = self.latest.head()?.is_some_and(|(key, _)| keys::doc_id(key) == id);
        if !here {
            return Ok(None);
        }
        let document = self.latest.take().map(|(_, value)| Document::decode(value)).transpose()?;
        Ok(document.filter(|document| document.revision <= self.revision))
    }

    /// Consumes the history of `id`; returns the version that held at the revision.
    fn take_past(&mut self, id: &[u8]) -> Result<Option<Document>, ReadError> {
        let revision = self.revision;
        let Some(past) = &mut self.past else { return Ok(None) };
        let mut found = None;
        loop {
            let held = match past.head()? {
                Some((key, value)) => match keys::history_parts(key) {
                    Some((other, from)) if other == id => from <= revision && revision < Past::decode_to(value)?,
                    _ => return Ok(found),
                },
                None => return Ok(found),
            };
            let taken = past.take();
            if let Some((_, value)) = taken.filter(|_| held) {
                found = Some(Past::decode(value)?.document);
            }
        }
    }
}

/// A scan that can be looked at before it is consumed.
pub(super) struct Peek<'a> {
    scan: Box<dyn Scan + 'a>,
    head: Option<(Vec<u8>, Vec<u8>)>,
    ended: bool,
}

impl<'a> Peek<'a> {
    pub(super) fn new(scan: Box<dyn Scan + 'a>) -> Self {
        Self { scan, head: None, ended: false }
    }

    pub(super) fn head(&mut self) -> Result<Option<Pair<'_>>, ReadError> {
        if self.head.is_none() && !self.ended {
            self.head = self.scan.next()?.map(|(key, value)| (key.to_vec(), value.to_vec()));
            self.ended = self.head.is_none();
        }
        Ok(self.head.as_ref().map(|(key, value)| (&**key, &**value)))
    }

    pub(super) fn take(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.head.take()
    }
}
