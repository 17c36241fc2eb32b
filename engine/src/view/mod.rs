//! Reading: one consistent snapshot, with the revision, the catalog and the data that belong together.

mod aggregate;
mod at_once;
mod changes;
mod cursor;
mod digest;
mod entries;
mod expiry;
mod figures;
mod history;
mod indexes;
mod list;
mod maintain;
mod parts;
mod plan;
mod run;
mod schemas;
mod source;
#[cfg(test)]
mod tests;
mod verify;
mod versions;

use std::sync::{Arc, OnceLock};

use aerodb_proto::{Collection, StateMeta};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

pub use aggregate::{AGGREGATES_MAX, Aggregate, GROUP_PATHS_MAX, Grouping};
pub use changes::{Change, Changes};
pub use digest::Digest;
pub use expiry::Expired;
use figures::Figures;
pub use indexes::{Build, IndexInfo};
pub use list::{Count, Explained, ListQuery, Page};
#[cfg(test)]
pub(crate) use plan::{CHEAP, Cheap};
pub use plan::{Candidate, Way};
pub use versions::{Version, Versions, VersionsQuery};

pub use crate::state::record::ChangeKind;

use crate::catalog::{API_KEYS, Catalog, is_system};
use crate::document_cache::DocumentCache;
use crate::engine::{Current, decode_meta};
use crate::error::Error;
use crate::folder::Folder;
use crate::helpers::Helpers;
use crate::kv::{self, Snapshot};
use crate::limits::Limits;
use crate::packed::Packed;
use crate::state::record::Document;
use crate::state::{DOC, META, keys};
use crate::uses::Uses;

/// The state as of one moment. Its calls may block on the disk.
pub struct View {
    snapshot: Arc<dyn Snapshot>,
    meta: StateMeta,
    catalog: Arc<Catalog>,
    limits: Limits,
    cached: Arc<DocumentCache>,
    uses: Arc<Uses>,
    helpers: Arc<Helpers>,
    figures: Arc<Figures>,
    /// The same, of which only what is in memory is read.
    in_memory: OnceLock<Arc<Self>>,
    /// Behind the snapshot: the files outlive it.
    _generation: Arc<Folder>,
}

/// A document as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The revision that wrote it.
    pub revision: u64,
    /// The final JSON, ready to send.
    pub body: Bytes,
}

/// Figures of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectionStats {
    /// Documents.
    pub documents: u64,
    /// Bytes of their stored form, without the index and earlier versions.
    pub bytes: u64,
    /// Bytes of earlier versions, events and former index entries that are kept.
    pub history_bytes: u64,
}

/// Why a read has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// History does not reach back that far.
    #[error("revisions before {oldest} are no longer kept: read at a newer one, or begin anew")]
    Compacted {
        /// The oldest revision that can be read.
        oldest: u64,
    },
    /// The revision has not been reached.
    #[error("the cluster is at revision {current}")]
    RevisionAhead {
        /// The revision reached.
        current: u64,
    },
    /// The cursor is none of this query's.
    #[error("{0}")]
    InvalidCursor(String),
    /// The order cannot be applied.
    #[error("{0}")]
    InvalidOrder(String),
    /// The groups cannot be made.
    #[error("{0}")]
    InvalidGroup(String),
    /// The query takes more than a query may.
    #[error("{0}")]
    TooExpensive(String),
    /// The query would have to look at every document, and its collection forbids that.
    #[error(
        "no index bounds the query, and {collection:?} forbids looking at every document: make an index over a field of its \
         filter (explain says which ways there are), or allow `full_scans`"
    )]
    FullScan {
        /// What the collection is called.
        collection: String,
    },
    /// The storage failed: the node cannot vouch for its data.
    #[error(transparent)]
    Storage(#[from] Error),
}

impl From<kv::Error> for ReadError {
    fn from(error: kv::Error) -> Self {
        Self::Storage(error.into())
    }
}

impl View {
    pub(crate) fn new(current: &Current, limits: Limits) -> Result<Self, Error> {
        let (snapshot, cached) = (current.store.snapshot(), &current.catalog);
        let meta = snapshot.get(META, keys::STATE)?.map(|bytes| decode_meta(&bytes)).transpose()?.unwrap_or_default();
        let catalog = match meta.catalog_revision == cached.revision {
            true => cached.clone(),
            false => Arc::new(Catalog::load(&*snapshot, meta.catalog_revision)?),
        };
        let (cached, uses, helpers) = (current.cached.clone(), current.uses.clone(), current.helpers.clone());
        let (figures, in_memory, _generation) = (Arc::default(), OnceLock::new(), current.generation.clone());
        Ok(Self { snapshot, meta, catalog, limits, cached, uses, helpers, figures, in_memory, _generation })
    }

