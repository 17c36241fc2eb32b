//! The collections, as of one revision of the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use aerodb_proto::Collection;
use prost::Message;

use crate::error::Error;
use crate::kv::Snapshot;
use crate::state::{META, keys};

/// The id of the system collection of API keys.
pub(crate) const API_KEYS: u32 = 1;
/// The name of the system collection of API keys.
pub const API_KEYS_NAME: &str = "_api_keys";

/// True for the names of collections that belong to the system.
pub(crate) fn is_system(name: &str) -> bool {
    name.starts_with('_')
}

/// The collections by name. Immutable: a change makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The revision of the last change.
    pub revision: u64,
    collections: BTreeMap<String, Arc<Collection>>,
}

impl Catalog {
    /// Reads the catalog that `snapshot` holds.
    pub(crate) fn load(snapshot: &dyn Snapshot, revision: u64) -> Result<Self, Error> {
        let (from, to) = keys::collections();
        let mut catalog = Self { revision, collections: BTreeMap::new() };
        let mut scan = snapshot.scan(META, &from, &to, false);
        while let Some((_, value)) = scan.next()? {
            let collection = Collection::decode(value).map_err(|e| Error::malformed("a collection", e))?;
            catalog.insert(collection);
        }
        Ok(catalog)
    }

    /// The collection called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Collection>> {
        self.collections.get(name)
    }

    /// All collections, by name; system collections (their names begin with `_`) too.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Collection>> {
        self.collections.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.collections.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.collections.is_empty()
    }

    pub(crate) fn insert(&mut self, collection: Collection) {
        self.collections.insert(collection.name.clone(), Arc::new(collection));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.collections.remove(name);
    }
}
