//! Writes that happen together or not at all.

use bytes::Bytes;

use super::Cf;

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets `key` to `value`.
    Put {
        /// Where.
        cf: Cf,
        /// Which key.
        key: Vec<u8>,
        /// Its new value.
        value: Bytes,
    },
    /// Removes `key`; it need not exist.
    Delete {
        /// Where.
        cf: Cf,
        /// Which key.
        key: Vec<u8>,
    },
    /// Removes all keys in `from..to`.
    DeleteRange {
        /// Where.
        cf: Cf,
        /// The first key to go.
        from: Vec<u8>,
        /// The first key to stay.
        to: Vec<u8>,
    },
}

/// An ordered list of writes, applied atomically; later ones win over earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    writes: Vec<Write>,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a put.
    pub fn put(&mut self, cf: Cf, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) {
        self.writes.push(Write::Put { cf, key: key.into(), value: value.into() });
    }

    /// Adds a delete.
    pub fn delete(&mut self, cf: Cf, key: impl Into<Vec<u8>>) {
        self.writes.push(Write::Delete { cf, key: key.into() });
    }

    /// Adds the deletion of all keys in `from..to`; `from` is not behind `to`, or the whole batch is refused.
    pub fn delete_range(&mut self, cf: Cf, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        self.writes.push(Write::DeleteRange { cf, from: from.into(), to: to.into() });
    }

    /// What the batch puts (`None`: deletes) at single keys of `cf`, in its order.
    pub(crate) fn single_writes(&self, cf: Cf) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.writes.iter().filter_map(move |write| match write {
            Write::Put { cf: of, key, value } if *of == cf => Some((&**key, Some(&**value))),
            Write::Delete { cf: of, key } if *of == cf => Some((&**key, None)),
            _ => None,
        })
    }

    /// Appends all writes of `other`.
    pub fn append(&mut self, mut other: WriteBatch) {
        self.writes.append(&mut other.writes);
    }

    /// The writes to `cf`, and all others.
    pub(crate) fn split(self, cf: Cf) -> (Self, Self) {
        let is_of = |write: &Write| match write {
            Write::Put { cf: of, .. } | Write::Delete { cf: of, .. } | Write::DeleteRange { cf: of, .. } => *of == cf,
        };
        let (these, others) = self.writes.into_iter().partition(is_of);
        (Self { writes: these }, Self { writes: others })
    }

    /// What RocksDB needs for these writes at most, bytes, so that it takes that much at once.
    pub(crate) fn bytes_max(&self) -> usize {
        // The head of a batch; and of each write its kind, its family and two lengths.
        const HEAD: usize = 12;
        const EACH: usize = 16;
        let of = |write: &Write| match write {
            Write::Put { key, value, .. } => key.len() + value.len(),
            Write::Delete { key, .. } => key.len(),
            Write::DeleteRange { from, to, .. } => from.len() + to.len(),
        };
        HEAD + self.writes.iter().map(|write| EACH + of(write)).sum::<usize>()
    }

    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The writes, in order.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }
}
