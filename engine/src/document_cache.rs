//! Documents in memory: those that were written or fetched last. A look-up here is a tenth of a walk through RocksDB's tables,
//! where a page of an index leads to as many places as it has documents.
//!
//! Every document lies in one piece with its key, and a slot of eight bytes leads there: two places in memory, where a map of
//! keys and shared buffers has seven. On a machine whose memory is far away that is most of what a page costs.

mod log;
mod shard;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use log::zeroed;
use shard::Shard;

/// How large a document is, about, with its entry.
const DOCUMENT_BYTES_TYPICAL: usize = 512;
/// For so many bytes of documents there is a place where writes are noted. A reader's snapshot is a few milliseconds old: of so
/// many places few were written since.
const BYTES_FOR_PLACE: usize = 4 << 10;
/// Shards at most: so many threads write side by side.
const SHARDS_MAX: usize = 16;
/// A shard is not smaller than this, if there are several.
const SHARD_BYTES_MIN: usize = 1 << 20;

/// Latest versions, by the key that they have in [`crate::state::DOC`] and as they are stored there. Bounded by bytes; when it is
/// full, what nobody asked for goes first.
///
/// Writers and readers fill it, side by side. What is here is the latest version, or one that a batch just being written brings:
/// who reads at a revision takes what is not newer than that and looks into its snapshot for the rest. A reader that fetched a
/// version before it was replaced must not leave it here afterwards. So apply notes for every document, *before* its batch is in
/// the store, at which revision it was written, and then replaces what is here; and a reader, whom nobody can come between from
/// the look at that note until its version is here, leaves it only if its snapshot has all that was noted. Then either the note
/// is seen, or the version is replaced.
///
/// Documents share the places where writes are noted, by a hash: a reader may leave less here than it could.
pub(crate) struct DocumentCache {
    /// A power of two of them.
    shards: Box<[Shard]>,
    /// The last revision that wrote any document of a place: a power of two of them.
    written: Box<[AtomicU64]>,
    /// Documents that were looked for and not here. Those that were are not counted: they would all write the same place.
    misses: AtomicU64,
    /// Drawn, so that nobody can choose ids that crowd one place.
    seed: u64,
}

impl DocumentCache {
    /// An empty one of at most `bytes_max` bytes, and a tenth of that for its tables.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let shards = 1 << (bytes_max / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX).ilog2();
        Self {
            shards: (0..shards).map(|_| Shard::new(bytes_max / shards)).collect(),
            written: zeroed((bytes_max / BYTES_FOR_PLACE).next_power_of_two()),
            misses: AtomicU64::new(0),
            seed: RandomState::new().hash_one(bytes_max),
        }
    }

    /// The document at `key`, as it is stored. `None` says nothing: it may be in the store.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Bytes> {
        let mut document = Vec::new();
        let hash = self.hash(key);
        let is_here = self.shard(hash).get(hash, key, &mut document);
        self.note_misses(usize::from(!is_here));
        is_here.then(|| document.into())
    }

    /// The same of several keys, in their order. Where documents lie all over the memory most of the time is spent waiting for it:
    /// here all of them are asked for before the first is read, so that the waits are one.
    pub(crate) fn get_many(&self, keys: &[&[u8]]) -> Vec<Option<Bytes>> {
        let hashes: Vec<u64> = keys.iter().map(|key| self.hash(key)).collect();
        let touched = |touch: &dyn Fn(u64) -> u64| black_box(hashes.iter().fold(0, |all, hash| all ^ touch(*hash)));
        touched(&|hash| self.shard(hash).touch_slot(hash));
        touched(&|hash| self.shard(hash).touch_entry(hash));
        let mut documents = Vec::with_capacity(keys.len() * DOCUMENT_BYTES_TYPICAL);
        let found: Vec<_> = keys
            .iter()
            .zip(hashes)
            .map(|(key, hash)| {
                let begin = documents.len();
                self.shard(hash).get(hash, key, &mut documents).then_some(begin..documents.len())
            })
            .collect();
        self.note_misses(found.iter().filter(|range| range.is_none()).count());
        let documents = Bytes::from(documents);
        found.into_iter().map(|range| range.map(|range| documents.slice(range))).collect()
    }

    /// Takes in what the store has at `key` at the revision `at`, unless it may have been replaced since.
    pub(crate) fn fill(&self, key: &[u8], document: &[u8], at: u64) {
        let hash = self.hash(key);
        // Relaxed: whoever held the shard before has noted its write before.
        let is_latest = || at >= self.place(hash).load(Ordering::Relaxed);
        self.shard(hash).insert(hash, key, document, is_latest);
    }

    /// Takes in what a batch leaves of each document that it writes (`None`: deleted), and at which revision it leaves it.
    pub(crate) fn update<'w>(&self, written: impl Iterator<Item = (&'w [u8], Option<&'w [u8]>)>, revision: u64) {
        for (key, document) in written {
            let hash = self.hash(key);
            self.place(hash).store(revision, Ordering::Relaxed);
            match document {
                Some(document) => self.shard(hash).insert(hash, key, document, || true),
                None => self.shard(hash).remove(hash, key),
            }
        }
    }

    fn note_misses(&self, misses: usize) {
        if misses > 0 {
            self.misses.fetch_add(misses as u64, Ordering::Relaxed);
        }
    }

    /// Figures for metrics, as [`crate::kv::Store::figures`].
    pub(crate) fn figures(&self) -> [(&'static str, f64); 3] {
        let (mut documents, mut bytes) = (0, 0);
        for shard in &self.shards {
            let held = shard.held();
            (documents, bytes) = (documents + held.0, bytes + held.1);
        }
        let misses = self.misses.load(Ordering::Relaxed);
        [
            ("document_cache_documents", documents as f64),
            ("document_cache_bytes", bytes as f64),
            ("document_cache_misses", misses as f64),
        ]
    }

    #[cfg(test)]
    pub(crate) fn clear(&self) {
        self.shards.iter().for_each(Shard::clear);
    }

    fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }

    /// Slots and their tags go by other bits of the hash.
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[(hash >> 40) as usize & (self.shards.len() - 1)]
    }

    fn place(&self, hash: u64) -> &AtomicU64 {
        &self.written[(hash >> 16) as usize & (self.written.len() - 1)]
    }
}