    /// The revision of this view.
    pub fn revision(&self) -> u64 {
        self.meta.revision
    }

    /// The cluster's epoch; see A4.
    pub fn epoch(&self) -> u64 {
        self.meta.epoch
    }

    /// The index of the last log entry in this view.
    pub fn applied_index(&self) -> u64 {
        self.meta.applied.as_ref().map_or(0, |id| id.index)
    }

    /// The largest time given to a write so far, milliseconds since the epoch.
    pub fn time_ms(&self) -> u64 {
        self.meta.time_ms
    }

    /// The collection called `name`, unless it belongs to the system.
    pub fn collection(&self, name: &str) -> Option<Arc<Collection>> {
        self.catalog.get(name).filter(|collection| !is_system(&collection.name)).cloned()
    }

    /// The collections, by name, without the system's own.
    pub fn collections(&self) -> Vec<Arc<Collection>> {
        self.catalog.iter().filter(|collection| !is_system(&collection.name)).cloned().collect()
    }

    /// The latest version of a document.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn get(&self, collection: &Collection, id: &str) -> Result<Option<Stored>, ReadError> {
        Ok(self.document(collection.id, id.as_bytes())?.map(Stored::from))
    }

    /// Whether there is an API key with this id, that is, [`api_key_id`] of it.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn has_api_key(&self, key_id: &str) -> Result<bool, ReadError> {
        Ok(self.document(API_KEYS, key_id.as_bytes())?.is_some())
    }

    fn document(&self, collection: u32, id: &[u8]) -> Result<Option<Document>, ReadError> {
        let key = keys::doc(collection, id);
        if let Some(document) = self.unless_newer(self.cached.get(&key))? {
            return Ok(Some(document));
        }
        self.snapshot.get(DOC, &key)?.map(|stored| self.to_cache(&key, stored)).transpose()
    }

    /// The same of several documents, in the order of their `keys`.
    fn documents(&self, keys: &Packed) -> Result<Vec<Option<Document>>, ReadError> {
        let mut keys: Vec<&[u8]> = keys.iter().collect();
        let found = self.cached.get_many(&keys).into_iter().map(|cached| self.unless_newer(cached));
        let mut found = found.collect::<Result<Vec<_>, _>>()?;
        let places: Vec<usize> = (0..found.len()).filter(|place| found[*place].is_none()).collect();
        if places.is_empty() {
            return Ok(found);
        }
        keys = places.iter().map(|place| keys[*place]).collect();
        let stored = self.snapshot.get_many(DOC, &keys)?;
        for (place, (key, stored)) in places.into_iter().zip(keys.iter().zip(stored)) {
            found[place] = stored.map(|stored| self.to_cache(key, stored)).transpose()?;
        }
        Ok(found)
    }

    /// A version that was in memory, unless it came after this view.
    fn unless_newer(&self, cached: Option<Bytes>) -> Result<Option<Document>, ReadError> {
        let cached = cached.map(Document::decode).transpose()?;
        Ok(cached.filter(|document| document.revision <= self.meta.revision))
    }

    /// What the snapshot has at `key`, for the next reader as well.
    fn to_cache(&self, key: &[u8], stored: Vec<u8>) -> Result<Document, ReadError> {
        let stored = Bytes::from(stored);
        // First: what is no document must not become one for all others.
        let document = Document::decode(stored.clone())?;
        self.cached.fill(key, &stored, self.meta.revision);
        Ok(document)
    }

    fn check_readable(&self, collection: &Collection, revision: u64) -> Result<(), ReadError> {
        if revision > self.meta.revision {
            return Err(ReadError::RevisionAhead { current: self.meta.revision });
        }
        let oldest = self.watermark(collection.id)?;
        if revision < oldest {
            return Err(ReadError::Compacted { oldest });
        }
        Ok(())
    }
}

impl From<Document> for Stored {
    fn from(document: Document) -> Self {
        Self { revision: document.revision, body: document.body }
    }
}

const HEX: [u8; 16] = *b"0123456789abcdef";

/// The id of an API key's document: a digest, so that the key itself is stored nowhere. Keys are random and long (or
/// the operator's own choice), so a fast digest is enough; passwords are another matter.
pub fn api_key_id(secret: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"aerodb api key v1\0");
    hash.update(secret);
    let mut id = String::with_capacity(2 * Sha256::output_size());
    for byte in hash.finalize() {
        for digit in [byte >> 4, byte & 15] {
            id.push(char::from(HEX[usize::from(digit)]));
        }
    }
    id
}
