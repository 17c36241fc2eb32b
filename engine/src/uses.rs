//! What indexes are used for on this node: an owner finds those that only cost.

use std::collections::HashMap;

use parking_lot::Mutex;

/// How many queries went through each index since the state was opened, by collection and index. Kept in memory only: a few
/// bytes an index, and never written.
#[derive(Debug, Default)]
pub(crate) struct Uses(Mutex<HashMap<(u32, u32), u64>>);

impl Uses {
    /// One more query went through `index`.
    pub(crate) fn note(&self, collection: u32, index: u32) {
        *self.0.lock().entry((collection, index)).or_default() += 1;
    }

    pub(crate) fn of(&self, collection: u32, index: u32) -> u64 {
        self.0.lock().get(&(collection, index)).copied().unwrap_or(0)
    }
}
