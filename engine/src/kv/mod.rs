//! The ordered key-value store beneath everything: the one interface through which AeroDB names a storage engine
//! (A10). Production is RocksDB ([`rocks`]); a deterministic simulation hands in another [`Env`].
//!
//! The interface is narrow on purpose: atomic batches, consistent snapshots, ordered scans, and a precise word for
//! what is durable. Calls block; whoever is on an asynchronous task decides where they run.

mod batch;
mod error;
pub mod rocks;
mod vigilant;

use std::path::Path;
use std::sync::Arc;

pub use batch::{Write, WriteBatch};
pub use error::{Error, ErrorKind};
pub use vigilant::{OnError, Vigilant};

/// The result of a storage call.
pub type Result<T> = std::result::Result<T, Error>;

/// A column family: the position of its name in [`Spec::families`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cf(pub u8);

/// What a batch of writes means for durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logging {
    /// A write-ahead log is kept; [`Store::write`] with `sync` returns once the batch would be found after a power cut.
    WriteAhead,
    /// No write-ahead log: a batch becomes durable with the next flush, which covers all column families atomically.
    None,
}

/// What to open.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The column families; created when missing.
    pub families: &'static [&'static str],
    /// How batches become durable.
    pub logging: Logging,
    /// Memory for writes that are not flushed yet, bytes, per column family.
    pub write_buffer_bytes: usize,
}

/// Opens stores. One per process, so that stores can share a cache.
pub trait Env: Send + Sync + 'static {
    /// Opens the store in `dir`, creating it when missing.
    ///
    /// # Errors
    /// When the folder cannot be used, is in use by another process, or its content is damaged.
    fn open(&self, dir: &Path, spec: &Spec) -> Result<Arc<dyn Store>>;

    /// Opens the store in `dir` for reading only; it must exist.
    ///
    /// # Errors
    /// As [`Env::open`].
    fn open_read_only(&self, dir: &Path, spec: &Spec) -> Result<Arc<dyn Store>>;
}

/// An open store.
pub trait Store: Send + Sync + 'static {
    /// The newest value of `key`.
    ///
    /// # Errors
    /// Any error means that the node can no longer vouch for its data (A7).
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The value of `key` that would be found after a power cut now.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn get_durable(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Writes `batch` atomically. With `sync` (only with [`Logging::WriteAhead`]) it is durable on return.
    ///
    /// # Errors
    /// After an error nothing is known about what is durable: the process must end (A7).
    fn write(&self, batch: WriteBatch, sync: bool) -> Result<()>;

    /// A consistent view of all column families as of now.
    fn snapshot(&self) -> Arc<dyn Snapshot>;

    /// Makes everything written so far durable, all column families at once.
    ///
    /// # Errors
    /// As [`Store::write`].
    fn flush(&self) -> Result<()>;

    /// Writes a copy of the store to the new folder `dir`, durable on return. Files are shared by hard links.
    ///
    /// # Errors
    /// When `dir` exists or cannot be written; the store itself is unharmed.
    fn checkpoint(&self, dir: &Path) -> Result<()>;

    /// True while a write would have to wait, because flushes or compactions do not keep up.
    fn is_stalled(&self) -> bool;

    /// Errors that the store met in the background (a failed flush reaches no writer when there is no log).
    fn background_errors(&self) -> u64;

    /// Figures for metrics: name (fixed, lower case, with its unit last) and value.
    fn figures(&self) -> Vec<(&'static str, f64)>;
}

/// A consistent view of a store; cheap to hold for seconds, not for hours.
pub trait Snapshot: Send + Sync {
    /// The value of `key` in this view.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The values of `keys` in this view, in their order: cheaper than one after the other.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn get_many(&self, cf: Cf, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        keys.iter().map(|key| self.get(cf, key)).collect()
    }

    /// About how many bytes the pairs in `from..to` take on disk.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn bytes_between(&self, cf: Cf, from: &[u8], to: &[u8]) -> Result<u64> {
        let (mut scan, mut bytes) = (self.scan(cf, from, to, false), 0);
        while let Some((key, value)) = scan.next()? {
            bytes += (key.len() + value.len()) as u64;
        }
        Ok(bytes)
    }

    /// Scans keys in `from..to` (bytes, `to` exclusive), ascending, or descending with `reverse`.
    fn scan<'a>(&'a self, cf: Cf, from: &[u8], to: &[u8], reverse: bool) -> Box<dyn Scan + 'a>;

    /// The same view, for who must not wait: what is not in memory is an error there, of the kind [`ErrorKind::NotInMemory`], and
    /// so is what lies behind very many keys that were removed.
    fn in_memory(&self) -> Arc<dyn Snapshot>;
}

/// A key and its value, borrowed from a [`Scan`].
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// A running scan.
pub trait Scan {
    /// The next pair, or `None` at the end.
    ///
    /// # Errors
    /// As [`Store::get`]; a scan that met an error never looks like one that ended.
    fn next(&mut self) -> Result<Option<Pair<'_>>>;
}

/// The smallest key that is greater than every key that begins with `prefix`; `None` when there is none.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&b| b != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn prefix_end_is_the_next_key_outside() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(&[1, 255]), Some(vec![2]));
        assert_eq!(prefix_end(&[255, 255]), None);
    }
}
