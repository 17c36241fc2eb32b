//! Documents in memory: those that were written or fetched last. A look-up here is a tenth of a walk through RocksDB's tables,
//! where a page of an index leads to as many places as it has documents.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Weighter};

use crate::apply::Documents;

/// What an entry takes beside its key and its value, bytes: about what the map and the two allocations need.
const ENTRY_BYTES: usize = 136;
/// How large a document is, about, with its entry.
const DOCUMENT_BYTES_TYPICAL: usize = 512;

/// Latest versions, by the key that they have in [`crate::state::DOC`] and as they are stored there. Bounded by bytes; when it is
/// full, what nobody asked for goes first.
///
/// Writers and readers fill it, side by side and without waiting for each other. What keeps a reader from leaving an old version
/// behind is that each entry says at which revision it was the latest, and that apply notes for every document, *before* its
/// batch is in the store, at which revision it was written: an entry from before that is worth nothing. So what is found here is
/// the latest version, or one that a batch just being written brings, and never one that is older than a reader's snapshot has:
/// who reads at a revision takes what is not newer than that and looks into its snapshot for the rest.
///
/// Documents share the places where writes are noted, by a hash: a write may cost others their entries, until they are fetched
/// again.
pub(crate) struct DocumentCache {
    documents: Cache<Vec<u8>, Known, ByBytes>,
    /// The last revision that wrote any document of a place.
    written: Box<[AtomicU64]>,
    places: DefaultHashBuilder,
}

/// A version, and a revision at which it was the latest.
#[derive(Clone)]
struct Known {
    at: u64,
    document: Bytes,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Vec<u8>, Known> for ByBytes {
    fn weight(&self, key: &Vec<u8>, known: &Known) -> u64 {
        (key.len() + known.document.len() + ENTRY_BYTES) as u64
    }
}

impl DocumentCache {
    /// An empty one of at most `bytes_max` bytes, and a sixtieth of that for its notes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let documents = bytes_max / DOCUMENT_BYTES_TYPICAL;
        Self {
            documents: Cache::with_weighter(documents, bytes_max as u64, ByBytes),
            written: (0..documents.next_power_of_two()).map(|_| AtomicU64::new(0)).collect(),
            places: DefaultHashBuilder::default(),
        }
    }

    /// The document at `key`, as it is stored. `None` says nothing: it may be in the store.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Bytes> {
        let known = self.documents.get(key)?;
        (known.at >= self.place(key).load(Ordering::Acquire)).then_some(known.document)
    }

    /// Takes in what the store has at `key` at the revision `at`.
    pub(crate) fn fill(&self, key: Vec<u8>, document: Bytes, at: u64) {
        if at >= self.place(&key).load(Ordering::Acquire) {
            self.documents.insert(key, Known { at, document });
        }
    }

    /// Takes in what a batch leaves of each document that it writes (`None`: deleted), and at which revision it leaves it.
    pub(crate) fn update(&self, written: Documents, revision: u64) {
        for (key, document) in written {
            self.place(&key).store(revision, Ordering::Release);
            match document {
                Some(document) => self.documents.insert(key, Known { at: revision, document }),
                None => drop(self.documents.remove(&key)),
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn clear(&self) {
        self.documents.clear();
    }

    fn place(&self, key: &[u8]) -> &AtomicU64 {
        // A power of two of them, one at least.
        &self.written[self.places.hash_one(key) as usize & (self.written.len() - 1)]
    }
}
