//! Figures that every query asks for: how many documents there are, how an index is filled, what is still kept. A view has each of
//! them once, however many queries it answers.

use std::collections::HashMap;

use aerodb_proto::{Collection, CollectionCounts, IndexCounts};
use parking_lot::Mutex;

use super::{ReadError, View};
use crate::index::Index;
use crate::kv;
use crate::state::{self, META, keys, record};

/// Figures that a view keeps, at most: a few dozen bytes each.
const FIGURES_MAX: usize = 1_024;

/// What was found in `meta`, by key.
#[derive(Default)]
pub(super) struct Figures(Mutex<HashMap<Vec<u8>, Option<Vec<u8>>>>);

impl View {
    /// What `meta` has at `key`.
    pub(super) fn figure(&self, key: &[u8]) -> kv::Result<Option<Vec<u8>>> {
        if let Some(known) = self.figures.0.lock().get(key) {
            return Ok(known.clone());
        }
        let found = self.snapshot.get(META, key)?;
        let mut known = self.figures.0.lock();
        if known.len() < FIGURES_MAX {
            known.insert(key.to_vec(), found.clone());
        }
        Ok(found)
    }

    /// Figures of a collection, kept with every write.
    pub(super) fn counts(&self, collection: &Collection) -> Result<CollectionCounts, ReadError> {
        Ok(state::collection_counts(&|key| self.figure(key), collection.id)?)
    }

    /// Figures of an index, kept with every write.
    pub(super) fn index_counts(&self, collection: &Collection, index: &Index) -> Result<IndexCounts, ReadError> {
        Ok(state::index_counts(&|key| self.figure(key), collection.id, index.definition.id)?)
    }

    /// The revision below which nothing of `collection` is kept.
    pub(super) fn watermark(&self, collection: u32) -> Result<u64, ReadError> {
        let bytes = self.figure(&keys::watermark(collection)).map_err(crate::Error::from)?;
        Ok(bytes.map(|bytes| record::number(&bytes)).transpose()?.unwrap_or(0))
    }
}
