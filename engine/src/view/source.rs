//! Where the documents of a list come from: all of them, by id, or those that an index leads to.

use std::collections::{HashSet, VecDeque};
use std::ops::Deref;

use bytes::Bytes;

use super::entries::{Found, Walk, values_of};
use super::history::{DocumentsAt, Lent};
use super::plan::{Access, Through};
use super::run::Run;
use super::{ReadError, View};
use crate::index::Index;
use crate::state::record::Document;

/// Documents on the way that a plan chose.
pub(super) enum Source<'a> {
    Scan(DocumentsAt<'a>),
    Index(Box<Indexed<'a>>),
}

/// A document that a list met.
pub(super) struct Met<'a> {
    pub(super) id: &'a str,
    pub(super) revision: u64,
    pub(super) body: Body<'a>,
}

/// The JSON of a document that was met.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    /// In the memory of a scan.
    Lent(&'a [u8]),
    /// In memory of its own.
    Own(&'a Bytes),
}

impl Body<'_> {
    /// To keep.
    pub(super) fn to_bytes(self) -> Bytes {
        match self {
            Body::Lent(bytes) => Bytes::copy_from_slice(bytes),
            Body::Own(bytes) => bytes.clone(),
        }
    }
}

impl Deref for Body<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Body::Lent(bytes) => bytes,
            Body::Own(bytes) => bytes,
        }
    }
}

impl<'a> Source<'a> {
    pub(super) fn new<'r: 'a>(run: &Run<'r>, access: &'a Access, after: Option<&str>) -> Self {
        match access {
            Access::Scan { .. } => Self::Scan(run.view.documents_at(run.collection, run.revision, after)),
            Access::Index(through) => Self::Index(Box::new(Indexed::new(run, through))),
        }
    }

    /// The next document.
    pub(super) fn next(&mut self) -> Result<Option<Met<'_>>, ReadError> {
        let met = match self {
            Source::Scan(documents) => {
                documents.next()?.map(|Lent { id, revision, body }| (id, revision, Body::Lent(body)))
            }
            Source::Index(indexed) => {
                indexed.next()?.map(|(id, document)| (&**id, document.revision, Body::Own(&document.body)))
            }
        };
        let Some((id, revision, body)) = met else { return Ok(None) };
        let id = std::str::from_utf8(id).map_err(|e| crate::Error::malformed("an id", e))?;
        Ok(Some(Met { id, revision, body }))
    }
}

/// Documents that an index leads to, fetched many at a time.
pub(super) struct Indexed<'a> {
    view: &'a View,
    collection: u32,
    revision: u64,
    index: &'a Index,
    walk: Walk<'a>,
    /// The ids met so far, where one may come again.
    met: Option<HashSet<Vec<u8>>>,
    batch: usize,
    /// The first one was met last.
    fetched: VecDeque<(Vec<u8>, Document)>,
}

/// Documents that are fetched at a time, at most: beyond it, one more costs as much as one by itself.
const FETCHED_MAX: usize = 64;

impl<'a> Indexed<'a> {
    fn new<'r: 'a>(run: &Run<'r>, through: &'a Through) -> Self {
        let Through { index, stretches, reverse, repeats, .. } = through;
        let (view, revision, collection) = (run.view, run.revision, run.collection.id);
        Self {
            view,
            collection,
            revision,
            index,
            walk: Walk::new(view, collection, index, revision, stretches.clone(), *reverse),
            met: repeats.then(HashSet::new),
            batch: (run.query.offset + run.query.limit + 1).clamp(1, FETCHED_MAX),
            fetched: VecDeque::new(),
        }
    }

    fn next(&mut self) -> Result<Option<&(Vec<u8>, Document)>, ReadError> {
        self.fetched.pop_front();
        if self.fetched.is_empty() {
            let ids = self.ids()?;
            let documents = self.view.documents_of(self.collection, &ids, self.revision)?;
            for (id, document) in ids.into_iter().zip(documents) {
                let missing = || crate::Error::malformed("an index", "an entry's document is not there");
                self.fetched.push_back((id, document.ok_or_else(missing)?));
            }
        }
        Ok(self.fetched.front())
    }

    /// The ids that the next entries lead to, each once.
    fn ids(&mut self) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut ids = Vec::with_capacity(self.batch);
        while ids.len() < self.batch {
            let Some(Found { key: mut id, .. }) = self.walk.next()? else { break };
            let values = values_of(self.index, &id)?.len();
            id.drain(..values);
            if self.met.as_mut().is_some_and(|met| !met.insert(id.clone())) {
                continue;
            }
            if self.met.as_ref().is_some_and(|met| met.len() > self.view.limits.query_ids_max) {
                let problem = "the query meets more documents than it may: narrow the filter";
                return Err(ReadError::TooExpensive(problem.into()));
            }
            ids.push(id);
        }
        Ok(ids)
    }
}
