//! What is to be told about a collection's indexes.

use aerodb_proto::{Collection, Index};

use super::{ReadError, View};
use crate::state::{self, META};

/// An index and its figures.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexInfo {
    /// What the catalog says.
    pub definition: Index,
    /// Entries that it has.
    pub entries: u64,
    /// Documents that its build has been through, while it is being built.
    pub built_documents: Option<u64>,
}

impl View {
    /// The indexes of a collection, in the order of their creation.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn indexes(&self, collection: &Collection) -> Result<Vec<IndexInfo>, ReadError> {
        let info = |index: &std::sync::Arc<crate::index::Index>| {
            let definition = index.definition.clone();
            let entries =
                state::index_counts(&|key| self.snapshot.get(META, key), collection.id, definition.id)?.entries;
            let progress = match index.is_building() {
                true => Some(self.walk_progress(collection.id, definition.id)?.documents),
                false => None,
            };
            Ok(IndexInfo { definition, entries, built_documents: progress })
        };
        self.catalog.indexes(collection.id).iter().map(info).collect()
    }
}
