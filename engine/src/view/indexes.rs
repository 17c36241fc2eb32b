//! What is to be told about a collection's indexes.

use aerodb_proto::{Collection, Index};

use super::{ReadError, View};
use crate::state::{self, INDEX, keys};

/// An index and its figures.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexInfo {
    /// What the catalog says.
    pub definition: Index,
    /// Entries that it has.
    pub entries: u64,
    /// Bytes that its entries take on disk, about: without those that are not flushed yet.
    pub bytes: u64,
    /// Queries that this node answered through it since it opened its state.
    pub uses: u64,
    /// Documents that its build has been through, while it is being built.
    pub built_documents: Option<u64>,
}

/// An index that is being built.
#[derive(Clone, Debug, PartialEq)]
pub struct Build {
    /// The collection's name.
    pub collection: String,
    /// The index's name.
    pub index: String,
    /// The part of the documents that it has been through, from 0 to 1.
    pub part: f64,
}

impl View {
    /// The indexes of a collection, in the order of their creation.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn indexes(&self, collection: &Collection) -> Result<Vec<IndexInfo>, ReadError> {
        let info = |index: &std::sync::Arc<crate::index::Index>| {
            let definition = index.definition.clone();
            let entries = state::index_counts(&|key| self.figure(key), collection.id, definition.id)?.entries;
            let progress = match index.is_building() {
                true => Some(self.walk_progress(collection.id, definition.id)?.documents),
                false => None,
            };
            let (from, to) =
                (keys::index_prefix(collection.id, definition.id), keys::index_end(collection.id, definition.id));
            let bytes = self.snapshot.bytes_between(INDEX, &from, &to)?;
            let uses = self.uses.of(collection.id, definition.id);
            Ok(IndexInfo { definition, entries, bytes, uses, built_documents: progress })
        };
        self.catalog.indexes(collection.id).iter().map(info).collect()
    }

    /// The builds that are under way, each with the part of its collection's documents that it has been through, from 0 to 1.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn builds(&self) -> Result<Vec<Build>, ReadError> {
        let mut builds = Vec::new();
        for collection in self.catalog.iter() {
            for index in self.catalog.indexes(collection.id).iter().filter(|index| index.is_building()) {
                let done = self.walk_progress(collection.id, index.definition.id)?.documents as f64;
                let all = self.counts(collection)?.documents.max(1) as f64;
                let (collection, index) = (collection.name.clone(), index.definition.name.clone());
                builds.push(Build { collection, index, part: (done / all).min(1.0) });
            }
        }
        Ok(builds)
    }
}
