//! The collections, as of one revision of the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use aerodb_proto::Collection;
use prost::Message;

use crate::error::Error;
use crate::index::Index;
use crate::json::Members;
use crate::kv::Snapshot;
use crate::schema::{Schema, Schemas};
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
    /// The indexes of each collection that has some, by the collection's id.
    indexes: BTreeMap<u32, Indexes>,
    /// The schemas of each collection that has some, by the collection's id.
    schemas: BTreeMap<u32, Schemas>,
    /// What leads to each collection that is referred to, by its id: the collection that refers, and its index.
    referrers: BTreeMap<u32, Vec<(u32, Arc<Index>)>>,
}

/// The indexes of a collection.
#[derive(Clone, Debug)]
struct Indexes {
    all: Arc<[Arc<Index>]>,
    /// What has to be read of a document to know its entries in all of them.
    members: Arc<Members>,
}

impl Catalog {
    /// Reads the catalog that `snapshot` holds.
    pub(crate) fn load(snapshot: &dyn Snapshot, revision: u64) -> Result<Self, Error> {
        let (from, to) = keys::collections();
        let mut catalog = Self { revision, ..Self::default() };
        let mut scan = snapshot.scan(META, &from, &to, false);
        while let Some((_, value)) = scan.next()? {
            let collection = Collection::decode(value).map_err(|e| Error::malformed("a collection", e))?;
            catalog.insert(collection)?;
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

    /// The collection of this id.
    pub(crate) fn by_id(&self, id: u32) -> Option<&Arc<Collection>> {
        self.collections.values().find(|collection| collection.id == id)
    }

    /// The indexes of a collection, whatever their state.
    pub(crate) fn indexes(&self, collection: u32) -> &[Arc<Index>] {
        self.indexes.get(&collection).map_or(&[], |indexes| &*indexes.all)
    }

    /// What has to be read of a collection's document to know its entries in all indexes.
    pub(crate) fn indexed_members(&self, collection: u32) -> Option<&Members> {
        self.indexes.get(&collection).map(|indexes| &*indexes.members)
    }

    /// The first index that is being built, and its collection.
    pub(crate) fn building(&self) -> Option<(u32, &Arc<Index>)> {
        let all = self.indexes.iter().flat_map(|(&id, indexes)| indexes.all.iter().map(move |index| (id, index)));
        { all }.find(|(_, index)| index.is_building())
    }

    /// What leads to a collection: the collections that refer to it, and by which index.
    pub(crate) fn referrers(&self, target: u32) -> &[(u32, Arc<Index>)] {
        self.referrers.get(&target).map_or(&[], Vec::as_slice)
    }

    /// True when there is any reference.
    pub(crate) fn has_references(&self) -> bool {
        !self.referrers.is_empty()
    }

    /// Notes what the references of a collection lead to now.
    fn relate(&mut self, collection: u32) {
        for referrers in self.referrers.values_mut() {
            referrers.retain(|(referrer, _)| *referrer != collection);
        }
        for index in self.indexes.get(&collection).iter().flat_map(|indexes| indexes.all.iter()) {
            if let Some(reference) = index.reference() {
                self.referrers.entry(reference.collection_id).or_default().push((collection, index.clone()));
            }
        }
        self.referrers.retain(|_, referrers| !referrers.is_empty());
        // In one order, whatever came first: it is that of what a command does.
        for referrers in self.referrers.values_mut() {
            referrers.sort_by_key(|(referrer, index)| (*referrer, index.definition.id));
        }
    }

    /// What binds the documents of a collection, if anything does.
    pub(crate) fn schemas(&self, collection: u32) -> Option<&Schemas> {
        self.schemas.get(&collection)
    }

    /// The first new schema that waits for its check, and the id of its collection.
    pub(crate) fn unchecked(&self) -> Option<(u32, &Schemas, &Arc<Schema>)> {
        self.schemas.iter().find_map(|(&id, schemas)| Some((id, schemas, schemas.unchecked()?)))
    }

    /// Takes in a collection, or what has become of it.
    ///
    /// # Errors
    /// When an index of it is damaged.
    pub(crate) fn insert(&mut self, collection: Collection) -> Result<(), Error> {
        let compile = |definition: &aerodb_proto::Index| Index::compile(definition.clone()).map(Arc::new);
        let all: Arc<[Arc<Index>]> = collection.indexes.iter().map(compile).collect::<Result<_, _>>()?;
        match all.is_empty() {
            true => drop(self.indexes.remove(&collection.id)),
            false => {
                let mut members = Members::default();
                all.iter().for_each(|index| members.extend(&index.members));
                self.indexes.insert(collection.id, Indexes { all, members: Arc::new(members) });
            }
        }
        match Schemas::of(&collection, self.schemas.get(&collection.id)) {
            Some(schemas) => drop(self.schemas.insert(collection.id, schemas)),
            None => drop(self.schemas.remove(&collection.id)),
        }
        self.relate(collection.id);
        self.collections.insert(collection.name.clone(), Arc::new(collection));
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(collection) = self.collections.remove(name) {
            self.indexes.remove(&collection.id);
            self.schemas.remove(&collection.id);
            self.relate(collection.id);
        }
    }
}
